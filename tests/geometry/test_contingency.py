"""Iterative proportional fitting against loops in numpy, log-linear models and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from igeojax.geometry import iterative_proportional_fitting

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(1, 30, size=(2, 3, 4)).astype(float)
PAIRS = ((0, 1), (0, 2), (1, 2))
EPS = np.finfo(float).eps


def margins_of(table, kept):
    complement = lambda axes: tuple(i for i in range(table.ndim) if i not in axes)
    return [(axes, table.sum(complement(axes))) for axes in kept]


def fit(axes, **options):
    return jax.jit(
        lambda seed, targets: iterative_proportional_fitting(
            seed, list(zip(axes, targets, strict=True)), **options
        )
    )


FIT = fit((0, 1))
FIT_PAIRS = fit(PAIRS)


def by_hand(seed, rows, columns, cycles=2000):
    table = np.array(seed, float)
    for _ in range(cycles):
        for i in range(table.shape[0]):
            table[i] *= rows[i] / table[i].sum()
        for j in range(table.shape[1]):
            table[:, j] *= columns[j] / table[:, j].sum()
    return table


def test_two_by_two_in_closed_form():
    # The odds ratio stays, so that the first cell solves a quadratic.
    seed, rows, columns = np.array([[4.0, 1.0], [2.0, 3.0]]), [0.4, 0.6], [0.7, 0.3]
    found = FIT(seed, (np.array(rows), np.array(columns)))
    odds = 4 * 3 / (1 * 2)
    a, b, c = 1 - odds, 1 - 0.4 - 0.7 + odds * (0.4 + 0.7), -odds * 0.4 * 0.7
    roots = np.roots([a, b, c])
    first = next(r for r in roots if 0.1 < r < 0.4)
    expected = [[first, 0.4 - first], [0.7 - first, 0.3 - 0.4 + first]]
    np.testing.assert_allclose(found.table, expected, rtol=1e-12)
    assert found.converged
    assert found.residual <= 100 * EPS


def test_three_by_three_by_hand():
    seed = np.array([[40.0, 30, 20], [35, 50, 100], [30, 80, 70]])
    rows, columns = np.array([150.0, 300, 400]), np.array([200.0, 300, 350])
    found = FIT(seed, (rows, columns))
    np.testing.assert_allclose(found.table, by_hand(seed, rows, columns), rtol=1e-12)
    np.testing.assert_allclose(found.table.sum(1), rows, rtol=1e-12)
    assert found.converged
    assert 2 < int(found.num_cycles) < 100


def test_independence_takes_one_cycle():
    table = COUNTS[0]
    found = FIT(np.ones_like(table), (table.sum(1), table.sum(0)))
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    np.testing.assert_allclose(found.table, expected, rtol=1e-14)
    assert int(found.num_cycles) == 1


def test_no_three_way_interaction_is_the_log_linear_fit():
    targets = tuple(target for _, target in margins_of(COUNTS, PAIRS))
    found = FIT_PAIRS(np.ones_like(COUNTS), targets)
    # Maximum likelihood of a Poisson model with all pairs of interactions, by scipy.
    design = np.concatenate(
        [
            np.stack(
                [np.ones_like(COUNTS).ravel() * (cells == level) for level in np.unique(cells)]
            )
            for axes in PAIRS
            for cells in [
                np.ravel_multi_index(np.indices(COUNTS.shape)[list(axes)].reshape(2, -1), (4, 4))
            ]
        ]
    ).T

    def loss(beta):
        rate = np.exp(design @ beta)
        return rate.sum() - COUNTS.ravel() @ design @ beta, design.T @ (rate - COUNTS.ravel())

    best = scipy.optimize.minimize(
        loss, np.full(design.shape[1], 0.5), jac=True, options={"gtol": 1e-9, "maxiter": 1000}
    )
    np.testing.assert_allclose(found.table.ravel(), np.exp(design @ best.x), rtol=1e-6)
    # The model: the odds ratio of two variables does not depend on the third.
    logs = np.log(found.table)
    odds = logs[0, :-1] - logs[0, 1:] - logs[1, :-1] + logs[1, 1:]
    np.testing.assert_allclose(odds, np.broadcast_to(odds[:, :1], odds.shape), atol=1e-11)
    assert found.converged


def test_structural_zeros_stay():
    seed = np.array([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]])
    law = seed * np.array([[1, 2, 0], [3, 1, 2], [0, 1, 4]])
    rows, columns = law.sum(1), law.sum(0)
    found = FIT(seed, (rows, columns))
    assert found.converged
    np.testing.assert_array_equal(found.table == 0, seed == 0)
    np.testing.assert_allclose(found.table, by_hand(seed, rows, columns), rtol=1e-11)
    # Quasi-independence: the odds ratio of the seed where it can be formed.
    t = np.asarray(found.table)
    assert t[0, 0] * t[1, 1] == pytest.approx(t[0, 1] * t[1, 0], rel=1e-11, abs=0)


def test_a_row_without_mass():
    found = FIT(np.ones((3, 3)), (np.array([0.0, 1, 3]), np.array([1.0, 1, 2])))
    assert found.converged
    np.testing.assert_allclose(found.table, np.outer([0, 1, 3], [1, 1, 2]) / 4, rtol=1e-14)


def test_zeros_that_no_table_can_meet_are_reported():
    seed = np.array([[1.0, 0, 0], [1, 1, 1], [1, 1, 1]])
    found = fit((0, 1), max_cycles=200)(seed, (np.array([3.0, 1, 1]), np.array([1.0, 2, 2])))
    assert not found.converged
    assert int(found.num_cycles) == 200
    assert found.residual > 0.1
    assert np.isfinite(found.table).all()
    dead = np.array([[0.0, 0, 0], [1, 1, 1], [1, 1, 1]])
    found = fit((0, 1), max_cycles=200)(dead, (np.array([1.0, 1, 1]), np.array([1.0, 1, 1])))
    assert not found.converged
    assert found.residual == pytest.approx(1 / 3)


def test_axes_may_come_in_any_order_and_as_a_mapping():
    targets = margins_of(COUNTS, PAIRS)
    expected = FIT_PAIRS(np.ones_like(COUNTS), tuple(target for _, target in targets)).table
    swapped = {axes[::-1]: target.T for axes, target in targets}
    found = iterative_proportional_fitting(np.ones_like(COUNTS), swapped)
    np.testing.assert_allclose(found.table, expected, rtol=1e-12)
    last = iterative_proportional_fitting([[1, 1], [1, 1]], {0: [1, 3], -1: [2, 2]})
    np.testing.assert_allclose(last.table, [[0.5, 0.5], [1.5, 1.5]])


def test_float32_stays():
    single = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    targets = tuple(target for _, target in margins_of(COUNTS, PAIRS))
    wide = FIT_PAIRS(np.ones_like(COUNTS), targets)
    found = FIT_PAIRS(*single((np.ones_like(COUNTS), targets)))
    assert found.table.dtype == found.residual.dtype == np.float32
    assert found.converged
    np.testing.assert_allclose(found.table, wide.table, rtol=1e-4)
    # Lists and counts take the dtype of the arrays beside them.
    plain = iterative_proportional_fitting(jnp.ones((2, 2), jnp.float32), [(0, [1, 3])])
    assert plain.table.dtype == np.float32


SEED = np.array([[4.0, 1.0, 0.0], [2.0, 3.0, 1.0]])
GOALS = (np.array([0.4, 0.6]), np.array([0.3, 0.5, 0.2]))


def test_derivatives_are_those_of_the_limit():
    table = lambda seed, goals: FIT(seed, goals).table
    along = (
        np.array([[0.3, -0.2, 0.0], [0.1, 0.5, -0.4]]),
        (np.array([0.1, -0.1]), np.array([0.05, 0.1, -0.15])),
    )
    moved = lambda s: jax.tree.map(lambda x, v: x + s * v, (SEED, GOALS), along)
    step = 1e-5
    difference = (np.asarray(table(*moved(step))) - np.asarray(table(*moved(-step)))) / (2 * step)
    _, forward = jax.jit(lambda *v: jax.jvp(table, (SEED, GOALS), v))(*along)
    np.testing.assert_allclose(forward, difference, rtol=1e-7, atol=1e-9)
    weights = np.arange(6.0).reshape(2, 3)
    value = lambda seed, goals: jnp.sum(weights * jnp.sin(table(seed, goals)))
    slopes = jax.jit(jax.grad(value, argnums=(0, 1)))(SEED, GOALS)
    paired = sum(np.sum(s * v) for s, v in zip(*map(jax.tree.leaves, (slopes, along)), strict=True))
    expected = np.sum(weights * np.cos(table(SEED, GOALS)) * difference)
    assert float(paired) == pytest.approx(expected, rel=1e-7, abs=0)


@pytest.mark.slow
def test_second_derivatives():
    value = lambda goal: jnp.sum(FIT(SEED, (jnp.stack([goal, 1 - goal]), GOALS[1])).table ** 3)
    slope = jax.jit(jax.grad(value))
    second = jax.jit(jax.hessian(value))(0.4)
    difference = (slope(0.4 + 1e-5) - slope(0.4 - 1e-5)) / 2e-5
    assert float(second) == pytest.approx(float(difference), rel=1e-7, abs=0)


def test_vmap_is_a_loop():
    seeds = RNG.uniform(1, 5, size=(3, 2, 3))
    many = jax.jit(jax.vmap(FIT, (0, None)))(seeds, GOALS)
    for i, seed in enumerate(seeds):
        one = FIT(seed, GOALS)
        np.testing.assert_allclose(many.table[i], one.table, rtol=1e-13)
        assert many.num_cycles[i] == one.num_cycles


@pytest.mark.parametrize(
    ("error", "match", "table", "margins"),
    [
        (ValueError, "at least|hold a pair", np.ones((2, 2)), []),
        (
            ValueError,
            r"margin 0 must have shape \(2,\).*got \(3,\)",
            np.ones((2, 2)),
            [(0, [1] * 3)],
        ),
        (ValueError, r"different axes of a table of 2.*got \(2,\)", np.ones((2, 2)), [(2, [1, 1])]),
        (ValueError, r"different axes.*got \(0, 0\)", np.ones((2, 2)), [((0, 0), [[1]])]),
        (TypeError, "axes of margin 0 must be integers; got str", np.ones((2, 2)), [("a", [1, 1])]),
        (ValueError, "table must be finite and non-neg", -np.ones((2, 2)), [(0, [1, 1])]),
        (ValueError, "sum of the table must be positive", np.zeros((2, 2)), [(0, [1, 1])]),
        (
            ValueError,
            "margin 0 must be finite and non-neg.*nan",
            np.ones((2, 2)),
            [(0, [1, np.nan])],
        ),
        (
            ValueError,
            "equal totals; got 2 of margin 0 and 3",
            np.ones((2, 2)),
            {0: [1, 1], 1: [1, 2]},
        ),
        (
            ValueError,
            r"shared axes \(1,\); got 2 of margin 0 and 3 of margin 1",
            np.ones((2, 2, 2)),
            {(0, 1): [[1, 3], [1, 1]], (1, 2): [[1, 2], [2, 1]]},
        ),
    ],
)
def test_bad_input(error, match, table, margins):
    with pytest.raises(error, match=match):
        iterative_proportional_fitting(table, margins)


def test_traced_margins_that_disagree_do_not_converge():
    found = fit((0, 1), max_cycles=50)(np.ones((2, 2)), (np.ones(2), np.array([1.0, 2.0])))
    assert not found.converged
    assert np.isfinite(found.residual)
