"""Mixtures: against scikit-learn, direct sums, and the laws of EM over all families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from igeojax import divergences, em, families
from igeojax.em import _fitting
from igeojax.em.initialization import starting_points
from igeojax.families import FAMILIES
from tests.laws.programs import EACH

COMPONENTS = 3


def _drawn(name, num_data=200):
    """A mixture of a registered family and data from it."""
    family = FAMILIES[name].family
    mixture = em.Mixture(family, COMPONENTS)
    params = mixture.point([0.2, 0.3, 0.5], FAMILIES[name].point(jax.random.key(1), (COMPONENTS,)))
    return mixture, params, mixture.sample(jax.random.key(2), params, (num_data,))


each_family = pytest.mark.parametrize("name", EACH)


def _neutral(mixture):
    """The chart in which nothing changes."""
    return _fitting.Chart(mixture.family.neutral_frame(float), None, None)


def _steps(result):
    return np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1])


@each_family
def test_likelihood_never_falls_and_its_gain_is_two_kls(name):
    # Spec 8: gain = sum_i KL(r_i || r_i') + N KL(p' || p) in the complete-data model p(x, z).
    mixture, _, x = _drawn(name)
    start = mixture.point([0.4, 0.3, 0.3], FAMILIES[name].point(jax.random.key(9), (COMPONENTS,)))
    result = mixture.fit(x, initialization=start, max_iterations=12, tolerance=0.0)
    values = _steps(result)
    assert np.isfinite(values).all()
    assert (np.diff(values) >= -1e-12 * np.abs(values[1:])).all()

    @jax.jit
    def one_step(params):
        before, log_density = mixture.e_step(params, x)
        after_params = mixture.m_step(before, x, previous=params)
        after, new_log_density = mixture.e_step(after_params, x)
        gain = jnp.sum(new_log_density) - jnp.sum(log_density)
        latent = jnp.sum(divergences.simplex.kl(before, after))
        weights = jnp.exp(after_params.log_weights)
        within = divergences.exponential.kl(
            mixture.family, after_params.components, params.components
        )
        between = divergences.simplex.kl(weights, jnp.exp(params.log_weights))
        return gain, latent + len(jax.tree.leaves(x)[0]) * (jnp.sum(weights * within) + between)

    gain, two_kls = one_step(start)
    assert gain > 1e-3
    np.testing.assert_allclose(gain, two_kls, rtol=1e-8)


@pytest.mark.slow
@each_family
def test_log_density_is_the_weighted_sum_of_densities(name):
    mixture, params, x = _drawn(name, 20)
    total = sum(
        jnp.exp(params.log_weights[k])
        * jnp.exp(
            mixture.family.log_density(jax.tree.map(lambda v, k=k: v[k], params.components), x)
        )
        for k in range(COMPONENTS)
    )
    np.testing.assert_allclose(mixture.log_density(params, x), jnp.log(total), rtol=1e-10)
    responsibilities, log_density = mixture.e_step(params, x)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(log_density, jnp.log(total), rtol=1e-10)


@pytest.fixture(scope="module")
def clouds():
    generator = np.random.default_rng(0)
    centers = 3 * generator.normal(size=(4, 5))
    shapes = np.eye(5) + 0.3 * generator.normal(size=(4, 5, 5))
    return np.concatenate(
        [c + generator.normal(size=(150, 5)) @ s for c, s in zip(centers, shapes, strict=True)]
    )


def _scikit_learn(x, steps, start):
    weights, mean, covariance = start
    peer = GaussianMixture(
        len(weights),
        weights_init=weights,
        means_init=mean,
        precisions_init=np.linalg.inv(covariance),
        reg_covar=0.0,
        tol=0.0,
        max_iter=steps,
    )
    with pytest.warns(match="did not converge"):
        return peer.fit(x)


@pytest.mark.parametrize(
    "steps", [pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 5, 25)]
)
def test_full_covariance_follows_scikit_learn(clouds, steps):
    x = clouds
    start = (np.full(4, 0.25), x[:600:150] + 0.5, np.stack([np.eye(5)] * 4))
    family = families.MultivariateNormal(5)
    mixture = em.Mixture(family, 4)
    point = mixture.point(start[0], family.natural_from_params(start[1], start[2]))
    result = mixture.fit(jnp.asarray(x), initialization=point, tolerance=0.0, max_iterations=steps)
    peer = _scikit_learn(x, steps, start)
    ours = family.params_from_natural(result.params.components)
    np.testing.assert_allclose(result.log_likelihood / len(x), peer.score(x), rtol=1e-10)
    np.testing.assert_allclose(np.exp(result.params.log_weights), peer.weights_, rtol=1e-8)
    np.testing.assert_allclose(ours.mean, peer.means_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.covariance, peer.covariances_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.bic, peer.bic(x), rtol=1e-10)
    np.testing.assert_allclose(result.aic, peer.aic(x), rtol=1e-10)


def test_integer_weights_are_repetitions(clouds):
    x = jnp.asarray(clouds[::5])
    counts = np.arange(len(x)) % 3
    mixture = em.Mixture(families.DiagonalNormal(5), 2)
    start = mixture.fit(x, key=jax.random.key(0), max_iterations=1).params
    weighted = mixture.fit(x, weights=counts, initialization=start, max_iterations=10)
    repeated = mixture.fit(jnp.repeat(x, counts, axis=0), initialization=start, max_iterations=10)
    np.testing.assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(weighted.bic, repeated.bic, rtol=1e-10)
    np.testing.assert_allclose(
        weighted.params.components.x, repeated.params.components.x, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("initialization", ["k-means++", "random"])
def test_recovers_separated_clusters(initialization):
    family = families.Normal()
    mixture = em.Mixture(family, 3)
    truth = mixture.point([0.2, 0.3, 0.5], family.natural_from_params([-10.0, 0.0, 8.0], 1.0))
    x = mixture.sample(jax.random.key(0), truth, (2000,))
    result = mixture.fit(
        x, key=jax.random.key(1), initialization=initialization, num_restarts=5, max_iterations=500
    )
    assert result.converged
    order = np.argsort(family.params_from_natural(result.params.components).loc)
    loc, scale = (v[order] for v in family.params_from_natural(result.params.components))
    # Five standard errors of the smallest cluster's mean and deviation.
    np.testing.assert_allclose(loc, [-10, 0, 8], atol=5 / np.sqrt(400))
    np.testing.assert_allclose(scale, 1, atol=5 / np.sqrt(2 * 400))
    np.testing.assert_allclose(np.exp(result.params.log_weights)[order], [0.2, 0.3, 0.5], atol=0.06)


@pytest.mark.slow
def test_restarts_keep_the_best():
    mixture, _, x = _drawn("Normal", 300)
    keys = jax.random.split(jax.random.key(7), 4)
    options = {"initialization": "random", "max_iterations": 8, "tolerance": 0.0}
    # jax.random.split(key, 4) inside fit gives these starts; alone, each is a fit of its own.
    together = mixture.fit(x, key=jax.random.key(7), num_restarts=4, **options)
    starts = em.initialization.starting_points(
        mixture, keys, x, jnp.ones(300), _neutral(mixture), initialization="random"
    )
    starts = mixture.Point(starts.log_weights, starts.components)
    alone = [
        mixture.fit(
            x,
            initialization=jax.tree.map(lambda v, i=i: v[i], starts),
            max_iterations=8,
            tolerance=0.0,
        ).log_likelihood
        for i in range(4)
    ]
    np.testing.assert_allclose(together.log_likelihood, max(alone), rtol=1e-12)
    assert max(alone) > min(alone)


@pytest.mark.slow
def test_float32_stays_float32_and_near_float64(clouds):
    mixture = em.Mixture(families.MultivariateNormal(5), 4)
    start = mixture.fit(jnp.asarray(clouds), key=jax.random.key(0), max_iterations=1).params
    double = mixture.fit(jnp.asarray(clouds), initialization=start, max_iterations=20)
    narrow = jax.tree.map(lambda v: v.astype(jnp.float32), start)
    single = mixture.fit(jnp.asarray(clouds, jnp.float32), initialization=narrow, max_iterations=20)
    floats = [v for v in jax.tree.leaves(single) if jnp.issubdtype(v.dtype, jnp.floating)]
    assert {v.dtype for v in floats} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(single.log_likelihood, double.log_likelihood, rtol=1e-5)


def test_large_offset_in_float32():
    # Data at 1e4 with unit variance: uncentred second moments would keep no digit of it.
    x = 1e4 + jax.random.normal(jax.random.key(0), (500, 2), jnp.float32)
    family = families.MultivariateNormal(2)
    fitted = family.params_from_natural(family.fit(x))
    np.testing.assert_allclose(fitted.covariance, np.cov(np.float64(x).T, bias=True), atol=5e-3)
    result = em.Mixture(family, 2).fit(x, key=jax.random.key(1), max_iterations=20)
    values = _steps(result)
    assert np.isfinite(values).all()


def test_an_empty_component_keeps_its_parameters():
    family = families.Normal()
    mixture = em.Mixture(family, 2)
    x = jnp.linspace(-1.0, 1.0, 50)
    start = mixture.point([0.5, 0.5], family.natural_from_params([0.0, 1e6], [1.0, 1e-3]))
    result = mixture.fit(x, initialization=start, max_iterations=5)
    assert np.isfinite(_steps(result)).all()
    loc = family.params_from_natural(result.params.components).loc
    np.testing.assert_allclose(loc[1], 1e6)
    np.testing.assert_allclose(np.exp(result.params.log_weights), [1, 0], atol=1e-300)


def test_a_collapsing_component_ends_the_fit_unconverged_and_finite():
    # One point far away: its component's variance goes to 0 and the likelihood to infinity.
    x = jnp.concatenate([jax.random.normal(jax.random.key(0), (30,)), jnp.array([50.0, 50.0])])
    family = families.Normal()
    mixture = em.Mixture(family, 2)
    start = mixture.point([0.9, 0.1], family.natural_from_params([0.0, 50.0], [1.0, 1.0]))
    result = mixture.fit(x, initialization=start, max_iterations=50)
    assert not result.converged
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(result.params))
    assert np.isfinite(result.log_likelihood)


def test_of_collapsing_restarts_the_best_is_kept():
    # Few distinct values: both starts collapse on one of them, and none converges.
    x, key = jnp.repeat(jnp.array([0.0, 0.5, 4.0, 9.0]), 5), jax.random.key(5)
    mixture = em.Mixture(families.Normal(), 4)
    many = mixture.fit(x, key=key, num_restarts=2, initialization="random")
    keys, weights = jax.random.split(key, 2), jnp.ones(20)
    starts = starting_points(mixture, keys, x, weights, _neutral(mixture), initialization="random")
    starts = mixture.Point(starts.log_weights, starts.components)
    single = [
        mixture.fit(x, initialization=jax.tree.map(lambda leaf, i=i: leaf[i], starts))
        for i in range(2)
    ]
    assert not any(bool(one.converged) for one in (*single, many))
    ends = [float(one.log_likelihood) for one in single]
    # Whether the last step of the first one is taken depends on rounding: it ends at 57 or at -26,
    # the second one at 34.
    np.testing.assert_allclose(sorted(ends), [33.7, 57.4], atol=0.1)
    assert float(many.log_likelihood) > 33


def test_more_components_than_distinct_points_stays_finite():
    mixture = em.Mixture(families.Poisson(), 4)
    result = mixture.fit(jnp.array([1, 1, 5, 5, 9]), key=jax.random.key(0), max_iterations=30)
    assert np.isfinite(_steps(result)).all()


@pytest.mark.slow
def test_ridge_reaches_the_family():
    x = jax.random.normal(jax.random.key(0), (40, 3)).at[:, 2].set(1.0)
    mixture = em.Mixture(families.MultivariateNormal(3), 2)
    with pytest.raises(ValueError, match="degenerate"):
        mixture.fit(x, key=jax.random.key(1))
    result = mixture.fit(x, key=jax.random.key(1), covariance_regularization=1e-2)
    covariance = mixture.family.params_from_natural(result.params.components).covariance
    np.testing.assert_allclose(covariance[:, 2, 2], 1e-2, rtol=1e-8)


@pytest.mark.slow
def test_progress_is_written_and_changes_only_rounding(capfd):
    mixture, _, x = _drawn("Poisson", 50)
    silent = mixture.fit(x, key=jax.random.key(0), max_iterations=3, tolerance=0.0)
    assert capfd.readouterr() == ("", "")
    loud = mixture.fit(x, key=jax.random.key(0), max_iterations=3, tolerance=0.0, progress=True)
    lines = capfd.readouterr().err.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "EM step    1",
        "EM step    2",
        "EM step    3",
    ]
    # Another compiled program: the same but for rounding.
    np.testing.assert_allclose(silent.log_likelihood, loud.log_likelihood, rtol=1e-13)


def test_fit_does_not_retrace():
    mixture, params, x = _drawn("Exponential", 60)
    _fitting._run.clear_cache()
    for tolerance in (1e-3, 1e-4):
        mixture.fit(x, initialization=params, tolerance=tolerance, max_iterations=4)
        em.Mixture(families.Exponential(), 3).fit(x, initialization=params, max_iterations=4)
    assert _fitting._run._cache_size() == 1


NORMAL = em.Mixture(families.Normal(), 2)
CLUSTERS = jnp.concatenate([jnp.linspace(-6.0, -4.0, 20), jnp.linspace(4.0, 6.0, 20)])


def test_progress_of_restarts_names_each_and_ends_with_it(capfd):
    result = NORMAL.fit(CLUSTERS, key=jax.random.key(0), num_restarts=3, progress=True)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("EM ")]
    for start in (1, 2, 3):
        steps = [line for line in lines if line.startswith(f"EM start {start}, ")]
        assert len(steps) == len({line.split(":")[0] for line in steps})
        assert steps
    assert bool(result.converged)


@pytest.mark.parametrize(("start", "data"), [("float32", "float64"), ("float64", "float32")])
def test_a_start_takes_the_dtype_of_the_data(start, data):
    components = families.Normal().natural_from_params(
        jnp.asarray([-5.0, 5.0], start), jnp.asarray(1.0, start)
    )
    point = NORMAL.point(jnp.asarray([0.5, 0.5], start), components)
    result = NORMAL.fit(CLUSTERS.astype(data), initialization=point)
    assert bool(result.converged)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {jnp.dtype(data)}


def test_many_half_precision_observations():
    x = jnp.tile(CLUSTERS, 2500).astype(jnp.float16)
    result = NORMAL.fit(x, key=jax.random.key(0), max_iterations=20)
    assert np.isfinite(result.log_likelihood)
    assert np.isfinite(result.bic)
