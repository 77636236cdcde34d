"""Maximum entropy against closed forms and scipy; redundancy, infeasibility, derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from igeojax.discrete import maximum_entropy

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

SOLVE = jax.jit(maximum_entropy)
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 3)) * np.array([1.0, 1e4, 1e-3])
TARGET = RNG.dirichlet(np.ones(12)) @ FEATURES


def test_die_of_jaynes():
    die = SOLVE(jnp.arange(1.0, 7.0)[:, None], jnp.array([4.5]))
    # lambda of the truncated geometric law, by scipy.
    mean = lambda z: (
        np.exp(z * np.arange(1, 7)) @ np.arange(1, 7) / np.exp(z * np.arange(1, 7)).sum()
    )
    expected = scipy.optimize.brentq(lambda z: mean(z) - 4.5, 0, 2, xtol=1e-14)
    assert float(die.multipliers[0]) == pytest.approx(expected, rel=1e-11, abs=0)
    assert die.converged
    assert die.residual < 1e-14


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_moments_are_met_and_the_law_is_exponential(dtype):
    features, target = jnp.asarray(FEATURES, dtype), jnp.asarray(TARGET, dtype)
    result = SOLVE(features, target)
    assert result.converged
    assert result.probs.dtype == dtype
    spread = np.ptp(FEATURES, axis=0)
    gap = np.abs(np.asarray(result.probs, float) @ FEATURES - TARGET) / spread
    assert gap.max() < 50 * np.finfo(dtype).eps
    logs = np.log(np.asarray(result.probs, float))
    scores = FEATURES @ np.asarray(result.multipliers, float)
    np.testing.assert_allclose(logs - logs[0], scores - scores[0], atol=2e3 * np.finfo(dtype).eps)


def test_no_law_with_these_moments_has_more_entropy():
    result = SOLVE(FEATURES, TARGET)
    p = np.asarray(result.probs)
    constraints = np.vstack([np.ones(12), (FEATURES / np.ptp(FEATURES, axis=0)).T])
    directions = scipy.linalg.null_space(constraints)
    entropy = lambda v: -np.sum(v * np.log(v))
    for direction in directions.T:
        step = 1e-3 * p.min() * direction / np.abs(direction).max()
        assert entropy(p + step) < entropy(p)
        assert entropy(p - step) < entropy(p)


def test_redundant_and_constant_features():
    x = RNG.normal(size=(9, 2))
    target = RNG.dirichlet(np.ones(9)) @ x
    plain = SOLVE(x, target)
    wide = np.concatenate([x, x[:, :1] + x[:, 1:], np.full((9, 1), 3.0), x], axis=1)
    goal = np.concatenate([target, [target.sum(), 3.0], target])
    redundant = SOLVE(wide, goal)
    assert redundant.converged
    np.testing.assert_allclose(redundant.probs, plain.probs, rtol=1e-10)
    # A target that contradicts itself is no target.
    goal[2] += 0.1
    assert not SOLVE(wide, goal).converged
    # More features than outcomes; then the moments fix the law.
    many = RNG.normal(size=(4, 7))
    law = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(SOLVE(many, law @ many).probs, law, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_infeasible_targets_are_reported(dtype):
    # Inside the range of each feature, outside the hull of the corners.
    corners = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype)
    for target in ([0.9, 0.9], [0.51, 0.51], [0.5, 0.5001]):
        result = SOLVE(corners, jnp.asarray(target, dtype))
        assert not result.converged
        assert result.residual > 1e-5
        assert all(jnp.isfinite(leaf).all() for leaf in result)
    inside = SOLVE(corners, jnp.asarray([0.49, 0.5], dtype))
    np.testing.assert_allclose(inside.probs, [0.01, 0.49, 0.5], rtol=1e-4)
    assert inside.converged
    traced = SOLVE(corners, jnp.asarray([2.0, 0.0], dtype))
    assert not traced.converged


def test_boundary_targets_are_met_in_the_limit():
    corners = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    edge = SOLVE(corners, jnp.array([0.25, 0.75]))
    assert edge.converged
    np.testing.assert_allclose(edge.probs, [0, 0.25, 0.75], atol=1e-12)


def test_derivatives_are_implicit():
    result = SOLVE(FEATURES, TARGET)
    forward = jax.jacfwd(lambda t: SOLVE(FEATURES, t)[:2])(jnp.asarray(TARGET))
    reverse = jax.jacrev(lambda f, t: SOLVE(f, t).multipliers, argnums=(0, 1))(
        jnp.asarray(FEATURES), jnp.asarray(TARGET)
    )
    # d lambda / d target is the inverse covariance of the features.
    p = np.asarray(result.probs)
    centered = FEATURES - p @ FEATURES
    covariance = centered.T @ (p[:, None] * centered)
    np.testing.assert_allclose(forward[1] @ covariance, np.eye(3), atol=1e-7)
    np.testing.assert_allclose(forward[1], reverse[1], rtol=1e-9)
    np.testing.assert_allclose(FEATURES.T @ forward[0], np.eye(3), atol=1e-7)
    # In the features, by central differences.
    step = 1e-6 * np.eye(12 * 3)[7].reshape(12, 3) * np.ptp(FEATURES, axis=0)
    high, low = SOLVE(FEATURES + step, TARGET), SOLVE(FEATURES - step, TARGET)
    change = (high.multipliers - low.multipliers) / 2
    np.testing.assert_allclose(np.einsum("ikm,km->i", reverse[0], step), change, rtol=1e-6)


def test_second_derivatives_and_batches():
    faces = jnp.arange(1.0, 7.0)[:, None]
    entropy = lambda t: (lambda p: -jnp.sum(p * jnp.log(p)))(SOLVE(faces, t[None]).probs)
    # H'(t) = -lambda, H'' = -1 / variance.
    for t in (2.5, 4.5):
        law = SOLVE(faces, jnp.array([t]))
        variance = law.probs @ faces[:, 0] ** 2 - t**2
        assert float(jax.grad(entropy)(t)) == pytest.approx(
            -float(law.multipliers[0]), rel=1e-9, abs=0
        )
        assert float(jax.grad(jax.grad(entropy))(t)) == pytest.approx(
            -1 / float(variance), rel=1e-8, abs=0
        )
    targets = jnp.linspace(1.5, 5.5, 7)[:, None]
    many = jax.vmap(SOLVE, in_axes=(None, 0))(faces, targets)
    np.testing.assert_allclose(many.probs @ faces, targets, rtol=1e-12)
    np.testing.assert_allclose(many.probs[2], SOLVE(faces, targets[2]).probs, rtol=1e-9)


def test_gradient_with_redundant_features():
    x = jnp.arange(4.0)[:, None] * jnp.ones((1, 2))
    weight = jnp.array([1.0, -2.0, 0.0, 3.0])
    value = lambda t, f: SOLVE(f, jnp.full(f.shape[1], t)).probs @ weight
    doubled, single = (jax.grad(value)(1.2, f) for f in (x, x[:, :1]))
    assert float(doubled) == pytest.approx(float(single), rel=1e-9, abs=0)


BAD = [
    ((FEATURES[:, 0], TARGET[:1]), {}, ValueError, r"\(outcomes, features\).*\(12,\).*vmap"),
    ((FEATURES, TARGET[:2]), {}, ValueError, r"\(12, 3\) and \(2,\)"),
    (([[1.0], [np.nan]], [1.0]), {}, ValueError, "features must be finite; got nan"),
    (
        ([[1.0], [2.0]], [2.5]),
        {},
        ValueError,
        "target.*range.*got 2.5 at index 0.*1.0 to 2.0.*No law",
    ),
    (([[1.0], [2.0]], [np.inf]), {}, ValueError, "target must be finite; got inf"),
    ((FEATURES, TARGET), {"max_steps": 0}, ValueError, "max_steps must be at least 1"),
    (("ab", TARGET), {}, TypeError, "features must be a number or an array.*str"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error) as caught:
        maximum_entropy(*arguments, **options)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
