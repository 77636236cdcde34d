"""Fits in the frame of the data: against scikit-learn, and where digits are lost without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from igeojax import em, families
from igeojax.em import _passes
from igeojax.em._maximization import framed
from igeojax.families.frames import inverted

COMPONENTS, DIM = 3, 3


def _clouds(spread=3.0, count=240, narrow=1.0):
    generator = np.random.default_rng(1)
    centers = spread * generator.normal(size=(COMPONENTS, DIM))
    shapes = np.eye(DIM) + 0.2 * generator.normal(size=(COMPONENTS, DIM, DIM))
    shapes = shapes * np.geomspace(1, narrow, DIM)
    label = generator.integers(0, COMPONENTS, count)
    noise = generator.normal(size=(count, DIM))
    return centers[label] + np.einsum("nj,nij->ni", noise, shapes[label]), centers + 0.3


def _start(kind, x, centers):
    """The mixture, its start, and what scikit-learn calls the same."""
    covariance = np.cov(x.T)
    deviation = np.sqrt(np.diag(covariance))
    common = {"weights_init": np.full(COMPONENTS, 1 / COMPONENTS), "means_init": centers}
    if kind in ("full", "tied"):
        family = families.MultivariateNormal(DIM)
        components = family.natural_from_params(centers, np.stack([covariance] * COMPONENTS))
        inverse = np.linalg.inv(covariance)
        precision = inverse if kind == "tied" else np.stack([inverse] * COMPONENTS)
    elif kind == "diag":
        family = families.DiagonalNormal(DIM)
        components = family.natural_from_params(centers, deviation)
        precision = np.stack([deviation**-2.0] * COMPONENTS)
    else:
        family, scale = families.IsotropicNormal(DIM), np.sqrt(np.mean(deviation**2))
        components = family.natural_from_params(centers, np.full(COMPONENTS, scale))
        precision = np.full(COMPONENTS, scale**-2.0)
    mixture = em.Mixture(family, COMPONENTS, tied=kind == "tied")
    start = mixture.point(common["weights_init"], components)
    return mixture, start, common | {"precisions_init": precision, "covariance_type": kind}


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_trajectory_is_that_of_scikit_learn(kind):
    x, centers = _clouds()
    mixture, start, peer = _start(kind, x, centers)
    steps = 8
    result = mixture.fit(
        jnp.asarray(x), initialization=start, tolerance=0.0, max_iterations=steps, chunk_size=100
    )
    peer = GaussianMixture(COMPONENTS, reg_covar=0.0, tol=0.0, warm_start=True, max_iter=1, **peer)
    values = []
    for _ in range(steps):
        with pytest.warns(match="did not converge"):
            peer.fit(x)
        values.append(peer.score(x))
    np.testing.assert_allclose(result.log_likelihoods[1:], values, rtol=1e-10)
    np.testing.assert_allclose(result.bic, peer.bic(x), rtol=1e-10)
    np.testing.assert_allclose(np.exp(result.params.log_weights), peer.weights_, rtol=1e-8)


@pytest.mark.parametrize("kind", ["full", "tied", "spherical"])
def test_own_frames_and_products_agree(kind, monkeypatch):
    x, centers = _clouds()
    mixture, start, _ = _start(kind, x, centers)
    frame = _passes.data_frame(mixture.family, jnp.asarray(x), jnp.ones(len(x)), None)
    inside = jax.vmap(lambda theta: mixture.family.in_frame(theta, frame))(start.components)
    start = framed(mixture.family, start._replace(components=inside))

    @jax.jit
    def sums():
        layout = _passes.Layout(100)
        found = _passes.run(mixture, start, jnp.asarray(x), jnp.ones(len(x)), frame, layout)
        outward = lambda n, s, f: mixture.family.sums_in_frame(n, s, inverted(f))
        back = jax.vmap(outward)(found.sums.counts, found.sums.statistics, found.frames)
        return found.sums._replace(statistics=back), found.frames

    ends, frames = [], []
    for limit in (0.0, np.inf):
        monkeypatch.setattr(_passes, "MOST_ROUNDING", {8: limit})
        sums.clear_cache()
        found = sums()
        ends.append(found[0])
        frames.append(found[1])
    assert float(jnp.abs(frames[0].offset).max()) > 0.1
    assert float(jnp.abs(frames[1].offset).max()) == 0
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("weight", "scale", "exact"),
    [
        (0.9, 1e-2, True),
        (0.9, 1e-4, False),
        (0.01, 1e-4, True),  # of few rows
        (1e-6, 1e-6, False),  # of few rows, but without digits for its own variance
    ],
)
def test_products_are_taken_by_the_mean_rounding(weight, scale, exact):
    family = families.Normal()
    components = family.natural_from_params(np.array([0.0, 0.5]), np.array([scale, 1.0]))
    params = em.Mixture(family, 2).point([weight, 1 - weight], components)
    assert bool(_passes._linear_form(family, params)[2]) == exact


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("offset", [0.0, 2.0**20])
def test_float32_keeps_its_digits_at_any_offset(kind, offset):
    x, centers = _clouds()
    # Multiples of 1/8, which float32 holds at the offset: both see the same data.
    x = np.round(8 * x) / 8 + offset
    mixture, start, peer = _start(kind, x, centers + offset)
    result = mixture.fit(
        jnp.asarray(x, jnp.float32), initialization=start, tolerance=0.0, max_iterations=3
    )
    assert result.log_likelihood.dtype == jnp.float32
    peer = GaussianMixture(COMPONENTS, reg_covar=0.0, tol=0.0, max_iter=1, **peer)
    with pytest.warns(match="did not converge"):
        peer.fit(x)
    # The start itself rounds at the offset: its means are natural parameters of 2^20.
    bound = 1e-5 if offset == 0 else 1e-2
    np.testing.assert_allclose(result.log_likelihoods[1], peer.score(x), rtol=bound)
    free = mixture.fit(jnp.asarray(x, jnp.float32), key=jax.random.key(0), num_restarts=4)
    near = mixture.fit(jnp.asarray(x - offset, jnp.float32), key=jax.random.key(0), num_restarts=4)
    np.testing.assert_allclose(free.log_likelihood, near.log_likelihood, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_components_of_condition_1e6_are_no_nan(dtype):
    x, centers = _clouds(narrow=1e-3)
    x = np.asarray(x, dtype)
    mixture, start, peer = _start("full", np.asarray(x, float), centers)
    result = mixture.fit(jnp.asarray(x), initialization=start, tolerance=0.0, max_iterations=6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    steps = int(result.num_iterations)
    assert steps >= 3
    peer = GaussianMixture(COMPONENTS, reg_covar=0.0, tol=0.0, max_iter=steps, **peer)
    with pytest.warns(match="did not converge"):
        peer.fit(np.asarray(x, float))
    bound = 1e-10 if dtype == jnp.float64 else 1e-5
    expected = peer.score(np.asarray(x, float))
    np.testing.assert_allclose(result.log_likelihoods[steps], expected, rtol=bound)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_float32_follows_components_of_condition_1e6(seed):
    # Two pairs, each of axes of its own, that overlap in them: EM creeps.
    generator = np.random.default_rng(seed)
    axes = np.linalg.qr(generator.normal(size=(2, DIM, DIM)))[0][[0, 0, 1, 1]]
    centers = np.repeat(5 + generator.normal(size=(2, DIM)), 2, axis=0)
    shift = np.array([-0.75, 0.75, -0.75, 0.75])[:, None] * axes[:, :, 0]
    label, noise = generator.integers(0, 4, 800), generator.normal(size=(800, DIM))
    noise = noise * np.array([1.0, 0.5, 1e-3])
    x = (centers + shift)[label] + np.einsum("nij,nj->ni", axes[label], noise)
    x = x.astype(np.float32)
    family, wide = families.MultivariateNormal(DIM), axes * np.array([1.0, 1.0, 1e-2])
    mixture = em.Mixture(family, 4)
    theta = family.natural_from_params(centers + shift / 2, wide @ np.swapaxes(wide, 1, 2))
    # The start that both see is one of float32.
    theta = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), theta)
    start = mixture.point(np.full(4, 0.25, np.float32), theta)
    result = mixture.fit(jnp.asarray(x), initialization=start, tolerance=0.0, max_iterations=20)
    assert int(result.num_iterations) == 20
    mean, covariance = family.params_from_natural(
        jax.tree.map(lambda leaf: leaf.astype(float), theta)
    )
    peer = GaussianMixture(
        4,
        reg_covar=0.0,
        tol=0.0,
        warm_start=True,
        max_iter=1,
        weights_init=np.full(4, 0.25),
        means_init=np.asarray(mean),
        precisions_init=np.linalg.inv(covariance),
    )
    values = []
    for _ in range(20):
        with pytest.warns(match="did not converge"):
            peer.fit(x.astype(float))
        values.append(peer.score(x.astype(float)))
    assert np.linalg.cond(peer.covariances_).min() > 5e5
    np.testing.assert_allclose(result.log_likelihoods[1:], values, rtol=1e-5)


@pytest.mark.parametrize("distance", [10.0, 25.0, 100.0])
def test_variances_of_float32_are_those_of_float64(distance):
    # On products the first two, in frames of the components the last.
    x = np.random.default_rng(2).normal(size=2000) + distance * (np.arange(2000) % 2)
    x, mixture = x.astype(np.float32), em.Mixture(families.Normal(), 2)
    short, long = (mixture.fit(data, key=jax.random.key(0)) for data in (x, x.astype(float)))
    assert short.converged
    variances = [mixture.family.variance(found.params.components) for found in (short, long)]
    # Products round the mean square of the standardized data, of which a variance is a small part.
    square = 1 + distance**2 / 4 if distance < 50 else 1
    bound = 8 * np.finfo(np.float32).eps * square
    np.testing.assert_allclose(np.sort(variances[0]), np.sort(variances[1]), rtol=bound)
    exact = jax.tree.map(lambda leaf: leaf.astype(float), short.params)
    reached = jnp.sum(mixture.log_density(exact, x.astype(float)))
    np.testing.assert_allclose(short.log_likelihood, reached, rtol=1e-5)


def test_units_do_not_matter():
    x, centers = _clouds()
    mixture, start, _ = _start("full", x, centers)
    units = np.array([2.0**-40, 1.0, 2.0**30])
    scaled = mixture.family.natural_from_params(
        centers * units, np.stack([np.cov((x * units).T)] * COMPONENTS)
    )
    options = {"tolerance": 0.0, "max_iterations": 4}
    plain = mixture.fit(jnp.asarray(x), initialization=start, **options)
    other = mixture.fit(
        jnp.asarray(x * units), initialization=start._replace(components=scaled), **options
    )
    shift = np.log(units).sum()
    np.testing.assert_allclose(
        other.log_likelihoods[:5], plain.log_likelihoods[:5] - shift, rtol=1e-10
    )


def test_a_constant_column_needs_a_variance():
    x, _ = _clouds()
    x[:, 1] = 7.0
    mixture = em.Mixture(families.DiagonalNormal(DIM), COMPONENTS)
    with pytest.raises(ValueError, match="degenerate"):
        mixture.fit(jnp.asarray(x), key=jax.random.key(0))
    result = mixture.fit(
        jnp.asarray(x), key=jax.random.key(0), covariance_regularization=1e-4, max_iterations=5
    )
    scale = mixture.family.params_from_natural(result.params.components).scale
    np.testing.assert_allclose(scale[:, 1], 1e-2, rtol=1e-6)


def test_weights_of_zero_are_rows_that_are_not_there():
    x, centers = _clouds()
    mixture, start, _ = _start("full", x, centers)
    weights = (np.arange(len(x)) % 3 > 0).astype(float)
    options = {"initialization": start, "tolerance": 0.0, "max_iterations": 4, "chunk_size": 64}
    some = mixture.fit(jnp.asarray(x), weights=weights, **options)
    fewer = mixture.fit(jnp.asarray(x[weights > 0]), **options)
    np.testing.assert_allclose(some.log_likelihood, fewer.log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(some.params.components.xx, fewer.params.components.xx, rtol=1e-7)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_log_densities_of_many_rows_are_those_of_few(kind):
    x, centers = _clouds(count=9001)
    mixture, start, _ = _start(kind, x, centers)
    x = jnp.asarray(x)
    many = lambda params: mixture.log_density(params, x)
    # Two axes of rows are taken term by term.
    few = lambda params: mixture.log_density(params, x[None])[0]
    np.testing.assert_allclose(jax.jit(many)(start), jax.jit(few)(start), rtol=1e-11)
    slopes = [jax.jit(jax.grad(lambda p, f=f: jnp.sum(f(p))))(start) for f in (many, few)]
    for a, b in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("family", [families.Poisson(), families.Gamma()], ids=str)
def test_a_fit_reports_the_likelihood_of_its_parameters(family):
    mixture = em.Mixture(family, 2)
    x = jnp.array([1.0, 2.0, 1.0, 3.0, 12.0, 9.0, 14.0, 11.0])
    weights = jnp.array([1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0, 0.0])
    result = mixture.fit(x, key=jax.random.key(0), weights=weights)
    expected = jnp.sum(weights * mixture.log_density(result.params, x))
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-10)
