"""Simplex divergences of laws whose entries differ by many orders of magnitude, against mpmath."""

import re
import warnings

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax.divergences import simplex
from igeojax.divergences.similarity import similarity_sensitive_divergence

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

DTYPES = ["float64", "float32"]
SMALL = (1e-3, 1e-6, 1e-8, 1e-12, 1e-16, 1e-20, 1e-30)
ORDERS = (-0.5, 0.0, 0.3, 0.5, 1.0, 1.2)
INF = np.inf


def exact(row):
    return [mpmath.mpf(float(x)) for x in row]


def exact_kl(p, q):
    return mpmath.fsum(x * mpmath.log(x / y) - x + y for x, y in zip(p, q, strict=True))


def exact_alpha(p, q, order):
    """The divergence of measures, by its definition."""
    if order in (0, 1):
        return exact_kl(p, q) if order == 1 else exact_kl(q, p)
    a = mpmath.mpf(float(order))
    power = (x**a * y ** (1 - a) - a * x - (1 - a) * y for x, y in zip(p, q, strict=True))
    return mpmath.fsum(power) / (a * (a - 1))


def exact_renyi(p, q, order):
    if order == 1:
        return exact_kl(p, q)
    a = mpmath.mpf(float(order))
    power = mpmath.fsum(x**a * y ** (1 - a) for x, y in zip(p, q, strict=True))
    return mpmath.log(power) / (a - 1)


def pairs(dtype):
    """Two laws on three classes for each small entry: one far apart, one that agrees in it."""
    rows = [([1 - s, s, 0.0], [s, 1 - s, 0.0]) for s in SMALL]
    rows += [([1 - s, s / 2, s / 2], [0.5, s / 2, 0.5 - s / 2]) for s in SMALL]
    p, q = (np.array([row[k] for row in rows], dtype) for k in (0, 1))
    return p, q


def ordered(p, q, order):
    return simplex.alpha_divergence(p, q, order=order), simplex.renyi(p, q, order=order)


def plain(p, q):
    identity = jnp.eye(p.shape[-1], dtype=p.dtype)
    return {
        "kl": simplex.kl(p, q),
        "jeffreys": simplex.jeffreys(p, q),
        "jensen_shannon": simplex.jensen_shannon(p, q),
        "similarity": similarity_sensitive_divergence(p, q, identity),
        "chi_square": simplex.chi_square(p, q),
    }


ORDERED, PLAIN = jax.jit(jax.vmap(ordered, (None, None, 0), 1)), jax.jit(plain)


def errors(found, expected):
    return [
        float(abs(mpmath.mpf(float(x)) - y) / abs(y)) if np.isfinite(x) else INF
        for x, y in zip(np.ravel(found), expected, strict=True)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_laws_keep_their_digits(dtype):
    p, q = pairs(dtype)
    eps, found = float(np.finfo(dtype).eps), PLAIN(p, q)
    with mpmath.workdps(60):
        # Classes that neither law has cost nothing.
        laws = [
            ([x for x in exact(a) if x], [y for y in exact(b) if y])
            for a, b in zip(p, q, strict=True)
        ]
        middle = lambda a, b: [(x + y) / 2 for x, y in zip(a, b, strict=True)]
        square = lambda a, b: mpmath.fsum((x - y) ** 2 / y for x, y in zip(a, b, strict=True))
        sums = {
            "kl": exact_kl,
            "jeffreys": lambda a, b: exact_kl(a, b) + exact_kl(b, a),
            "jensen_shannon": lambda a, b: (
                (exact_kl(a, middle(a, b)) + exact_kl(b, middle(a, b))) / 2
            ),
            "similarity": exact_kl,
            "chi_square": square,
        }
        for name, value in sums.items():
            assert max(errors(found[name], [value(*law) for law in laws])) < 8 * eps, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_ordered_divergences_of_far_laws_keep_their_digits(dtype):
    p, q = pairs(dtype)
    orders = np.array(ORDERS, dtype)
    eps, (alpha, renyi) = float(np.finfo(dtype).eps), ORDERED(p, q, orders)
    with mpmath.workdps(60):
        for row, (a, b) in enumerate(zip(p, q, strict=True)):
            law = [x for x in exact(a) if x], [y for y in exact(b) if y]
            # exp of logarithms up to 70 loses their rounding: 70 eps.
            values = [exact_alpha(*law, order) for order in orders]
            assert max(errors(alpha[row], values)) < 64 * eps, row
            values = [exact_renyi(*law, order) for order in orders]
            kept = orders != 0  # exactly 0 there
            found = np.asarray(renyi[row])[kept]
            assert max(errors(found, [v for v, k in zip(values, kept, strict=True) if k])) < 8 * eps
            # mpmath's own sum is not exactly one there.
            assert abs(renyi[row][1]) < 4 * eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_laws_of_wide_range_are_never_negative(dtype):
    generator = np.random.default_rng(0)
    p, q = 10.0 ** generator.uniform(-30, 0, (2, len(pairs(dtype)[0]), 3))
    near = generator.random((len(p), 1)) < 0.5
    q = np.where(near, p * (1 + 10.0 ** generator.uniform(-7, -1, p.shape)), q)
    p, q = (np.asarray(v / v.sum(-1, keepdims=True), dtype) for v in (p, q))
    tolerance = {"float64": 1e-13, "float32": 5e-6}[dtype]
    found = PLAIN(p, q)
    with mpmath.workdps(60):
        expected = [exact_kl(exact(a), exact(b)) for a, b in zip(p, q, strict=True)]
    for name in ("kl", "similarity"):
        assert (np.asarray(found[name]) >= 0).all(), name
    assert max(errors(found["kl"], expected)) < tolerance
    for name, value in PLAIN(p, p).items():
        assert (np.asarray(value) == 0).all(), name


SLOPES = {
    "kl": (lambda a, b: mpmath.log(a / b), lambda a, b: 1 - a / b),
    "reverse_kl": (lambda a, b: 1 - b / a, lambda a, b: mpmath.log(b / a)),
    "jensen_shannon": (
        lambda a, b: mpmath.log(2 * a / (a + b)) / 2,
        lambda a, b: mpmath.log(2 * b / (a + b)) / 2,
    ),
    "chi_square": (lambda a, b: 2 * (a - b) / b, lambda a, b: 1 - (a / b) ** 2),
    "cross_entropy": (lambda a, b: -mpmath.log(b), lambda a, b: -a / b),
    "similarity": (lambda a, b: mpmath.log(a / b), lambda a, b: 1 - a / b),
    "half": (
        lambda a, b: 2 - 2 * mpmath.sqrt(b / a),
        lambda a, b: 2 - 2 * mpmath.sqrt(a / b),
    ),
}


def divergence(name):
    if name == "similarity":
        return lambda p, q: similarity_sensitive_divergence(
            p, q, jnp.eye(p.shape[-1], dtype=p.dtype)
        )
    if name == "half":
        return lambda p, q: simplex.alpha_divergence(p, q, order=0.5)
    return getattr(simplex, name)


@jax.jit
def slopes_and_products(p, q):
    """Gradients in both, and Hessians times (p, q), row by row."""
    results = {}
    for name in SLOPES:
        slopes = jax.grad(lambda a, b, name=name: divergence(name)(a, b).sum(), (0, 1))
        results[name] = jax.jvp(slopes, (p, q), (p, q))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_in_small_entries(dtype):
    rows = [([s, 1 - s], [0.5, 0.5]) for s in (1e-8, 1e-20, 1e-30)]
    rows += [([s, 1 - s], [s, 1 - s]) for s in (1e-8, 1e-20, 1e-30)]
    p, q = (np.array([row[k] for row in rows], dtype) for k in (0, 1))
    eps = float(np.finfo(dtype).eps)
    for name, (slopes, products) in slopes_and_products(p, q).items():
        for row, column in np.ndindex(p.shape):
            with mpmath.workdps(60):
                a, b = mpmath.mpf(float(p[row, column])), mpmath.mpf(float(q[row, column]))
                expected = [float(slope(a, b)) for slope in SLOPES[name]]
            found = [float(slope[row, column]) for slope in slopes]
            # A power of 1e-30 is the exponential of half its logarithm, 35.
            rtol = (64 if name == "half" else 8) * eps
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=eps, err_msg=name)
        # All but the cross-entropy have gradients of degree 0 in (p, q), and so no change here.
        for product, slope in zip(products, slopes, strict=True):
            constant = -1.0 if name == "cross_entropy" and slope is slopes[0] else 0.0
            size = np.maximum(1, np.abs(slope))
            assert (np.abs(product - constant) <= 8 * eps * size).all(), name


@jax.jit
def scaling_products(p, q):
    """Hessians times (p, q) of divergences that are no sum over entries."""
    functions = [simplex.jensen_shannon, simplex.bhattacharyya]
    functions.append(lambda p, q: simplex.renyi(p, q, order=0.3))
    slopes = [jax.grad(lambda a, b, f=f: f(a, b).sum(), (0, 1)) for f in functions]
    return [jax.jvp(slope, (p, q), (p, q))[1] for slope in slopes]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_second_derivatives_are_finite(dtype):
    p, q = jnp.array([1e-20, 1.0], dtype), jnp.array([0.5, 0.5], dtype)
    push = jnp.array([1.0, -1.0], dtype)
    entropy = jax.jvp(jax.grad(simplex.entropy), (p,), (push,))[1]
    np.testing.assert_allclose(entropy, -push / p, rtol=4 * np.finfo(dtype).eps)
    one_hot = jnp.array([0.0, 1.0], dtype)
    products = scaling_products(jnp.stack([p, q, p, one_hot]), jnp.stack([q, p, p, p]))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(products))


def test_derivatives_beside_an_impossible_class():
    for dtype in DTYPES:
        p, q = jnp.array([0.0, 1.0], dtype), jnp.array([1e-20, 1.0], dtype)
        for function in (simplex.kl, simplex.chi_square):
            np.testing.assert_array_equal(jax.grad(function, 1)(p, q), [1, 0])
        slope = jax.grad(simplex.jensen_shannon, 1)(p, q)
        # The difference of two logarithms of 46.
        np.testing.assert_allclose(slope, [np.log(2) / 2, 0], rtol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_renyi_where_alpha_overflows_has_value_and_gradient(dtype):
    """Of order a far beyond 1 the sum overflows and its logarithm does not."""
    small, order = (1e-30, 40.0) if dtype == "float64" else (1e-20, 5.0)
    p, q = jnp.array([0.5, 0.5], dtype), jnp.array([small, 1.0], dtype)
    eps = float(np.finfo(dtype).eps)
    value, slope = jax.value_and_grad(jax.jit(lambda p: simplex.renyi(p, q, order=order)))(p)
    leading = (order * np.log(0.5) - (order - 1) * np.log(small)) / (order - 1)
    np.testing.assert_allclose(value, leading, rtol=16 * eps)
    # The exponential of logarithms up to 70 times the order.
    rtol = 70 * order * eps
    np.testing.assert_allclose(slope, [2 * order / (order - 1), 0], rtol=rtol)


def test_renyi_of_infinite_order_is_the_largest_log_ratio():
    p, q = np.array([0.1, 0.6, 0.3, 0.0]), np.array([0.4, 0.3, 0.3, 0.0])
    assert float(simplex.renyi(p, q, order=INF)) == pytest.approx(np.log(2), rel=1e-15, abs=0)
    with np.errstate(divide="ignore"):
        logits = np.log(p), np.log(q)
    assert float(simplex.renyi(*logits, order=INF, logits=True)) == pytest.approx(np.log(2))
    assert simplex.renyi([0.5, 0.5], [1.0, 0.0], order=INF) == INF
    assert simplex.renyi([1.0, 0.0], [0.5, 0.5], order=INF) == pytest.approx(np.log(2))
    # Under jit too, where the order is a constant.
    compiled = jax.jit(lambda p, q: simplex.renyi(p, q, order=jnp.inf))
    assert float(compiled(p, q)) == pytest.approx(np.log(2), rel=1e-15, abs=0)
    assert float(simplex.renyi(p, q, order=1e4)) == pytest.approx(np.log(2), rel=1e-3, abs=0)


P, Q = [0.1, 0.6, 0.3], [0.4, 0.3, 0.3]
BAD = [
    (lambda: simplex.renyi(P, Q, order=np.nan), ValueError, "order must be finite or inf; got nan"),
    (lambda: simplex.renyi(P, Q, order=-INF), ValueError, "order must be finite or inf; got -inf"),
    (
        lambda: simplex.alpha_divergence(P, Q, order=INF),
        ValueError,
        "order must be finite; got inf",
    ),
    (lambda: simplex.renyi(P, Q, order=[0.1, 0.2, 0.3]), ValueError, r"scalar.*\(3,\).*vmap"),
    (lambda: simplex.renyi(P, Q, order="a"), TypeError, "order must be a number.*got str"),
    (lambda: simplex.alpha_divergence(P, Q, order=True), TypeError, "order.*got bool"),
    (lambda: simplex.alpha_divergence(P, Q, order=1j, logits=True), TypeError, "order"),
    (lambda: simplex.amari_alpha_divergence(P, Q, alpha="a"), TypeError, "alpha must be.*str"),
    (
        lambda: simplex.amari_alpha_divergence(P, Q, alpha=np.nan),
        ValueError,
        "alpha must be finite",
    ),
    (lambda: simplex.f_divergence(P, Q, 3), TypeError, "generator must be a function; got int"),
    (
        lambda: simplex.f_divergence(P, Q, jnp.square, slope_at_infinity=np.nan),
        ValueError,
        "slope_at_infinity must be a number or inf; got nan",
    ),
    (
        lambda: simplex.f_divergence(P, Q, jnp.square, slope_at_infinity=[1.0, 2.0]),
        ValueError,
        r"slope_at_infinity must be a scalar; got shape \(2,\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_options(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def square(t):
    return (t - 1) ** 2


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("second", [[0.4, 0.3, 0.3], [0.4, 0.6, 0.0]])
def test_gradient_of_f_divergence_is_that_of_chi_square(logits, second):
    p, q = np.array([0.25, 0.75, 0.0]), np.array(second)
    with np.errstate(divide="ignore"):
        p, q = (np.log(p), np.log(q)) if logits else (p, q)
    options = {"logits": logits}
    found = jax.grad(lambda *pair: simplex.f_divergence(*pair, square, **options), (0, 1))(p, q)
    expected = jax.grad(lambda *pair: simplex.chi_square(*pair, **options), (0, 1))(p, q)
    both = (p > -INF) & (q > -INF) if logits else q > 0
    for one, other in zip(found, expected, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one[both], other[both], rtol=1e-13, atol=1e-15)


def test_slope_at_infinity_takes_the_dtype_of_the_laws():
    p, q = np.array([0.5, 0.5], "float32"), np.array([1.0, 0.0], "float32")
    for slope in (np.float64(0.5), np.float64(INF)):
        value = simplex.f_divergence(p, q, lambda t: jnp.abs(t - 1) / 2, slope_at_infinity=slope)
        assert value.dtype == np.float32
        assert value == (0.5 if slope == 0.5 else INF)


ALL = {name: getattr(simplex, name) for name in ("kl", "jeffreys", "jensen_shannon", "hellinger")}
ALL |= {name: getattr(simplex, name) for name in ("bhattacharyya", "total_variation", "chi_square")}
ALL |= {"cross_entropy": simplex.cross_entropy, "similarity": divergence("similarity")}
ALL |= {
    "alpha": lambda p, q: simplex.alpha_divergence(p, q, order=1.0),
    "renyi": lambda p, q: simplex.renyi(p, q, order=1.5),
    "chernoff": simplex.chernoff_information,
    "chernoff_order": simplex.chernoff_order,
    "f_divergence": lambda p, q: simplex.f_divergence(p, q, square),
}


@jax.jit
def of_all(p, q):
    return {name: function(p, q) for name, function in ALL.items()} | {
        "entropy": simplex.entropy(p) + simplex.entropy(q)
    }


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [[1.5, -0.5, 0.0], [np.nan, 0.5, 0.5]])
@pytest.mark.parametrize("right", [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
def test_traced_values_outside_the_simplex_are_nan(wrong, right):
    for pair in ((wrong, right), (right, wrong)):
        for name, value in of_all(*map(np.asarray, pair)).items():
            assert np.isnan(value), name


@pytest.mark.slow
def test_half_precision_passes_without_a_warning():
    dtype = "float16"
    p, q = jnp.array([0.25, 0.75, 0.0], dtype), jnp.array([0.5, 0.25, 0.25], dtype)
    wide = of_all(p.astype(float), q.astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = of_all(p, q)
        assert float(simplex.kl(p, q)) == pytest.approx(float(wide["kl"]), rel=0.02, abs=0)
    for name, value in found.items():
        assert value.dtype == p.dtype, name
        if name not in ("renyi", "chernoff", "chernoff_order"):
            np.testing.assert_allclose(value, wide[name], rtol=8 * float(jnp.finfo(dtype).eps))
