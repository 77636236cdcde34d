"""Points at which other libraries return nan, infinity or a negative divergence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

DTYPES = ("float64", "float32")
NORMAL, POISSON, BERNOULLI, GAMMA = (
    families.Normal(),
    families.Poisson(),
    families.Bernoulli(),
    families.Gamma(),
)


def modes(function, *arguments):
    """The gradient in the first argument under grad, jacfwd, jit and vmap: all the same."""
    slopes = [
        jax.grad(function)(*arguments),
        jax.jacfwd(function)(*arguments),
        jax.jit(jax.grad(function))(*arguments),
    ]
    batched = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arguments)
    slopes.append(jax.tree.map(lambda leaf: leaf[0], jax.vmap(jax.grad(function))(*batched)))
    flat = [np.ravel(jax.tree.leaves(slope)) for slope in slopes]
    for other in flat[1:]:
        np.testing.assert_allclose(other, flat[0], rtol=1e-5, atol=1e-30)
    return flat[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scales_forty_orders_apart(dtype):
    p, q = (NORMAL.Params(np.asarray(0, dtype), np.asarray(s, dtype)) for s in (1e-20, 1e20))
    eps = float(np.finfo(dtype).eps)
    assert float(exponential.kl(NORMAL, p, q)) == pytest.approx(
        91.603403719761837, rel=4 * eps, abs=0
    )
    if dtype == "float64":
        slope = modes(lambda p, q: exponential.kl(NORMAL, p, q), p, q)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_poisson_of_rate_zero(dtype):
    p, q = POISSON.Params(np.asarray(0, dtype)), POISSON.Params(np.asarray(2, dtype))
    assert float(exponential.kl(POISSON, p, q)) == 2
    assert float(exponential.kl(POISSON, q, p)) == np.inf
    in_q = modes(lambda q, p: exponential.kl(POISSON, p, q), q, p)
    np.testing.assert_allclose(in_q, [1])
    theta = POISSON.natural_from_params(*p)
    assert float(POISSON.log_density(theta, 0)) == 0
    assert np.isfinite(modes(lambda r: POISSON.entropy(POISSON.Params(r)), q.rate)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_certain_coin(dtype):
    one, half = BERNOULLI.Params(np.asarray(1, dtype)), BERNOULLI.Params(np.asarray(0.5, dtype))
    eps = float(np.finfo(dtype).eps)
    assert float(exponential.kl(BERNOULLI, one, half)) == pytest.approx(
        np.log(2), rel=4 * eps, abs=0
    )
    assert float(exponential.kl(BERNOULLI, half, one)) == np.inf
    assert float(exponential.kl(BERNOULLI, one, one)) == 0
    assert float(BERNOULLI.entropy(one)) == 0
    in_q = modes(lambda q, p: exponential.kl(BERNOULLI, p, q), half, one)
    np.testing.assert_allclose(in_q, [-2], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [1e7, 1e-7])
def test_gamma_of_extreme_shape(dtype, shape):
    truth = {
        ("float64", 1e7): 9.4779863253504985,
        ("float32", 1e7): 9.4779863253504985,
        ("float64", 1e-7): -9999983.4591197499,
        ("float32", 1e-7): -9999983.3422587883,
    }
    params = GAMMA.Params(np.asarray(shape, dtype), np.asarray(1, dtype))
    tolerance = {"float64": 1e-13, "float32": 1e-5}[dtype]
    assert float(GAMMA.entropy(params)) == pytest.approx(truth[dtype, shape], rel=tolerance, abs=0)
    assert np.isfinite(modes(GAMMA.entropy, params)).all()


def test_gamma_of_nearly_constant_data():
    # The gap log E[x] - E[log x] is 5e-19: scipy raises, a naive solve returns nan.
    x = 1 + 1e-9 * np.array([-1.0, 1.0])
    shape = float(GAMMA.params_from_natural(GAMMA.fit(x)).shape)
    assert shape == pytest.approx(1e18, rel=1e-6, abs=0)


def test_a_smooth_covariance_in_float32_is_never_a_silent_nan():
    family = families.MultivariateNormal(20)
    grid = np.linspace(0, 1, 20)
    covariance = np.exp(-0.5 * ((grid[:, None] - grid[None]) / 0.5) ** 2).astype("float32")
    mean = np.zeros(20, "float32")
    with pytest.raises(ValueError, match=r"positive definite; got smallest eigenvalue.*Add a"):
        family.natural_from_params(mean=mean, covariance=covariance)
    # Under jit values cannot raise: the predicate says so.
    inside = jax.jit(lambda c: family.in_natural_domain(family.natural_from_params(mean, c)))(
        covariance
    )
    assert not inside
    jittered = covariance + 1e-4 * np.eye(20, dtype="float32")
    theta = family.natural_from_params(mean=mean, covariance=jittered)
    assert np.isfinite(family.log_density(theta, mean))


@functools.cache
def equal_pairs():
    """Equal points with extreme source parameters."""
    return [
        (NORMAL, NORMAL.Params(1e8, 1e-8)),
        (NORMAL, NORMAL.Params(0.0, 1e150)),
        (POISSON, POISSON.Params(1e300)),
        (POISSON, POISSON.Params(0.0)),
        (BERNOULLI, BERNOULLI.Params(1e-150)),
        (BERNOULLI, BERNOULLI.Params(1.0)),
        (GAMMA, GAMMA.Params(1e12, 1e-12)),
        (GAMMA, GAMMA.Params(1e-12, 1e12)),
        (families.Beta(), families.Beta.Params(1e-10, 1e10)),
        (families.Dirichlet(3), families.Dirichlet.Params(np.array([1e-8, 1.0, 1e8]))),
        (families.InverseGaussian(), families.InverseGaussian.Params(1e-8, 1e8)),
        (families.NegativeBinomial(2.0), families.NegativeBinomial.Params(1e-12)),
    ]


@pytest.mark.parametrize("index", range(12))
def test_equal_extreme_points_are_at_zero(index):
    family, p = equal_pairs()[index]
    assert float(exponential.kl(family, p, p)) == 0
    for order in (0.5, 1.0, 2.0):
        assert abs(float(exponential.renyi(family, p, p, order=order))) <= 1e-15
        assert abs(float(exponential.alpha_divergence(family, p, p, order=order))) <= 1e-15
    divergence = jax.jit(jax.grad(lambda q: exponential.kl(family, p, q)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(divergence(p)))
    # Hessian times vector, the metric in source parameters.
    slope = lambda q: jax.grad(lambda r: exponential.kl(family, p, r))(q)
    floats = jax.tree.map(jnp.asarray, p)
    product = jax.jvp(slope, (floats,), (floats,))[1]
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(product))


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (families.Bernoulli(), [0.0, 1.0]),
        (families.Binomial(3), [0.0, 3.0]),
        (families.Categorical(3), [[0.0, 0.0], [1.0, 0.0]]),
        (families.Multinomial(3, 3), [[0.0, 0.0], [0.0, 3.0]]),
    ],
    ids=str,
)
def test_dual_potential_at_certain_outcomes(family, ends):
    # sum p log p is 0 there, also where no natural parameter exists.
    potential = lambda eta: family.dual_potential(family.Point(eta))
    for end in ends:
        assert float(potential(jnp.asarray(end))) == 0
        assert np.isfinite(jax.grad(potential)(jnp.asarray(end))).all()
    middle = jnp.asarray(ends[1]) * 0.3 + 0.1
    slope, expected = jax.grad(potential)(middle), family.natural_from_mean(family.Point(middle))
    np.testing.assert_allclose(slope, expected[0], rtol=1e-14)
