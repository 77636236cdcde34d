"""Statistics of directions against scipy, closed forms and draws from known laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from igeojax.families import directional_statistics as directional

STATISTICS = (
    directional.mean_direction,
    directional.resultant_length,
    directional.directional_variance,
    lambda x, w=None: directional.rayleigh_test(x, w).p_value,
    directional.confidence_cone,
)
all_statistics = jax.jit(
    lambda x, weights=None: jnp.concatenate([jnp.ravel(f(x, weights)) for f in STATISTICS])
)
PAIR = jnp.array([[0.6, 0.8], [-0.6, -0.8]])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def draws(dim, *shape, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(*shape, dim)))


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_mean_and_length_are_those_of_scipy(dim):
    x = unit(draws(dim, 20, 4) + np.eye(dim)[0])
    expected = stats.directional_stats(x)
    np.testing.assert_allclose(directional.mean_direction(x), expected.mean_direction, rtol=1e-13)
    length = expected.mean_resultant_length
    np.testing.assert_allclose(directional.resultant_length(x), length, rtol=1e-14)
    np.testing.assert_allclose(directional.directional_variance(x), 1 - length, rtol=1e-13)


def test_angles_are_vectors_of_the_plane():
    angles = np.random.default_rng(0).vonmises(3.0, 2.0, 30)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cosine, sine = directional.mean_direction(x)
    np.testing.assert_allclose(np.arctan2(sine, cosine) % (2 * np.pi), stats.circmean(angles))
    np.testing.assert_allclose(directional.directional_variance(x), stats.circvar(angles))


def test_variance_keeps_its_digits():
    angles = np.random.default_rng(0).normal(size=50) * 1e-3
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # Of the vectors as they were rounded, which are a little off the circle.
    expected = 1 - np.linalg.norm(unit(x.astype(float)).mean(axis=0))
    np.testing.assert_allclose(directional.directional_variance(x), expected, rtol=1e-3)


@pytest.mark.parametrize("dim", [2, 8])
def test_whole_weights_are_repeats_for_the_mean_and_their_size_does_not_matter(dim):
    x, counts = draws(dim, 9), np.array([1, 2, 0, 3, 1, 1, 4, 2, 1])
    repeated = np.repeat(x, counts, axis=0)
    first = dim + 2  # Those of the mean itself.
    found = all_statistics(x, counts)
    np.testing.assert_allclose(found[:first], all_statistics(repeated)[:first], rtol=1e-13)
    np.testing.assert_allclose(found, all_statistics(x, 7.0 * counts), rtol=1e-12)
    kept = counts > 0
    np.testing.assert_allclose(found, all_statistics(x[kept], counts[kept]), rtol=1e-12)
    np.testing.assert_allclose(all_statistics(x, np.ones(9)), all_statistics(x), rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dim", [2, 3, 8])
def test_p_values_are_uniform_where_directions_are(dim, weighted):
    trials, count = 40_000, 8
    weights = np.array([2.0, 1, 1, 1, 1, 1, 1, 2]) if weighted else None
    p_values = jax.jit(directional.rayleigh_test)(draws(dim, count, trials), weights).p_value
    # The distance of Kolmogorov and Smirnov, at a level of one in a thousand.
    assert stats.kstest(np.asarray(p_values), "uniform").statistic < 1.95 / np.sqrt(trials)


def test_p_values_fall_with_the_length():
    x = np.concatenate([draws(3, 40), unit(draws(3, 40, seed=1) + 2 * np.eye(3)[0])])
    chosen = [directional.rayleigh_test(part).p_value for part in (x[:40], x, x[40:])]
    assert chosen[0] > 0.01 > 1e-3 > chosen[1] > chosen[2] > 0


@pytest.mark.parametrize("dim", [2, 4])
def test_cones_hold_the_mean_direction_as_often_as_they_say(dim):
    trials, count = 4000, 60
    law = stats.vonmises_fisher(np.eye(dim)[0], 2.0 * dim, seed=0)
    x = law.rvs(count * trials).reshape(count, trials, dim)
    angles = jax.jit(directional.confidence_cone)(x)
    cosines = directional.mean_direction(x)[:, 0]
    held = np.mean(np.cos(angles) <= cosines)
    # Of 60 vectors the spread is known to a tenth: it holds 94 % of them.
    assert 0.93 < held < 0.96


def test_cone_of_three_dimensions_is_that_of_the_book():
    x = unit(draws(3, 25) + 2 * np.eye(3)[0])
    mean = x.mean(axis=0)
    length, axis = np.linalg.norm(mean), unit(mean)
    spread = (1 - np.mean((x @ axis) ** 2)) / (25 * length**2)
    expected = np.arcsin(np.sqrt(-np.log(0.1) * spread))
    np.testing.assert_allclose(directional.confidence_cone(x, level=0.9), expected, rtol=1e-10)


def test_what_has_no_mean_direction():
    assert directional.resultant_length(PAIR) == 0
    assert directional.directional_variance(PAIR) == 1
    assert directional.rayleigh_test(PAIR).p_value == 1
    assert directional.confidence_cone(PAIR) == np.pi
    assert directional.mean_direction(PAIR).tolist() == [1, 0]
    single = directional.rayleigh_test(PAIR[:1])
    np.testing.assert_allclose(single.statistic, 1.5)
    assert directional.confidence_cone(jnp.stack([PAIR[0]] * 3)) < 1e-15


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [2, 3])
def test_derivatives_are_finite_and_those_of_differences(dim, dtype):
    hard = np.concatenate([draws(dim, 3), -draws(dim, 3)]).astype(dtype)
    alike = np.tile(np.eye(dim, dtype=dtype)[0], (6, 1))
    usual = unit(draws(dim, 6) + np.eye(dim)[0]).astype(dtype)
    slopes = jax.jit(jax.jacrev(all_statistics))
    for x in (hard, alike, usual):
        assert slopes(x).dtype == dtype
        assert np.isfinite(slopes(x)).all()
    if dtype == np.float64:
        step = 1e-6 * np.random.default_rng(1).normal(size=usual.shape)
        change = (all_statistics(usual + step) - all_statistics(usual - step)) / 2
        np.testing.assert_allclose(np.tensordot(slopes(usual), step, 2), change, rtol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(n, .* got \(3,\).*Angles"):
        directional.mean_direction(np.ones(3))
    with pytest.raises(ValueError, match=r"\(dim=2\) must lie in its support.*index \(0,\)"):
        directional.resultant_length([[1.0, 1.0]])
    with pytest.raises(ValueError, match=r"weights must have shape \(2,\)"):
        directional.rayleigh_test(PAIR, [1.0])
    with pytest.raises(ValueError, match="at least 2 observations; got 1"):
        directional.confidence_cone(PAIR[:1])
    with pytest.raises(ValueError, match="level must lie between 0 and 1; got 95"):
        directional.confidence_cone(PAIR, level=95)
