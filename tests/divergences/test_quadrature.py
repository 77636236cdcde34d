"""Divergences by sums and quadrature: reference values, closed forms, ends, derivatives."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import norm

from igeojax import families
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
    if family.support is None:
        p = FAMILIES[name].point(jax.random.key(0))
        with pytest.raises(
            NotImplementedError, match=r"no support on a line.*divergences.montecarlo"
        ):
            quadrature.jensen_shannon(family, p, p)
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
    p, q = POISSON.Params(np.array([700.0, 2000.0])), POISSON.Params(np.array([1.0, 1.0]))
    found = quadrature.jensen_shannon(POISSON, p, q, terms=1024)
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
    assert np.isfinite(quadrature.jensen_shannon(POISSON, p, q, terms=4096)).all()
    outside = NORMAL.Point(jnp.array(0.0), jnp.array(1.0))
    law = NORMAL.natural_from_params(0.0, 1.0)
    assert np.isnan(jax.jit(lambda p: quadrature.jensen_shannon(NORMAL, p, law))(outside))


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
