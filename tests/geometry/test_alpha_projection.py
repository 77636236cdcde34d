"""Alpha-projections against flat projections, a line search by scipy, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from igeojax import families, geometry
from igeojax.divergences import exponential

NORMAL = families.Normal()
EXACT = np.finfo(float).eps ** (2 / 3)


def proportional(m):
    """Normal laws whose deviation is their mean: curved in both charts."""
    return NORMAL.natural_from_params(m, m)


CURVED = jax.jit(
    lambda p, xi, alpha: geometry.alpha_projection(NORMAL, proportional, p, xi, alpha=alpha)
)
LAW = NORMAL.natural_from_params(jnp.asarray(1.0), jnp.asarray(1.6))


@pytest.mark.parametrize("alpha", [-1.0, -0.4, 0.0, 0.5, 1.0])
def test_no_law_of_the_curve_is_nearer(alpha):
    found = CURVED(LAW, 2.0, alpha)
    divergence = lambda m: float(
        exponential.amari_alpha_divergence(NORMAL, LAW, proportional(m), alpha=alpha)
    )
    best = scipy.optimize.minimize_scalar(divergence, bounds=(0.5, 4), method="bounded")
    assert found.converged
    assert found.residual <= EXACT
    assert float(found.xi) == pytest.approx(best.x, abs=1e-5)
    assert divergence(found.xi) <= best.fun + 1e-14


def test_maximum_likelihood_of_the_curve_in_closed_form():
    # KL(p || N(m, m^2)) is stationary where m^2 + m E[x] - E[x^2] = 0.
    second = 1.0 + 1.6**2
    expected = (-1.0 + np.sqrt(1 + 4 * second)) / 2
    assert float(CURVED(LAW, 2.0, -1.0).xi) == pytest.approx(expected, rel=1e-10, abs=0)


@pytest.mark.slow
def test_flat_submanifolds_have_the_flat_projections():
    gamma = families.Gamma()
    p, base = gamma.natural_from_params(2.0, 1.0), gamma.natural_from_params(4.0, 3.0)
    direction = gamma.Point(jnp.array(0.3), jnp.array(-1.0))
    theta = lambda u: jax.tree.map(lambda b, d: b + u * d, base, direction)
    e_flat = geometry.alpha_projection(gamma, theta, p, 0.0, alpha=-1.0)
    rows = jax.tree.map(lambda leaf: leaf[None], direction)
    flat = geometry.m_projection(gamma, p, base, rows)
    assert float(e_flat.xi) == pytest.approx(float(flat.coordinates[0]), rel=1e-9, abs=0)
    # Poisson pairs of one total mean: m-flat.
    pair = families.Product((families.Poisson(), families.Poisson()))
    kind = families.Poisson.Point
    law = pair.Point(kind(jnp.log(3.0)), kind(jnp.log(1.0)))
    split = lambda u: pair.Point(kind(jnp.log(u)), kind(jnp.log(5 - u)))
    m_flat = geometry.alpha_projection(pair, split, law, 2.0, alpha=1.0)
    one = pair.Point(kind(jnp.ones(1)), kind(jnp.ones(1)))
    moments = geometry.e_projection(pair, law, one, [5.0])
    np.testing.assert_allclose(split(m_flat.xi), moments.point, rtol=1e-9)


def test_a_law_of_the_curve_is_its_own_projection():
    for alpha in (-1.0, 0.3, 1.0):
        found = CURVED(proportional(jnp.asarray(1.3)), 0.7, alpha)
        assert float(found.xi) == pytest.approx(1.3, rel=1e-9, abs=0)
        assert found.converged


@pytest.mark.slow
def test_derivatives_are_implicit():
    nearest = lambda scale, alpha: CURVED(NORMAL.natural_from_params(1.0, scale), 2.0, alpha).xi
    step = 1e-4
    for alpha in (-1.0, 0.3):
        slope = jax.jit(jax.grad(nearest))(1.6, alpha)
        difference = (nearest(1.6 + step, alpha) - nearest(1.6 - step, alpha)) / (2 * step)
        assert float(slope) == pytest.approx(float(difference), rel=1e-6, abs=0)
    along = jax.jit(lambda *v: jax.jvp(nearest, (1.6, 0.3), v)[1])(1.0, 0.5)
    ends = (nearest(1.6 + s, 0.3 + 0.5 * s) for s in (step, -step))
    assert float(along) == pytest.approx(float(np.subtract(*ends)) / (2 * step), rel=1e-6, abs=0)


@pytest.mark.slow
def test_vmap_trees_and_float32():
    laws = NORMAL.natural_from_params(jnp.array([1.0, 2.0]), jnp.array([1.6, 1.1]))
    many = jax.jit(jax.vmap(CURVED, (0, None, None)))(laws, 2.0, 0.3)
    for i in range(2):
        law = jax.tree.map(lambda leaf, i=i: leaf[i], laws)
        assert float(many.xi[i]) == pytest.approx(float(CURVED(law, 2.0, 0.3).xi), rel=1e-9, abs=0)
    narrow = NORMAL.Point(*(jnp.asarray(leaf, jnp.float32) for leaf in LAW))
    chart = lambda xi: NORMAL.natural_from_params(xi["m"], xi["m"])
    found = geometry.alpha_projection(
        NORMAL, chart, narrow, {"m": jnp.float32(2.0)}, alpha=jnp.float32(0.3)
    )
    assert found.xi["m"].dtype == found.residual.dtype == np.float32
    assert found.converged
    assert float(found.xi["m"]) == pytest.approx(float(CURVED(LAW, 2.0, 0.3).xi), rel=1e-4, abs=0)


@pytest.mark.slow
def test_where_it_ends_too_early_it_says_so():
    found = geometry.alpha_projection(NORMAL, proportional, LAW, 3.9, alpha=0.0, max_steps=1)
    assert not found.converged
    assert found.residual > EXACT
    assert abs(float(found.xi) - 3.9) > 0.1
    outside = lambda xi: NORMAL.Point(xi, 1 + xi**2)
    lost = geometry.alpha_projection(NORMAL, outside, LAW, 0.5, alpha=0.0)
    assert not lost.converged
    assert np.isnan(lost.residual)


def test_bad_input():
    with pytest.raises(TypeError, match="instance of a family"):
        geometry.alpha_projection(families.Normal, proportional, LAW, 2.0, alpha=0.0)
    with pytest.raises(TypeError, match=r"needs a Normal\.Point"):
        geometry.alpha_projection(NORMAL, lambda xi: xi, LAW, 2.0, alpha=0.0)
    with pytest.raises(ValueError, match="p must be inside the natural domain"):
        geometry.alpha_projection(NORMAL, proportional, NORMAL.Point(0.0, 1.0), 2.0, alpha=0.0)
    with pytest.raises(TypeError, match="alpha must be a number"):
        geometry.alpha_projection(NORMAL, proportional, LAW, 2.0, alpha="zero")
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        geometry.alpha_projection(NORMAL, proportional, LAW, 2.0, alpha=0.0, max_steps=0)
