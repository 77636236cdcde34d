"""Missing entries: marginals and conditionals by brute force, quadrature and the scipy optimum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from igeojax import families
from igeojax.families import FAMILIES, missing
from tests.laws.programs import each_family

DIM = 3
FAMILY = families.MultivariateNormal(DIM)
log_density = jax.jit(missing.observed_log_density, static_argnums=0)
statistics = jax.jit(missing.expected_statistics, static_argnums=0)


def drawn(family, seed=0, size=12, share=0.4):
    """Normal parameters far from the origin, and data of which some entries are missing."""
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(DIM, DIM))
    covariance = root @ root.T + 0.1 * np.eye(DIM)
    mean = 100 + generator.normal(size=DIM)
    x = generator.multivariate_normal(mean, covariance, size)
    x[generator.uniform(size=x.shape) < share] = np.nan
    x[0], x[1, 1:] = np.nan, np.nan
    if isinstance(family, families.MultivariateNormal):
        return family.natural_from_params(mean, covariance), mean, covariance, x
    scale = np.sqrt(np.diag(covariance))
    scale = scale if isinstance(family, families.DiagonalNormal) else scale[0]
    theta = family.natural_from_params(mean, scale)
    return theta, mean, np.diag(np.broadcast_to(scale, DIM) ** 2), x


@pytest.mark.parametrize(
    "family", [FAMILY, families.DiagonalNormal(DIM), families.IsotropicNormal(DIM)], ids=repr
)
def test_normal_laws_against_blocks_of_the_covariance(family):
    theta, mean, covariance, x = drawn(family)
    density, found = log_density(family, theta, x), statistics(family, theta, x)
    for i, row in enumerate(x):
        seen, free = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        known, spread, value = mean.copy(), np.zeros((DIM, DIM)), 0.0
        known[seen] = row[seen]
        if len(seen):
            block = covariance[np.ix_(seen, seen)]
            value = scipy.stats.multivariate_normal(mean[seen], block).logpdf(row[seen])
            gain = np.linalg.solve(block, covariance[np.ix_(seen, free)]).T
            known[free] += gain @ (row[seen] - mean[seen])
            spread[np.ix_(free, free)] = (
                covariance[np.ix_(free, free)] - gain @ (covariance[np.ix_(seen, free)])
            )
        else:
            spread = covariance
        np.testing.assert_allclose(density[i], value, rtol=1e-11)
        np.testing.assert_allclose(found.x[i], known, rtol=1e-12)
        second = np.outer(known, known) + spread
        if isinstance(family, families.DiagonalNormal):
            second = np.diag(second)
        elif isinstance(family, families.IsotropicNormal):
            second = np.trace(second)
        np.testing.assert_allclose(jax.tree.leaves(found)[1][i], second, rtol=1e-12)


@each_family
def test_all_observed_or_nothing(name):
    family = FAMILIES[name].family
    theta = FAMILIES[name].point(jax.random.key(0))
    x = family.sample(jax.random.key(1), theta, (4,))
    holes = jax.tree.map(lambda leaf: leaf.astype(float).at[2].set(jnp.nan), x)
    density, found = log_density(family, theta, holes), statistics(family, theta, holes)
    full = family.log_density(theta, x)
    np.testing.assert_allclose(density, full.at[2].set(0.0), rtol=1e-10)
    eta = family.mean_from_natural(theta)
    for leaf, seen, mean in zip(
        *map(jax.tree.leaves, (found, family.statistics(x), eta)), strict=True
    ):
        np.testing.assert_allclose(leaf, seen.at[2].set(mean), rtol=1e-10)
    # The derivative of the log-density is E[T | observed] - eta, Fisher's identity.
    slope = jax.grad(lambda t: jnp.sum(missing.observed_log_density(family, t, holes)))(theta)
    for leaf, seen, mean in zip(*map(jax.tree.leaves, (slope, found, eta)), strict=True):
        scale = np.abs(seen).max()
        np.testing.assert_allclose(leaf, (seen - mean[None]).sum(0), rtol=1e-7, atol=1e-9 * scale)
    missing.require_observed_support(family, holes)
    filled = missing.completed(family, holes)
    assert jnp.all(family.in_support(filled))
    kept = np.array([0, 1, 1, 3])
    for leaf, seen in zip(jax.tree.leaves(filled), jax.tree.leaves(x), strict=True):
        np.testing.assert_array_equal(leaf, seen[kept])


def test_gradients_are_the_identity_of_fisher_for_single_entries():
    theta, _, _, x = drawn(FAMILY)
    slope = jax.grad(lambda t: jnp.sum(log_density(FAMILY, t, x)))(theta)
    found, eta = statistics(FAMILY, theta, x), FAMILY.mean_from_natural(theta)
    np.testing.assert_allclose(slope.x, (found.x - eta.x[None]).sum(0), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(slope.xx, (found.xx - eta.xx[None]).sum(0), rtol=1e-7, atol=1e-5)


PRODUCT = families.Product(
    (families.MultivariateNormal(2), families.Categorical(3), families.Poisson())
)


def _product_point():
    parts = PRODUCT.families
    return families.Product.Point(
        parts[0].natural_from_params([1.0, -2.0], [[2.0, 0.8], [0.8, 1.0]]),
        parts[1].natural_from_params([0.2, 0.5, 0.3]),
        parts[2].natural_from_params(2.5),
    )


def test_a_product_against_quadrature_and_sums():
    theta, nan = _product_point(), np.nan
    x = (
        jnp.array([[nan, -1.0], [0.5, nan], [nan, nan], [nan, 0.0]]),
        jnp.array([1.0, nan, nan, 2.0]),
        jnp.array([nan, 3.0, 4.0, nan]),
    )
    found, expected = log_density(PRODUCT, theta, x), statistics(PRODUCT, theta, x)
    line = np.linspace(-13.0, 13.0, 521)
    counts, labels = np.arange(40), np.arange(3)
    for i in range(4):
        first, second = (line if np.isnan(v) else np.asarray([v]) for v in x[0][i])
        label = labels if np.isnan(x[1][i]) else np.asarray([int(x[1][i])])
        count = counts if np.isnan(x[2][i]) else np.asarray([x[2][i]])
        step = (line[1] - line[0]) ** (len(first) > 1) * (line[1] - line[0]) ** (len(second) > 1)
        plane = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
        parts = [
            scipy.stats.multivariate_normal([1.0, -2.0], [[2.0, 0.8], [0.8, 1.0]]).pdf(plane),
            np.array([0.2, 0.5, 0.3])[label],
            scipy.stats.poisson(2.5).pmf(count),
        ]
        parts[0] = np.atleast_1d(parts[0])
        total = parts[0].sum() * step * parts[1].sum() * parts[2].sum()
        np.testing.assert_allclose(found[i], np.log(total), rtol=1e-9, atol=1e-12)
        law = parts[0] / parts[0].sum()
        np.testing.assert_allclose(expected[0].x[i], law @ plane, rtol=1e-8)
        outer = plane[:, :, None] * plane[:, None, :]
        np.testing.assert_allclose(expected[0].xx[i], np.tensordot(law, outer, 1), rtol=1e-8)
        share = np.zeros(3)
        share[label] = parts[1] / parts[1].sum()
        np.testing.assert_allclose(expected[1].one_hot[i], share[:2], rtol=1e-12)
        np.testing.assert_allclose(expected[2].x[i], parts[2] @ count / parts[2].sum(), rtol=1e-9)


def test_em_of_one_normal_law_reaches_the_maximum_of_the_observed_likelihood():
    family = families.MultivariateNormal(2)
    generator = np.random.default_rng(3)
    x = generator.multivariate_normal([1.0, -1.0], [[2.0, 1.0], [1.0, 1.5]], 40)
    x[:15, 1], x[15:22, 0], x[22] = np.nan, np.nan, np.nan
    theta = family.fit(missing.completed(family, x))

    @jax.jit
    def step(theta):
        found = missing.expected_statistics(family, theta, x)
        return family.natural_from_mean(jax.tree.map(lambda leaf: leaf.mean(0), found))

    for _ in range(300):
        theta = step(theta)

    def loss(v):
        factor = np.array([[np.exp(v[2]), 0.0], [v[3], np.exp(v[4])]])
        covariance, total = factor @ factor.T, 0.0
        for row in x:
            seen = np.flatnonzero(~np.isnan(row))
            if len(seen):
                law = scipy.stats.multivariate_normal(v[seen], covariance[np.ix_(seen, seen)])
                total -= law.logpdf(row[seen])
        return total

    best = scipy.optimize.minimize(loss, np.zeros(5), tol=1e-10, method="L-BFGS-B")
    reached = -jnp.sum(log_density(family, theta, x))
    np.testing.assert_allclose(reached, best.fun, rtol=1e-9)
    np.testing.assert_allclose(family.mean(theta), best.x[:2], atol=1e-3)


def test_batches_of_laws_and_vmap_agree():
    points = [drawn(FAMILY, seed)[0] for seed in range(3)]
    theta, x = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points), drawn(FAMILY)[3]
    for function in (log_density, statistics):
        spread = function(FAMILY, jax.tree.map(lambda leaf: leaf[:, None], theta), x[None])
        mapped = jax.vmap(functools.partial(function, FAMILY), (0, None))(theta, x)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), spread, mapped)


def test_float32_at_a_distance_and_of_large_condition():
    family = families.MultivariateNormal(3)
    covariance = np.diag([1.0, 1e-3, 1e3]) + 1e-5
    theta = family.natural_from_params(np.full(3, 1e3), covariance)
    x = np.float32([[1e3 + 1, np.nan, 1e3 - 20], [np.nan, 1e3, np.nan]])
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), theta)
    exact, found = log_density(family, theta, x), log_density(family, narrow, x)
    assert found.dtype == jnp.float32
    # The mean 1e3 itself is rounded by 6e-5, a five-hundredth of the least deviation.
    np.testing.assert_allclose(found, exact, rtol=2e-3)
    point = statistics(family, narrow, x)
    assert {leaf.dtype for leaf in point} == {jnp.dtype(jnp.float32)}


def test_off_the_support_and_what_cannot_be_integrated_out():
    theta, _, _, x = drawn(FAMILY)
    x[2, 0] = np.inf
    assert log_density(FAMILY, theta, x)[2] == -np.inf
    isotropic = families.IsotropicNormal(2)
    point = isotropic.natural_from_params([0.0, 0.0], 1.0)
    far = jnp.array([[jnp.inf, jnp.nan]])
    assert log_density(isotropic, point, far)[0] == -np.inf
    slope = jax.grad(lambda t: log_density(isotropic, t, far)[0])(point)
    assert np.isfinite(slope.square)
    labels = families.Categorical(3)
    point = labels.natural_from_params([0.2, 0.3, 0.5])
    values = log_density(labels, point, jnp.array([2.0, 1.5, jnp.nan]))
    np.testing.assert_allclose(values, [np.log(0.5), -np.inf, 0.0])
    with pytest.raises(ValueError, match="must lie in its support; got -1 at index"):
        missing.require_observed_support(labels, jnp.array([2.0, 1.5]))
    simplex = families.Dirichlet(3)
    point = simplex.natural_from_params([1.0, 2.0, 3.0])
    part = jnp.array([[0.2, jnp.nan, 0.3]])
    assert np.isnan(log_density(simplex, point, part)[0])
    with pytest.raises(ValueError, match=r"missing as whole observations.*drop it"):
        missing.require_observed_support(simplex, part)
    with pytest.raises(ValueError, match="observed entries of each column must be one or more"):
        missing.completed(FAMILY, np.full((3, DIM), np.nan))
    with pytest.raises(TypeError, match="family must be an instance"):
        missing.completed(families.Normal, jnp.ones(3))
    with pytest.raises(TypeError, match="tuple of 3 arrays"):
        missing.observed_log_density(PRODUCT, _product_point(), jnp.ones(3))
