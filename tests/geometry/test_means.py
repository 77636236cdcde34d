"""Dual means: averages in their chart, and minimizers of the sums of divergences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.divergences import exponential
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family_few_by_default, natural

WEIGHTS = np.array([0.5, 0.2, 0.3])


@functools.cache
def compiled(name):
    """The means, and the sums of divergences around them."""
    family = FAMILIES[name].family

    @jax.jit
    def quantities(points, tangent):
        means = {
            "e": geometry.e_mean(family, points, WEIGHTS),
            "m": geometry.m_mean(family, points, WEIGHTS),
        }
        left = lambda q: jnp.sum(WEIGHTS * exponential.kl(family, q, points))
        right = lambda q: jnp.sum(WEIGHTS * exponential.kl(family, points, q))
        moved = lambda q, s: jax.tree.map(lambda a, v: a + s * v, q, tangent)
        steps = jnp.array([0.0, -1e-2, 1e-2])
        around = lambda f, q: jax.vmap(lambda s: f(moved(q, s)))(steps)
        vector = lambda point: geometry.ravel(family, point)
        return {
            "theta": vector(means["e"]),
            "eta": vector(family.mean_from_natural(means["m"])),
            "thetas": vector(points),
            "etas": vector(family.mean_from_natural(points)),
            "left": around(left, means["e"]),
            "right": around(right, means["m"]),
        }

    return quantities


@each_family_few_by_default
def test_each_mean_averages_its_chart_and_minimizes_its_divergence(name):
    points = natural(name, 0)
    tangent = jax.tree.map(lambda a, b: a[0] - b[0], natural(name, 1), points)
    found = compiled(name)(points, tangent)
    np.testing.assert_allclose(found["theta"], WEIGHTS @ found["thetas"], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(found["eta"], WEIGHTS @ found["etas"], rtol=1e-9, atol=1e-9)
    for side in ("left", "right"):
        here, *there = np.asarray(found[side])
        assert (here < there).all()
        # A minimum, not a slope: both sides rise by the same to first order.
        low, high = np.sort(np.subtract(there, here))
        assert high < 1.5 * low


def test_laws_of_no_weight_do_not_count():
    categorical = families.Categorical(3)
    points = categorical.Params(np.array([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4], [0.3, 0.3, 0.4]]))
    for mean in (geometry.e_mean, geometry.m_mean):
        found = mean(categorical, points, [1.0, 0.0, 3.0])
        expected = mean(categorical, categorical.Params(points.probs[[0, 2, 2, 2]]))
        np.testing.assert_allclose(found.one_hot, expected.one_hot, rtol=1e-14)
    # A class that one of them has not: gone from the geometric mean, in the mixture not.
    gone = categorical.params_from_natural(geometry.e_mean(categorical, points)).probs
    mixed = categorical.params_from_natural(geometry.m_mean(categorical, points)).probs
    root = np.prod(points.probs, axis=0) ** (1 / 3)
    np.testing.assert_allclose(gone, root / root.sum(), rtol=1e-13)
    np.testing.assert_allclose(mixed, points.probs.mean(0), rtol=1e-13)


def test_batches_are_kept():
    normal = families.Normal()
    points = normal.natural_from_params(jnp.arange(6.0).reshape(3, 2), 2.0)
    for mean in (geometry.e_mean, geometry.m_mean):
        assert normal.batch_shape(mean(normal, points)) == (2,)
    loc, scale = normal.params_from_natural(geometry.m_mean(normal, points))
    np.testing.assert_allclose(loc, [2, 3])
    np.testing.assert_allclose(scale**2, 4 + 8 / 3)  # within and between


def test_float32_stays():
    poisson = families.Poisson()
    points = poisson.Point(jnp.zeros(3, jnp.float32))
    for mean in (geometry.e_mean, geometry.m_mean):
        assert mean(poisson, points, WEIGHTS).x.dtype == np.float32


def test_gradients_are_those_of_the_average():
    poisson = families.Poisson()
    rates = jnp.array([1.0, 2.0, 5.0])

    def rate(mean, rates):
        return poisson.params_from_natural(mean(poisson, poisson.Params(rates), WEIGHTS)).rate

    mixed = jax.grad(functools.partial(rate, geometry.m_mean))(rates)
    np.testing.assert_allclose(mixed, WEIGHTS, rtol=1e-14)
    value, geometric = jax.value_and_grad(functools.partial(rate, geometry.e_mean))(rates)
    np.testing.assert_allclose(geometric, value * WEIGHTS / rates, rtol=1e-14)


def test_bad_input():
    poisson = families.Poisson()
    points = poisson.Point(jnp.zeros(3))
    for mean in (geometry.e_mean, geometry.m_mean):
        with pytest.raises(TypeError, match="instance of a family"):
            mean(families.Poisson, points)
        with pytest.raises(
            ValueError, match=r"points must have a leading axis.*got batch shape \(\)"
        ):
            mean(poisson, poisson.Point(0.0))
        with pytest.raises(ValueError, match=r"weights must have shape \(3,\)"):
            mean(poisson, points, [1.0, 2.0])
        with pytest.raises(ValueError, match="weights must be finite and non-negative"):
            mean(poisson, points, [1.0, -2.0, 3.0])
