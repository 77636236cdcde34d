"""SPRING: dense algebra over several steps, what it keeps, and optax around it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import fisher, optim
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LINEAR,
    PARAMS,
    fisher_matrix,
    flat,
    gradient,
    linear_predict,
    predict,
    problem,
    single,
    solution,
    update,
)

TIGHT = optim.ConjugateGradient(tolerance=1e-13, max_iterations=60)
EXACT = [optim.SampleSpace(), optim.Dense(), TIGHT]
STATIC = ("predict", "family", "solver")
MOMENTUM, DAMPING = 0.9, 0.1
OPTIONS = {"momentum": MOMENTUM, "damping": DAMPING}
BATCHES = [  # three of two examples, for two parameters: none tells all
    jnp.asarray([[1.0, 0.5]]), jnp.asarray([[0.0, 2.0]]), jnp.asarray([[-1.0, 1.0]])
]  # fmt: skip
ROWS = [jnp.asarray([1.0, -2.0]), jnp.asarray([0.3, 0.0]), jnp.asarray([-0.5, 0.7])]
START = jnp.zeros(2)
line = functools.partial(optim.scale_by_spring, linear_predict, LINEAR, **OPTIONS)


def dense(batches, rows, momentum=MOMENTUM, damping=DAMPING, start=0.0):
    """The directions in numpy, from the product with F that the transform does not take."""
    direction, found = start, []
    for x, grads in zip(batches, rows, strict=True):
        x = np.asarray(x, float)
        matrix = x.T @ x / len(x)
        direction = direction + np.zeros(len(matrix))
        rest = np.asarray(grads, float) - momentum * matrix @ direction
        damped = matrix + damping * np.eye(len(matrix))
        direction = momentum * direction + np.linalg.solve(damped, rest)
        found.append(direction)
    return found


def walked(tx, batches, rows, params=START):
    """Directions and states of the transform over batches."""
    state, step, found = tx.init(params), jax.jit(tx.update), []
    for x, grads in zip(batches, rows, strict=True):
        direction, state = step(grads, state, params, inputs=x)
        found.append((direction, state))
    return found


def close(found, expected, rtol=1e-9):
    np.testing.assert_allclose(flat(found), flat(expected), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("solver", EXACT, ids=str)
def test_directions_are_those_of_dense_algebra(solver):
    steps = walked(line(solver=solver), BATCHES, ROWS)
    for count, ((direction, state), expected) in enumerate(
        zip(steps, dense(BATCHES, ROWS), strict=True), start=1
    ):
        close(direction, expected)
        np.testing.assert_array_equal(state.direction, direction)
        assert int(state.step) == count
        assert state.residual < 1e-9


def test_direction_is_the_least_squares_that_stays_near_the_last():
    rng = np.random.default_rng(0)
    x, error, before = rng.normal(size=(4, 7)), rng.normal(size=4), rng.normal(size=7)
    jacobian, root = x / 2, np.sqrt(DAMPING)
    stacked = np.concatenate([jacobian, root * np.eye(7)])
    target = np.concatenate([error, root * MOMENTUM * before])
    expected = np.linalg.lstsq(stacked, target)[0]
    tx, params = line(), jnp.zeros(7)
    state = tx.init(params)._replace(direction=jnp.asarray(before))
    direction, _ = tx.update(jnp.asarray(jacobian.T @ error), state, params, inputs=jnp.asarray(x))
    close(direction, expected)


def test_a_network_whose_parameters_move():
    @jax.jit
    def advance(params, state):
        grads = gradient(params)
        tx = optim.scale_by_spring(predict, FAMILY, **OPTIONS)
        direction, state = tx.update(grads, state, params, inputs=INPUTS)
        return grads, direction, state

    params, last = PARAMS, 0.0 * flat(PARAMS)
    state = optim.scale_by_spring(predict, FAMILY, **OPTIONS).init(params)
    for _ in range(3):
        grads, direction, state = advance(params, state)
        matrix = np.asarray(fisher_matrix(params, INPUTS))
        rest = flat(grads) - MOMENTUM * matrix @ last
        last = MOMENTUM * last + np.linalg.solve(matrix + DAMPING * np.eye(len(last)), rest)
        close(direction, last, rtol=1e-8)
        params = jax.tree.map(lambda p, d: p - 0.3 * d, params, direction)


def test_without_momentum_it_is_the_natural_gradient():
    for solver in EXACT:
        natural = optim.scale_by_natural_gradient(
            linear_predict, LINEAR, solver=solver, damping=DAMPING
        )
        steps = walked(line(solver=solver, momentum=0.0), BATCHES, ROWS)
        expected = walked(natural, BATCHES, ROWS)
        for (direction, state), (natural_direction, natural_state) in zip(
            steps, expected, strict=True
        ):
            np.testing.assert_array_equal(direction, natural_direction)
            assert state[:3] == tuple(natural_state)


def test_the_default_solver_is_that_of_the_sample_space():
    (first, *_), (second, *_) = (
        walked(tx, BATCHES, ROWS) for tx in (line(), line(solver=optim.SampleSpace()))
    )
    np.testing.assert_array_equal(first[0], second[0])


def test_batches_of_few_examples_are_put_together():
    # 30 equations in 20 unknowns, two at a time: Kaczmarz with and without memory.
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(30, 20)) * np.geomspace(1, 0.1, 20)
    target = rng.normal(size=20)
    order = jnp.asarray(np.stack([rng.permutation(30)[:2] for _ in range(1000)]))

    def error(momentum, learning_rate):
        tx = optax.chain(
            line(momentum=momentum, damping=1e-3), optax.scale_by_learning_rate(learning_rate)
        )

        def advance(carry, chosen):
            params, state = carry
            x = jnp.asarray(rows)[chosen]
            grads = x.T @ (x @ (params - target)) / len(chosen)
            updates, state = tx.update(grads, state, params, inputs=x)
            return (optax.apply_updates(params, updates), state), None

        start = jnp.zeros(20), tx.init(jnp.zeros(20))
        (params, _), _ = jax.jit(lambda c: jax.lax.scan(advance, c, order))(start)
        return float(jnp.linalg.norm(params - target) / np.linalg.norm(target))

    plain = error(0.0, 1.0)  # the projection; a lower rate is slower still
    assert 0.1 < plain < 0.5
    assert error(0.99, 0.1) < 0.05 * plain


def test_float32_keeps_digits_where_the_damping_is_small():
    rng = np.random.default_rng(0)
    decay = np.exp(-np.arange(300) / 50)[None] * np.exp(-np.arange(24) / 8)[:, None]
    batches = [30 * rng.normal(size=(24, 300)) * decay for _ in range(8)]
    rows = [x.T @ rng.normal(size=24) / 24 for x in batches]
    expected = dense(batches, rows, momentum=0.99)[-1]
    steps = walked(
        line(momentum=0.99), single(batches), single(rows), params=jnp.zeros(300, jnp.float32)
    )
    direction, state = steps[-1]
    assert direction.dtype == state.direction.dtype == jnp.float32
    error = np.linalg.norm(direction - expected) / np.linalg.norm(expected)
    assert error < 1e-4


@pytest.mark.parametrize(
    "solver", [optim.Diagonal(), optim.BlockDiagonal(), optim.LowRank(1)], ids=str
)
def test_solvers_of_a_part_of_the_metric_stay_stable(solver):
    # Ten equal columns: F is ten times its diagonal in one direction.
    x, tree = jnp.ones((3, 5)), {"a": jnp.ones(5), "b": jnp.ones(5)}
    model = lambda p, x: linear_predict(p["a"] + p["b"], x)
    tx = optim.scale_by_spring(model, LINEAR, momentum=0.99, damping=1e-2, solver=solver)
    step = lambda state, _: (tx.update(tree, state, tree, inputs=x)[1], None)
    state, _ = jax.jit(lambda s: jax.lax.scan(step, s, length=300))(tx.init(tree))
    assert np.abs(flat(state.direction)).max() < 200


def test_a_gradient_of_nan_does_not_stay():
    rows = [ROWS[0], ROWS[1] * jnp.nan, ROWS[2]]
    steps = walked(line(), BATCHES, rows)
    assert np.isnan(steps[1][0]).all()
    np.testing.assert_array_equal(steps[1][1].direction, steps[0][1].direction)
    close(steps[2][0], dense(BATCHES[::2], ROWS[::2])[-1])


def test_metric_of_a_loss():
    # Twice the squared error: twice the metric of unit noise.
    metric = fisher.OutputMetric(lambda outputs, tangent: 2 * tangent, event_ndim=0)
    tx = optim.scale_by_spring(lambda w, x: x @ w, metric, **OPTIONS)
    twice = [jnp.sqrt(2.0) * x for x in BATCHES]
    for (direction, _), expected in zip(walked(tx, BATCHES, ROWS), dense(twice, ROWS), strict=True):
        close(direction, expected)


def test_weights_replace_the_mean():
    tx = line()
    state = tx.init(START)._replace(direction=jnp.asarray([0.4, -1.0]))
    x, weights = jnp.concatenate(BATCHES), jnp.asarray([0.2, 0.0, 3.0])
    direction, _ = tx.update(ROWS[0], state, START, inputs=x, weights=weights)
    scaled = jnp.sqrt(3 * weights)[:, None] * x
    close(direction, dense([scaled], ROWS[:1], start=np.asarray([0.4, -1.0]))[0])


# Inside optax.


def test_alias_has_learning_rate_and_bounded_norm():
    bound = 0.23
    tx = optim.spring(
        lambda count: 0.01 * (1 + count), linear_predict, LINEAR, **OPTIONS, max_norm=bound
    )
    norms = []
    for count, ((updates, _), expected) in enumerate(
        zip(walked(tx, BATCHES, ROWS), dense(BATCHES, ROWS), strict=True), start=1
    ):
        # Only the step is shortened, not the direction that is remembered.
        length = np.linalg.norm(expected)
        norms.append(0.01 * count * length)
        close(updates, -min(0.01 * count, bound / length) * expected)
    assert min(norms) < bound < max(norms)  # both cases are there
    free, _ = walked(optim.spring(2.0, linear_predict, LINEAR, **OPTIONS), BATCHES, ROWS)[0]
    close(free, -2.0 * dense(BATCHES, ROWS)[0])


def test_chain_with_clip_before_and_decay_after():
    params = jnp.asarray([1.0, 2.0])
    tx = optax.chain(
        optax.clip_by_global_norm(0.5),
        line(),
        optax.add_decayed_weights(0.01),
        optax.scale_by_learning_rate(0.2),
    )
    clipped = [g * min(1.0, 0.5 / np.linalg.norm(g)) for g in ROWS]
    steps = walked(tx, BATCHES, ROWS, params)
    for (updates, _), direction in zip(steps, dense(BATCHES, clipped), strict=True):
        close(updates, -0.2 * (direction + 0.01 * params))


def test_masked_remembers_the_block():
    grads, matrix = problem()
    mask = {"inner": False, "outer": True, "bias": True}
    tx = optax.masked(optim.scale_by_spring(predict, FAMILY, **OPTIONS), mask)
    state, step = tx.init(PARAMS), jax.jit(tx.update)
    marked = flat({k: jnp.full(v.shape, mask[k]) for k, v in PARAMS.items()}) == 1
    damped = matrix[np.ix_(marked, marked)] + DAMPING * np.eye(marked.sum())
    expected = np.zeros(marked.sum())
    for _ in range(2):
        updates, state = step(grads, state, PARAMS, inputs=INPUTS, full_params=PARAMS)
        expected = np.linalg.solve(damped, flat(grads)[marked] + DAMPING * MOMENTUM * expected)
        close(flat(updates)[marked], expected, rtol=1e-8)
        np.testing.assert_array_equal(flat(updates)[~marked], flat(grads)[~marked])
    close(state.inner_state.direction, expected, rtol=1e-8)
    with pytest.raises(ValueError, match=r"needs all its parameters.*full_params=params"):
        tx.update(grads, tx.init(PARAMS), PARAMS, inputs=INPUTS)


def test_multi_transform_with_a_label_that_no_leaf_has():
    params = {"a": START, "b": jnp.ones(1)}
    model = lambda p, x: linear_predict(p["a"], x)
    tx = optax.multi_transform(
        {"spring": optim.scale_by_spring(model, LINEAR, **OPTIONS), "sgd": optax.sgd(0.1),
         "unused": optim.scale_by_spring(model, LINEAR)},
        {"a": "spring", "b": "sgd"},
    )  # fmt: skip
    grads = {"a": ROWS[0], "b": jnp.ones(1)}
    updates, state = update(tx)(grads, params, inputs=BATCHES[0], full_params=params)
    close(updates["a"], dense(BATCHES[:1], ROWS[:1])[0])
    assert int(state.inner_states["unused"].inner_state.step) == 1


def test_multi_steps_remembers_once_for_each_update():
    tx = optax.MultiSteps(line(), every_k_schedule=2)
    batches = [x for x in BATCHES for _ in range(2)]
    halves = [row for g in ROWS for row in (0.5 * g, 1.5 * g)]
    steps = walked(tx, batches, halves)
    for (updates, _), expected in zip(steps[1::2], dense(BATCHES, ROWS), strict=True):
        close(updates, expected, rtol=1e-6)  # optax takes the mean with a float32 weight
    assert int(steps[-1][1].inner_opt_state.step) == 3


def test_inject_hyperparams_changes_momentum_and_damping_in_flight():
    tx = optax.inject_hyperparams(optim.scale_by_spring, static_args=STATIC)(
        linear_predict, LINEAR, momentum=0.0, damping=0.5
    )
    state, step = tx.init(START), jax.jit(tx.update)
    first, state = step(ROWS[0], state, START, inputs=BATCHES[0])
    close(first, dense(BATCHES[:1], ROWS[:1], damping=0.5)[0])
    state.hyperparams.update(momentum=jnp.zeros(()) + 0.7, damping=jnp.zeros(()) + 0.02)
    second, state = step(ROWS[1], state, START, inputs=BATCHES[1])
    close(second, dense(BATCHES[1:2], ROWS[1:2], 0.7, 0.02, start=np.asarray(first))[0])
    assert step._cache_size() == 1


def test_apply_if_finite_skips_a_gradient_of_nan():
    tx = optax.apply_if_finite(line(), max_consecutive_errors=3)
    rows = [ROWS[0], ROWS[1] * jnp.nan, ROWS[2]]
    steps = walked(tx, BATCHES, rows)
    np.testing.assert_array_equal(steps[1][0], 0)
    assert int(steps[1][1].inner_state.step) == 1
    close(steps[2][0], dense(BATCHES[::2], ROWS[::2])[-1])


def test_bad_arguments():
    for bad in (-0.1, 1.0, jnp.nan):
        with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\); got"):
            line(momentum=bad)
    with pytest.raises(ValueError, match=r"momentum must be a scalar; got shape \(2,\)"):
        line(momentum=jnp.ones(2))
    with pytest.raises(TypeError, match="momentum must be a number"):
        line(momentum="0.9")
    with pytest.raises(ValueError, match=r"damping must be positive.*SampleSpace"):
        line(damping=0.0)
    with pytest.raises(TypeError, match="instance of a Solver"):
        line(solver="cg")
    alias = functools.partial(optim.spring, 0.1, linear_predict, LINEAR)
    with pytest.raises(ValueError, match="max_norm must be positive and finite"):
        alias(max_norm=0.0)
    with pytest.raises(ValueError, match=r"max_norm must be a scalar; got shape \(2,\)"):
        alias(max_norm=jnp.ones(2))
    tx = line()
    with pytest.raises(ValueError, match=r"needs the inputs of the batch; got none\. Call"):
        tx.update(ROWS[0], tx.init(START), START)
    with pytest.raises(ValueError, match="updates must have the shapes of params"):
        tx.update(jnp.ones(3), tx.init(START), START, inputs=BATCHES[0])


def test_the_dense_reference_without_memory_is_the_solution():
    close(dense(BATCHES[:1], ROWS[:1], momentum=0.0)[0],
          solution(DAMPING, ROWS[0], np.asarray(BATCHES[0].T @ BATCHES[0])))  # fmt: skip
