"""The families built on log-gamma against scipy and mpmath, extremes and boundaries included."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, multigammaln

from igeojax import families
from igeojax.divergences import exponential

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

BETA, GAMMA, INVERSE_GAMMA = families.Beta(), families.Gamma(), families.InverseGamma()
EPS = {"float64": 2.3e-16, "float32": 1.2e-7}
DTYPES = ("float64", "float32")
SCALE = np.array([[2.0, 0.6], [0.6, 1.0]])
MATRICES = np.array([[[1.0, 0.2], [0.2, 0.5]], [[9.0, -3.0], [-3.0, 4.0]], [[0.1, 0.0], [0.0, 3]]])


def exact(value) -> mpmath.mpf:
    return mpmath.mpf(float(value))


def close(got, true, dtype: str, steps: float) -> None:
    error = np.abs(np.asarray(got, float) - np.asarray(true, float))
    assert (error <= steps * EPS[dtype] * (1 + np.abs(np.asarray(true, float)))).all(), error.max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "rate"), [(1e6, 3.0), (1e-3, 2.0), (2.5, 0.1), (1e10, 1.0)])
def test_gamma_log_density_and_entropy_at_extreme_shapes(shape, rate, dtype):
    around = 1 + np.array([-2, -0.3, 0, 2]) / np.sqrt(max(shape, 9))
    x = (shape / rate * around).astype(dtype)
    reciprocal = (1 / x).astype(dtype)
    a, b = np.asarray(shape, dtype), np.asarray(rate, dtype)
    with mpmath.workdps(50):
        p, q = exact(a), exact(b)
        norm = p * mpmath.log(q) - mpmath.loggamma(p)
        direct = [norm + (p - 1) * mpmath.log(exact(v)) - q * exact(v) for v in x]
        inverse = [norm - (p + 1) * mpmath.log(exact(v)) - q / exact(v) for v in reciprocal]
        entropy = p - mpmath.log(q) + mpmath.loggamma(p) + (1 - p) * mpmath.digamma(p)
        inverse_entropy = p + mpmath.log(q) + mpmath.loggamma(p) - (1 + p) * mpmath.digamma(p)
    theta, other = GAMMA.natural_from_params(a, b), INVERSE_GAMMA.natural_from_params(a, b)
    # An observation is known to eps, which moves the density by sqrt(shape) eps.
    steps = 8 * (1 + np.sqrt(shape))
    close(jax.jit(GAMMA.log_density)(theta, x), direct, dtype, steps)
    close(jax.jit(INVERSE_GAMMA.log_density)(other, reciprocal), inverse, dtype, steps)
    close(jax.jit(GAMMA.entropy)(theta), entropy, dtype, 8)
    close(jax.jit(INVERSE_GAMMA.entropy)(other), inverse_entropy, dtype, 8)


def test_the_known_entropies():
    # The peers return 0 for the first, 256 with either sign for the second.
    assert abs(float(GAMMA.entropy(GAMMA.Params(1e7, 1.0))) - 9.47798632533) < 1e-10
    assert abs(float(BETA.entropy(BETA.Params(1e8, 1e8))) + 8.8311) < 1e-4
    narrow = BETA.Params(np.float32(1e8), np.float32(1e8))
    assert abs(float(BETA.entropy(narrow)) + 8.8311) < 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a", "b"), [(0.3, 0.4), (1.0, 1.0), (2.0, 5.0), (1e3, 10.0), (1e6, 2e6), (1e-3, 1e6)]
)
def test_beta_log_density(a, b, dtype):
    bulk = a / (a + b) * (1 + np.array([-2, -1, 0, 1.5, 3]) / np.sqrt(max(a, 10)))
    x = (bulk if a > 1e5 else np.array([1e-12, 1e-3, 0.2, 0.5, 0.99])).astype(dtype)
    a, b = np.asarray(a, dtype), np.asarray(b, dtype)
    with mpmath.workdps(50):
        p, q = exact(a), exact(b)
        norm = -mpmath.log(mpmath.beta(p, q))
        true = [
            norm + (p - 1) * mpmath.log(exact(v)) + (q - 1) * mpmath.log(1 - exact(v)) for v in x
        ]
    density = jax.jit(BETA.log_density)(BETA.natural_from_params(a, b), x)
    close(density, true, dtype, 16 + 4 * np.sqrt(a) * (a > 1e5))


def test_beta_at_the_ends():
    at = lambda a, b: BETA.natural_from_params(a, b)
    np.testing.assert_allclose(BETA.log_density(at(1.0, 8.0), 0.0), np.log(8), rtol=1e-15)
    np.testing.assert_allclose(BETA.log_density(at(8.0, 1.0), 1.0), np.log(8), rtol=1e-15)
    slope = jax.grad(lambda x, theta: BETA.log_density(theta, x))
    assert slope(0.0, at(1.0, 8.0)) == -7
    assert slope(1.0, at(8.0, 1.0)) == 7
    ends = jnp.array([0.0, 1.0])
    np.testing.assert_array_equal(BETA.log_density(at(0.5, 2.0), ends), [np.inf, -np.inf])
    np.testing.assert_allclose(BETA.log_density(at(1.0, 1.0), ends), [0, 0], atol=1e-15)
    tangent = jax.grad(lambda theta: BETA.log_density(theta, 0.0))(at(1.0, 8.0))
    assert np.isfinite(tangent).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiny_concentrations_draw_from_the_ends(dtype):
    tiny = np.asarray(1e-3, dtype)
    theta = BETA.natural_from_params(tiny, tiny)
    x = BETA.sample(jax.random.key(0), theta, (100_000,))
    assert np.isfinite(BETA.log_density(theta, x)).all()
    # The mass of (0.4, 0.6) is 0.04 percent.
    assert ((x > 0.4) & (x < 0.6)).mean() < 0.001
    assert abs(x.mean() - 0.5) < 0.01
    family = families.Dirichlet(3)
    theta = family.natural_from_params(np.asarray([30, 69.998, 0.002], dtype))
    x = family.sample(jax.random.key(1), theta, (100_000,))
    assert np.isfinite(family.log_density(theta, x)).all()
    assert family.in_support(x).all()
    np.testing.assert_allclose(x.mean(axis=0), [0.3, 0.7, 0], atol=1e-3)


def test_moments_modes_and_distribution_functions():
    a, b, x = np.array([0.5, 2.0, 7.0]), np.array([3.0, 2.5, 9.0]), np.array([0.2, 0.5, 0.4])
    theta = BETA.natural_from_params(a, b)
    law = stats.beta(a, b)
    np.testing.assert_allclose(BETA.mean(theta), law.mean(), rtol=1e-14)
    np.testing.assert_allclose(BETA.variance(theta), law.var(), rtol=1e-13)
    np.testing.assert_allclose(BETA.cdf(theta, x), law.cdf(x), rtol=1e-12)
    np.testing.assert_array_equal(BETA.cdf(theta, jnp.array([-1.0, 0.0, 2.0])), [0, 0, 1])
    np.testing.assert_allclose(BETA.mode(theta), [0, 1 / 2.5, 6 / 14], rtol=1e-14)
    flat = BETA.natural_from_params([1.0, 2.0, 0.3, 0.6], [1.0, 1.0, 0.6, 0.3])
    np.testing.assert_array_equal(BETA.mode(flat), [0.5, 1, 0, 1])
    shape, scale = np.array([0.7, 1.5, 3.0]), np.array([1.0, 2.0, 0.5])
    theta, law = INVERSE_GAMMA.natural_from_params(shape, scale), stats.invgamma(shape, scale=scale)
    np.testing.assert_allclose(INVERSE_GAMMA.mean(theta), [np.inf, 4, 0.25], rtol=1e-14)
    np.testing.assert_allclose(INVERSE_GAMMA.variance(theta), [np.inf, np.inf, 0.0625], rtol=1e-14)
    np.testing.assert_allclose(INVERSE_GAMMA.cdf(theta, x), law.cdf(x), rtol=1e-12)
    np.testing.assert_array_equal(INVERSE_GAMMA.cdf(theta, jnp.array([-1.0, 0, np.inf])), [0, 0, 1])
    family, a = families.Dirichlet(3), np.array([0.5, 2.0, 3.0])
    theta = family.natural_from_params(a)
    np.testing.assert_allclose(family.variance(theta), stats.dirichlet.var(a), rtol=1e-14)
    np.testing.assert_allclose(family.entropy(theta), stats.dirichlet.entropy(a), rtol=1e-12)
    np.testing.assert_allclose(family.mode(theta), [0, 1 / 3, 2 / 3], rtol=1e-14)
    x = np.array([0.2, 0.3, 0.5])
    density = family.log_density(theta, x)
    np.testing.assert_allclose(density, stats.dirichlet.logpdf(x, a), rtol=1e-13)


def test_wishart_against_scipy():
    family, law = families.Wishart(2), stats.wishart(5.5, SCALE)
    theta = family.natural_from_params(5.5, SCALE)
    expected = law.logpdf(MATRICES.transpose(1, 2, 0))
    np.testing.assert_allclose(family.log_density(theta, MATRICES), expected, rtol=1e-12)
    np.testing.assert_allclose(family.entropy(theta), law.entropy(), rtol=1e-12)
    np.testing.assert_allclose(family.mean(theta), law.mean(), rtol=1e-13)
    np.testing.assert_allclose(family.variance(theta), law.var(), rtol=1e-13)
    np.testing.assert_allclose(family.mode(theta), law.mode(), rtol=1e-12)


def test_inverse_wishart_against_scipy():
    family, law = families.InverseWishart(2), stats.invwishart(7.5, SCALE)
    theta = family.natural_from_params(7.5, SCALE)
    expected = law.logpdf(MATRICES.transpose(1, 2, 0))
    np.testing.assert_allclose(family.log_density(theta, MATRICES), expected, rtol=1e-12)
    # Not law.entropy(): scipy 1.17 is off by 3/2 log 2, against the mean of its own log-density.
    entropy = multigammaln(3.75, 2) - 5.25 * (digamma(3.75) + digamma(3.25)) + 7.5
    entropy += 1.5 * np.log(np.linalg.det(SCALE / 2))
    np.testing.assert_allclose(family.entropy(theta), entropy, rtol=1e-12)
    np.testing.assert_allclose(family.mean(theta), law.mean(), rtol=1e-13)
    np.testing.assert_allclose(family.variance(theta), law.var(), rtol=1e-13)
    np.testing.assert_allclose(family.mode(theta), law.mode(), rtol=1e-13)
    assert np.isinf(family.mean(family.natural_from_params(2.5, SCALE))).all()


def test_normal_inverse_wishart_against_scipy():
    family, mean, k, dof = families.NormalInverseWishart(2), np.array([1.0, -2.0]), 1.7, 6.5
    theta = family.natural_from_params(mean, k, dof, SCALE)
    x = np.array([[0.5, -1.0], [3.0, 2.0], [1.0, -2.0]])
    data = np.concatenate([x[:, :, None], MATRICES], axis=-1)
    expected = [
        stats.multivariate_normal(mean, v / k).logpdf(point)
        + stats.invwishart(dof, SCALE).logpdf(v)
        for point, v in zip(x, MATRICES, strict=True)
    ]
    np.testing.assert_allclose(family.log_density(theta, data), expected, rtol=1e-12)
    source = family.params_from_natural(theta)
    for value, given in zip(source, (mean, k, dof, SCALE), strict=True):
        np.testing.assert_allclose(value, given, rtol=1e-12)
    back = family.natural_from_mean(family.mean_from_natural(theta))
    for value, given in zip(back, theta, strict=True):
        np.testing.assert_allclose(value, given, rtol=1e-11)
    # KL = that of the covariances, and the mean over them of that of the normal laws.
    other = family.natural_from_params(mean + 0.3, 2.9, 5.0, SCALE + 0.4 * np.eye(2))
    covariances = families.InverseWishart(2)
    p, q = covariances.Params(dof, SCALE), covariances.Params(5.0, SCALE + 0.4 * np.eye(2))
    shift = np.full(2, 0.3)
    square = dof * shift @ np.linalg.inv(SCALE) @ shift
    normal = 2.9 / k - 1 - np.log(2.9 / k) + 0.5 * 2.9 * square
    expected = exponential.kl(covariances, p, q) + normal
    np.testing.assert_allclose(exponential.kl(family, theta, other), expected, rtol=1e-12)


def test_one_dimension_is_the_scalar_family():
    one = np.ones((1, 1))
    wishart, inverse = families.Wishart(1), families.InverseWishart(1)
    x = np.array([0.4, 1.7])
    density = wishart.log_density(wishart.natural_from_params(5.0, 2 * one), x[:, None, None])
    expected = GAMMA.log_density(GAMMA.natural_from_params(2.5, 0.25), x)
    np.testing.assert_allclose(density, expected, rtol=1e-13)
    density = inverse.log_density(inverse.natural_from_params(5.0, 2 * one), x[:, None, None])
    expected = INVERSE_GAMMA.log_density(INVERSE_GAMMA.natural_from_params(2.5, 1.0), x)
    np.testing.assert_allclose(density, expected, rtol=1e-13)
    joint, scalar = families.NormalInverseWishart(1), families.NormalInverseGamma()
    theta = joint.natural_from_params(np.array([0.3]), 2.0, 5.0, 2 * one)
    same = scalar.natural_from_params(0.3, 2.0, 2.5, 1.0)
    for left, right in zip(theta, same, strict=True):
        np.testing.assert_allclose(np.ravel(left)[0], right, rtol=1e-14)
    pair = np.array([0.7, 1.3])
    density = joint.log_density(theta, pair[None])
    np.testing.assert_allclose(density, scalar.log_density(same, pair), rtol=1e-13)
    np.testing.assert_allclose(joint.entropy(theta), scalar.entropy(same), rtol=1e-13)


def test_bad_input():
    with pytest.raises(ValueError, match=r"a must be positive and finite; got 0\.0"):
        BETA.natural_from_params(0.0, 1.0)
    with pytest.raises(ValueError, match=r"concentration must have trailing axes \(3,\)"):
        families.Dirichlet(3).natural_from_params([1.0, 2.0])
    with pytest.raises(ValueError, match=r"dof must be finite and above dim - 1 = 1; got 1\.0"):
        families.Wishart(2).natural_from_params(1.0, SCALE)
    with pytest.raises(ValueError, match="scale must be positive definite"):
        families.InverseWishart(2).natural_from_params(4.0, -SCALE)
    with pytest.raises(ValueError, match="scale must be positive"):
        families.NormalInverseGamma().natural_from_params(0.0, 1.0, 1.0, -1.0)
    with pytest.raises(ValueError, match=r"num_classes must be at least 2; got 1"):
        families.Dirichlet(1)
    with pytest.raises(ValueError, match="The data are degenerate"):
        BETA.fit(jnp.full(5, 0.3))
    with pytest.raises(ValueError, match="The data are degenerate"):
        families.Wishart(2).fit(jnp.tile(SCALE, (5, 1, 1)))
    with pytest.raises(ValueError, match="must lie in its support"):
        families.Dirichlet(2).fit(jnp.array([[0.5, 0.6], [0.5, 0.5]]))


@pytest.mark.parametrize("a", [0.5, 1.0, 2.5])
def test_dirichlet_density_on_the_boundary_is_its_limit(a):
    # x^(a-1) at x = 0: infinite, one, or none.
    family = families.Dirichlet(3)
    theta = family.natural_from_params(np.array([a, 2.0, 3.0]))
    found = float(family.log_density(theta, np.array([0.0, 0.25, 0.75])))
    inner = math.lgamma(5 + a) - math.lgamma(3) + math.log(0.25) + 2 * math.log(0.75)
    expected = {0.5: math.inf, 1.0: inner, 2.5: -math.inf}[a]
    assert found == pytest.approx(expected, rel=1e-13, abs=0)
