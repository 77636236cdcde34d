"""Mixtures of observations with missing entries: the observed likelihood at its maximum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families

NORMALS = em.Mixture(families.MultivariateNormal(2), 2, missing=True)
MIXED = families.Product((families.DiagonalNormal(2), families.Categorical(3), families.Poisson()))


def with_holes(x, share, seed=0):
    holes = np.random.default_rng(seed).uniform(size=x.shape) < share
    return np.where(holes, np.nan, np.asarray(x, float))


@pytest.fixture(scope="module")
def clouds():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(120, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    x[:50] += [4.0, -3.0]
    x = with_holes(1e3 + x, 0.25)
    x[7] = np.nan
    return x


def _steps(result):
    return np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1])


def test_normal_components_reach_the_maximum_of_the_observed_likelihood(clouds):
    result = NORMALS.fit(clouds, key=jax.random.key(0), tolerance=1e-13, max_iterations=2000)
    assert result.converged
    values = _steps(result)
    assert (np.diff(values) > -1e-12 * np.abs(values[1:])).all()
    params = result.params
    reached = jnp.sum(NORMALS.log_density(params, clouds))
    np.testing.assert_allclose(result.log_likelihood, reached, rtol=1e-9)
    np.testing.assert_allclose(NORMALS.log_density(params, clouds)[7], 0, atol=1e-15)
    means, covariances = NORMALS.family.params_from_natural(params.components)

    def loss(shift, scale, logits):
        components = NORMALS.family.natural_from_params(
            means + shift, jnp.einsum("kij,kjl,kml->kim", scale, covariances, scale)
        )
        point = params._replace(log_weights=jax.nn.log_softmax(logits), components=components)
        return jnp.sum(NORMALS.log_density(point, clouds))

    identity = jnp.broadcast_to(jnp.eye(2), (2, 2, 2))
    slope = jax.jit(jax.grad(loss, (0, 1, 2)))(jnp.zeros((2, 2)), identity, params.log_weights)
    for leaf in slope:
        np.testing.assert_allclose(leaf, np.zeros(leaf.shape), atol=1e-4)
    # Sums of chunks and a step by responsibilities are the same step.
    sums = NORMALS.expectations(params, clouds, chunk_size=50)
    r, _ = NORMALS.e_step(params, clouds)
    two = NORMALS.maximized(sums), NORMALS.m_step(r, clouds, previous=params)
    for one, other in zip(*map(jax.tree.leaves, two), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


@pytest.fixture(scope="module")
def columns():
    truth = em.Mixture(MIXED, 2)
    parts = MIXED.families
    components = families.Product.Point(
        parts[0].natural_from_params([[0.0, 0.0], [5.0, -4.0]], 1.0),
        parts[1].natural_from_params([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]),
        parts[2].natural_from_params([2.0, 9.0]),
    )
    params = truth.point([0.4, 0.6], components)
    return truth.sample(jax.random.key(3), params, (300,))


def test_without_missing_entries_it_is_the_usual_fit(columns):
    usual, missing = em.Mixture(MIXED, 2), em.Mixture(MIXED, 2, missing=True)
    start = usual.fit(columns, key=jax.random.key(0), max_iterations=1).params
    # Not so many that the gain is but rounding, whose sign says where either ends.
    options = {"initialization": start, "max_iterations": 3, "tolerance": 0.0}
    one, two = usual.fit(columns, **options), missing.fit(columns, **options)
    np.testing.assert_allclose(_steps(one), _steps(two), rtol=1e-11)


def test_mixed_columns_are_recovered(columns):
    x = tuple(with_holes(part, 0.3, seed) for seed, part in enumerate(columns))
    mixture = em.Mixture(MIXED, 2, missing=True)
    result = mixture.fit(x, key=jax.random.key(1), max_iterations=300)
    values = _steps(result)
    assert result.converged
    assert (np.diff(values) > -1e-12 * np.abs(values[1:])).all()
    order = np.argsort(result.params.log_weights)
    normal, label, count = MIXED.params_from_natural(result.params.components)
    # Four standard errors with 84 observations of the smaller component.
    np.testing.assert_allclose(normal.loc[order], [[0, 0], [5, -4]], atol=4 / np.sqrt(84))
    np.testing.assert_allclose(label.probs[order], [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], atol=0.2)
    np.testing.assert_allclose(count.rate[order], [2, 9], rtol=4 / np.sqrt(84 * 2))
    half = [tuple(part[rows] for part in x) for rows in (slice(150), slice(150, None))]
    streamed = mixture.fit(em.Chunks(half), initialization=result.params, max_iterations=2)
    np.testing.assert_allclose(streamed.log_likelihood, result.log_likelihood, rtol=1e-6)


def test_a_row_without_weight_needs_no_finite_statistics():
    mixture = em.Mixture(families.Normal(), 1, missing=True)
    params = mixture.point([1.0], mixture.family.natural_from_params([0.0], 1.0))
    sums = mixture.expectations(params, jnp.array([1.0, jnp.nan, 1e200]), jnp.array([1.0, 2.0, 0]))
    # The second row is expected to be as the law says.
    np.testing.assert_allclose(sums.statistics.xx, [1 + 2 * 1.0], rtol=1e-12)
    np.testing.assert_allclose(sums.log_likelihood, mixture.log_density(params, 1.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("family", "units", "dtype"),
    [
        (families.DiagonalNormal(2), [2.0**17, 2.0**-10], float),
        (NORMALS.family, [2.0**-23, 2.0**17], jnp.float32),
        (families.IsotropicNormal(2), [2.0**-23] * 2, jnp.float32),
    ],
    ids=str,
)
def test_units_do_not_matter(clouds, family, units, dtype):
    mixture, x = em.Mixture(family, 2, missing=True), np.asarray(clouds - 1e3, dtype)
    # Not so many that the gain is but rounding, whose sign says where either ends.
    options = {"key": jax.random.key(0), "max_iterations": 8, "tolerance": 0.0}
    units = np.asarray(units, dtype)
    plain, other = mixture.fit(x, **options), mixture.fit(x * units, **options)
    assert other.log_likelihood.dtype == dtype
    seen = ~np.isnan(x)
    bound = 1e-12 if dtype is float else 2e-6
    np.testing.assert_allclose(
        other.log_likelihood + np.sum(seen * np.log(units)), plain.log_likelihood, rtol=bound
    )
    moments = [np.asarray(family.variance(found.params.components)) for found in (plain, other)]
    np.testing.assert_allclose(moments[1] / units**2, moments[0], rtol=100 * bound)
    # Within the data are chunks: the scales of what each observes count once.
    parts = mixture.fit(em.Chunks([x[:70] * units, x[70:] * units]), **options)
    np.testing.assert_allclose(parts.log_likelihood, other.log_likelihood, rtol=bound)


def test_columns_of_other_families_have_no_unit(columns):
    x = tuple(with_holes(part, 0.3, seed) for seed, part in enumerate(columns))
    mixture = em.Mixture(MIXED, 2, missing=True)
    units = np.array([2.0**20, 2.0**-20])
    options = {"key": jax.random.key(1), "max_iterations": 5, "tolerance": 0.0}
    plain, other = mixture.fit(x, **options), mixture.fit((x[0] * units, *x[1:]), **options)
    shift = np.sum(~np.isnan(x[0]) * np.log(units))
    np.testing.assert_allclose(other.log_likelihood + shift, plain.log_likelihood, rtol=1e-12)


def test_clusters_far_apart_keep_the_digits_of_float32():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(400, 2)) + np.where(np.arange(400)[:, None] < 200, 0.0, 4096.0)
    x = with_holes(x, 0.2).astype(np.float32)
    short = NORMALS.fit(x, key=jax.random.key(0))
    long = NORMALS.fit(x.astype(float), key=jax.random.key(0))
    assert short.converged
    np.testing.assert_allclose(short.log_likelihood, long.log_likelihood, rtol=1e-5)
    covariances = [
        NORMALS.family.params_from_natural(found.params.components).covariance
        for found in (short, long)
    ]
    order = [np.argsort(covariance[:, 0, 0]) for covariance in covariances]
    np.testing.assert_allclose(
        covariances[0][order[0]], covariances[1][order[1]], rtol=1e-3, atol=1e-3
    )


def test_bad_input(clouds):
    with pytest.raises(ValueError, match=r"must lie in its support; got .*nan"):
        em.Mixture(families.MultivariateNormal(2), 2).fit(clouds, key=jax.random.key(0))
    with pytest.raises(ValueError, match="missing as whole observations"):
        em.Mixture(families.Dirichlet(2), 2, missing=True).fit(
            jnp.array([[0.5, jnp.nan], [0.2, 0.8], [0.4, 0.6]]), key=jax.random.key(0)
        )
    with pytest.raises(ValueError, match="observed entries of each column must be one or more"):
        NORMALS.fit(np.where([[True, False]], np.nan, clouds), key=jax.random.key(0))
    with pytest.raises(ValueError, match="Pass previous=params"):
        NORMALS.m_step(jnp.ones((120, 2)) / 2, clouds)
