"""The Fisher metric against Hessians, covariances of samples and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import polygamma

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family


@functools.cache
def compiled(name):
    """Everything the laws need of a family, compiled once."""
    family = FAMILIES[name].family

    def potential(vector):
        return family.log_partition(geometry.unravel(family, vector))

    @jax.jit
    def quantities(theta, u, v):
        tangents = geometry.unravel(family, u), geometry.unravel(family, v)
        return {
            "matrix": geometry.fisher_matrix(family, theta),
            "hessian": jax.vmap(jax.hessian(potential))(geometry.ravel(family, theta)),
            "matvec": geometry.ravel(family, geometry.fisher_matvec(family, theta, tangents[1])),
            "raised": geometry.ravel(family, geometry.sharp(family, theta, tangents[1])),
            "inner": geometry.inner(family, theta, *tangents),
            "swapped": geometry.inner(family, theta, *tangents[::-1]),
            "norm": geometry.inner(family, theta, tangents[0], tangents[0]),
            "mapped": jax.vmap(lambda point: geometry.fisher_matrix(family, point))(theta),
        }

    return quantities


@functools.cache
def evaluated(name):
    entry, key = FAMILIES[name], jax.random.key(7)
    theta = entry.point(key, (3,))
    u, v = jax.random.normal(key, (2, 3, entry.family.dimension))
    return jax.tree.map(np.asarray, (theta, u, v, compiled(name)(theta, u, v)))


@each_family
def test_fisher_matrix_is_the_hessian_of_the_log_partition(name):
    *_, found = evaluated(name)
    np.testing.assert_allclose(found["matrix"], found["hessian"], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found["mapped"], found["matrix"], rtol=1e-12, atol=1e-14)


@each_family
def test_fisher_matrix_is_symmetric_positive_definite(name):
    *_, found = evaluated(name)
    np.testing.assert_array_equal(found["matrix"], np.swapaxes(found["matrix"], -1, -2))
    assert (np.linalg.eigvalsh(found["matrix"]) > 0).all()


@each_family
def test_matvec_and_inner_agree_with_the_matrix(name):
    _, u, v, found = evaluated(name)
    image = np.einsum("nij,nj->ni", found["matrix"], v)
    np.testing.assert_allclose(found["matvec"], image, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["inner"], np.sum(u * image, -1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["inner"], found["swapped"], rtol=1e-9, atol=1e-12)
    assert (found["norm"] > 0).all()


@each_family
def test_sharp_is_the_solution_of_a_linear_system(name):
    _, _, v, found = evaluated(name)
    expected = np.linalg.solve(found["matrix"], v[..., None])[..., 0]
    size = np.abs(expected).max(-1, keepdims=True)
    np.testing.assert_allclose(found["raised"] / size, expected / size, rtol=0, atol=1e-9)


@each_family
def test_fisher_matrix_is_the_covariance_of_the_statistics(name, key):
    entry, count = FAMILIES[name], 40_000
    theta = entry.point(jax.random.key(3))
    draw = lambda key: entry.family.statistics(entry.family.sample(key, theta, (count,)))
    statistics = np.asarray(jax.jit(lambda key: geometry.ravel(entry.family, draw(key)))(key))
    centred = statistics - statistics.mean(0)
    products = centred[:, :, None] * centred[:, None, :]
    standard_error = products.std(0) / np.sqrt(count)
    fisher = jax.jit(lambda t: geometry.fisher_matrix(entry.family, t))(theta)
    error = np.abs(products.mean(0) - fisher)
    assert (error < 5 * standard_error).all()


@each_family
def test_float32_stays_and_is_near_float64(name):
    theta, u, v, found = evaluated(name)
    single = functools.partial(jax.tree.map, lambda leaf: jnp.asarray(leaf, jnp.float32))
    theta, u, v = single((theta, u, v))
    rounded = compiled(name)(theta, u, v)
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded)} == {np.dtype("float32")}
    matrix = rounded["matrix"]
    size = np.abs(found["matrix"]).max()
    np.testing.assert_allclose(matrix, found["matrix"], rtol=0, atol=3e-5 * size)


def pullback(family, chart, xi):
    return np.asarray(jax.jit(lambda xi: geometry.pullback(family, chart, xi))(xi))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_normal_in_mean_and_variance_or_deviation(scale):
    normal = families.Normal()
    by_variance = pullback(
        normal, lambda xi: normal.natural_from_params(xi[0], jnp.sqrt(xi[1])), [0.7, scale**2]
    )
    np.testing.assert_allclose(
        by_variance, np.diag([scale**-2, scale**-4 / 2]), rtol=1e-12, atol=1e-13
    )
    by_deviation = pullback(
        normal, lambda xi: normal.natural_from_params(xi[0], xi[1]), [0.7, scale]
    )
    np.testing.assert_allclose(
        by_deviation, np.diag([scale**-2, 2 * scale**-2]), rtol=1e-12, atol=1e-13
    )


def test_gamma_in_shape_and_rate():
    gamma, shape, rate = families.Gamma(), 2.3, 0.7
    found = pullback(gamma, lambda xi: gamma.natural_from_params(*xi), [shape, rate])
    expected = [
        [float(polygamma(1, shape)), -1 / rate],
        [-1 / rate, shape / rate**2],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_categorical_in_minimal_probabilities():
    categorical, p = families.Categorical(4), np.array([0.1, 0.2, 0.3, 0.4])

    def chart(minimal):
        return categorical.natural_from_params(jnp.append(minimal, 1 - minimal.sum()))

    expected = np.diag(1 / p[:-1]) + 1 / p[-1]
    np.testing.assert_allclose(pullback(categorical, chart, p[:-1]), expected, rtol=1e-12)
    by_logits = geometry.fisher_matrix(categorical, categorical.natural_from_params(p))
    np.testing.assert_allclose(
        by_logits, np.diag(p[:-1]) - np.outer(p[:-1], p[:-1]), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize(
    ("family", "xi", "expected"),
    [
        (families.Bernoulli(), 0.2, 1 / (0.2 * 0.8)),
        (families.Poisson(), 2.5, 1 / 2.5),
        (families.Exponential(), 2.5, 1 / 2.5**2),
        (families.NormalKnownScale(scale=3.0), -1.0, 1 / 9),
    ],
)
def test_one_dimensional_families_in_their_source_parameter(family, xi, expected):
    found = pullback(family, family.natural_from_params, xi)
    np.testing.assert_allclose(found, [[expected]], rtol=1e-12)


def test_multivariate_normal_in_the_mean_is_the_precision():
    family = families.MultivariateNormal(3)
    covariance = jnp.asarray([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]])
    found = pullback(family, lambda mean: family.natural_from_params(mean, covariance), jnp.ones(3))
    np.testing.assert_allclose(found, np.linalg.inv(covariance), rtol=1e-11, atol=1e-13)


@each_family
def test_pullback_to_the_mean_chart_is_the_inverse_metric(name):
    theta, *_, found = evaluated(name)
    family = FAMILIES[name].family
    eta = family.mean_from_natural(jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), theta))
    metric = pullback(
        family,
        lambda vector: family.natural_from_mean(geometry.unravel(family, vector)),
        geometry.ravel(family, eta),
    )
    product = metric @ found["matrix"][0]
    np.testing.assert_allclose(product, np.eye(family.dimension), atol=1e-8)


def test_curved_family_has_the_metric_of_its_arc_length():
    # N(m, m^2): information 1/m^2 + 2/m^2, in closed form.
    normal, m = families.Normal(), 1.7
    found = pullback(normal, lambda m: normal.natural_from_params(m, m), m)
    np.testing.assert_allclose(found, [[3 / m**2]], rtol=1e-12)


def test_charts_may_be_trees():
    normal = families.Normal()
    chart = lambda xi: normal.natural_from_params(xi["loc"], jnp.exp(xi["log_scale"]))
    found = pullback(normal, chart, {"loc": 0.3, "log_scale": jnp.log(2.0)})
    np.testing.assert_allclose(found, np.diag([1 / 4, 2.0]), rtol=1e-12, atol=1e-14)


def test_pullback_refuses_a_batch_and_what_is_no_point():
    normal = families.Normal()
    with pytest.raises(ValueError, match=r"one point; got batch shape \(2,\).*jax\.vmap"):
        geometry.pullback(normal, lambda xi: normal.natural_from_params(xi, 1.0), jnp.ones(2))
    with pytest.raises(TypeError, match=r"needs a Normal\.Point"):
        geometry.pullback(normal, lambda xi: xi, jnp.ones(2))


def test_tangents_are_checked():
    normal, poisson = families.Normal(), families.Poisson().Point(jnp.array(1.0))
    theta = normal.natural_from_params(0.0, 1.0)
    good, long = normal.Point(1.0, 0.0), normal.Point(jnp.ones(3), jnp.ones(3))
    calls = {
        "matvec": lambda tangent: geometry.fisher_matvec(normal, theta, tangent),
        "left": lambda tangent: geometry.inner(normal, theta, tangent, good),
        "right": lambda tangent: geometry.inner(normal, theta, good, tangent),
        "sharp": lambda tangent: geometry.sharp(normal, theta, tangent),
    }
    for call in calls.values():
        with pytest.raises(TypeError, match=r"needs a Normal\.Point; got PoissonPoint"):
            call(poisson)
        with pytest.raises(ValueError, match=r"batch shape of theta, \(\); got \(3,\)\. Broadcast"):
            call(long)
    with pytest.raises(TypeError, match=r"needs a Normal\.Point"):
        geometry.fisher_matrix(normal, poisson)


SOURCES = {
    "Normal": families.Normal.Params(0.4, 1.3),
    "Gamma": families.Gamma.Params(2.5, 0.7),
    "Poisson": families.Poisson.Params(3.0),
    "Bernoulli": families.Bernoulli.Params(0.3),
    "LogNormal": families.LogNormal.Params(0.4, 1.3),
    "InverseGaussian": families.InverseGaussian.Params(1.4, 2.0),
}


@pytest.mark.parametrize("name", SOURCES)
def test_metric_of_source_parameters(name):
    family, params = FAMILIES[name].family, SOURCES[name]
    chart = lambda xi: family.natural_from_params(*xi)
    expected = pullback(family, chart, jnp.asarray(params))
    found = jax.jit(lambda p: geometry.source_fisher_matrix(family, p))(params)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_metric_of_source_parameters_wants_one_law():
    normal = families.Normal()
    with pytest.raises(TypeError, match=r"needs its Params.*got NormalPoint.*fisher_matrix"):
        geometry.source_fisher_matrix(normal, normal.natural_from_params(0.0, 1.0))
    with pytest.raises(ValueError, match=r"one law; got a batch of shape \(2,\).*vmap"):
        geometry.source_fisher_matrix(normal, normal.Params(jnp.zeros(2), jnp.ones(2)))


def test_leaves_may_be_python_numbers():
    normal = families.Normal()
    theta, tangent = normal.Point(0.0, -0.5), normal.Point(1.0, 2.0)
    matrix = np.diag([1.0, 2.0])  # of the standard normal law
    np.testing.assert_allclose(geometry.fisher_matrix(normal, theta), matrix, rtol=1e-15)
    image = geometry.ravel(normal, geometry.fisher_matvec(normal, theta, tangent))
    np.testing.assert_allclose(image, [1.0, 4.0], rtol=1e-15)
    assert float(geometry.inner(normal, theta, tangent, tangent)) == pytest.approx(9.0)
    assert float(normal.fisher_matvec(theta, tangent).xx) == pytest.approx(4.0)


def test_there_is_no_metric_outside_the_domain():
    normal = families.Normal()
    theta = normal.Point(jnp.zeros(2), jnp.array([1.0, -0.5]))
    matrix = geometry.fisher_matrix(normal, theta)
    assert np.isnan(matrix[0]).all()
    np.testing.assert_allclose(matrix[1], np.diag([1.0, 2.0]), rtol=1e-15)
    ones = jax.tree.map(jnp.ones_like, theta)
    np.testing.assert_array_equal(
        np.isnan(geometry.ravel(normal, geometry.sharp(normal, theta, ones))),
        [[True, True], [False, False]],
    )
    outside = geometry.pullback(normal, lambda xi: normal.Point(0 * xi, xi), jnp.array(1.0))
    assert np.isnan(outside).all()


@pytest.mark.parametrize(
    ("family", "found"), [("Normal", "str"), (families.Normal, "class Normal"), (None, "NoneType")]
)
def test_a_family_is_an_instance(family, found):
    normal = families.Normal()
    theta = normal.natural_from_params(0.0, 1.0)
    for call in (
        lambda: geometry.fisher_matvec(family, theta, theta),
        lambda: geometry.fisher_matrix(family, theta),
        lambda: geometry.source_fisher_matrix(family, normal.Params(0.0, 1.0)),
        lambda: geometry.inner(family, theta, theta, theta),
        lambda: geometry.sharp(family, theta, theta),
        lambda: geometry.pullback(family, lambda xi: theta, jnp.zeros(2)),
    ):
        with pytest.raises(TypeError, match=f"instance of a family.*; got {found}. Call the class"):
            call()
