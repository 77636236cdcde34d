"""Wishart and normal conjugate laws from their source parameters, near, far and ill-conditioned."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

DTYPES = ("float64", "float32")
FAMILIES = {
    "Wishart": families.Wishart(3),
    "InverseWishart": families.InverseWishart(3),
    "NormalInverseGamma": families.NormalInverseGamma(),
    "NormalInverseWishart": families.NormalInverseWishart(3),
}
ORDERS = (0.5, 0.25, 1.5)
everywhere = pytest.mark.parametrize("name", FAMILIES)
both = pytest.mark.parametrize("dtype", DTYPES)


# Values of 50 digits, from the definitions. A law of matrices is (a, B): the density of a Wishart
# matrix y is proportional to det(y)^(a - (d+1)/2) exp(-tr(B y)).


def exact(array):
    array = np.asarray(array, float)
    return mpmath.mpf(float(array)) if array.ndim == 0 else mpmath.matrix(array.tolist())


def law_of(name, params):
    """Location and concentration, or nothing, and (a, B) of a Wishart matrix."""
    *normal, dof, scale = map(exact, params)
    if name == "NormalInverseGamma":
        return mpmath.matrix([normal[0]]), normal[1], dof, mpmath.matrix([[scale]])
    return (*(normal or (None, None)), dof / 2, (scale**-1 if name == "Wishart" else scale) / 2)


def log_gamma(a, dim):
    terms = sum(mpmath.loggamma(a - mpmath.mpf(j) / 2) for j in range(dim))
    return mpmath.mpf(dim * (dim - 1)) / 4 * mpmath.log(mpmath.pi) + terms


def digamma(a, dim):
    return sum(mpmath.digamma(a - mpmath.mpf(j) / 2) for j in range(dim))


def norm(a, rate):
    """Log of the integral of `det(y)^(a - (d+1)/2) exp(-tr(B y))`; ValueError where it diverges."""
    if 2 * a <= rate.rows - 1:
        raise ValueError("no law")
    mpmath.cholesky(rate)
    return log_gamma(a, rate.rows) - a * mpmath.log(mpmath.det(rate))


def exact_kl(name, p, q):
    (m, k, a, b), (n, o, c, d) = law_of(name, p), law_of(name, q)
    dim, inverse = b.rows, b**-1
    mean_log = digamma(a, dim) - mpmath.log(mpmath.det(b))
    product = a * (d - b) * inverse
    value = norm(c, d) - norm(a, b) - (c - a) * mean_log + sum(product[i, i] for i in range(dim))
    if m is None:
        return value
    push = o * a * ((m - n).T * inverse * (m - n))[0]
    return value + (dim * (o / k - 1 - mpmath.log(o / k)) + push) / 2


def exact_exponent(name, p, q, order):
    """`-log int p^a q^(1-a)`: normalizers of the two laws and of their geometric mixture."""
    t = mpmath.mpf(order)
    # In natural parameters: x^T y x k/2 and the mixed term are part of the exponent.
    points = []
    for m, k, a, b in (law_of(name, p), law_of(name, q)):
        points.append((a, b) if m is None else (a, b + k * m * m.T / 2, k * m, k))

    def whole(a, s, km=None, k=None):
        if k is None:
            return norm(a, s)
        if k <= 0:
            raise ValueError("no law")
        return norm(a, s - km * km.T / (2 * k)) - s.rows * mpmath.log(k) / 2

    mixed = [t * u + (1 - t) * v for u, v in zip(*points, strict=True)]
    try:
        return t * whole(*points[0]) + (1 - t) * whole(*points[1]) - whole(*mixed)
    except ValueError:
        return -mpmath.inf


def exact_entropy(name, params):
    _, k, a, b = law_of(name, params)
    dim, log_det = b.rows, mpmath.log(mpmath.det(b))
    sign = -1 if name == "Wishart" else 1
    power = mpmath.mpf(dim + 1) / 2 * sign
    value = log_gamma(a, dim) - (a + power) * digamma(a, dim) + dim * a + power * log_det
    if k is None:
        return value
    # Half of the mean of log det(2 pi e V / k).
    constant = dim * mpmath.log(2 * mpmath.pi * mpmath.e / k)
    return value + (constant + log_det - digamma(a, dim)) / 2


# Pairs.


def definite(generator, condition):
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return (turn * np.geomspace(1, condition, 3)) @ turn.T


def rounded(array, dtype):
    array = np.asarray(array, dtype)
    if array.ndim == 2:
        array = np.tril(array) + np.tril(array, -1).T
    return array


def source(name, generator, dof=5.0, loc=1.0, condition=3.0):
    scale, size = definite(generator, condition), np.exp(generator.normal(size=2))
    dof = dof * generator.uniform(1, 2)
    if name == "NormalInverseGamma":
        return [loc * generator.normal(), size[0], dof, size[1]]
    normal = [loc * generator.normal(size=3), size[0]]
    return [*(normal if name == "NormalInverseWishart" else []), dof, size[1] * scale]


def pair(name, dtype, seed, step=None, **options):
    """Two source parameters that differ by that relative step, or do not lie near at all."""
    generator = np.random.default_rng(seed)
    p = source(name, generator, **options)
    if step is None:
        q = source(name, generator, **options)
    else:
        q = [x * (1 + step * generator.uniform(-1, 1, np.shape(x))) for x in p]
    return [[rounded(x, dtype) for x in law] for law in (p, q)]


@functools.cache
def program(name):
    family = FAMILIES[name]

    def values(p, q):
        p, q = family.Params(*p), family.Params(*q)
        return exponential.kl(family, p, q), family.entropy(p)

    return jax.jit(values)


@functools.cache
def exponent_program(name):
    family = FAMILIES[name]

    def exponent(p, q, order):
        p, q = family.Params(*p), family.Params(*q)
        return (1 - order) * exponential.renyi(family, p, q, order=order)

    return jax.jit(exponent)


def exponents(name, p, q):
    return [exponent_program(name)(p, q, order) for order in ORDERS]


def error(found, true):
    """Relative, 0 for equal infinities."""
    found = mpmath.mpf(float(found))
    return 0 if found == true else abs(found - true) / abs(true)


def check(name, p, q, tolerance):
    (kl, entropy), between = program(name)(p, q), exponents(name, p, q)
    with mpmath.workdps(50):
        assert error(kl, exact_kl(name, p, q)) <= tolerance
        for found, order in zip(between, ORDERS, strict=True):
            assert error(found, exact_exponent(name, p, q, order)) <= tolerance, order
        true = exact_entropy(name, p)
        # A sum of terms of both signs: relative to their size.
        assert abs(mpmath.mpf(float(entropy)) - true) <= tolerance * (abs(true) + 10)
    assert kl >= 0
    assert min(between[:2]) >= 0


# Wishart laws of three dimensions need more than two degrees of freedom.
EXTREMES = (
    *({}, {"dof": 1e6}, {"loc": 1e4}, {"loc": 1e6}),
    *({"loc": 1e6, "dof": 1e6}, {"dof": 2.1, "loc": 1e4}),
)


@both
@everywhere
@pytest.mark.parametrize("step", [1e-6, 1e-3, 0.1, None])
def test_digits(name, dtype, step):
    eps = np.finfo(dtype).eps
    for seed, options in enumerate(EXTREMES):
        check(name, *pair(name, dtype, seed, step, **options), 40 * eps)


@both
@pytest.mark.parametrize("name", ["Wishart", "InverseWishart", "NormalInverseWishart"])
@pytest.mark.parametrize("step", [1e-6, None])
def test_ill_conditioned_scales(name, dtype, step):
    for condition in (1e3, 1e6):
        tolerance = 64 * np.finfo(dtype).eps * (1 + condition)
        if tolerance < 1:
            p, q = pair(name, dtype, 0, step, condition=condition)
            check(name, p, q, tolerance)
    # Beyond what the dtype resolves there is still a sign.
    for seed in range(4):
        p, q = pair(name, dtype, seed, step, condition=1e6)
        assert min(program(name)(p, q)[0], *exponents(name, p, q)[:2]) >= 0


@both
@everywhere
def test_equal_laws(name, dtype):
    family = FAMILIES[name]
    slope = jax.jit(jax.grad(lambda p, q: exponential.kl(family, p, q), argnums=(0, 1)))
    for seed, options in enumerate((*EXTREMES, {"condition": 1e4})):
        p, _ = pair(name, dtype, seed, **options)
        assert program(name)(p, p)[0] == 0
        # The mixture of a law with itself rounds, its degrees of freedom too.
        assert max(map(abs, exponents(name, p, p))) <= 1e7 * np.finfo(dtype).eps ** 2
        for leaf in jax.tree.leaves(slope(family.Params(*p), family.Params(*p))):
            assert np.isfinite(leaf).all()


@everywhere
def test_gradients_by_differences(name):
    family = FAMILIES[name]
    p, q = pair(name, "float64", 3, 0.3)
    v, _ = pair(name, "float64", 4)

    def along(t):
        law = family.Params(*(x + t * u for x, u in zip(q, v, strict=True)))
        other = family.Params(*(x - t * u for x, u in zip(p, v, strict=True)))
        return exponential.kl(family, other, law) + exponential.bhattacharyya(family, law, other)

    value, slope = jax.jit(along), jax.jit(jax.grad(along))
    numbers = [float(value(t)) for t in (-2e-4, -1e-4, 1e-4, 2e-4)]
    expected = (numbers[0] - 8 * numbers[1] + 8 * numbers[2] - numbers[3]) / 12e-4
    assert float(slope(0.0)) == pytest.approx(expected, rel=1e-8, abs=0)


@everywhere
def test_batches_broadcast(name):
    family = FAMILIES[name]
    pairs = [pair(name, "float64", seed) for seed in range(3)]
    rows = family.Params(*map(np.stack, zip(*(p for p, _ in pairs), strict=True)))
    one = family.Params(*pairs[0][1])
    expected = np.array([program(name)(p, one) for p, _ in pairs])
    found = np.array(program(name)(rows, one)).T
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@everywhere
def test_traced_laws_outside_the_domain_are_nan(name):
    p, q = pair(name, "float64", 0)
    for index in range(len(p)):
        wrong = list(p)
        wrong[index] = np.full_like(p[index], np.inf) if index == 0 and len(p) == 4 else -p[index]
        kl, entropy = program(name)(wrong, q)
        assert np.isnan(kl)
        assert np.isnan(entropy)
        assert np.isnan(program(name)(q, wrong)[0])
        assert np.isnan(exponents(name, q, wrong)).all()


@both
def test_each_factor_of_a_product_has_its_own_way(dtype):
    """A location of 1e6 by its source parameters beside shapes and probabilities by their steps."""
    factors = families.NormalInverseGamma(), families.Gamma(), families.Bernoulli()
    product = families.Product(factors)
    number = lambda x: np.asarray(x, dtype)
    p = (
        factors[0].Params(*map(number, (1e6, 1.0, 3.0, 2.0))),
        factors[1].Params(number([3.0, 4.0]), number(2.0)),
        factors[2].Params(number(0.7)),
    )
    q = (
        factors[0].Params(*map(number, (1e6 + 1, 1.0, 3.0, 2.0))),
        factors[1].Params(number(3.001), number(2.0)),
        factors[2].Params(number(0.7001)),
    )
    functions = (exponential.kl, lambda *laws: exponential.renyi(*laws, order=0.3))
    for function in functions:
        found = function(product, product.Params(*p), product.Params(*q))
        parts = [function(*laws) for laws in zip(factors, p, q, strict=True)]
        np.testing.assert_allclose(found, sum(map(np.asarray, parts)), rtol=4 * np.finfo(dtype).eps)
    # The mean of (m_p - m_q)^2 / (2 v), 1/2 * 3/2.
    alone = exponential.kl(families.NormalInverseGamma(), p[0], q[0])
    assert float(alone) == pytest.approx(0.75, rel=1e-6, abs=0)


def test_a_product_knows_from_which_side_order_zero_is_meant():
    label = families.Categorical(3)
    product = families.Product((label, families.NormalInverseGamma()))
    normal = families.NormalInverseGamma.Params(1e6, 1.0, 3.0, 2.0)
    p = product.Params(label.Params(jnp.array([0.5, 0.0, 0.5])), normal)
    q = product.Params(label.Params(jnp.array([0.25, 0.25, 0.5])), normal)
    found = exponential.renyi(product, p, q, order=0.0)
    assert float(found) == pytest.approx(-np.log(0.75))
    assert float(exponential.kl(product, p, q)) == pytest.approx(0.5 * np.log(2))
    assert float(exponential.kl(product, q, p)) == np.inf
