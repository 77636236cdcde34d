"""Grid posteriors against conjugate ones and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from igeojax import bayes, families


def test_one_parameter_against_the_conjugate_posterior():
    family, prior = families.Poisson(), families.Gamma()
    theta = prior.natural_from_params(2.5, 1.5)
    x = jnp.array([3, 1, 4, 1])
    log_joint = lambda rate: (
        prior.log_density(theta, rate)
        + family.log_density(family.natural_from_params(rate=rate), x).sum()
    )
    law = bayes.grid_posterior(log_joint, [jnp.linspace(1e-6, 12.0, 801)])
    exact = bayes.posterior(family, theta, x)
    assert float(law.log_evidence) == pytest.approx(
        float(bayes.log_evidence(family, theta, x)), abs=1e-8
    )
    assert float(law.mean()[0]) == pytest.approx(float(prior.mean(exact)), abs=1e-8)
    assert float(law.covariance()[0, 0]) == pytest.approx(float(prior.variance(exact)), abs=1e-8)
    density = jnp.exp(prior.log_density(exact, law.axes[0]))
    np.testing.assert_allclose(law.marginal_density(0), density, atol=1e-7)
    assert float(law.edge_mass) < 1e-9
    assert abs(float(law.log_evidence - law.coarse_log_evidence)) < 1e-7


def test_two_parameters_against_the_conjugate_posterior():
    """Mean and variance of a normal law; points of the logs of the variance are not equidistant."""
    family, prior = families.Normal(), families.NormalInverseGamma()
    theta = prior.natural_from_params(0.0, 1.0, 4.0, 3.0)
    x = jnp.array([0.3, -0.8, 1.4, 0.9, 0.1])

    def log_joint(loc, v):
        law = family.natural_from_params(loc=loc, scale=jnp.sqrt(v))
        return prior.log_density(theta, jnp.stack([loc, v])) + family.log_density(law, x).sum()

    axes = [jnp.linspace(-5.0, 5.0, 161), jnp.exp(jnp.linspace(-4.0, 4.5, 201))]
    law = bayes.grid_posterior(log_joint, axes, chunk_size=5000)
    exact = bayes.posterior(family, theta, x)
    evidence = float(bayes.log_evidence(family, theta, x))
    assert float(law.log_evidence) == pytest.approx(evidence, abs=2e-3)
    np.testing.assert_allclose(law.mean(), prior.mean(exact), rtol=2e-3)
    np.testing.assert_allclose(jnp.diag(law.covariance()), prior.variance(exact), rtol=5e-3)
    assert abs(float(law.covariance()[0, 1])) < 1e-3
    whole = bayes.grid_posterior(log_joint, axes)
    np.testing.assert_allclose(whole.log_weights, law.log_weights, atol=1e-10)
    # In the logs the density is smooth and vanishes at the borders: the rule is nearly exact.
    smooth = bayes.grid_posterior(
        lambda loc, log_v: log_joint(loc, jnp.exp(log_v)) + log_v, [axes[0], jnp.log(axes[1])]
    )
    assert float(smooth.log_evidence) == pytest.approx(evidence, abs=1e-6)


def test_three_parameters_against_a_normal_law():
    root = np.array([[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 1.2]])
    covariance = root @ root.T
    precision = jnp.asarray(np.linalg.inv(covariance))
    mean = jnp.array([0.5, -0.2, 0.1])

    def log_joint(*x):
        apart = jnp.stack(x) - mean
        return -0.5 * apart @ precision @ apart

    law = bayes.grid_posterior(log_joint, [jnp.linspace(-8.0, 8.0, 41)] * 3, chunk_size=8192)
    constant = 1.5 * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(covariance)[1]
    assert float(law.log_evidence) == pytest.approx(constant, abs=1e-9)
    np.testing.assert_allclose(law.mean(), mean, atol=1e-9)
    np.testing.assert_allclose(law.covariance(), covariance, atol=1e-8)


def test_an_arbitrary_posterior_by_quadrature():
    density = lambda t: (
        scipy.stats.norm(0, 2).pdf(t) * np.prod(scipy.stats.cauchy(t).pdf([0.3, 1.1, 5.0]))
    )
    area = scipy.integrate.quad(density, -30, 30, epsabs=1e-14)[0]
    mean = scipy.integrate.quad(lambda t: t * density(t), -30, 30, epsabs=1e-14)[0] / area
    x = jnp.array([0.3, 1.1, 5.0])
    log_joint = lambda t: (
        jax.scipy.stats.norm.logpdf(t, 0, 2) + jnp.sum(jax.scipy.stats.cauchy.logpdf(x, t))
    )
    law = bayes.grid_posterior(log_joint, [jnp.linspace(-20.0, 20.0, 801)])
    assert float(law.log_evidence) == pytest.approx(np.log(area), abs=1e-9)
    assert float(law.mean()[0]) == pytest.approx(mean, abs=1e-9)


def test_intervals_of_a_skewed_posterior():
    """A Gamma law: quantiles of scipy, and the shortest interval of a search."""
    exact = scipy.stats.gamma(3.0, scale=0.5)
    axis = jnp.concatenate([jnp.linspace(0.0, 4.0, 1601), jnp.linspace(4.01, 14.0, 1000)])
    law = bayes.grid_posterior(lambda t: 2 * jnp.log(t) - 2 * t, [axis])
    for level in (0.5, 0.95):
        tails = np.array([0.5 - level / 2, 0.5 + level / 2])
        # The rule is off by h^2 / 12 of the curvature, 3e-6 here.
        found = law.equal_tailed_interval(0, level)
        np.testing.assert_allclose(found, exact.ppf(tails), atol=1e-5)
        shortest = scipy.optimize.minimize_scalar(
            lambda tail, level=level: exact.ppf(tail + level) - exact.ppf(tail),
            bounds=(0, 1 - level),
            method="bounded",
            options={"xatol": 1e-10},
        ).x
        found = law.highest_density_interval(0, level)
        np.testing.assert_allclose(exact.cdf(found[1]) - exact.cdf(found[0]), level, atol=1e-5)
        # A thousandth of the tail is looked at, a density of 0.1 and more stands at the ends.
        ends = exact.ppf([shortest, shortest + level])
        step = (1 - level) / 1000 / exact.pdf(ends).min()
        np.testing.assert_allclose(found, ends, atol=step)


def test_intervals_of_one_of_two_parameters():
    """Points far apart and no mass in between: the density between them is linear."""
    axes = [jnp.array([0.0, 1.0, 3.0]), jnp.array([0.0, 2.0, 4.0, 5.0, 6.0])]
    density = jnp.array([0.0, 0.4, 0.0, 0.0, 0.6])
    law = bayes.grid_posterior(lambda x, y: jnp.log(jnp.interp(y, axes[1], density)) + 0 * x, axes)
    # Triangles about 2, of area 0.8, and before 6, of area 0.3: the first alone has 8 / 11.
    mass = 0.8 / 1.1
    low, high = law.equal_tailed_interval(1, 0.5)
    np.testing.assert_allclose(low, np.sqrt(0.25 * 1.1 * 2 / 0.2), rtol=1e-12)
    np.testing.assert_allclose(high, 5 + np.sqrt((0.75 - mass) * 1.1 * 2 / 0.6), rtol=1e-12)
    # Of the flat first parameter the interval is as long wherever it is.
    np.testing.assert_allclose(law.equal_tailed_interval(0, 0.8), [0.3, 2.7], rtol=1e-12)
    np.testing.assert_allclose(jnp.diff(law.highest_density_interval(0, 0.8)), 2.4, rtol=1e-12)
    for interval in (law.equal_tailed_interval, law.highest_density_interval):
        with pytest.raises(ValueError, match=r"level must be in \(0, 1\); got 1"):
            interval(0, 1)


def test_too_coarse_and_cut_off_show():
    narrow = lambda t: -0.5 * ((t - 0.01) / 0.05) ** 2
    law = bayes.grid_posterior(narrow, [jnp.linspace(-1.0, 1.0, 21)])
    assert abs(float(law.log_evidence - law.coarse_log_evidence)) > 0.1
    law = bayes.grid_posterior(lambda t: -0.5 * t**2, [jnp.linspace(-1.0, 1.0, 21)])
    assert float(law.edge_mass) > 0.03
    for index in (-1, 1):
        with pytest.raises(ValueError, match="one of the 1 parameters"):
            law.marginal_density(index)
    # Of an even number of points the last belongs to the coarse grid too.
    even = bayes.grid_posterior(lambda t: 0 * t, [jnp.linspace(0.0, 1.0, 6)])
    assert abs(float(even.coarse_log_evidence)) < 1e-12


def test_no_mass_and_transformations():
    """Half of the line is impossible; float32 stays; jit and grad of the evidence."""
    axis = jnp.linspace(-6.0, 6.0, 241, dtype=jnp.float32)
    law = bayes.grid_posterior(lambda t: jnp.where(t >= 0, -0.5 * t**2, -jnp.inf), [axis])
    assert law.log_weights.dtype == jnp.float32
    # The rule counts half the cell at the jump too much: h / 2 of sqrt(pi / 2).
    area = np.sqrt(np.pi / 2) + 0.025
    assert float(jnp.exp(law.log_evidence)) == pytest.approx(area, rel=1e-5, abs=0)
    assert float(law.expectation(jnp.log1p)) > 0
    evidence = jax.jit(
        lambda s: (
            bayes.grid_posterior(
                lambda t: -0.5 * (t / s) ** 2, [jnp.linspace(-9.0, 9.0, 181)]
            ).log_evidence
        )
    )
    # log(sqrt(2 pi) s) has the slope 1 / s.
    assert float(jax.grad(evidence)(0.8)) == pytest.approx(1.25, abs=1e-8)
    np.testing.assert_allclose(
        jax.vmap(evidence)(jnp.array([0.5, 0.8])),
        0.5 * np.log(2 * np.pi) + np.log([0.5, 0.8]),
        atol=1e-8,
    )


AXIS = np.linspace(0.0, 1.0, 5)


@pytest.mark.parametrize(
    ("axes", "log_joint", "kind", "words"),
    [
        ([AXIS] * 4, lambda *_: 0.0, ValueError, "1 to 3 parameters; got 4"),
        ([], lambda *_: 0.0, ValueError, "1 to 3 parameters; got 0"),
        (AXIS, lambda x: x, TypeError, "list of arrays"),
        ([AXIS[:2]], lambda x: x, ValueError, "at least 3 points"),
        ([AXIS[::-1]], lambda x: x, ValueError, "steps of axis 0"),
        ([np.array([0.0, 1.0, np.inf])], lambda x: x, ValueError, "finite"),
        ([AXIS], lambda x: jnp.log(x - 0.5), ValueError, "below inf"),
        ([AXIS], lambda x: x - jnp.inf, ValueError, "-inf everywhere"),
        ([AXIS], lambda x: jnp.stack([x, x]), ValueError, "must return a scalar"),
    ],
)
def test_bad_input_is_told(axes, log_joint, kind, words):
    with pytest.raises(kind, match=words):
        bayes.grid_posterior(log_joint, axes)
