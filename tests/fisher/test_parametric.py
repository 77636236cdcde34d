"""Fisher information of a log-density: sampled, observed, and the bound it gives."""

import functools

import jax
import jax.numpy as jnp
import jax.scipy.stats as stats
import numpy as np
import pytest

from igeojax import families, fisher, geometry


def gamma_log_density(params, x):
    return stats.gamma.logpdf(x, params["shape"], scale=1 / params["rate"])


def gamma_information(shape, rate):
    trigamma = float(jax.scipy.special.polygamma(1, shape))
    # In the order of the keys: rate before shape.
    return np.array([[shape / rate**2, -1 / rate], [-1 / rate, trigamma]])


def test_sampled_fisher_converges_to_the_closed_form():
    params, count = {"shape": jnp.asarray(2.0), "rate": jnp.asarray(0.5)}, 40_000
    x = jnp.asarray(np.random.default_rng(2).gamma(2.0, 2.0, count))
    matrix = np.asarray(
        jax.jit(lambda p, x: fisher.fisher_matrix_from_samples(gamma_log_density, p, x))(params, x)
    )
    expected = gamma_information(2.0, 0.5)
    scores = np.stack(  # in closed form
        [2 / 0.5 - x, np.log(0.5) - float(jax.scipy.special.digamma(2.0)) + np.log(x)], -1
    )
    products = scores[:, :, None] * scores[:, None, :]
    np.testing.assert_allclose(matrix, products.mean(0), rtol=1e-9)
    assert (np.abs(matrix - expected) < 5 * products.std(0) / np.sqrt(count)).all()
    observed = jax.jit(lambda p, x: fisher.observed_information(gamma_log_density, p, x))(params, x)
    np.testing.assert_allclose(observed / count, expected, rtol=1e-12)  # Hessian without x


def test_samples_may_be_trees_and_vectors():
    log_density = lambda m, s: -0.5 * jnp.sum((s["x"] - m) ** 2) * s["w"]
    samples = {"x": jnp.asarray([[1.0, 0.0], [0.0, 2.0]]), "w": jnp.asarray([1.0, 3.0])}
    matrix = fisher.fisher_matrix_from_samples(log_density, jnp.zeros(2), samples)
    np.testing.assert_allclose(matrix, [[0.5, 0.0], [0.0, 18.0]])


def test_observed_information_at_the_estimate():
    # Cauchy location: the classical example where it differs from the expected one, n / 2.
    x = jnp.asarray([-1.0, 0.3, 0.5, 4.0])
    log_density = lambda m, x: stats.cauchy.logpdf(x - m)
    found = fisher.observed_information(log_density, jnp.asarray(0.4), x)
    u = np.asarray(x) - 0.4
    np.testing.assert_allclose(found, [[np.sum(2 * (1 - u**2) / (1 + u**2) ** 2)]], rtol=1e-12)


@pytest.mark.parametrize("name", ["Gamma", "Normal"])
def test_observed_is_expected_at_the_estimate_of_a_family(name):
    # In natural coordinates the Hessian of -log p does not depend on the data.
    family = getattr(families, name)()
    x = jnp.asarray(np.random.default_rng(0).gamma(3.0, size=50))

    @jax.jit
    def quantities(x):
        theta = family.fit(x)
        score = jax.grad(lambda point: jnp.sum(family.log_density(point, x)))(theta)
        observed = fisher.observed_information(family.log_density, theta, x)
        return score, observed, geometry.fisher_matrix(family, theta)

    score, observed, expected = quantities(x)
    np.testing.assert_allclose(jnp.stack(score), 0, atol=1e-10 * float(jnp.sum(x**2)))
    np.testing.assert_allclose(observed / 50, expected, rtol=1e-9, atol=1e-12)


def test_bound_is_the_scaled_inverse():
    information = gamma_information(2.0, 0.5)
    bound = fisher.cramer_rao_bound(jnp.asarray(information), num_observations=7)
    np.testing.assert_allclose(bound, np.linalg.inv(information) / 7, rtol=1e-12)
    np.testing.assert_array_equal(bound, bound.T)


def test_bound_of_functions_by_the_delta_method():
    information = gamma_information(2.0, 0.5)
    jacobian = np.array([[-2.0 / 0.5**2, 1 / 0.5], [1.0, 0.0], [0.0, 1.0]])  # the mean, and both
    bound = fisher.cramer_rao_bound(information, num_observations=10, jacobian=jacobian)
    expected = jacobian @ np.linalg.inv(information) @ jacobian.T / 10
    np.testing.assert_allclose(bound, expected, rtol=1e-11, atol=1e-14)
    # The mean of a gamma law is estimated by the sample mean, which reaches the bound.
    np.testing.assert_allclose(bound[0, 0], 2.0 / 0.5**2 / 10, rtol=1e-12)


def test_the_maximum_likelihood_estimate_reaches_the_bound():
    gamma, count, trials = families.Gamma(), 200, 4000
    x = jnp.asarray(np.random.default_rng(1).gamma(2.0, 2.0, (count, trials)))
    estimate = gamma.params_from_natural(jax.jit(gamma.fit)(x))
    bound = fisher.cramer_rao_bound(gamma_information(2.0, 0.5), num_observations=count)
    found = np.cov(np.stack([estimate.rate, estimate.shape]))
    # 2% standard error of a variance from 4000 trials, and a bias of order 1/n.
    np.testing.assert_allclose(found, bound, rtol=0.12)
    # A worse estimator, by moments, stays above.
    mean, variance = x.mean(0), x.var(0)
    assert np.var(mean**2 / variance) > 1.2 * float(bound[1, 1])


def test_singular_information_bounds_nothing():
    bound = fisher.cramer_rao_bound(jnp.diag(jnp.asarray([1.0, 0.0])))
    assert np.isnan(bound).any()


def test_float32_stays_and_integers_are_numbers():
    matrix = jnp.asarray([[4.0]], jnp.float32)
    assert fisher.cramer_rao_bound(matrix, num_observations=3).dtype == jnp.float32
    assert float(fisher.cramer_rao_bound([[4]], num_observations=5)[0, 0]) == pytest.approx(0.05)


def test_bad_shapes_are_refused():
    refused = functools.partial(pytest.raises, ValueError)
    with refused(match=r"square matrix; got shape \(2, 3\)\. Use jax\.vmap"):
        fisher.cramer_rao_bound(jnp.ones((2, 3)))
    with refused(match=r"square matrix; got shape \(4,\)"):
        fisher.cramer_rao_bound(jnp.ones(4))
    with refused(match=r"jacobian must have shape \(targets, 2\); got \(1, 3\)"):
        fisher.cramer_rao_bound(jnp.eye(2), jacobian=jnp.ones((1, 3)))
    with pytest.raises(TypeError, match="information must hold real numbers"):
        fisher.cramer_rao_bound(jnp.eye(2, dtype=complex))


@pytest.mark.parametrize("form", [fisher.fisher_matrix_from_samples, fisher.observed_information])
def test_bad_observations_parameters_and_densities(form):
    log_density = lambda m, x: -0.5 * (x - m) ** 2
    samples, mean = jnp.ones(4), jnp.asarray(0.0)
    with pytest.raises(ValueError, match=r"share the examples on axis 0; got shapes \(\)\."):
        form(log_density, mean, 1.0)
    with pytest.raises(ValueError, match=r"the examples on axis 0; got shapes \(2,\), \(3,\)"):
        form(lambda m, x: x["a"] - m, mean, {"a": jnp.ones(2), "b": jnp.ones(3)})
    with pytest.raises(TypeError, match=r"params must be floating.*; got int64 at \['m'\]\. Cast"):
        form(lambda p, x: log_density(p["m"], x), {"m": 0}, samples)
    with pytest.raises(ValueError, match=r"must return a scalar for one .*; got shape \(2,"):
        form(log_density, mean, jnp.ones((4, 2)))


def test_no_samples_have_no_mean():
    log_density = lambda m, x: -0.5 * (x - m) ** 2
    with pytest.raises(ValueError, match="at least one observation on axis 0; got none"):
        fisher.fisher_matrix_from_samples(log_density, jnp.asarray(0.0), jnp.zeros(0))
    none = fisher.observed_information(log_density, jnp.asarray(0.0), jnp.zeros(0))
    assert none.tolist() == [[0.0]]  # a sum: no data, no information


def test_information_must_be_symmetric():
    with pytest.raises(ValueError, match=r"be symmetric; got entries that differ by 0\.9 from"):
        fisher.cramer_rao_bound([[1.0, 0.9], [0.0, 1.0]])
    # To rounding errors, in the units of each parameter.
    almost = np.array([[1e12, 0.5 * (1 + 1e-12)], [0.5, 1e-12]])
    assert np.isfinite(fisher.cramer_rao_bound(almost)).all()
    with pytest.raises(ValueError, match="must be symmetric"):
        fisher.cramer_rao_bound([[1e12, 0.5], [0.0, 1e-12]])
