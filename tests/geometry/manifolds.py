"""What the tests of manifolds, connections and curvature need of a family, in one program each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES

# Programs of third and fourth derivatives take long to compile: one family stands for all.
LIGHT = {"Normal"}
each_manifold = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in LIGHT else [pytest.mark.slow]) for name in FAMILIES],
)
"""Runs a test on every family."""
NO_CLOSED_FORM = {
    *("Gamma", "InverseGamma", "NormalInverseGamma", "Wishart", "InverseWishart", "VonMises"),
    *("NormalInverseWishart", "Beta", "Dirichlet", "VonMisesFisher", "MultivariateNormal"),
}
"""Families whose Fisher-Rao distance is numerical."""
ALPHAS = np.array([-1.0, 0.0, 0.4, 1.0])


def in_deviation():
    """Normal laws in `(mu, sigma)`."""
    normal = families.Normal()
    return geometry.family_manifold(normal, lambda xi: normal.natural_from_params(xi[0], xi[1]))


def by_hand():
    """The same from third moments of the scores z/s and (z^2 - 1)/s, quick to compile."""
    cubes = np.zeros((2, 2, 2))
    cubes[0, 0, 1] = cubes[0, 1, 0] = cubes[1, 0, 0] = 2  # E[z^2 (z^2 - 1)]
    cubes[1, 1, 1] = 8  # E[(z^2 - 1)^3]
    return geometry.StatisticalManifold(
        metric=lambda x: jnp.diag(jnp.array([1.0, 2.0], x.dtype)) / x[1] ** 2,
        skewness=lambda x: jnp.asarray(cubes, x.dtype) / x[1] ** 3,
    )


def tensors(manifold, x):
    """Metric and skewness, compiled: what is run op by op compiles every one of them."""
    return jax.jit(lambda x: (manifold.metric(x), manifold.skewness(x)))(x)


@functools.cache
def program(name):
    """Tensors of a family at one natural and one mean vector."""
    family = FAMILIES[name].family
    natural, mean = (geometry.family_manifold(family, chart) for chart in ("natural", "mean"))

    def potential(theta):
        return family.log_partition(geometry.unravel(family, theta))

    def natural_from_mean(eta):
        return geometry.ravel(family, family.natural_from_mean(geometry.unravel(family, eta)))

    def first_kind(manifold, x):
        return lambda alpha: geometry.connection_first_kind(manifold, x, alpha=alpha)

    @jax.jit
    def quantities(theta, eta, alphas):
        return {
            "metric": natural.metric(theta),
            "skewness": natural.skewness(theta),
            "hessian": jax.hessian(potential)(theta),
            "third": jax.jacfwd(jax.hessian(potential))(theta),
            "natural": jax.vmap(first_kind(natural, theta))(alphas),
            "mean": jax.vmap(first_kind(mean, eta))(alphas),
            "mean_metric": mean.metric(eta),
            "mean_skewness": mean.skewness(eta),
            "dual_third": jax.jacfwd(jax.jacfwd(natural_from_mean))(eta),
        }

    return quantities


@functools.cache
def point(name):
    """A natural vector and its mean vector."""
    entry = FAMILIES[name]
    theta = entry.point(jax.random.key(7))
    eta = entry.family.mean_from_natural(theta)
    return tuple(np.asarray(geometry.ravel(entry.family, p)) for p in (theta, eta))


@functools.cache
def evaluated(name):
    return jax.tree.map(np.asarray, program(name)(*point(name), ALPHAS))


@functools.cache
def curvatures(name):
    """Metric and Riemann tensors of all alphas, in natural coordinates."""
    manifold = geometry.family_manifold(FAMILIES[name].family)

    @jax.jit
    def program(theta, alphas):
        riemann = lambda alpha: geometry.riemann_tensor(manifold, theta, alpha=alpha)
        return manifold.metric(theta), jax.vmap(riemann)(alphas)

    return tuple(map(np.asarray, program(point(name)[0], ALPHAS)))


def whitened(metric, tensor):
    """The tensor in an orthonormal frame, where entries of one size mean the same."""
    frame = np.linalg.inv(np.linalg.cholesky(metric))
    for axis in range(tensor.ndim):
        tensor = np.moveaxis(np.tensordot(frame, tensor, axes=(1, axis)), 0, axis)
    return tensor


def close(metric, found, expected, tolerance):
    """Compare lower tensors in an orthonormal frame, relative to the largest entry or to 1."""
    found, expected = whitened(metric, found), whitened(metric, expected)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
    )
