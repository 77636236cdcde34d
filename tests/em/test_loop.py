"""The EM iteration on a scalar whose trajectory is known, and what extrapolates it."""

import jax
import jax.numpy as jnp
import numpy as np

from igeojax import em, families
from igeojax.em._maximization import framed
from igeojax.em.acceleration import squarem
from igeojax.em.loop import best_end, iterate


def _halving(params):
    return params, -(params**2)


def test_history_is_the_objective_before_each_step_and_after_the_last():
    result = iterate(_halving, lambda e, p: e / 2, 1.0, tolerance=0.0, max_iterations=4)
    np.testing.assert_allclose(result.history, -(0.25 ** np.arange(5)))
    np.testing.assert_allclose(result.params, 1 / 16)
    assert int(result.num_iterations) == 4
    assert not result.converged


def test_stops_at_the_first_gain_below_the_tolerance():
    # Gains are 3/4, 3/16, 3/64, ...: the third is the first below 0.05.
    result = iterate(_halving, lambda e, p: e / 2, 1.0, tolerance=0.05, max_iterations=50)
    assert result.converged
    assert int(result.num_iterations) == 3
    assert np.isnan(result.history[4:]).all()


def test_a_step_to_nan_is_not_taken():
    shrink = lambda e, p: jnp.where(p < 0.3, jnp.nan, e / 2)
    result = iterate(_halving, shrink, 1.0, tolerance=0.0, max_iterations=50)
    np.testing.assert_allclose(result.params, 0.25)
    np.testing.assert_allclose(result.objective, -0.0625)
    assert int(result.num_iterations) == 2
    assert not result.converged


def test_vmap_is_the_loop_over_starts():
    starts = jnp.array([1.0, 0.01, 3.0])
    run = lambda s: iterate(_halving, lambda e, p: e / 2, s, tolerance=1e-3, max_iterations=30)
    together = jax.jit(jax.vmap(run))(starts)
    for index, start in enumerate(starts):
        alone = run(start)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-15)


def test_a_start_after_an_end_is_taken_where_it_is_no_worse():
    halved = lambda start, **options: iterate(
        _halving, lambda e, p: e / 2, start, tolerance=0.05, max_iterations=9, **options
    )
    end = halved(4.0)
    steps = int(end.num_iterations)
    worse, better = halved(1.0, after=end), halved(-0.1, after=end)
    for a, b in zip(worse[:4], end[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not worse.converged
    np.testing.assert_array_equal(better.history[: steps + 1], end.history[: steps + 1])
    np.testing.assert_allclose(better.history[steps + 1], -0.01)
    assert better.converged
    assert int(better.num_iterations) == steps + 1
    # Steps after the first may lose: the noise of a variance may cost.
    drift = lambda e, p: p + 0.1
    lower = iterate(_halving, drift, -0.1, tolerance=-1.0, max_iterations=9, after=end)
    assert int(lower.num_iterations) == 9


def test_a_run_that_collapsed_is_passed_over_while_there_is_another():
    # From 5 and -9 the steps come to an end in nan; the objective before is larger from 5.
    def step(e, p):
        return jnp.where(jnp.abs(p) > 4, jnp.nan, e / 2)

    def run(start):
        objective = lambda p: (p, jnp.where(p == 5, 9.0, -(p**2)))
        return iterate(objective, step, start, tolerance=0.05, max_iterations=20)

    ends = jax.vmap(run)(jnp.array([5.0, 2.0, -9.0]))
    assert best_end(ends, 20).converged
    np.testing.assert_allclose(best_end(ends, 20).params, 0.125)
    collapsed = jax.tree.map(lambda leaf: leaf[::2], ends)
    np.testing.assert_allclose(best_end(collapsed, 20).objective, 9.0)


def test_a_step_that_loses_too_much_is_not_taken():
    gains = jnp.array([0.0, 1.0, 2.0, 1.9, 1.0, 5.0])
    walk = lambda **options: iterate(
        lambda p: (p, gains[p.astype(int)]),
        lambda e, p: p + 1,
        0.0,
        tolerance=-9.0,
        max_iterations=5,
        **options,
    )
    assert int(walk().num_iterations) == 5
    # 2 to 1.9 is a thirtieth of one and its size, 1.9 to 1 a third.
    held = walk(most_loss=0.1)
    assert int(held.num_iterations) == 3
    assert not held.converged
    np.testing.assert_allclose(held.objective, 1.9)


def test_a_fall_beyond_rounding_is_not_convergence():
    def walk(values, dtype=float, **options):
        values = jnp.asarray(values, dtype)
        return iterate(
            lambda p: (p, values[p.astype(int)]),
            lambda e, p: p + 1,
            jnp.zeros((), dtype),
            max_iterations=len(values) - 1,
            **options,
        )

    found = walk([0.0, 1.0, 0.9, 1.1, 1.1], tolerance=1e-3)
    assert int(found.num_iterations) == 4
    assert found.converged
    # The fall is allowed and larger than the tolerance: it goes on until it may not.
    found = walk([0.0, 1.0, 0.9], tolerance=1e-3)
    assert not found.converged
    for dtype in (jnp.float32, float):
        eps = jnp.finfo(dtype).eps
        fallen = walk([0.0, 2.0, 2.0 * (1 - 32 * eps), 3.0], dtype, tolerance=0.0)
        assert int(fallen.num_iterations) == 2
        assert fallen.converged
        fallen = walk([0.0, 2.0, 2.0 * (1 - 1024 * eps), 3.0], dtype, tolerance=0.0)
        assert int(fallen.num_iterations) == 3


def test_an_extrapolation_that_loses_is_not_taken():
    loop = lambda **options: iterate(
        _halving, lambda e, p: e / 2, 1.0, tolerance=1e-6, max_iterations=30, **options
    )
    plain = loop()
    lost = loop(extrapolate=lambda p, one, two: jnp.asarray(100.0))
    assert (np.diff(lost.history[: int(lost.num_iterations) + 1]) >= 0).all()
    np.testing.assert_allclose(lost.history[:5], plain.history[:5])
    won = loop(extrapolate=lambda p, one, two: jnp.asarray(1e-4))
    assert int(won.num_iterations) < int(plain.num_iterations) / 3


def test_squarem_stays_in_the_natural_domain():
    family = families.Normal()
    mixture = em.Mixture(family, 1)
    step = lambda xx: framed(
        family, mixture.point([1.0], family.Point(jnp.zeros(1), jnp.array([xx])))
    )
    # -1 + 2 a 0.7 - a^2 0.45 with a = 0.7 / 0.45 is positive: no precision.
    second = step(-0.05)
    found = squarem(mixture, step(-1.0), step(-0.3), second)
    for leaf, kept in zip(jax.tree.leaves(found), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(leaf, kept)
    inside = squarem(mixture, step(-1.0), step(-0.5), step(-0.3))
    length = 0.5 / 0.3
    far = -1 + 2 * length * 0.5 - length**2 * 0.3
    np.testing.assert_allclose(inside.components.xx, [far], rtol=1e-13)
