"""Steps in two charts: how fast the laws that they reach part as the step grows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry

NORMAL = families.Normal()
TARGET = NORMAL.natural_from_params(1.0, 0.7)
SIZES = np.array([1e-3, 2e-3, 4e-3, 8e-3])


def by_deviation(xi):
    return NORMAL.natural_from_params(xi[0], xi[1])


def by_logarithm(xi):
    return NORMAL.natural_from_params(xi[0], jnp.exp(xi[1]))


STARTS = (by_deviation, jnp.array([0.2, 1.5])), (by_logarithm, jnp.array([0.2, np.log(1.5)]))


def loss(theta):
    """KL of the target from the law, up to a constant."""
    return NORMAL.log_partition(theta) - NORMAL.pairing(theta, NORMAL.mean_from_natural(TARGET))


def gradient(chart, xi, step_size):
    return xi - step_size * jax.grad(lambda v: loss(chart(v)))(xi)


def natural_gradient(chart, xi, step_size):
    metric = geometry.pullback(NORMAL, chart, xi)
    return xi - step_size * jnp.linalg.solve(metric, jax.grad(lambda v: loss(chart(v)))(xi))


def gap(step, sizes=SIZES, starts=STARTS):
    call = lambda sizes: geometry.reparameterisation_gap(NORMAL, step, *starts, sizes)
    return np.asarray(jax.jit(call)(sizes))


@pytest.mark.parametrize(("step", "order"), [(gradient, 1.0), (natural_gradient, 2.0)])
def test_order_of_a_step(step, order):
    found = gap(step)
    slope, _ = np.polyfit(np.log(SIZES), np.log(found), 1)
    assert slope == pytest.approx(order, abs=0.02)


def test_gap_of_plain_gradients_is_the_length_of_the_difference():
    # To first order: the pushed-forward velocities differ, in the Fisher metric.
    normal_metric = np.diag([1.5**-2, 2 * 1.5**-2])
    gradients = [jax.jit(jax.grad(lambda v, c=chart: loss(c(v))))(xi) for chart, xi in STARTS]
    one, other = (-np.asarray(gradient) for gradient in gradients)
    difference = one - other * np.array([1.0, 1.5])
    length = np.sqrt(difference @ normal_metric @ difference)
    np.testing.assert_allclose(gap(gradient, np.array([1e-6]))[0], 1e-6 * length, rtol=1e-4)


def test_a_step_that_knows_no_chart_leaves_no_gap():
    stay = lambda chart, xi, step_size: xi
    np.testing.assert_allclose(gap(stay), 0.0, rtol=0, atol=1e-15)


def test_out_of_the_domain_there_is_no_distance():
    assert np.isnan(gap(gradient, np.array([1e3]))).all()


def test_single_precision():
    starts = tuple((chart, jnp.asarray(xi, jnp.float32)) for chart, xi in STARTS)
    found = gap(gradient, SIZES.astype(np.float32), starts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, gap(gradient), rtol=2e-3)


def test_arguments_are_checked():
    first, second = STARTS
    call = geometry.reparameterisation_gap
    with pytest.raises(TypeError, match="instance of a family"):
        call("Normal", gradient, first, second, SIZES)
    with pytest.raises(ValueError, match=r"step_sizes must be a vector; got shape \(\)"):
        call(NORMAL, gradient, first, second, 0.1)
    with pytest.raises(TypeError, match="second must be a pair of a chart and coordinates"):
        call(NORMAL, gradient, first, by_logarithm, SIZES)
    elsewhere = (by_logarithm, jnp.array([0.2, 1.5]))
    with pytest.raises(ValueError, match="distance of the two starts must be at most"):
        call(NORMAL, gradient, first, elsewhere, SIZES)
