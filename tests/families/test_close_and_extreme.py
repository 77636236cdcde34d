"""Source parameters that nearly coincide, or lie at the ends: digits, and finite derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential

DTYPES = ("float64", "float32")
F = families


def exact_bernoulli(p, q):
    return p * mpmath.log(p / q) + (1 - p) * mpmath.log((1 - p) / (1 - q))


def exact_inverse_gaussian(p, q):
    (m, a), (n, b) = p, q
    ratio = b / a
    return (ratio - 1 - mpmath.log(ratio)) / 2 + b * (m / n - 1) ** 2 / (2 * m)


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_coins_keep_their_digits(dtype):
    generator, eps = np.random.default_rng(0), np.finfo(dtype).eps
    coin, many = F.Bernoulli(), F.Binomial(6)
    for _ in range(30):
        p = generator.uniform(0.01, 0.99)
        p, q = np.asarray([p, p * (1 + 10 ** generator.uniform(-7, -1))], dtype)
        if p == q or q >= 1:
            continue
        with mpmath.workdps(60):
            true = exact_bernoulli(*(mpmath.mpf(float(v)) for v in (p, q)))
            found = exponential.kl(coin, coin.Params(p), coin.Params(q))
            assert abs(mpmath.mpf(float(found)) - true) <= 32 * eps * true
            found = exponential.kl(many, many.Params(p), many.Params(q))
            assert abs(mpmath.mpf(float(found)) - 6 * true) <= 6 * 32 * eps * true


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_inverse_gaussian_laws_keep_their_digits(dtype):
    family, eps = F.InverseGaussian(), np.finfo(dtype).eps
    pairs = [((1.3, 2), (1.3000001, 2)), ((1, 1e8), (1.0000001, 1e8)), ((0.5, 3), (0.7, 1))]
    for pair in pairs:
        p, q = (np.asarray(v, dtype) for v in pair)
        with mpmath.workdps(60):
            exact = [[mpmath.mpf(float(x)) for x in v] for v in (p, q)]
            true = exact_inverse_gaussian(*exact)
            found = exponential.kl(family, family.Params(*p), family.Params(*q))
            # The inverse mean of natural coordinates enters squared: a few tens of eps.
            assert abs(mpmath.mpf(float(found)) - true) <= 64 * eps * true, pair


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [F.Geometric(), F.NegativeBinomial(2.5)])
def test_a_success_that_is_certain(family, dtype):
    sure, other = (family.Params(jnp.asarray(p, dtype)) for p in (1.0, 0.3))
    value = float(exponential.kl(family, sure, other))
    successes = getattr(family, "successes", 1)
    assert value == pytest.approx(-successes * np.log(0.3), rel=1e-6, abs=0)
    functions = [
        lambda p: exponential.kl(family, p, other),
        lambda p: exponential.renyi(family, p, other, order=0.3),
        lambda p: exponential.hellinger(family, p, other),
        family.entropy,
        lambda p: family.mean(family.natural_from_params(*p)),
        lambda p: family.variance(family.natural_from_params(*p)),
    ]
    for function in functions:
        assert finite(jax.grad(function)(sure))
        assert finite(jax.jacfwd(function)(sure))


@pytest.mark.parametrize("dtype", DTYPES)
def test_boundary_points_have_finite_gradients(dtype):
    coin, label, count = F.Bernoulli(), F.Categorical(3), F.Poisson()
    for end in (-np.inf, np.inf):
        gradient = jax.grad(coin.entropy)(coin.Point(jnp.asarray(end, dtype)))
        assert float(gradient.x) == 0
    for eta in (0.0, 1.0):
        assert finite(jax.grad(coin.dual_potential)(coin.Point(jnp.asarray(eta, dtype))))
    rows = label.Point(jnp.asarray([0.0, 0.4], dtype))
    total = lambda eta: jnp.sum(jnp.exp(label.natural_from_mean(eta).one_hot))
    assert finite(jax.grad(total)(rows))
    nothing = count.Point(jnp.asarray(0.0, dtype))
    assert finite(jax.grad(lambda eta: jnp.exp(count.natural_from_mean(eta).x))(nothing))
    weights = jnp.asarray([1.0, 0.0, 1.0, 1.0], dtype)
    fit = lambda w: label.mean_from_natural(label.fit(jnp.array([0, 1, 2, 2]), w)).one_hot[0]
    assert finite(jax.grad(fit)(weights))


def test_weibull_moments_of_extreme_shapes():
    for shape in (1.5, 900.0, 1100.0, 1e6, 1e10):
        family = F.Weibull(shape)
        theta = family.natural_from_params(jnp.asarray(1.0))
        with mpmath.workdps(60):
            one, two = (mpmath.gamma(1 + mpmath.mpf(k) / mpmath.mpf(shape)) for k in (1, 2))
            true = float(two - one**2)
        assert float(family.variance(theta)) == pytest.approx(true, rel=1e-8, abs=0)
    heavy = F.Weibull(0.004)
    assert np.isinf(heavy.mean(heavy.natural_from_params(jnp.asarray(1.0))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gamma_of_a_tiny_shape_comes_back(dtype):
    family = F.Gamma()
    for shape in (1e-9, 1e-15):
        theta = family.natural_from_params(np.asarray(shape, dtype), np.asarray(1.0, dtype))
        back = family.natural_from_mean(family.mean_from_natural(theta))
        assert float(back.log_x) == pytest.approx(
            shape, rel=1e-5 if dtype == "float32" else 1e-12, abs=0
        )
