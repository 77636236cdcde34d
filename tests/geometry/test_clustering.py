"""Bregman k-means: monotone, k-means of scikit-learn in the flat case, groups it must find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from igeojax import families, geometry
from igeojax.divergences import exponential

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
POISSON = families.Poisson()
RATES = np.exp(RNG.normal(1.0, 1.0, size=60))
SHARES = RNG.uniform(0.5, 2.0, size=60)


def objective(family, points, centers, labels, weights, side):
    """By a plain loop."""
    total = 0.0
    for i, label in enumerate(np.asarray(labels)):
        law, center = (
            jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf)[i], tree)
            for tree, i in ((points, i), (centers, int(label)))
        )
        pair = (law, center) if side == "right" else (center, law)
        total += weights[i] * float(exponential.kl(family, *pair))
    return total / np.sum(weights)


@pytest.mark.parametrize("side", ["right", pytest.param("left", marks=pytest.mark.slow)])
def test_the_objective_never_rises(side):
    points = POISSON.natural_from_params(RATES)
    found = geometry.bregman_k_means(
        POISSON, points, 4, key=jax.random.key(1), weights=SHARES, side=side
    )
    values = np.asarray(found.objective)
    assert found.converged
    assert 1 < int(found.num_steps) < 100
    assert (np.diff(values) <= 1e-15).all()
    assert values[-1] < values[0]
    expected = objective(POISSON, points, found.centers, found.labels, SHARES, side)
    assert values[-1] == pytest.approx(expected, rel=1e-10, abs=0)
    # Each center is the mean of its laws; each law is with its nearest center.
    labels = np.asarray(found.labels)
    for k, center in enumerate(np.asarray(found.centers.x)):
        own = labels == k
        if side == "right":
            expected = np.log(np.average(RATES[own], weights=SHARES[own]))
        else:
            expected = np.average(np.log(RATES[own]), weights=SHARES[own])
        assert center == pytest.approx(expected, rel=1e-10, abs=0)
    pair = (points.x[:, None], found.centers.x[None])
    distances = exponential.kl(
        POISSON, *map(POISSON.Point, pair if side == "right" else pair[::-1])
    )
    np.testing.assert_array_equal(np.argmin(distances, axis=1), labels)


@pytest.mark.slow
def test_the_sides_differ():
    start = POISSON.Params(np.array([1.0, 3.0, 8.0, 20.0]))
    right, left = (
        geometry.bregman_k_means(POISSON, POISSON.Params(RATES), 4, start=start, side=side)
        for side in ("right", "left")
    )
    assert np.abs(right.centers.x - left.centers.x).max() > 1e-2


def test_known_deviations_give_k_means():
    family = families.Product((families.NormalKnownScale(1.0), families.NormalKnownScale(1.0)))
    x = RNG.normal(size=(80, 2))
    points = family.Point(*(families.NormalKnownScale.Point(jnp.asarray(column)) for column in x.T))
    start = family.Point(*(families.NormalKnownScale.Point(jnp.asarray(v)) for v in x[:5].T))
    found = geometry.bregman_k_means(family, points, 5, start=start)
    reference = KMeans(5, init=x[:5], n_init=1, algorithm="lloyd", tol=0).fit(x)
    np.testing.assert_array_equal(found.labels, reference.labels_)
    centers = np.stack([leaf.x for leaf in found.centers], axis=1)
    np.testing.assert_allclose(centers, reference.cluster_centers_, rtol=1e-12)
    assert 2 * 80 * float(found.objective[-1]) == pytest.approx(
        reference.inertia_, rel=1e-12, abs=0
    )


@pytest.mark.slow
def test_groups_far_apart_are_found():
    # By location and by deviation: Euclidean distance of the parameters knows nothing of it.
    normal = families.Normal()
    loc = np.repeat([0.0, 0.0, 9.0], 10) + RNG.normal(0, 0.1, 30)
    scale = np.repeat([0.1, 2.0, 2.0], 10) * np.exp(RNG.normal(0, 0.05, 30))
    truth = np.repeat([0, 1, 2], 10)
    points = normal.natural_from_params(loc, scale)
    # Each start ends in a minimum, that of the lowest objective is the one looked for.
    fits = [
        geometry.bregman_k_means(normal, points, 3, key=jax.random.key(seed)) for seed in range(5)
    ]
    assert all(found.converged for found in fits)
    labels = np.asarray(min(fits, key=lambda found: float(found.objective[-1])).labels)
    assert len({(a, b) for a, b in zip(labels, truth, strict=True)}) == 3
    assert len(set(labels)) == 3


def test_clusters_without_laws_keep_their_centers():
    start = POISSON.Params(np.array([1.0, 4.0, 1e6]))
    found = geometry.bregman_k_means(
        POISSON, POISSON.Params(np.array([1.0, 2.0, 5.0])), 3, start=start
    )
    assert found.converged
    assert set(found.labels.tolist()) == {0, 1}
    assert float(found.centers.x[2]) == pytest.approx(np.log(1e6))
    # Fewer distinct laws than clusters: seeds repeat.
    same = POISSON.Params(np.array([2.0, 2.0, 2.0, 7.0]))
    found = geometry.bregman_k_means(POISSON, same, 4, key=jax.random.key(0))
    assert found.converged
    assert float(found.objective[-1]) == pytest.approx(0, abs=1e-15)
    assert np.isfinite(found.centers.x).all()


def test_laws_of_no_weight_do_not_move_centers():
    weights = np.ones(60)
    weights[:10] = 0
    start = POISSON.Params(np.array([1.0, 5.0]))
    full = geometry.bregman_k_means(POISSON, POISSON.Params(RATES), 2, start=start, weights=weights)
    part = geometry.bregman_k_means(POISSON, POISSON.Params(RATES[10:]), 2, start=start)
    np.testing.assert_allclose(full.centers.x, part.centers.x, rtol=1e-12)


@pytest.mark.slow
def test_classes_that_laws_have_not():
    categorical = families.Categorical(3)
    probs = np.array([[0.5, 0.0, 0.5], [0.4, 0.0, 0.6], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    for side in ("right", "left"):
        found = geometry.bregman_k_means(
            categorical, categorical.Params(probs), 2, key=jax.random.key(0), side=side
        )
        assert found.labels[0] == found.labels[1] != found.labels[2] == found.labels[3]
        assert np.isfinite(found.objective[-1])
        centers = categorical.params_from_natural(found.centers).probs
        assert centers[found.labels[0], 1] == 0


@pytest.mark.slow
def test_seeds_depend_on_the_key_and_steps_are_bounded():
    points = POISSON.natural_from_params(RATES)
    runs = [
        geometry.bregman_k_means(POISSON, points, 6, key=jax.random.key(seed), max_steps=1)
        for seed in (0, 0, 1)
    ]
    assert not runs[0].converged
    assert runs[0].objective.shape == (2,)
    np.testing.assert_array_equal(runs[0].centers.x, runs[1].centers.x)
    assert (runs[0].centers.x != runs[2].centers.x).any()


@pytest.mark.slow
def test_float32_stays():
    points = POISSON.Point(jnp.asarray(np.log(RATES), jnp.float32))
    found = geometry.bregman_k_means(POISSON, points, 3, key=jax.random.key(0), weights=SHARES)
    assert found.centers.x.dtype == found.objective.dtype == np.float32
    assert found.converged


@pytest.mark.slow
def test_vmap_over_keys():
    points = POISSON.natural_from_params(RATES)
    keys = jax.random.split(jax.random.key(0), 3)
    run = lambda key: geometry.bregman_k_means(POISSON, points, 3, key=key)
    many = jax.jit(jax.vmap(run))(keys)
    for i, key in enumerate(keys):
        np.testing.assert_allclose(many.objective[i], run(key).objective, rtol=1e-12)


def test_bad_input():
    points = POISSON.natural_from_params(RATES)
    call = lambda *args, **options: geometry.bregman_k_means(POISSON, *args, **options)
    key = jax.random.key(0)
    with pytest.raises(TypeError, match="instance of a family"):
        geometry.bregman_k_means(families.Poisson, points, 2, key=key)
    with pytest.raises(TypeError, match="key must be a PRNG key; got NoneType"):
        call(points, 2)
    with pytest.raises(ValueError, match="at most the number of laws, 60; got 61"):
        call(points, 61, key=key)
    with pytest.raises(ValueError, match="side must be one of 'right', 'left'"):
        call(points, 2, key=key, side="both")
    with pytest.raises(ValueError, match="start must hold 2 centers along axis 0; got 3"):
        call(points, 2, start=POISSON.Point(jnp.zeros(3)))
    with pytest.raises(ValueError, match=r"points must have one leading axis; got .* \(3, 2\)"):
        call(POISSON.Point(jnp.zeros((3, 2))), 2, key=key)
