"""Densities of sources against quadrature, derivatives and simulated sources."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from igeojax.estimation import source_log_density, source_score, source_signs


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_densities_integrate_to_one(sign):
    weight = -0.5 * np.linspace(-12, 12, 24001) ** 2 - sign * np.log(
        np.cosh(np.linspace(-12, 12, 24001))
    )
    total = quad(lambda y: np.exp(-0.5 * y * y - sign * np.log(np.cosh(y))), -15, 15)[0]
    grid = np.linspace(-12, 12, 24001)
    found = source_log_density(jnp.asarray(grid), sign)
    np.testing.assert_allclose(found, weight - np.log(total), atol=1e-12)


def test_light_tails_are_those_of_two_normal_laws():
    y = jnp.linspace(-6.0, 6.0, 41)
    normal = lambda m: jax.scipy.stats.norm.logpdf(y, m)
    mixture = jnp.logaddexp(normal(1.0), normal(-1.0)) - jnp.log(2)
    np.testing.assert_allclose(source_log_density(y, -1.0), mixture, atol=1e-13)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_are_derivatives(sign):
    y = np.linspace(-20, 20, 81)
    step = 1e-5
    values = [np.asarray(source_log_density(y + s, sign)) for s in (-step, step)]
    slope = (values[1] - values[0]) / (2 * step)
    # Rounding of values up to 200, over the step; the third derivative is below 1.
    np.testing.assert_allclose(source_score(y, sign), -slope, atol=1e-8)


def test_no_overflow_far_out():
    y = jnp.asarray([-300.0, 300.0], jnp.float32)
    assert jnp.isfinite(source_log_density(y, jnp.float32(1))).all()
    assert source_log_density(y, jnp.float32(1)).dtype == jnp.float32


def test_signs_tell_heavy_from_light_tails():
    rng = np.random.default_rng(0)
    y = np.stack(
        [rng.laplace(size=5000), rng.uniform(-1.7, 1.7, 5000), rng.choice([-1.0, 1.0], 5000)], 1
    )
    assert source_signs(y).tolist() == [1, -1, -1]


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="1 or -1"):
        source_log_density(0.0, 0.5)
    with pytest.raises(ValueError, match="Write signs"):
        source_score(jnp.zeros((4, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match="row"):
        source_signs(jnp.zeros(3))
    with pytest.raises(TypeError):
        source_signs("text")
