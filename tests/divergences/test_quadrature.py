"""Divergences by sums and quadrature: reference values, closed forms, ends, derivatives."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
from scipy.special import erf
from scipy.stats import norm

from igeojax import divergences, families
from igeojax.divergences import exponential, quadrature, simplex
from igeojax.families import FAMILIES
from tests.laws.programs import each_family

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

NORMAL, POISSON, BERNOULLI = families.Normal(), families.Poisson(), families.Bernoulli()
INF = np.inf
VALUES = json.loads((Path(__file__).parent / "jensen_shannon_values.json").read_text("utf-8"))
KINDS = {"normal": NORMAL, "exponential": families.Exponential(), "poisson": POISSON}


def hellinger_generator(t):
    return (jnp.sqrt(t) - 1) ** 2 / 2


# Errors in eps; measured at most 1 and 4.
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 16), ("float32", 8)])
@pytest.mark.parametrize("kind", KINDS)
def test_reference_values(kind, dtype, bound):
    family, rows = KINDS[kind], np.array(VALUES[kind])
    size = (rows.shape[1] - 1) // 2
    p, q = rows[:, :size].astype(dtype).T, rows[:, size:-1].astype(dtype).T
    value = jax.jit(lambda p, q: quadrature.jensen_shannon(family, p, q))
    found = value(family.Params(*p), family.Params(*q))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, rows[:, -1], rtol=bound * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "name",
    ["Binomial", "NegativeBinomial", "Gamma", "InverseGamma", "Beta", "Pareto", "VonMises"],
)
def test_squared_hellinger_has_a_closed_form(name):
    family = FAMILIES[name].family
    p, q = (FAMILIES[name].point(jax.random.key(seed), (3,)) for seed in (0, 1))
    value = jax.jit(lambda p, q: quadrature.f_divergence(family, p, q, hellinger_generator))
    expected = exponential.hellinger(family, p, q) ** 2
    np.testing.assert_allclose(value(p, q), expected, rtol=1e-12)


@each_family
def test_support_is_what_in_support_says(name):
    family = FAMILIES[name].family
    if family.support is None and family.outcomes is None:
        p = FAMILIES[name].point(jax.random.key(0))
        with pytest.raises(
            NotImplementedError, match=r"no support on a line.*divergences.montecarlo"
        ) as caught:
            quadrature.jensen_shannon(family, p, p)
        if name == "Product":
            # The call that the message offers runs.
            call = str(caught.value).split("keys k and l: ")[1]
            scope = {"divergences": divergences, "family": family, "p": p, "q": p}
            keys = dict(zip("kl", jax.random.split(jax.random.key(0)), strict=True))
            assert eval(call, scope | keys) == (0, 0)
        return
    if family.outcomes is not None:
        assert family.in_support(family.outcomes).all()
    if family.support is None:
        return
    assert family.event_shape == ()
    low, high, integers = family.support
    if integers:
        count = np.arange(6) if family.support.size is None else np.arange(family.support.size)
        assert family.in_support(count + int(low)).all()
        beyond = np.array([low - 1] if high == INF else [low - 1, high + 1]).astype(int)
        assert not family.in_support(beyond).any()
        return
    inside = np.linspace(max(low, -50), min(high, 50), 13)[1:-1]
    assert family.in_support(inside).all()
    ends = [end for end in (low, high) if np.isfinite(end)]
    if name != "VonMises":  # any angle is an observation, one turn of them the support
        beyond = np.array([end + (-0.1 if end == low else 0.1) for end in ends])
        assert not family.in_support(beyond).any()


FINITE = {
    "multinomial": families.Multinomial(4, 3),
    "product": families.Product(
        (families.Bernoulli(), families.Multinomial(2, 3), families.Categorical(3))
    ),
}


@pytest.mark.parametrize("kind", FINITE)
def test_sums_over_the_outcomes_of_vectors_and_products(kind):
    """Laws on finitely many outcomes are points of a simplex: there the same divergences."""
    family, outcomes = FINITE[kind], FINITE[kind].outcomes
    rows = np.concatenate([v.reshape(len(v), -1) for v in jax.tree.leaves(outcomes)], axis=1)
    expected = {"multinomial": 15, "product": 2 * 6 * 3}[kind]
    assert len(np.unique(rows, axis=0)) == len(rows) == expected
    draw = lambda seed: jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(seed), (3, *leaf.shape)),
        family.from_leaves([jnp.zeros(shape) for shape in family.point_shape]),
    )
    p, q = draw(0), draw(1)
    laws = [
        np.exp(
            [family.log_density(jax.tree.map(lambda v, i=i: v[i], law), outcomes) for i in range(3)]
        )
        for law in (p, q)
    ]
    np.testing.assert_allclose(np.sum(laws, axis=-1), 1, rtol=1e-14)
    found = jax.jit(lambda p, q: quadrature.jensen_shannon(family, p, q))(p, q)
    np.testing.assert_allclose(found, simplex.jensen_shannon(*laws), rtol=1e-12)
    found = quadrature.total_variation(family, p, q)
    np.testing.assert_allclose(found, simplex.total_variation(*laws), rtol=1e-12)
    found = quadrature.f_divergence(family, p, q, hellinger_generator)
    np.testing.assert_allclose(found, exponential.hellinger(family, p, q) ** 2, rtol=1e-12)
    assert (quadrature.jensen_shannon(family, p, p) == 0).all()


def test_lists_of_outcomes_end():
    assert families.Multinomial(20, 10).outcomes is None
    assert families.Product((families.Binomial(1000),) * 2).outcomes is None
    family = families.Multinomial(20, 10)
    law = family.natural_from_params(np.full(10, 0.1))
    with pytest.raises(NotImplementedError, match="at most 1000000 outcomes"):
        quadrature.total_variation(family, law, law)


def normal_pairs():
    """Rows loc, scale, loc, scale of laws near, far, and of very different scale."""
    return np.array(
        [
            [0, 1, 1e-12, 1],
            [0, 1, 1e-6, 1],
            [1e4, 1, 1e4 + 2**-20, 1],
            [0, 1, 30, 1],
            [0, 1, 1e6, 1],
            [0, 1e-10, 0, 1],
            [0, 1e-10, 1, 1e10],
            [0, 1, 0, 1],
        ]
    )


@pytest.fixture(scope="module")
def normal_values():
    rows = normal_pairs()
    p, q = NORMAL.Params(*rows[:, :2].T), NORMAL.Params(*rows[:, 2:].T)
    values = jax.jit(
        lambda p, q: (
            quadrature.jensen_shannon(NORMAL, p, q),
            quadrature.total_variation(NORMAL, p, q),
        )
    )
    return tuple(np.asarray(value) for value in values(p, q))


def test_near_laws_keep_their_digits(normal_values):
    jensen_shannon, variation = normal_values
    gap = normal_pairs()[:3, 2] - normal_pairs()[:3, 0]
    # JS is F d^2 / 8 to fourth order; the total variation of equal scales is an error function.
    np.testing.assert_allclose(jensen_shannon[:3], gap**2 / 8, rtol=3e-12)
    np.testing.assert_allclose(variation[:3], erf(gap / np.sqrt(8)), rtol=3e-12)
    assert jensen_shannon[-1] == variation[-1] == 0


def test_far_laws_and_different_scales(normal_values):
    jensen_shannon, variation = normal_values
    # Nodes round by an eps of their size, here 2e-10 deviations of the law at 1e6.
    np.testing.assert_allclose(jensen_shannon[3:5], np.log(2), rtol=2e-11)
    np.testing.assert_allclose(variation[3:5], 1, rtol=2e-11)
    # Scales 1e-10 and 1: they cross at x, where both logs of density are those of the wide one.
    cross = 1e-10 * np.sqrt(2 * np.log(1e10) / (1 - 1e-20))
    expected = 2 * (norm.cdf(cross / 1e-10) - norm.cdf(cross))
    np.testing.assert_allclose(variation[5], expected, rtol=1e-13)
    assert 0.693147 < jensen_shannon[5] < jensen_shannon[6] < np.log(2)


def test_ends_of_the_domain_and_the_simplex():
    first, second = np.array([1.0, 0.0, 0.0, 1.0, 0.3]), np.array([0.25, 0.25, 1.0, 1.0, 0.6])
    p, q = BERNOULLI.Params(first), BERNOULLI.Params(second)
    vectors = [np.stack([1 - v, v], axis=-1) for v in (first, second)]
    for name in ("jensen_shannon", "total_variation"):
        found = getattr(quadrature, name)(BERNOULLI, p, q)
        expected = getattr(simplex, name)(*vectors)
        np.testing.assert_allclose(found, expected, rtol=1e-14, err_msg=name)
    kl = lambda t: jnp.where(t > 0, t * jnp.log(jnp.where(t > 0, t, 1.0)), 0.0) - t + 1
    found = quadrature.f_divergence(BERNOULLI, p, q, kl)
    np.testing.assert_allclose(found, simplex.kl(*vectors), rtol=1e-13)
    half = quadrature.f_divergence(
        BERNOULLI, p, q, lambda t: jnp.abs(t - 1) / 2, slope_at_infinity=0.5
    )
    np.testing.assert_allclose(half, simplex.total_variation(*vectors), rtol=1e-13)


def test_mass_that_the_nodes_miss_is_nan():
    # A window of 4096 counts is two deviations of the first to each side.
    p, q = POISSON.Params(np.array([1e6, 700.0])), POISSON.Params(np.array([1.001e6, 1.0]))
    found = quadrature.jensen_shannon(POISSON, p, q)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    assert np.isfinite(quadrature.jensen_shannon(POISSON, p, q, terms=32768)).all()
    assert np.isnan(quadrature.jensen_shannon(POISSON, p, q, terms=1)).all()
    outside = NORMAL.Point(jnp.array(0.0), jnp.array(1.0))
    law = NORMAL.natural_from_params(0.0, 1.0)
    assert np.isnan(jax.jit(lambda p: quadrature.jensen_shannon(NORMAL, p, law))(outside))


def counts(law):
    """Log-weights of counts up to 40000, for rows of parameters."""
    return lambda *params: law.logpmf(np.arange(40_000), *params)


def line(log_density, low, high):
    """Log-weights of a fine trapezoidal rule."""
    y, step = np.linspace(low, high, 400_001, retstep=True)
    return lambda *params: log_density(y, *params) + np.log(step)


def gamma_log_density(y, shape, rate):
    return shape * (y + np.log(rate)) - rate * np.exp(y) - scipy.special.gammaln(shape)


def beta_log_density(y, a, b):
    both = a * scipy.special.log_expit(y) + b * scipy.special.log_expit(-y)
    return both - scipy.special.betaln(a, b)


GAMMA, BETA = families.Gamma(), families.Beta()
GEOMETRIC, NEGATIVE_BINOMIAL = families.Geometric(), families.NegativeBinomial(2.5)
# Rows of p and q, and log-weights by scipy. Sums over 0..1023 and nodes beside an end missed mass.
HARD = {
    "beta": (
        BETA,
        line(beta_log_density, -1500.0, 1500.0),
        [[0.5, 0.5, 1, 1], [2, 0.45, 2, 1.5], [0.05, 0.1, 0.1, 0.05]],
    ),
    "narrow beta": (
        BETA,
        line(beta_log_density, -0.2, 0.2),
        [[1e4, 1e4, 1.01e4, 1e4]],
    ),
    "gamma": (
        GAMMA,
        line(gamma_log_density, -1400.0, 12.0),
        [[0.1, 1, 0.2, 1], [0.03, 1, 0.06, 1], [0.1, 1, 50, 3], [0.05, 1, 5, 2]],
    ),
    "inverse gamma": (
        families.InverseGamma(),
        line(gamma_log_density, -1400.0, 12.0),
        [[0.05, 1, 0.1, 1], [0.5, 1, 0.5, 4]],
    ),
    "poisson": (
        POISSON,
        counts(scipy.stats.poisson),
        [[900, 909], [2000, 2], [2000, 2020], [0, 3000], [2, 3]],
    ),
    "geometric": (
        GEOMETRIC,
        lambda p: scipy.stats.geom.logpmf(np.arange(1, 40_001), p),
        [[0.01, 0.02], [0.02, 0.03], [0.5, 0.01]],
    ),
    "negative binomial": (
        NEGATIVE_BINOMIAL,
        lambda p: scipy.stats.nbinom.logpmf(np.arange(40_000), 2.5, p),
        [[0.02, 0.03], [0.03, 0.9]],
    ),
    "normal": (
        NORMAL,
        line(norm.logpdf, 1e6 - 80.0, 1e6 + 80.0),
        [[1e6, 1, 1e6 + 1, 1], [1e6, 1, 1e6 + 1, 2]],
    ),
    "normal of known scale": (
        families.NormalKnownScale(2.0),
        line(lambda y, loc: norm.logpdf(y, loc, 2.0), 1e6 - 80.0, 1e6 + 80.0),
        [[1e6, 1e6 + 1]],
    ),
}


# Errors measured: 1400 eps, of scipy's densities, and 16 eps.
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 4096), ("float32", 64)])
@pytest.mark.parametrize("kind", HARD)
def test_laws_with_much_mass_far_out_or_beside_an_end(kind, dtype, bound):
    family, log_weights, rows = HARD[kind]
    rows = np.array(rows).astype(dtype)
    size = rows.shape[1] // 2
    p, q = family.Params(*rows[:, :size].T), family.Params(*rows[:, size:].T)
    found = jax.jit(
        lambda p, q: [
            quadrature.jensen_shannon(family, p, q),
            quadrature.total_variation(family, p, q),
        ]
    )(p, q)
    expected = []
    for row in rows.astype(float):
        first, second = (np.exp(log_weights(*half)) for half in (row[:size], row[size:]))
        # Half of a subnormal number may be 0, and the relative entropy of that infinite.
        first, second = (np.where(v > 1e-300, v, 0.0) for v in (first, second))
        middle = 0.5 * (first + second)
        js = sum(0.5 * scipy.special.rel_entr(v, middle).sum() for v in (first, second))
        expected.append([js, 0.5 * np.abs(first - second).sum()])
    # A kink of the total variation costs the reference on a line the square of its step.
    atol = np.array([bound * np.finfo(dtype).eps] * 2)[:, None]
    atol[1] = max(atol[1, 0], 0 if family.support.integers else 1e-6)
    assert (np.abs(np.array(found) - np.array(expected).T) <= atol).all(), (found, expected)


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 512), ("float32", 16)])
def test_total_variation_by_distribution_functions(dtype, bound):
    # The densities cross once: where x^(b-a) = Gamma(b) / Gamma(a), and (1-x)^(d-b) is that of B.
    eps = np.finfo(dtype).eps
    of = lambda v: np.asarray(v, dtype)
    a, b = map(float, of([0.1, 0.2]))
    cross = np.exp((scipy.special.gammaln(b) - scipy.special.gammaln(a)) / (b - a))
    expected = abs(scipy.special.gammainc(a, cross) - scipy.special.gammainc(b, cross))
    one = of(1.0)
    found = quadrature.total_variation(GAMMA, GAMMA.Params(of(a), one), GAMMA.Params(of(b), one))
    assert abs(found - expected) < bound * eps
    b, d = map(float, of([0.45, 1.5]))
    logs = scipy.special.betaln(2, d) - scipy.special.betaln(2, b)
    cross = -np.expm1(logs / (d - b))
    expected = abs(scipy.special.betainc(2, b, cross) - scipy.special.betainc(2, d, cross))
    two = of(2.0)
    found = quadrature.total_variation(BETA, BETA.Params(two, of(b)), BETA.Params(two, of(d)))
    assert abs(found - expected) < bound * eps


def test_beta_against_mpmath():
    def integrand(t):
        # x = sin^2 t: of the arc-sine law t is uniform.
        p, q = 2 / mpmath.pi, mpmath.sin(2 * t)
        return (p * mpmath.log(2 * p / (p + q)) + q * mpmath.log(2 * q / (p + q))) / 2

    with mpmath.workdps(30):
        ends = [0, mpmath.pi / 4, mpmath.pi / 2]
        expected = float(mpmath.quad(lambda t: integrand(t) if t else 0, ends))
    for dtype in ("float64", "float32"):
        half, one = np.asarray(0.5, dtype), np.asarray(1.0, dtype)
        found = quadrature.jensen_shannon(BETA, BETA.Params(half, half), BETA.Params(one, one))
        np.testing.assert_allclose(found, expected, rtol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_stay_within_their_range(dtype):
    of = lambda *rows: NORMAL.Params(*(np.asarray(v, dtype) for v in rows))
    first = of([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1e-10])
    p, q = first, of([1e4, 40.0, 1e6, 0.0], [1e-3, 1.0, 1.0, 1e10])
    for name, top in (("jensen_shannon", np.log(2)), ("total_variation", 1.0)):
        divergence = getattr(quadrature, name)
        program = jax.jit(lambda p, q, f=divergence: f(NORMAL, p, q))
        found = program(p, q)
        # In float32 nodes that lie 1e4 deviations from each other round by too many of them.
        known = np.isfinite(np.asarray(found))
        assert known[1]
        assert known.all() or dtype == "float32"
        assert (found[known] <= np.asarray(top, dtype)).all()
        np.testing.assert_allclose(found[known], top, rtol=np.finfo(dtype).eps ** 0.625)
    # A generator without its least value at 1 rounds below 0 for equal laws.
    law = of(0.0, 1.0)
    assert quadrature.f_divergence(NORMAL, law, law, lambda t: t * jnp.log(t) + 1e-9 * (1 - t)) >= 0


def test_derivatives_survive_the_clipping():
    # At 12 deviations the value is at log 2 to rounding and the derivative is not 0.
    js = lambda loc: quadrature.total_variation(
        NORMAL, NORMAL.Params(0.0, 1.0), NORMAL.Params(loc, 1.0)
    )
    np.testing.assert_allclose(jax.grad(js)(12.0), norm.pdf(6.0), rtol=1e-6)


def test_derivatives():
    gamma = families.Gamma()
    both = lambda v: jnp.stack(
        [
            divergence(gamma, gamma.Params(*v[:2]), gamma.Params(*v[2:]))
            for divergence in (quadrature.jensen_shannon, quadrature.total_variation)
        ]
    )
    v, step = jnp.array([2.0, 1.0, 3.0, 0.5]), 1e-5
    value, jacobian = jax.jit(both), jax.jit(jax.jacrev(both))(v)
    steps = step * np.eye(4)
    expected = np.stack([(value(v + d) - value(v - d)) / (2 * step) for d in steps], axis=-1)
    np.testing.assert_allclose(jacobian, expected, atol=1e-9)
    # A rate at a count: the derivative there is not 0.
    js = lambda rate: quadrature.jensen_shannon(POISSON, POISSON.Params(2.0), POISSON.Params(rate))
    expected = (js(3 + step) - js(3 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(js)(3.0), expected, rtol=1e-8)


def test_derivatives_near_equal_laws():
    js = lambda loc: quadrature.jensen_shannon(
        NORMAL, NORMAL.Params(0.0, 1.0), NORMAL.Params(loc, 1.0)
    )
    slope, curvature = jax.jit(jax.grad(js)), jax.jit(jax.grad(jax.grad(js)))
    assert float(slope(0.0)) == 0
    np.testing.assert_allclose(slope(1e-9), 1e-9 / 4, rtol=1e-11)
    # A quarter of the Fisher information.
    np.testing.assert_allclose(curvature(0.0), 0.25, rtol=1e-11)
    variation = lambda loc: quadrature.total_variation(POISSON, *map(POISSON.Params, (loc, 2.0)))
    assert float(jax.grad(variation)(2.0)) == 0


def test_batches_broadcast():
    p = NORMAL.Params(np.zeros((2, 1)), np.ones((2, 1)))
    q = NORMAL.natural_from_params(np.arange(3.0), np.ones(3))
    found = jax.jit(lambda p, q: quadrature.total_variation(NORMAL, p, q))(p, q)
    expected = np.tile(erf(np.arange(3) / np.sqrt(8)), (2, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


P, Q = NORMAL.natural_from_params(0.0, 1.0), NORMAL.Params(1.0, 2.0)
BAD = [
    (lambda: quadrature.jensen_shannon(NORMAL, tuple(P), Q), TypeError, "Normal.Point; got tuple"),
    (
        lambda: quadrature.jensen_shannon(NORMAL, P, Q, terms=0),
        ValueError,
        "terms must be at least 1; got 0",
    ),
    (lambda: quadrature.total_variation(NORMAL, P, Q, terms=2.5), TypeError, "terms.*integer"),
    (
        lambda: quadrature.f_divergence(NORMAL, P, Q, 0.5),
        TypeError,
        "generator must be a function; got float.*lambda",
    ),
    (
        lambda: quadrature.total_variation(
            NORMAL, NORMAL.Params(np.zeros(2), 1.0), NORMAL.Params(np.zeros(3), 1.0)
        ),
        ValueError,
        "must broadcast",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
