"""K-FAC against dense algebra, its quadratic model, its damping and its state over steps."""

import functools
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher, optim
from igeojax.optim._kronecker_inverse import inverted
from tests.fisher.models import draw_inputs
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LABELS,
    LINEAR,
    PARAMS,
    flat,
    gradient,
    linear_predict,
    loss,
    predict,
    problem,
)

LAYOUT = fisher.kronecker_layout(predict, PARAMS, INPUTS)
METRIC = fisher.OutputMetric(lambda outputs, tangent: tangent)
KEY = jax.random.key(3)


@functools.cache
def factors_of_labels() -> Any:
    """Factors of the labels that `KEY` samples."""
    call = functools.partial(fisher.kronecker_factors, LAYOUT, predict, FAMILY)
    return jax.jit(lambda: call(PARAMS, INPUTS, key=KEY))()


def dense_direction(damped: Any) -> np.ndarray:
    """The gradient divided block by block, `damped` making a dense block of a factor."""
    grads, _ = problem()
    parts = []
    for block, factor in zip(LAYOUT.blocks, factors_of_labels(), strict=True):
        part = np.asarray(block.read(grads))
        solved = np.linalg.solve(damped(factor), part.ravel())
        parts.append(jnp.asarray(solved.reshape(part.shape)))
    return flat(LAYOUT.write(parts))


def whole_damping(damping: float, factor: Any) -> np.ndarray:
    matrix = (
        np.kron(factor.rows[0], factor.columns[0])
        if isinstance(factor, fisher.KroneckerFactor)
        else np.asarray(factor.matrix)
    )
    return matrix + damping * np.eye(len(matrix))


def split_damping(damping: float, factor: Any) -> np.ndarray:
    if not isinstance(factor, fisher.KroneckerFactor):
        return whole_damping(damping, factor)
    rows, columns = np.asarray(factor.rows[0]), np.asarray(factor.columns[0])
    ratio = np.sqrt(np.trace(rows) / len(rows) / (np.trace(columns) / len(columns)))
    root = np.sqrt(damping)
    return np.kron(
        rows + ratio * root * np.eye(len(rows)), columns + root / ratio * np.eye(len(columns))
    )


@pytest.mark.parametrize(
    ("inverse", "damped", "rtol"),
    [
        ("cholesky", split_damping, 1e-10),
        ("eigen", whole_damping, 1e-10),
        ("newton_schulz", split_damping, 1e-8),
    ],
)
def test_directions_are_those_of_dense_blocks(inverse, damped, rtol):
    grads, _ = problem()
    tx = optim.scale_by_kfac(
        predict, FAMILY, example_inputs=INPUTS[:1], damping=1e-3, inverse=inverse
    )
    found, _ = jax.jit(functools.partial(tx.update, inputs=INPUTS, key=KEY))(
        grads, tx.init(PARAMS), PARAMS
    )
    expected = dense_direction(functools.partial(damped, 1e-3))
    np.testing.assert_allclose(flat(found), expected, rtol=rtol, atol=rtol * np.max(abs(expected)))


def test_ekfac_takes_the_measured_diagonal():
    grads, _ = problem()
    tx = optim.scale_by_kfac(
        predict, FAMILY, example_inputs=INPUTS[:1], damping=1e-3, eigenvalue_correction=True
    )
    found, _ = jax.jit(functools.partial(tx.update, inputs=INPUTS, key=KEY))(
        grads, tx.init(PARAMS), PARAMS
    )
    sampled = np.asarray(jax.jit(lambda: _gradients_of_labels())())
    fisher_of_labels = sampled.T @ sampled

    def damped(factor: Any) -> np.ndarray:
        place = next(
            np.concatenate([piece.numbers for piece in block.pieces], axis=1)[0].ravel()
            for block, other in zip(LAYOUT.blocks, factors_of_labels(), strict=True)
            if other is factor
        )
        basis = np.kron(*(np.linalg.eigh(side[0])[1] for side in factor))
        own = fisher_of_labels[np.ix_(place, place)]
        values = np.diagonal(basis.T @ own @ basis)
        # What is added is what K-FAC's split damping adds to the product of the factors.
        added = split_damping(1e-3, factor) - np.kron(factor.rows[0], factor.columns[0])
        return basis @ np.diag(values) @ basis.T + added

    expected = dense_direction(damped)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-8, atol=1e-10 * np.max(abs(expected)))


def _gradients_of_labels() -> jax.Array:
    """A row for each example, of the label that `KEY` samples for it."""
    keys = jax.random.split(KEY, INPUTS.shape[0])

    def row(key: jax.Array, example: jax.Array) -> jax.Array:
        label = FAMILY.sample(key, predict(PARAMS, example[None]))
        slope = jax.grad(lambda p: FAMILY.log_density(predict(p, example[None]), label)[0])
        return jax.flatten_util.ravel_pytree(slope(PARAMS))[0]

    return jax.vmap(row)(keys, INPUTS) / jnp.sqrt(INPUTS.shape[0])


def test_step_and_momentum_minimize_the_quadratic_model():
    tx = optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1], damping=0.05, update_every=2)
    step = jax.jit(functools.partial(tx.update, inputs=INPUTS))
    params, state = PARAMS, tx.init(PARAMS)
    for count in range(3):
        grads = gradient(params)
        before = state.momentum
        update, state = step(grads, state, params)
        dense = np.asarray(jax.jit(functools.partial(fisher.fisher_matrix, predict, FAMILY))(
            params, INPUTS))  # fmt: skip
        damped = dense + 0.05 * np.eye(len(dense))
        residual = flat(grads) + damped @ flat(update)
        # The gradient of the model is orthogonal to all that was searched.
        size = np.linalg.norm(flat(grads)) * np.linalg.norm(flat(update))
        assert abs(residual @ flat(update)) < 1e-9 * size
        if count:
            assert abs(residual @ flat(before)) < 1e-9 * size
        predicted = flat(grads) @ flat(update) + flat(update) @ damped @ flat(update) / 2
        np.testing.assert_allclose(state.predicted_change, predicted, rtol=1e-9)
        params = jax.tree.map(jnp.add, params, update)
    assert loss(params) < loss(PARAMS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_rate": 0.2, "momentum": 0.0}, (0.2, 0.0)),
        ({"learning_rate": lambda step: 0.1 + step, "momentum": 0.5}, (1.1, 0.5)),
        ({"momentum": 0.5}, (None, 0.5)),
        ({"learning_rate": 0.2}, (0.2, None)),
    ],
)
def test_given_rates_are_kept_and_the_others_minimize(options, expected):
    tx = optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1], damping=0.05, **options)
    step = jax.jit(functools.partial(tx.update, inputs=INPUTS))
    first, state = step(gradient(PARAMS), tx.init(PARAMS), PARAMS)
    params = jax.tree.map(jnp.add, PARAMS, first)
    grads = gradient(params)
    update, after = step(grads, state, params)
    for found, wanted in zip((after.learning_rate, after.momentum_rate), expected, strict=True):
        assert wanted is None or np.isclose(found, wanted)
    dense = np.asarray(jax.jit(functools.partial(fisher.fisher_matrix, predict, FAMILY))(
        params, INPUTS))  # fmt: skip
    residual = flat(grads) + (dense + 0.05 * np.eye(len(dense))) @ flat(update)
    momentum, size = flat(first), np.linalg.norm(flat(grads)) * np.linalg.norm(flat(update))
    direction = flat(update) - float(after.momentum_rate) * momentum
    if "learning_rate" not in options:
        assert abs(residual @ direction) < 1e-9 * size
    if "momentum" not in options:
        assert abs(residual @ momentum) < 1e-9 * size


def test_updates_are_bounded_in_kl():
    options = {"example_inputs": INPUTS[:1], "damping": 1e-3, "momentum": 0.9, "learning_rate": 5.0}
    tx = optim.kfac(predict, FAMILY, max_kl=1e-3, **options)
    update, _ = jax.jit(functools.partial(tx.update, inputs=INPUTS))(
        gradient(PARAMS), tx.init(PARAMS), PARAMS
    )
    length = fisher.fisher_inner_products(predict, FAMILY, PARAMS, [update], INPUTS)
    np.testing.assert_allclose(length[0, 0] / 2, 1e-3, rtol=1e-9)
    free = optim.kfac(predict, FAMILY, max_kl=1e3, **options)
    longer, _ = jax.jit(functools.partial(free.update, inputs=INPUTS))(
        gradient(PARAMS), free.init(PARAMS), PARAMS
    )
    ratio = flat(update) / flat(longer)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    assert 0 < ratio[0] < 1


def test_the_reduction_ratio_of_a_quadratic_loss_is_one_without_damping():
    targets = jnp.asarray([1.0, -1.0, 0.5, 2.0, 0.0, 1.5])
    slope = jax.grad(lambda w: jnp.mean((INPUTS @ w - targets) ** 2) / 2)
    raw = lambda w, x: (x @ w)[:, None]
    tx = optim.kfac(raw, METRIC, example_inputs=INPUTS[:1], damping=1e-12, decay=0.0)
    step = jax.jit(functools.partial(tx.update, inputs=INPUTS))
    w, state = jnp.ones(2), tx.init(jnp.ones(2))
    update, state = step(slope(w), state, w)
    _, after = step(slope(w + update), state, w + update)
    np.testing.assert_allclose(after.reduction_ratio, 1.0, rtol=1e-6)
    exact = np.linalg.lstsq(np.asarray(INPUTS), np.asarray(targets))[0]
    np.testing.assert_allclose(w + update, exact, rtol=1e-6)


def test_damping_follows_the_reduction_ratio():
    rule = optim.LevenbergMarquardt(initial=1.0, rate=2.0, minimum=0.3)
    call = lambda ratio: float(rule.adapted(jnp.ones(()), jnp.asarray(ratio), 1))
    assert [call(r) for r in (1.0, 0.5, 0.0, -3.0, float("nan"))] == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert float(rule.adapted(jnp.ones(()), jnp.asarray(1.0), 5)) == pytest.approx(0.3)
    tx = optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1], damping=rule, update_every=3)
    step = jax.jit(functools.partial(tx.update, inputs=INPUTS))
    params, state, levels = PARAMS, tx.init(PARAMS), []
    for _ in range(7):
        update, state = step(gradient(params), state, params)
        params = jax.tree.map(jnp.add, params, update)
        levels.append(float(state.damping))
    assert levels[0] == levels[1] == levels[2] == 1.0
    assert levels[3] == levels[4] == levels[5] != 1.0


def test_factors_are_averaged_and_renewed_when_due():
    tx = optim.kfac(
        predict, FAMILY, example_inputs=INPUTS[:1], damping=0.1, update_every=2, decay=0.5
    )
    step = jax.jit(functools.partial(tx.update, inputs=INPUTS))
    keys, states, state = jax.random.split(KEY, 3), [], tx.init(PARAMS)
    for key in keys:
        _, state = step(gradient(PARAMS), state, PARAMS, key=key)
        states.append(state.curvature)
    same = lambda a, b: jax.tree.all(jax.tree.map(jnp.array_equal, a, b))
    assert same(states[0].inverses, states[1].inverses)
    assert not same(states[1].inverses, states[2].inverses)
    call = functools.partial(fisher.kronecker_factors, LAYOUT, predict, FAMILY, PARAMS, INPUTS)
    first, second = (jax.jit(call)(key=key) for key in (keys[0], keys[2]))
    # 0.5 per step, two steps apart: weights (1/4) (3/4) and 3/4.
    mean = jax.tree.map(lambda a, b: (0.1875 * a + 0.75 * b) / 0.9375, first, second)
    held = jax.tree.map(lambda leaf: leaf / states[2].weight, states[2].factors)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-15), held, mean)
    expected = inverted(LAYOUT, mean, jnp.asarray(0.1), "cholesky")
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
        states[2].inverses,
        expected,
    )


@pytest.mark.parametrize("factory", [optim.kfac, optim.ekfac])
def test_it_trains_with_the_defaults(factory):
    tx = factory(predict, FAMILY, example_inputs=INPUTS[:1])

    @jax.jit
    def run(params: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            params, state = carry
            update, state = tx.update(gradient(params), state, params, inputs=INPUTS)
            return (jax.tree.map(jnp.add, params, update), state), loss(params)

        return jax.lax.scan(step, (params, tx.init(params)), length=120)

    (params, state), losses = run(PARAMS)
    # Two layers of two units separate six random labels only so far: descent by a line search.
    assert losses[-1] < 0.6 * losses[0]
    assert np.all(np.isfinite(losses))
    assert int(state.num_skipped) == 0
    assert loss(params) <= losses[30]


def test_layers_that_see_nothing_and_are_never_heard():
    """Zero features make a factor that vanishes: the damping alone is left, no nan."""
    family = families.NormalKnownScale()
    predict = lambda p, x: family.natural_from_params(loc=((x @ p["a"]) @ p["b"])[:, 0])
    params = {"a": jnp.zeros((2, 3)), "b": jnp.zeros((3, 1)), "idle": jnp.ones(2)}
    grads = {"a": jnp.zeros((2, 3)), "b": jnp.zeros((3, 1)), "idle": jnp.zeros(2)}
    tx = optim.kfac(predict, family, example_inputs=INPUTS[:1])
    update, state = tx.update(grads, tx.init(params), params, inputs=INPUTS)
    assert np.all(flat(update) == 0)
    assert int(state.num_skipped) == 0


def test_linear_models_take_one_step():
    weight = jnp.asarray([0.5, -1.0])
    tx = optim.kfac(linear_predict, LINEAR, example_inputs=INPUTS[:1], damping=1e-12)
    slope = jax.grad(lambda w: jnp.mean((INPUTS @ w - LABELS) ** 2) / 2)
    update, _ = tx.update(slope(weight), tx.init(weight), weight, inputs=INPUTS)
    exact = np.linalg.lstsq(np.asarray(INPUTS), np.asarray(LABELS, float))[0]
    # The damping is split: its root, 1e-6, is added to each factor.
    np.testing.assert_allclose(weight + update, exact, rtol=1e-5)


def test_an_unknown_inverse_is_refused():
    with pytest.raises(ValueError, match="inverse must be one of cholesky, eigen, newton_schulz"):
        optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1], inverse="lu")


def test_updates_do_not_outgrow_those_of_late():
    tx = optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1], damping=0.05)
    step = jax.jit(functools.partial(tx.update, inputs=INPUTS))
    state = tx.init(PARAMS)._replace(radius=jnp.asarray(1e-6))
    length = lambda update: fisher.fisher_inner_products(predict, FAMILY, PARAMS, [update], INPUTS)[
        0, 0
    ]
    update, after = step(gradient(PARAMS), state, PARAMS)
    np.testing.assert_allclose(length(update), 16e-6, rtol=1e-9)
    np.testing.assert_allclose(after.radius, 16e-6, rtol=1e-9)
    # The loss rose by five times what it was to fall: below those of late.
    risen = state._replace(predicted_change=jnp.asarray(-1.0), slope=jnp.asarray(10.0))
    update, after = step(gradient(PARAMS), risen, PARAMS)
    np.testing.assert_allclose(length(update), 1e-6 / 16, rtol=1e-9)
    np.testing.assert_allclose(after.reduction_ratio, -5.0)
    # A learning rate of one's own is kept.
    own = optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1], damping=0.05, learning_rate=0.1)
    _, after = jax.jit(functools.partial(own.update, inputs=INPUTS))(
        gradient(PARAMS), state, PARAMS
    )
    np.testing.assert_allclose(after.learning_rate, 0.1)


@pytest.mark.parametrize("count", [4096, 8192])
def test_thousands_of_examples_and_a_momentum_that_is_constant_zero(count):
    """XLA on CPU (jaxlib 0.10.2) can return garbage for the derivative along a constant zero."""
    inputs = jnp.asarray(draw_inputs(count, seed=7), jnp.float32)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PARAMS)
    labels = jnp.arange(count) % 3
    tx = optim.kfac(predict, FAMILY, example_inputs=inputs[:1], damping=0.05)
    grads = jax.jit(jax.grad(loss))(params, inputs, labels)
    whole = jax.jit(lambda g: tx.update(g, tx.init(params), params, inputs=inputs))
    found, state = whole(grads)
    parts = jax.jit(functools.partial(fisher.output_jacobian, predict, FAMILY))(params, inputs)
    jacobian, image = (np.asarray(part, np.float64) for part in parts)
    v = flat(found).astype(np.float64)
    curvature = (jacobian @ v) @ (image @ v) + 0.05 * v @ v
    # Along the direction alone the slope is minus the curvature.
    np.testing.assert_allclose(flat(grads) @ v, -curvature, rtol=1e-4)
    assert float(state.momentum_rate) == 0
