"""Divergences of probability vectors: definitions, scipy, zeros, laws, bad input."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

from igeojax.divergences import simplex
from tests.divergences.programs import ORDERED, ORDERS, PLAIN, by_definition, values, vectors

P, Q = [0.1, 0.6, 0.3], [0.4, 0.3, 0.3]
INF = np.inf
LOG2 = float(np.log(2.0))
ONE_HOT, HALF, OTHER = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]


@pytest.mark.parametrize("order", ORDERS)
def test_definition(order):
    p, q = vectors(0, 100), vectors(1, 100)
    found = values(p, q, order)
    for name in ORDERED + (PLAIN if order == 0.5 else ()):
        expected = by_definition(name, p, q, order)
        np.testing.assert_allclose(found[name], expected, rtol=1e-11, atol=1e-13, err_msg=name)


def test_check_values():
    found = values([P, Q], [Q, P])
    np.testing.assert_allclose(found["kl"], [0.27725887, 0.34657359], atol=5e-9)
    pearson, neyman = found["chi_square"]
    # Neyman's is Pearson's with exchanged arguments; order 2 is half of Pearson's.
    alpha = values([P, P], [Q, Q], [2.0, -1.0])["alpha_divergence"]
    np.testing.assert_allclose(alpha, [pearson / 2, neyman / 2], rtol=1e-14)
    half = values([P], [Q], 0.5)
    np.testing.assert_allclose(half["alpha_divergence"], 4 * half["hellinger"] ** 2, rtol=1e-14)
    np.testing.assert_allclose(half["renyi"], 2 * half["bhattacharyya"], rtol=1e-14)


def test_parity_with_scipy_including_zeros():
    p, q = vectors(2, 100), vectors(3, 100)
    p[::3, 1] = 0
    q[::5, 2] = 0
    q[::3, 1] = 0
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    found = values(p, q)
    expected = scipy.special.rel_entr(p, q).sum(-1)
    assert np.isinf(expected).any()
    np.testing.assert_allclose(found["kl"], expected, rtol=1e-12)
    distance = scipy.spatial.distance.jensenshannon(p, q, axis=-1)
    np.testing.assert_allclose(np.sqrt(found["jensen_shannon"]), distance, rtol=1e-10)


# Where entries vanish: name, order, p, q, value.
ZEROS = [
    ("kl", 0.5, ONE_HOT, HALF, LOG2),
    ("kl", 0.5, HALF, ONE_HOT, INF),
    ("kl", 0.5, [0.5, 0.5, 0.0], [0.25, 0.75, 0.0], 0.14384103622589045),
    ("jeffreys", 0.5, ONE_HOT, HALF, INF),
    ("jensen_shannon", 0.5, ONE_HOT, OTHER, LOG2),
    ("hellinger", 0.5, ONE_HOT, OTHER, 1.0),
    ("hellinger", 0.5, ONE_HOT, HALF, np.sqrt(1 - np.sqrt(0.5))),
    ("bhattacharyya", 0.5, ONE_HOT, OTHER, INF),
    ("bhattacharyya", 0.5, ONE_HOT, HALF, LOG2 / 2),
    ("total_variation", 0.5, ONE_HOT, OTHER, 1.0),
    ("chi_square", 0.5, ONE_HOT, HALF, 1.0),
    ("chi_square", 0.5, HALF, ONE_HOT, INF),
    ("chi_square", 0.5, ONE_HOT, OTHER, INF),
    ("alpha_divergence", 0.5, ONE_HOT, OTHER, 4.0),
    ("alpha_divergence", 0.25, ONE_HOT, OTHER, 1 / (0.25 * 0.75)),
    ("alpha_divergence", 1.0, ONE_HOT, HALF, LOG2),
    ("alpha_divergence", 1.0, HALF, ONE_HOT, INF),
    ("alpha_divergence", 0.0, ONE_HOT, HALF, INF),
    ("alpha_divergence", 0.0, HALF, ONE_HOT, LOG2),
    ("alpha_divergence", 1.75, HALF, ONE_HOT, INF),
    ("alpha_divergence", 1.75, ONE_HOT, HALF, (0.5**-0.75 - 1) / (1.75 * 0.75)),
    ("alpha_divergence", -0.5, ONE_HOT, HALF, INF),
    ("renyi", 0.5, ONE_HOT, OTHER, INF),
    ("renyi", 0.0, ONE_HOT, HALF, LOG2),  # -log of the mass of q on the support of p
    ("renyi", 0.0, HALF, ONE_HOT, 0.0),
    ("renyi", 0.0, ONE_HOT, OTHER, INF),
    ("renyi", 1.0, ONE_HOT, HALF, LOG2),
    ("renyi", 1.0, HALF, ONE_HOT, INF),
    ("renyi", 1.75, ONE_HOT, HALF, LOG2),
    ("renyi", 1.75, HALF, ONE_HOT, INF),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_value_at_zeros(dtype):
    names, orders, p, q, expected = zip(*ZEROS, strict=True)
    found = values(p, q, orders, dtype)
    rows = [found[name][row] for row, name in enumerate(names)]
    assert {row.dtype for row in rows} == {np.dtype(dtype)}
    np.testing.assert_allclose(rows, expected, rtol=16 * np.finfo(dtype).eps)


def test_eager_takes_the_same_values_and_checks_them():
    for name, order, p, q, expected in ZEROS[::4]:
        options = {"order": order} if name in ORDERED else {}
        value = getattr(simplex, name)(p, q, **options)
        assert float(value) == pytest.approx(expected, rel=1e-14, abs=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_vectors_are_exactly_at_zero(dtype):
    p = vectors(7, 100)
    for name, value in values(p, p, np.linspace(-1, 2, 100), dtype).items():
        assert (value == 0).all(), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_near_vectors_keep_their_digits(dtype):
    # Every divergence is a multiple of chi-square to leading order; the next term is smaller by
    # the relative step 2^-18.
    tiny = 2.0**-20
    p, q = np.array([0.25, 0.25, 0.5]), np.array([0.25 + tiny, 0.25 - tiny, 0.5])
    chi_square = float(np.sum((p - q) ** 2 / q))
    found = values(np.tile(p, (len(ORDERS), 1)), np.tile(q, (len(ORDERS), 1)), ORDERS, dtype)
    factors = {"kl": 0.5, "jeffreys": 1, "jensen_shannon": 0.125, "bhattacharyya": 0.125}
    factors |= {"chi_square": 1, "alpha_divergence": 0.5, "renyi": np.array(ORDERS) / 2}
    for name, factor in factors.items():
        np.testing.assert_allclose(found[name], factor * chi_square, rtol=4e-5, err_msg=name)
    np.testing.assert_allclose(found["hellinger"], np.sqrt(chi_square / 8), rtol=2e-5)
    np.testing.assert_allclose(found["total_variation"], tiny, rtol=1e-6)


def test_metrics_obey_the_triangle_inequality():
    a, b, c = (vectors(seed, 128) for seed in (10, 11, 12))
    direct, first, second, back = values(a, c), values(a, b), values(b, c), values(c, a)
    for name, power in (("hellinger", 1), ("total_variation", 1), ("jensen_shannon", 0.5)):
        assert (direct[name] ** power <= first[name] ** power + second[name] ** power + 1e-12).all()
        np.testing.assert_allclose(direct[name], back[name], rtol=1e-9)
    assert (direct["jensen_shannon"] <= np.log(2)).all()


def test_joint_convexity_duality_and_order():
    p, q, r, s = (vectors(seed, 100) for seed in (13, 14, 15, 16))
    middle, first, second = (
        values((p + r) / 2, (q + s) / 2, 0.3),
        values(p, q, 0.3),
        values(r, s, 0.3),
    )
    for name in ("kl", "jensen_shannon", "total_variation", "chi_square", "alpha_divergence"):
        assert (middle[name] <= (first[name] + second[name]) / 2 + 1e-12).all()
    dual = values(q, p, 0.7)["alpha_divergence"]
    np.testing.assert_allclose(first["alpha_divergence"], dual, rtol=1e-11)
    for low, high in itertools.pairwise(values(p, q, order)["renyi"] for order in ORDERS):
        assert (low <= high + 1e-12).all()


GENERATORS = {
    "kl": (lambda t: jnp.where(t == 0, 0.0, t * jnp.log(jnp.where(t == 0, 1.0, t))), INF),
    "total_variation": (lambda t: jnp.abs(t - 1) / 2, 0.5),
    "chi_square": (lambda t: (t - 1) ** 2, INF),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_f_divergence(name):
    generator, slope = GENERATORS[name]
    function = jax.jit(lambda p, q: simplex.f_divergence(p, q, generator, slope_at_infinity=slope))
    p = np.concatenate([vectors(17, 40, 3), [HALF, ONE_HOT, ONE_HOT]])
    q = np.concatenate([vectors(18, 40, 3), [ONE_HOT, HALF, OTHER]])
    np.testing.assert_allclose(function(p, q), values(p, q)[name], rtol=1e-10, atol=1e-12)


def test_batches_broadcast():
    p, q = vectors(19, 3), vectors(20, 5)
    for name, options in (("kl", {}), ("renyi", {"order": 0.5}), ("hellinger", {})):
        batch = getattr(simplex, name)(p[:, None], q, **options)
        assert batch.shape == (3, 5)
        pairs = values(np.repeat(p, 5, axis=0), np.tile(q, (3, 1)))[name].reshape(3, 5)
        np.testing.assert_allclose(batch, pairs, rtol=1e-14)


BAD = [
    (([0.5, 0.6], [0.5, 0.5]), {}, ValueError, r"p must sum to one.*got a sum of 1\.1.*softmax"),
    (([0.5, 0.5], [0.2, 0.2]), {}, ValueError, r"q must sum to one.*got a sum of 0\.4.*Divide"),
    (
        ([1.5, -0.5], [0.5, 0.5]),
        {},
        ValueError,
        r"non-negative; got -0\.5 at index \(1,\).*\[0, 1\]",
    ),
    (([0.5, np.nan], [0.5, 0.5]), {}, ValueError, "p must be non-negative; got nan.*Probabilities"),
    (([0.5, 0.5], [0.2, 0.3, 0.5]), {}, ValueError, "same number.*got 2 and 3.*outcomes"),
    ((0.3, 0.4), {}, ValueError, "probability vectors.*got a scalar.*stack"),
    ((np.array([1j, 1]), [0.5, 0.5]), {}, TypeError, "p must hold real.*got.*complex.*Cast"),
    (([True, False], [0.5, 0.5]), {}, TypeError, "p must hold real.*got dtype bool.*Cast"),
    (("xy", [0.5, 0.5]), {}, TypeError, "p must be a number or an array.*got str.*asarray"),
    (([0.5, 0.5], [0.5, 0.5]), {"base": 2}, TypeError, "unexpected keyword"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
@pytest.mark.parametrize("name", ["kl", "hellinger", "renyi"])
def test_bad_input(name, arguments, options, error, message):
    options = options | ({"order": 0.5} if name == "renyi" else {})
    with pytest.raises(error) as caught:
        getattr(simplex, name)(*arguments, **options)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_order_is_a_keyword():
    with pytest.raises(TypeError, match="positional"):
        simplex.alpha_divergence(P, Q, 0.5)
    with pytest.raises(TypeError, match="order"):
        simplex.renyi(P, Q)


EVERY = {
    "kl": simplex.kl,
    "jeffreys": simplex.jeffreys,
    "jensen_shannon": simplex.jensen_shannon,
    "alpha_divergence": lambda p, q: simplex.alpha_divergence(p, q, order=0.3),
    "renyi": lambda p, q: simplex.renyi(p, q, order=1.7),
    "hellinger": simplex.hellinger,
    "bhattacharyya": simplex.bhattacharyya,
    "total_variation": simplex.total_variation,
    "chi_square": simplex.chi_square,
}


@pytest.mark.parametrize("name", EVERY)
def test_invariance_under_markov_embeddings_and_loss_under_merging(name):
    """Chentsov: splitting outcomes in fixed proportion changes nothing, merging loses some."""
    divergence, generator = jax.jit(EVERY[name]), np.random.default_rng(3)
    p, q = generator.dirichlet(np.ones(4), size=2)
    # Each outcome splits into three, with a positive channel of its own.
    channel = generator.dirichlet(np.ones(3), size=4)
    split = lambda law: (law[:, None] * channel).ravel()
    value = float(divergence(p, q))
    assert float(divergence(split(p), split(q))) == pytest.approx(value, rel=1e-13, abs=0)
    # The label of the group is then a sufficient statistic; one that merges outcomes which the
    # laws weigh differently is not. (Total variation loses only where p - q changes its sign.)
    most, least = np.argmax(p - q), np.argmin(p - q)
    merged = lambda law: np.append(np.delete(law, [most, least]), law[most] + law[least])
    assert float(divergence(merged(p), merged(q))) < value
