"""Student's t: torture case T32, where peers lose the normal limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax.numerics import student_t_log_density


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_against_scipy_and_the_normal_limit(dtype):
    eps = float(np.finfo(dtype).eps)
    x = np.array([-30.0, -1.0, 0.0, 0.3, 4.0], dtype)
    for dof in (0.01, 1.0, 2.5, 30.0, 1e4):
        found = student_t_log_density(x, np.full_like(x, dof))
        true = scipy.stats.t(float(np.asarray(dof, dtype))).logpdf(x.astype(float))
        np.testing.assert_allclose(found, true, rtol=max(64 * eps, 1e-11))  # scipy's own error
    for dof in (1e6, 1e12, np.inf):
        found = student_t_log_density(np.asarray(1, dtype), np.asarray(dof, dtype))
        assert float(found) == pytest.approx(-1.4189385, rel=1e-6, abs=0)


def test_far_tails_and_derivatives():
    far = student_t_log_density(jnp.float32(1e25), jnp.float32(2.0))
    assert float(far) == pytest.approx(scipy.stats.t(2).logpdf(1e25), rel=1e-6, abs=0)
    curvature = jax.grad(jax.grad(student_t_log_density))
    # -(dof + 1) / dof at the center.
    assert float(curvature(0.0, 3.0)) == pytest.approx(-4 / 3, rel=1e-14, abs=0)
    assert float(jax.grad(student_t_log_density)(2.0, jnp.inf)) == -2.0
    assert np.isnan(student_t_log_density(jnp.asarray(0.0), jnp.asarray(-1.0)))
