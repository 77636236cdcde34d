"""Divergences of families: check values, ends of the domain, broadcasting, bad input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential, simplex
from igeojax.families import FAMILIES
from tests.laws.programs import each_family, natural

NORMAL, GAMMA, POISSON = families.Normal(), families.Gamma(), families.Poisson()
BERNOULLI, CATEGORICAL = families.Bernoulli(), families.Categorical(3)
INF = np.inf


def test_check_values_of_the_normal():
    p, q = NORMAL.Params(0.0, 1.0), NORMAL.Params(1.0, 2.0)
    assert float(exponential.kl(NORMAL, p, q)) == pytest.approx(np.log(2) - 0.25, rel=1e-14, abs=0)
    # Diagonal law to the standard one: half the sum of s^2 + m^2 - 1 - log s^2.
    family = families.DiagonalNormal(3)
    loc, scale = np.array([0.5, -1.0, 0.0]), np.array([0.3, 1.0, 2.0])
    standard = family.Params(np.zeros(3), np.ones(3))
    expected = 0.5 * np.sum(scale**2 + loc**2 - 1 - np.log(scale**2))
    found = exponential.kl(family, family.Params(loc, scale), standard)
    assert float(found) == pytest.approx(expected, rel=1e-14, abs=0)


def test_far_apart():
    # T46: N(0, 1e-20) from N(0, 1e20), standard deviations.
    p, q = NORMAL.Params(0.0, 1e-20), NORMAL.Params(0.0, 1e20)
    assert float(exponential.kl(NORMAL, p, q)) == pytest.approx(91.6034037197618, rel=1e-14, abs=0)
    assert float(exponential.kl(POISSON, POISSON.Params(0.0), POISSON.Params(2.0))) == 2


@pytest.mark.parametrize("order", [-0.5, 0.0, 0.4, 1.0, 2.0])
def test_categorical_agrees_with_the_simplex(order):
    p, q = (
        np.array([[0.2, 0.5, 0.3], [0.0, 0.4, 0.6]]),
        np.array([[0.6, 0.1, 0.3], [0.0, 0.7, 0.3]]),
    )
    first, second = CATEGORICAL.Params(p), CATEGORICAL.Params(q)
    for name in ("kl", "jeffreys", "hellinger", "bhattacharyya"):
        found = getattr(exponential, name)(CATEGORICAL, first, second)
        np.testing.assert_allclose(found, getattr(simplex, name)(p, q), rtol=1e-12, err_msg=name)
    # A class that is impossible under both does not matter, whatever the order.
    for name in ("alpha_divergence", "renyi"):
        found = getattr(exponential, name)(CATEGORICAL, first, second, order=order)
        expected = getattr(simplex, name)(p, q, order=order)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-15, err_msg=name)


# Points at the end of the natural domain, by source parameters: KL both ways, Hellinger squared.
ENDS = [
    (BERNOULLI, 1.0, 0.25, np.log(4.0), INF, 0.5),
    (BERNOULLI, 0.0, 0.25, -np.log(0.75), INF, 1 - np.sqrt(0.75)),
    (BERNOULLI, 0.0, 1.0, INF, INF, 1.0),
    (BERNOULLI, 1.0, 1.0, 0.0, 0.0, 0.0),
    (POISSON, 0.0, 2.0, 2.0, INF, 1 - np.exp(-1.0)),
    (POISSON, 0.0, 0.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("family", "p", "q", "there", "back", "squared"), ENDS)
def test_ends_of_the_domain(family, p, q, there, back, squared):
    first, second = (family.natural_from_params(value) for value in (p, q))
    kl = jax.jit(lambda a, b: exponential.kl(family, a, b))
    assert float(kl(first, second)) == pytest.approx(there, rel=1e-14, abs=0)
    assert float(kl(second, first)) == pytest.approx(back, rel=1e-14, abs=0)
    hellinger = float(exponential.hellinger(family, first, second))
    assert hellinger**2 == pytest.approx(squared, rel=1e-12, abs=0)
    for order in (0.0, 0.5, 1.0, 1.5):
        for name in ("alpha_divergence", "renyi"):
            value = getattr(exponential, name)(family, first, second, order=order)
            assert not np.isnan(value), (name, order)
    disjoint = there == back == INF
    if disjoint:
        alpha = exponential.alpha_divergence(family, first, second, order=0.25)
        assert float(alpha) == pytest.approx(1 / (0.25 * 0.75), rel=1e-14, abs=0)
        assert exponential.alpha_divergence(family, first, second, order=1.5) == INF
        assert exponential.renyi(family, first, second, order=0.25) == INF
        assert exponential.renyi(family, first, second, order=0.0) == INF
    if p == q:
        assert float(exponential.renyi(family, first, second, order=1.5)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["reverse_kl", "chi_square", "neyman_chi_square", "chernoff_information"]
)
def test_derived_divergences_agree_with_the_simplex(name):
    p, q = np.array([[0.2, 0.5, 0.3], [0.3, 0.1, 0.6]]), np.array([0.6, 0.1, 0.3])
    value = jax.jit(lambda p, q: getattr(exponential, name)(CATEGORICAL, p, q))
    found = value(CATEGORICAL.Params(p), CATEGORICAL.Params(q))
    np.testing.assert_allclose(found, getattr(simplex, name)(p, q), rtol=1e-11)


@pytest.mark.parametrize("alpha", [-1, 0.0, 0.5, 1.0, 3.0])
def test_amari_alpha_is_one_less_twice_the_order(alpha):
    p, q = NORMAL.Params(0.0, 1.0), NORMAL.Params(1.0, 1.2)
    found = exponential.amari_alpha_divergence(NORMAL, p, q, alpha=alpha)
    if abs(alpha) == 1:
        expected = exponential.kl(NORMAL, *((p, q) if alpha < 0 else (q, p)))
    else:
        x = np.arange(-2560, 2560) / 128  # a step of .01 would be rounded
        density = lambda loc, scale: np.exp(-0.5 * ((x - loc) / scale) ** 2) / scale
        tilted = density(0, 1) ** ((1 - alpha) / 2) * density(1, 1.2) ** ((1 + alpha) / 2)
        expected = 4 / (1 - alpha**2) * (1 - tilted.sum() / 128 / np.sqrt(2 * np.pi))
    assert float(found) == pytest.approx(float(expected), rel=1e-12, abs=0)


@pytest.mark.parametrize("name", ["renyi", "alpha_divergence"])
def test_orders_without_a_value(name):
    function, p, q = getattr(exponential, name), NORMAL.Params(0.0, 1.0), NORMAL.Params(1.0, 1.0)
    for order in (INF, -INF, np.nan):
        with pytest.raises(ValueError, match="order must be finite"):
            function(NORMAL, p, q, order=order)
        assert np.isnan(jax.jit(lambda a: function(NORMAL, p, q, order=a))(order))
    with pytest.raises(ValueError, match=r"order must be a scalar; got shape \(2,\)"):
        function(NORMAL, p, q, order=[0.5, 0.6])


def chernoff(family):
    """Value and first and second derivative in the first argument, a source parameter."""
    law = lambda v: family.Params(*v) if isinstance(v, tuple) else family.Params(v)
    value = lambda p, q: exponential.chernoff_information(family, law(p), law(q))
    return jax.jit(value), jax.jit(jax.grad(value)), jax.jit(jax.grad(jax.grad(value)))


@pytest.mark.slow
def test_chernoff_information_of_poisson_laws():
    value, slope, curvature = chernoff(POISSON)
    # max_a a p + (1-a) q - p^a q^(1-a), at a = log((q - p) / (q log(q/p))) / log(p/q).
    closed = lambda p, q: (lambda a: a * p + (1 - a) * q - p**a * q ** (1 - a))(
        np.log((q - p) / (q * np.log(q / p))) / np.log(p / q)
    )
    assert float(value(2.0, 5.0)) == pytest.approx(closed(2.0, 5.0), rel=1e-14, abs=0)
    assert float(value(5.0, 2.0)) == pytest.approx(closed(2.0, 5.0), rel=1e-14, abs=0)
    h = 1e-4
    first = (closed(2 + h, 5.0) - closed(2 - h, 5.0)) / (2 * h)
    second = (closed(2 + h, 5.0) - 2 * closed(2.0, 5.0) + closed(2 - h, 5.0)) / h**2
    assert float(slope(2.0, 5.0)) == pytest.approx(first, rel=1e-7, abs=0)
    assert float(curvature(2.0, 5.0)) == pytest.approx(second, rel=1e-6, abs=0)
    # An impossible observation: all that p leaves to q; equal laws; near laws: F d^2 / 8.
    assert float(value(0.0, 2.0)) == pytest.approx(2.0, rel=1e-12, abs=0)
    assert value(3.0, 3.0) == slope(3.0, 3.0) == 0
    assert float(value(2.0, 2.0 + 2**-30)) == pytest.approx(2.0**-60 / 16, rel=1e-8, abs=0)


def test_chernoff_information_at_the_ends_and_in_batches():
    value = jax.jit(
        lambda p, q: exponential.chernoff_information(
            BERNOULLI, BERNOULLI.Params(p), BERNOULLI.Params(q)
        )
    )
    found = value(np.array([[1.0], [0.25]]), np.array([0.25, 0.0]))
    expected = [[np.log(4.0), INF], [0.0, -np.log(0.75)]]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


# N(0, s) from N(0, t): half the log of a/s^2 + (1-a)/t^2, plus a log s + (1-a) log t.
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("narrow", "wide"), [(1e-20, 1e20), (1e-10, 1.0), (1e-3, 1.0)])
def test_chernoff_information_of_far_scales(narrow, wide, dtype):
    scales = np.array([narrow, wide], dtype)
    p, q = (NORMAL.Params(np.asarray(0.0, dtype), scale) for scale in scales)
    log_ratio = np.log(float(scales[1])) - np.log(float(scales[0]))
    # In units of the wide law; at the order that the derivative vanishes.
    square = np.exp(-2 * log_ratio)
    mixed = (1 - square) / (2 * log_ratio)
    order = (mixed - square) / (1 - square)
    expected = 0.5 * np.log(mixed) + (1 - order) * log_ratio
    program = lambda p, q: exponential.chernoff_information(NORMAL, p, q)
    for value in (program, jax.jit(program)):
        for pair in ((p, q), (q, p)):
            found = value(*pair)
            assert found.dtype == dtype
            assert abs(found / expected - 1) < 16 * np.finfo(dtype).eps
    # Rows of laws whose natural parameters leave the range, against one.
    rows = NORMAL.Params(np.zeros((2, 1), dtype), np.full((1, 3), wide, dtype))
    assert exponential.chernoff_information(NORMAL, p, rows).shape == (2, 3)


def laws_of_overlap(name):
    """Both divergences of pairs, of them exchanged, of equal ones; and exponents over orders."""
    family = FAMILIES[name].family
    p, q = natural(name, 0), natural(name, 1)
    # One batch of all pairs: compile time is the cost.
    join = lambda *points: jax.tree.map(lambda *leaves: np.concatenate(leaves), *points)
    first, second = join(p, q, p), join(q, p, p)

    @jax.jit
    def program(first, second, orders):
        exponent = lambda a: (1 - a) * exponential.renyi(family, first, second, order=a)
        middle = jax.tree.map(lambda u, v: 0.5 * (u + v), first, second)
        mean = 0.5 * (family.bregman(middle, first) + family.bregman(middle, second))
        return (
            exponential.chernoff_information(family, first, second),
            exponential.geometric_jensen_shannon(family, first, second),
            jax.lax.map(exponent, orders),
            mean,
        )

    return map(np.asarray, program(first, second, np.linspace(0.0, 1.0, 1001)[1:-1]))


@pytest.mark.slow  # compile time
@each_family
def test_laws_of_chernoff_information_and_geometric_jensen_shannon(name):
    chernoff, geometric, exponents, mean = laws_of_overlap(name)
    for values in (chernoff, geometric):
        there, back, same = np.split(values, 3)
        assert (there >= 0).all()
        np.testing.assert_allclose(there, back, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(same, np.zeros_like(same), atol=1e-14)
    # The nearest order of the grid is 5e-4 off, where the exponent is flat; it is none above.
    assert (exponents <= chernoff * (1 + 1e-12) + 1e-14).all()
    np.testing.assert_allclose(exponents.max(axis=0), chernoff, rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(geometric, mean, rtol=1e-10, atol=1e-13)


def test_geometric_jensen_shannon():
    p, q = NORMAL.Params(0.0, 1.0), NORMAL.Params(1.0, 2.0)
    first, second = (NORMAL.natural_from_params(*v) for v in (p, q))
    for weight in (0.2, 0.5):
        middle = jax.tree.map(lambda u, v, w=weight: (1 - w) * u + w * v, first, second)
        expected = (1 - weight) * exponential.kl(NORMAL, first, middle)
        expected = expected + weight * exponential.kl(NORMAL, second, middle)
        found = exponential.geometric_jensen_shannon(NORMAL, p, q, weight=weight)
        assert float(found) == pytest.approx(float(expected), rel=1e-13, abs=0)
    # Near laws: w (1-w) F d^2 / 2, to all digits.
    near = NORMAL.Params(1e-9, 1.0)
    found = exponential.geometric_jensen_shannon(NORMAL, p, near, weight=0.3)
    assert float(found) == pytest.approx(0.3 * 0.7 * 0.5e-18, rel=1e-13, abs=0)
    for weight in (0.0, 1.0):
        assert exponential.geometric_jensen_shannon(NORMAL, p, q, weight=weight) == 0
    sure, fair = BERNOULLI.Params(1.0), BERNOULLI.Params(0.5)
    assert exponential.geometric_jensen_shannon(BERNOULLI, sure, fair) == INF
    assert exponential.geometric_jensen_shannon(BERNOULLI, sure, sure) == 0


def test_mixtures_outside_the_domain_are_infinite():
    # 2 theta_p - theta_q of exponential laws leaves the domain where rate_q > 2 rate_p.
    family = families.Exponential()
    p, q = family.Params(1.0), family.Params(3.0)
    assert exponential.alpha_divergence(family, p, q, order=2.0) == INF
    assert exponential.renyi(family, p, q, order=2.0) == INF
    assert exponential.alpha_divergence(family, p, q, order=-1.0) > 0
    inside = exponential.alpha_divergence(family, family.Params(2.0), q, order=2.0)
    # int p^2 / q = a^2 / (b (2a - b)) for rates a and b.
    assert float(inside) == pytest.approx((4 / (3 * 1) - 1) / 2, rel=1e-13, abs=0)


@pytest.mark.parametrize(
    "family", [NORMAL, POISSON, families.Exponential(), families.DiagonalNormal(2)]
)
def test_hellinger_has_gradient_zero_at_equal_points(family):
    loc = {"loc": jnp.array([1.0, 2.0]), "scale": jnp.array([0.5, 1.5])}
    scalar = {"loc": 1.0, "scale": 0.5} if family is NORMAL else {"rate": 2.0}
    theta = family.natural_from_params(**(loc if family.event_shape else scalar))
    slope = jax.jit(jax.grad(lambda a, b: exponential.hellinger(family, a, b), (0, 1)))
    for leaf in jax.tree.leaves(slope(theta, theta)):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_gradients_of_the_categorical_kl_with_impossible_classes():
    kl = lambda a, b: exponential.kl(
        CATEGORICAL,
        CATEGORICAL.natural_from_params(logits=a),
        CATEGORICAL.natural_from_params(logits=b),
    )
    p, q = jnp.array([-INF, 0.0, 1.0]), jnp.array([-INF, 2.0, 1.0])
    for transform in (jax.grad, jax.jacfwd):
        in_p, in_q = jax.jit(transform(kl, (0, 1)))(p, q)
        softmax = lambda z: np.exp(z) / np.exp(z).sum()
        np.testing.assert_allclose(
            in_q, softmax(np.asarray(q)) - softmax(np.asarray(p)), atol=1e-15
        )
        assert np.isfinite(in_p).all()
        assert in_p[0] == 0


def test_batches_broadcast_and_orders_are_traced():
    p = NORMAL.Params(np.zeros((4, 1)), np.ones((4, 1)))
    q = NORMAL.Params(np.arange(3.0), np.ones(3))
    renyi = jax.jit(lambda order: exponential.renyi(NORMAL, p, q, order=order))
    # Equal variances: a (difference of means)^2 / 2.
    for order in (0.5, 1.0, 2.0):
        expected = np.broadcast_to(order * np.arange(3.0) ** 2 / 2, (4, 3))
        np.testing.assert_allclose(renyi(order), expected, rtol=1e-13)


def test_source_parameters_may_be_lists():
    family = families.Categorical(3)
    p, q = family.Params([0.2, 0.3, 0.5]), family.Params([0.3, 0.2, 0.5])
    both = families.Product((family, NORMAL))
    laws = [both.Params(one, NORMAL.Params(0.0, 1.0)) for one in (p, q)]
    expected = 0.1 * np.log(1.5)
    assert float(exponential.kl(family, p, q)) == pytest.approx(expected, rel=1e-14, abs=0)
    assert float(exponential.kl(both, *laws)) == pytest.approx(expected, rel=1e-14, abs=0)


def test_close_points_keep_their_digits_in_float32():
    # Natural points one part in 2^20 apart: KL = F d^2 / 2 to leading order.
    theta = POISSON.Point(jnp.float32(1.5))
    other = POISSON.Point(jnp.float32(1.5 + 2.0**-20))
    expected = np.exp(1.5) * 2.0**-41
    assert float(exponential.kl(POISSON, theta, other)) == pytest.approx(expected, rel=1e-5, abs=0)


P, Q = NORMAL.natural_from_params(0.0, 1.0), NORMAL.Params(1.0, 2.0)
BAD = [
    (
        lambda: exponential.kl(NORMAL, tuple(P), Q),
        TypeError,
        "Normal.Point; got tuple.*natural_from",
    ),
    (lambda: exponential.kl(GAMMA, P, P), TypeError, "Gamma.Point; got NormalPoint.*natural_from"),
    (
        lambda: exponential.kl(NORMAL, NORMAL.Params(0.0, -1.0), Q),
        ValueError,
        "scale must be.*got -1",
    ),
    (
        lambda: exponential.kl(CATEGORICAL, jnp.ones(3), jnp.ones(3)),
        TypeError,
        "Point; got .*natural",
    ),
    (
        lambda: exponential.kl(
            CATEGORICAL, CATEGORICAL.Point(jnp.ones(3)), CATEGORICAL.Point(jnp.ones(2))
        ),
        ValueError,
        r"trailing axes \(2,\); got shape \(3,\)",
    ),
    (lambda: exponential.renyi(NORMAL, P, Q), TypeError, "order"),
    (
        lambda: exponential.geometric_jensen_shannon(NORMAL, P, Q, weight=1.5),
        ValueError,
        r"weight must be in \[0, 1\]; got 1.5",
    ),
    (
        lambda: exponential.amari_alpha_divergence(NORMAL, P, Q, alpha="1"),
        TypeError,
        "alpha must be a number",
    ),
    (
        lambda: exponential.chernoff_information(NORMAL, P, 1.0),
        TypeError,
        "Normal.Point; got float",
    ),
    (lambda: exponential.renyi(NORMAL, P, Q, alpha=0.5), TypeError, "alpha"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
