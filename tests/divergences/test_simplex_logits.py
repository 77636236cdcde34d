"""Simplex divergences from logits: true values, agreement with probabilities, -inf, derivatives."""

import functools
import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax.divergences import simplex
from tests.reference.compare import errors

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

INF = np.inf
PLAIN = (
    *("kl", "reverse_kl", "jeffreys", "jensen_shannon", "jensen_shannon_distance", "hellinger"),
    *("bhattacharyya", "total_variation", "chi_square", "neyman_chi_square", "cross_entropy"),
)
ORDERED = ("alpha_divergence", "renyi")
ORDERS = (-0.5, 0.0, 0.3, 0.5, 0.7, 1.0, 1.7, 2.0)


def everything(p, q, order, logits=True):
    plain = {name: getattr(simplex, name)(p, q, logits=logits) for name in PLAIN}
    ordered = {name: getattr(simplex, name)(p, q, order=order, logits=logits) for name in ORDERED}
    amari = simplex.amari_alpha_divergence(p, q, alpha=1 - 2 * order, logits=logits)
    return plain | ordered | {"amari": amari}


_VALUES = jax.jit(jax.vmap(everything))
_FROM_PROBS = jax.jit(jax.vmap(functools.partial(everything, logits=False)))
_FORWARD = jax.jit(jax.vmap(jax.jacfwd(everything, (0, 1, 2))))
ROWS, CLASSES = 72, 5


def run(program, p, q, order, dtype="float64", fill=-INF):
    """One shape, so that each program compiles once a dtype."""
    p, q = np.asarray(p, float), np.asarray(q, float)
    more = ROWS - len(p)
    wide = [(0, 0), (0, CLASSES - p.shape[1])]
    p, q = (np.pad(v, wide, constant_values=fill) for v in (p, q))
    p, q = (np.pad(v, [(0, more), (0, 0)], "edge").astype(dtype) for v in (p, q))
    order = np.pad(np.broadcast_to(order, (ROWS - more,)), (0, more), "edge").astype(dtype)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: ROWS - more], program(p, q, order))


def scores(seed, rows=64, classes=5):
    return np.random.default_rng(seed).normal(scale=2, size=(rows, classes))


TRUE = {
    "categorical_logits_kl": lambda _, p, q: simplex.kl(p, q, logits=True),
    "categorical_logits_alpha": lambda a, p, q: simplex.alpha_divergence(
        p, q, order=a, logits=True
    ),
    "categorical_logits_renyi": lambda a, p, q: simplex.renyi(p, q, order=a, logits=True),
    "categorical_logits_hellinger": lambda _, p, q: simplex.hellinger(p, q, logits=True),
    "categorical_logits_bhattacharyya": lambda _, p, q: simplex.bhattacharyya(p, q, logits=True),
    "grad_categorical_kl_logits_p": lambda _, p, q: jax.grad(simplex.kl)(p, q, logits=True),
    "grad_categorical_kl_logits_q": lambda _, p, q: jax.grad(simplex.kl, 1)(p, q, logits=True),
}
# Worst errors measured in float64 and float32, times 1.5, and at least 4 eps.
BOUNDS = {
    "categorical_logits_kl": (8.9e-16, 8.3e-7),
    "categorical_logits_alpha": (1.1e-14, 8.1e-6),
    "categorical_logits_renyi": (8.9e-16, 1.4e-6),
    "categorical_logits_hellinger": (8.9e-16, 4.8e-7),
    "categorical_logits_bhattacharyya": (8.9e-16, 7.1e-7),
    "grad_categorical_kl_logits_p": (8.9e-16, 5.9e-6),
    "grad_categorical_kl_logits_q": (8.9e-16, 1.3e-6),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TRUE)
def test_true_values(name, dtype):
    function = lambda order, logits_p, logits_q: TRUE[name](order, logits_p, logits_q)
    worst, case = errors("categorical", name, dtype, function)[0]
    assert worst <= BOUNDS[name][dtype == "float32"], f"{worst} at {case}"


def law(z):
    weights = [mpmath.exp(mpmath.mpf(float(v))) for v in z]
    return [w / mpmath.fsum(weights) for w in weights]


def exact(name, z, w):
    p, q = law(z), law(w)
    pairs = list(zip(p, q, strict=True))
    kl = lambda a, b: mpmath.fsum(x * mpmath.log(x / y) for x, y in zip(a, b, strict=True))
    middle = [(x + y) / 2 for x, y in pairs]
    return {
        "jensen_shannon": lambda: (kl(p, middle) + kl(q, middle)) / 2,
        "total_variation": lambda: mpmath.fsum(abs(x - y) for x, y in pairs) / 2,
        "chi_square": lambda: mpmath.fsum((x - y) ** 2 / y for x, y in pairs),
        "neyman_chi_square": lambda: mpmath.fsum((x - y) ** 2 / x for x, y in pairs),
        "jeffreys": lambda: kl(p, q) + kl(q, p),
        "cross_entropy": lambda: -mpmath.fsum(x * mpmath.log(y) for x, y in pairs),
    }[name]()


HARD = [
    ([0.0, 1.0, -1.0, 0.5, 2.0], [0.5, 0.5, 0.5, 0.0, -2.0]),
    ([0.0, -30.0, -40.0, -50.0, -8.0], [0.0, -31.0, -40.5, -50.0, -8.0]),
    ([1.0, 2.0, 3.0, 4.0, 0.0], [1.0 + 2**-18, 2.0, 3.0 - 2**-19, 4.0, 0.0]),
    ([0.0, 20.0, 0.0, 0.0, 0.0], [20.0, 0.0, 0.0, 0.0, 0.0]),
    ([1000.0, 1001.0, 999.0, 1000.0, 1000.0], [0.0, 1.0 + 2**-10, -1.0, 0.0, 0.0]),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_high_precision(dtype):
    p, q = ([pair[i] for pair in HARD] for i in (0, 1))
    found = run(_VALUES, p, q, 0.5, dtype)
    names = ("jensen_shannon", "total_variation", "chi_square", "neyman_chi_square")
    for name in (*names, "jeffreys", "cross_entropy"):
        with mpmath.workdps(60):
            expected = [float(exact(name, z, w)) for z, w in HARD]
        close = (400 if name in names else 40) * np.finfo(dtype).eps
        np.testing.assert_allclose(found[name], expected, rtol=close, err_msg=name)


def softmax(z):
    weights = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def test_agrees_with_probabilities_impossible_classes_included():
    z, w = scores(0), scores(1)
    z[::4, 1] = z[::5, 0] = w[::4, 1] = w[::3, 2] = -INF
    orders = np.resize(ORDERS, 64)
    found = run(_VALUES, z, w, orders)
    expected = run(_FROM_PROBS, softmax(z), softmax(w), orders, fill=0.0)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-14, err_msg=name)


ONE_HOT, HALF, OTHER = [0.0, -INF, -INF], [2.0, 2.0, -INF], [-INF, -INF, 1.0]


def test_boundaries_agree_with_probabilities_and_have_finite_gradients():
    pairs = [(a, b) for a in (ONE_HOT, HALF, OTHER) for b in (ONE_HOT, HALF, OTHER)]
    z, w = (np.repeat([v[i] for v in pairs], len(ORDERS), 0) for i in (0, 1))
    orders = np.tile(ORDERS, len(pairs))
    expected = run(_FROM_PROBS, softmax(z), softmax(w), orders, fill=0.0)
    found, slopes = (run(program, z, w, orders, "float32") for program in (_VALUES, _FORWARD))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=8e-6, atol=1e-6, err_msg=name)
        finite = np.isfinite(value)
        for slope in slopes[name][:2]:
            assert np.isfinite(slope[finite]).all(), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_logits_are_exactly_at_zero(dtype):
    z = scores(2)
    for name, value in run(_VALUES, z, z, np.linspace(-1, 2, 64), dtype).items():
        assert name == "cross_entropy" or (value == 0).all(), name
    if dtype == "float32":
        slopes = run(_FORWARD, z, z, np.linspace(-1, 2, 64), dtype)
        for name in set(slopes) - {"cross_entropy"}:
            for slope in slopes[name]:
                assert (np.abs(slope) <= 8 * np.finfo(dtype).eps).all(), name


def test_hessian_at_equal_logits_is_the_fisher_metric():
    z = jnp.array([0.3, -1.0, 0.7, -INF])
    direction = jnp.array([1.0, 0.5, -2.0, 0.0])
    p = np.asarray(jax.nn.softmax(z))
    product = p * (np.asarray(direction) - p @ np.asarray(direction))
    factors = {"kl": 1, "jensen_shannon": 0.25, "alpha_divergence": 1, "renyi": None}
    orders = jnp.array([0.0, 0.3, 1.0, 1.5])

    @jax.jit
    def products(order, in_p, in_q):
        def one(name):
            options = {"order": order} if name in ORDERED else {}
            value = lambda a, b: getattr(simplex, name)(a, b, logits=True, **options)
            return jax.jvp(jax.grad(value, (0, 1)), (z, z), (in_p * direction, in_q * direction))[1]

        return {name: one(name) for name in factors}

    for in_p, in_q in ((1.0, 0.0), (0.0, 1.0)):
        found = jax.vmap(products, in_axes=(0, None, None))(orders, in_p, in_q)
        for name, factor in factors.items():
            sign = in_p - in_q
            for row, order in enumerate(orders.tolist()):
                expected = (order if factor is None else factor) * product
                first, second = (leaf[row] for leaf in found[name])
                np.testing.assert_allclose(first, sign * expected, atol=1e-14, err_msg=name)
                np.testing.assert_allclose(second, -sign * expected, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_order_is_smooth_across_its_ends(name, end, dtype):
    """Values, gradients and the derivative in the order stay within rounding across the switch."""
    p, q = (jnp.asarray(scores(seed, 16) / 2, dtype) for seed in (3, 4))
    function = lambda a, z, w: getattr(simplex, name)(z, w, order=a, logits=True)
    program = jax.jit(jax.vmap(jax.value_and_grad(function, (0, 1, 2))))
    at_end = program(jnp.full(16, end, dtype), p, q)
    eps = float(np.finfo(dtype).eps)
    for gap in (-1e-3, -1e-5, -64 * eps, 64 * eps, 1e-5, 1e-3):
        order = jnp.full(16, end + gap, dtype)
        gap = float(order[0]) - end
        near = program(order, p, q)
        curved = 30 * gap**2 * (1 + np.abs(at_end[0]) ** 3)
        change = np.asarray(near[0], float) - np.asarray(at_end[0], float)
        predicted = gap * np.asarray(at_end[1][0], float)
        size = 1 + np.abs(at_end[0]) + np.abs(at_end[1][0])
        assert (np.abs(change - predicted) <= curved + 32 * eps * size).all(), gap
        for one, other in zip(near[1], at_end[1], strict=True):
            room = 30 * abs(gap) * (1 + np.abs(other).max()) + 256 * eps * (1 + np.abs(other).max())
            assert (np.abs(one - other) <= room).all(), gap


def test_derivative_in_the_order_has_a_closed_form_at_the_ends():
    z, w = jnp.asarray(scores(5, 8)), jnp.asarray(scores(6, 8))
    slope = jax.vmap(
        jax.grad(lambda a, p, q: simplex.renyi(p, q, order=a, logits=True)), in_axes=(None, 0, 0)
    )
    p, q = jax.nn.log_softmax(z), jax.nn.log_softmax(w)
    mean = jnp.sum(jnp.exp(p) * (p - q), axis=-1, keepdims=True)
    variance = jnp.sum(jnp.exp(p) * (p - q - mean) ** 2, axis=-1)
    np.testing.assert_allclose(slope(1.0, z, w), variance / 2, rtol=1e-12)
    np.testing.assert_allclose(slope(0.0, z, w), jnp.sum(jnp.exp(q) * (q - p), axis=-1), rtol=1e-12)


def test_f_divergence():
    z, w = scores(7, 10), scores(8, 10)
    generator = lambda t: t * jnp.log(jnp.where(t > 0, t, 1.0))
    found = simplex.f_divergence(z, w, generator, logits=True)
    np.testing.assert_allclose(found, simplex.kl(z, w, logits=True), rtol=1e-12)
    lost = simplex.f_divergence([0.0, 0.0], [0.0, -INF], generator, logits=True)
    assert lost == INF
    share = lambda t: jnp.abs(t - 1) / 2
    total = simplex.f_divergence([0.0, 0.0], [0.0, -INF], share, slope_at_infinity=0.5, logits=True)
    assert float(total) == pytest.approx(0.5)


BAD = [
    (([0.0, np.nan], [0.0, 0.0]), r"p must be below inf; got nan at index \(1,\).*-inf"),
    (([0.0, 0.0], [0.0, INF]), r"q must be below inf; got inf"),
    (([0.0, 0.0], [-INF, -INF]), "largest logit of q must be above -inf.*possible"),
    (([0.0, 0.0], [0.0, 0.0, 0.0]), "same number.*got 2 and 3"),
    ((0.0, [0.0]), "p must hold logits.*scalar.*stack"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
@pytest.mark.parametrize("name", ["kl", "total_variation", "jensen_shannon", "hellinger"])
def test_bad_input(name, arguments, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        getattr(simplex, name)(*arguments, logits=True)
