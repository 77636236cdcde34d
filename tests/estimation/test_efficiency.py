"""Efficiency of estimators whose variance and coverage have closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, norm

from igeojax.estimation import efficiency_study

COUNT, REPLICATES = 25, 4000


def draw(key, params, n):
    return params["m"] + params["s"] * jax.random.normal(key, (n,))


def log_density(params, x):
    return -0.5 * ((x - params["m"]) / params["s"]) ** 2 - jnp.log(params["s"])


def information(params):
    return jnp.diag(jnp.stack([1.0, 2.0])) / params["s"] ** 2


def maximum_likelihood(x):
    return {"m": jnp.mean(x), "s": jnp.std(x)}


TRUTH = {"m": jnp.asarray(1.0), "s": jnp.asarray(2.0)}


def study(estimator=maximum_likelihood, **options):
    options = {"num_observations": COUNT, "num_replicates": REPLICATES} | options
    return efficiency_study(
        jax.random.key(3), draw, estimator, log_density, information, TRUTH, **options
    )


def test_maximum_likelihood_of_a_normal_law():
    found = study()
    np.testing.assert_allclose(found.bound, np.diag([4 / COUNT, 2 / COUNT]), rtol=1e-12)
    # The mean reaches the bound; five standard errors, wrong by chance once in 1.7 million.
    assert abs(found.efficiency[0] - 1) < 5 * found.efficiency_error[0]
    assert abs(found.bias[0]) < 5 * found.bias_error[0]
    # s sqrt(chi2 / n) has expectation s sqrt(2 / n) Gamma(n / 2) / Gamma((n - 1) / 2).
    ratio = np.exp(
        jax.scipy.special.gammaln(COUNT / 2) - jax.scipy.special.gammaln((COUNT - 1) / 2)
    )
    bias = 2 * (np.sqrt(2 / COUNT) * ratio - 1)
    assert abs(found.bias[1] - bias) < 5 * found.bias_error[1]
    assert abs(found.bias[1]) > 5 * found.bias_error[1]
    # Both intervals of s are s^ (1 +- z / sqrt(2 n)): at the estimate the informations agree.
    z, q = norm.ppf(0.975), COUNT - 1
    edges = COUNT / (1 + np.array([z, -z]) / np.sqrt(2 * COUNT)) ** 2
    coverage = np.diff(chi2.cdf(edges, q))[0]
    for share in (found.coverage_expected[1], found.coverage_observed[1]):
        assert abs(share - coverage) < 5 * found.coverage_error * 1.2


def test_the_median_is_less_efficient():
    found = study(lambda x: {"m": jnp.median(x), "s": jnp.std(x)})
    # 2 / pi in the limit; at n = 25 the variance of a median is pi / 2 / n (1 - O(1 / n)).
    assert 0.6 < found.efficiency[0] < 0.75


def test_the_error_of_the_efficiency_is_its_spread_over_keys():
    """Of the median of normal data, whose efficiency is not 1."""
    keys = jax.random.split(jax.random.key(5), 200)
    found = jax.vmap(
        lambda key: efficiency_study(
            key, lambda key, m, n: m + jax.random.normal(key, (n,)), jnp.median,
            lambda m, x: -0.5 * (x - m) ** 2, lambda m: jnp.eye(1), jnp.asarray(0.0),
            num_observations=9, num_replicates=100,
        )
    )(keys)  # fmt: skip
    spread, error = jnp.std(found.efficiency), jnp.mean(found.efficiency_error)
    # A deviation of 200 values is known to 5 percent, and medians of 9 are nearly normal.
    assert 0.8 < spread / error < 1.25


def test_intervals_from_either_information():
    """Of Cauchy laws they differ; against the same replicates in numpy."""
    count, replicates, key = 5, 400, jax.random.key(7)
    draw = lambda key, m, n: m + jax.random.cauchy(key, (n,))
    found = efficiency_study(
        key, draw, jnp.median, lambda m, x: -jnp.log1p((x - m) ** 2), lambda m: 0.5 * jnp.eye(1),
        jnp.asarray(1.0), num_observations=count, num_replicates=replicates, level=0.8,
    )  # fmt: skip
    data = np.stack([draw(k, 1.0, count) for k in jax.random.split(key, replicates)])
    estimate = np.median(data, axis=1)
    square = (data - estimate[:, None]) ** 2
    observed = np.sum(2 * (1 - square) / (1 + square) ** 2, axis=1)
    gap, z = np.abs(estimate - 1), norm.ppf(0.9)
    covered = (observed > 0) & (gap * np.sqrt(np.abs(observed)) <= z)
    np.testing.assert_allclose(found.coverage_observed, np.mean(covered), rtol=1e-12)
    expected = np.mean(gap * np.sqrt(0.5 * count) <= z)
    np.testing.assert_allclose(found.coverage_expected, expected, rtol=1e-12)
    assert abs(found.coverage_observed[0] - found.coverage_expected[0]) > 1 / replicates


def test_intervals_of_another_level():
    found = study(level=0.5)
    exact = 2 * norm.cdf(norm.ppf(0.75)) - 1
    # Student's t of 24 and a deviation with divisor n: less than the level, by at most 0.03.
    assert exact - 0.03 - 5 * 0.008 < found.coverage_expected[0] < exact


def test_coverage_in_a_curved_family_is_that_of_quadrature():
    """The law `N(t, t^2)`: two statistics, one parameter, so that the informations differ."""
    count, replicates = 8, 20_000
    found = efficiency_study(
        jax.random.key(5),
        lambda key, t, n: t + t * jax.random.normal(key, (n,)),
        lambda x: 0.5 * (jnp.sqrt(jnp.mean(x) ** 2 + 4 * jnp.mean(x**2)) - jnp.mean(x)),
        lambda t, x: -0.5 * (x / t - 1) ** 2 - jnp.log(jnp.abs(t)),
        lambda t: jnp.full((1, 1), 3 / t**2),
        jnp.asarray(1.0),
        num_observations=count,
        num_replicates=replicates,
    )
    # Mean and sum of squares are independent: quantiles of both, each as likely as the next.
    share = (np.arange(1000) + 0.5) / 1000
    mean = 1 + norm.ppf(share)[:, None] / np.sqrt(count)
    square = mean**2 + chi2.ppf(share, count - 1) / count
    estimate = 0.5 * (np.sqrt(mean**2 + 4 * square) - mean)
    expected = 3 * count / estimate**2
    observed = count * (3 * square / estimate**4 - 2 * mean / estimate**3 - 1 / estimate**2)
    variance = estimate.var()
    for information, covered, error in (
        (expected, found.coverage_expected, found.variance_error_expected),
        (observed, found.coverage_observed, found.variance_error_observed),
    ):
        exact = np.mean(np.abs(estimate - 1) <= norm.ppf(0.975) / np.sqrt(information))
        # Five standard errors of a share of 0.9: wrong by chance once in 1.7 million.
        assert abs(covered[0] - exact) < 5 * np.sqrt(exact * (1 - exact) / replicates)
        exact = np.sqrt(np.mean((1 / information / variance - 1) ** 2))
        # The relative error of a mean square of relative deviation below 3, halved by the root.
        np.testing.assert_allclose(error, exact, rtol=5 * 1.5 / np.sqrt(replicates))


def test_expected_and_observed_information_of_a_cauchy_law():
    """Expected information has the better variance [CaoSpall2012], observed the better coverage."""
    count, replicates = 20, 100_000

    def scored(x):
        step = lambda t, _: (t + 4 * jnp.mean((x - t) / (1 + (x - t) ** 2)), None)
        return jax.lax.scan(step, jnp.median(x), length=40)[0]

    found = efficiency_study(
        jax.random.key(6),
        lambda key, t, n: t + jax.random.cauchy(key, (n,)),
        scored,
        lambda t, x: -jnp.log1p((x - t) ** 2),
        lambda t: jnp.full((1, 1), 0.5),
        jnp.asarray(0.0),
        num_observations=count,
        num_replicates=replicates,
    )
    assert found.variance_error_expected[0] < 0.5 * found.variance_error_observed[0]
    # Both fall short, the observed one by less: by 0.005, with an error below that of two shares
    # of different data, 0.0011. Wrong by chance once in 10^5.
    assert found.coverage_expected[0] < found.coverage_observed[0]
    assert found.coverage_observed[0] < 0.95 - 5 * 1.2 * found.coverage_error


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="level"):
        study(level=1.5)
    with pytest.raises(ValueError, match="num_replicates"):
        study(num_replicates=1)
    with pytest.raises(ValueError, match="pytree like params"):
        study(jnp.mean, num_replicates=2)
    with pytest.raises(TypeError, match="key"):
        efficiency_study(
            0, draw, maximum_likelihood, log_density, information, TRUTH, num_observations=5
        )
    with pytest.raises(ValueError, match="Fisher matrix of one observation"):
        efficiency_study(
            jax.random.key(0),
            draw,
            maximum_likelihood,
            log_density,
            lambda p: jnp.eye(3),
            TRUTH,
            num_observations=5,
        )
