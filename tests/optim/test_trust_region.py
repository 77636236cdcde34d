"""Trust-region steps: dense algebra, both bounds, refusals, and optax around them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, rel_entr

from igeojax import families, optim
from tests.fisher.models import columns_of, draw_inputs
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LABELS,
    LINEAR,
    PARAMS,
    fisher_matrix,
    flat,
    linear_predict,
    loss,
    predict,
    problem,
    single,
    solution,
    update,
)

TIGHT = {"tolerance": 1e-13, "max_iterations": 60}
MARGIN = 1e-5  # how far below the bound the first candidate aims
AIM = np.sqrt(2 * (1 - MARGIN))
X, START = jnp.ones((4, 1)), jnp.zeros(1)
DOWN = jnp.asarray([-0.6])
line = functools.partial(optim.trust_region, linear_predict, LINEAR, max_kl=0.5, damping=0.0)


def bowl(params):
    """Lower than at the start for parameters in (0, 0.6)."""
    return jnp.sum((params - 0.3) ** 2)


def mean_kl(updates, params=PARAMS, inputs=INPUTS, weights=None):
    """Mean of `KL(old || new)` of the classifier, from its raw outputs."""
    old, new = (
        np.asarray(log_softmax(columns_of(p, inputs), axis=-1))
        for p in (params, optax.apply_updates(params, updates))
    )
    each = rel_entr(np.exp(old), np.exp(new)).sum(-1)
    return np.average(each) if weights is None else np.sum(weights * each)


def searched(direction, length, max_kl, objective=loss, factor=0.5):
    """The first candidate along a direction that both bounds accept, and how many they refuse."""
    unravel = jax.flatten_util.ravel_pytree(PARAMS)[1]
    for refused in range(20):
        step = unravel(jnp.asarray(-length * factor**refused * direction))
        better = objective(optax.apply_updates(PARAMS, step)) < objective(PARAMS)
        if better and mean_kl(step) <= max_kl:
            return step, refused
    raise AssertionError("no candidate")


@functools.cache
def bounded(value_fn=loss, **options):
    """A compiled update, its bound an argument."""

    @jax.jit
    def run(grads, max_kl, damping=0.1, inputs=INPUTS, **extra):
        tx = optim.trust_region(
            predict, FAMILY, max_kl=max_kl, damping=damping, **(TIGHT | options)
        )
        state = tx.init(PARAMS)
        return tx.update(grads, state, PARAMS, inputs=inputs, value_fn=value_fn, **extra)

    return run


@pytest.mark.parametrize("max_kl", [1e-4, 0.02, 0.5, 3.0])
def test_step_is_that_of_dense_algebra(max_kl):
    grads, matrix = problem()
    direction = solution(0.1)
    length = AIM * np.sqrt(max_kl / (direction @ (matrix + 0.1 * np.eye(len(matrix))) @ direction))
    expected, refused = searched(direction, length, max_kl)
    updates, state = bounded()(grads, max_kl)
    np.testing.assert_allclose(flat(updates), flat(expected), rtol=1e-9, atol=1e-12)
    assert (int(state.num_backtracks), bool(state.accepted)) == (refused, True)
    np.testing.assert_allclose(state.kl, mean_kl(expected), rtol=1e-9)
    assert state.kl <= max_kl
    assert (refused > 0) == (max_kl > 1)  # both cases are there


def test_damping_counts_in_the_quadratic_model_of_an_unconverged_solve():
    grads, matrix = problem()
    updates, state = bounded(max_iterations=2)(grads, 1e-4)
    step = flat(updates)
    damped = matrix + 0.1 * np.eye(len(step))
    np.testing.assert_allclose(step @ damped @ step / 2, 1e-4 * (1 - MARGIN), rtol=1e-9)
    assert int(state.num_steps) == 2
    assert state.residual > 1e-3
    assert step @ flat(grads) < 0


def test_the_bound_holds_for_any_gradient_and_size():
    leaves, structure = jax.tree.flatten(PARAMS)
    rng = np.random.default_rng(0)
    grads = [jnp.asarray(rng.normal(size=(12, *leaf.shape))) for leaf in leaves]
    bounds = jnp.asarray(np.geomspace(1e-6, 30.0, 12))
    run = bounded(value_fn=None, max_backtracks=30)
    updates, state = jax.vmap(run, in_axes=(0, 0, None))(
        jax.tree.unflatten(structure, grads), bounds, 1e-3
    )
    for k, bound in enumerate(bounds):
        step = jax.tree.map(lambda leaf, k=k: leaf[k], updates)
        found = mean_kl(step)
        np.testing.assert_allclose(state.kl[k], found, rtol=1e-6)
        assert 0 < found <= bound
    assert np.asarray(state.accepted).all()
    assert np.asarray(state.num_backtracks).any()


@pytest.mark.parametrize(("sign", "refused"), [(-1.0, 1), (1.0, 0)])
def test_the_true_divergence_decides_and_not_its_quadratic_model(sign, refused):
    # KL of Poisson laws is rate (e^s - 1 - s) for a step s of the log-rate: above s^2 / 2 uphill.
    family = families.Poisson()
    tx = optim.trust_region(
        lambda p, x: family.Point(p * x), family, max_kl=0.3, damping=0.0, backtrack=0.75
    )
    updates, state = update(tx)(sign * jnp.ones(()), jnp.zeros(()), inputs=jnp.ones(3))
    step = -sign * AIM * np.sqrt(0.3) * 0.75**refused
    np.testing.assert_allclose(updates, step, rtol=1e-9)
    np.testing.assert_allclose(state.kl, np.expm1(step) - step, rtol=1e-9)
    assert int(state.num_backtracks) == refused


@functools.partial(jax.jit, static_argnames="max_backtracks")
def search(grads=DOWN, factor=0.5, value=None, max_backtracks=10, **shape):
    """One step of the line in the bowl, with other values outside of `(low, high]`."""

    def objective(params, low=-jnp.inf, high=jnp.inf, outside=jnp.nan):
        return jnp.where((low < params[0]) & (params[0] <= high), bowl(params), outside)

    tx = line(backtrack=factor, max_backtracks=max_backtracks)
    options = {"inputs": X, "value_fn": objective, "value": value}
    return tx.update(grads, tx.init(START), START, **options, **shape)


def is_refused(updates, state, count):
    np.testing.assert_array_equal(flat(updates), 0)
    assert not state.accepted
    assert (float(state.kl), int(state.num_backtracks)) == (0.0, count)
    return True


@pytest.mark.parametrize(("factor", "refused"), [(0.5, 1), (0.25, 1), (0.9, 5)])
def test_it_backtracks_where_the_first_step_raises_the_objective(factor, refused):
    full = AIM * np.sqrt(0.5)  # the objective is lower up to 0.6
    assert bowl(full) > bowl(START)
    updates, state = search(factor=factor)
    np.testing.assert_allclose(updates, full * factor**refused, rtol=1e-9)
    assert (int(state.num_backtracks), bool(state.accepted)) == (refused, True)
    np.testing.assert_allclose(state.kl, updates[0] ** 2 / 2, rtol=1e-9)


def test_without_a_better_candidate_nothing_moves():
    assert is_refused(*search(-DOWN), 11)
    assert is_refused(*search(max_backtracks=0), 1)


def test_nan_counts_as_refused():
    half = {"low": -1.0, "high": 0.3, "outside": jnp.nan}
    updates, state = search(**half)
    np.testing.assert_allclose(updates, AIM * np.sqrt(0.5) / 4, rtol=1e-9)
    assert int(state.num_backtracks) == 2
    assert is_refused(*search(**half | {"high": -0.5}), 11)  # the start is outside too
    assert is_refused(*search(value=jnp.nan), 11)
    assert is_refused(*search(DOWN * jnp.nan), 0)
    # A prediction of nan has a divergence of nan.
    broken = lambda w, x: LINEAR.natural_from_params(loc=jnp.where(w > 0, jnp.nan, w) * x[:, 0])
    tx = optim.trust_region(broken, LINEAR, max_kl=0.5, max_backtracks=2)
    assert is_refused(*update(tx)(DOWN, START, inputs=X), 3)


def test_an_infinite_objective_is_left_and_never_entered():
    _, state = search(low=0.2, high=9.0, outside=jnp.inf)
    assert (int(state.num_backtracks), bool(state.accepted)) == (0, True)
    updates, state = search(low=-1.0, high=0.2, outside=jnp.inf)
    assert 0 < float(updates[0]) <= 0.2
    assert int(state.num_backtracks) == 3


def test_value_is_what_candidates_are_compared_with():
    updates, _ = search(value=0.01)  # the objective is lower in (0.2, 0.4)
    np.testing.assert_allclose(updates, AIM * np.sqrt(0.5) / 4, rtol=1e-9)
    jax.tree.map(np.testing.assert_array_equal, search(value=bowl(START)), search())


def test_value_fn_is_given_the_extra_arguments_that_it_names():
    def named(weights, inputs, *, target):
        # The parameters are called as an extra argument is.
        return jnp.sum((weights - target) ** 2) + 0 * inputs[0, 0]

    tx = line()
    run = jax.jit(functools.partial(tx.update, inputs=X, value_fn=named))
    extra = {"target": 0.3, "weights": jnp.full(4, 0.25), "ignored": 1.0}
    found, state = run(DOWN, tx.init(START), START, **extra)
    np.testing.assert_allclose(found, search()[0], rtol=1e-12)
    assert int(state.num_backtracks) == 1


def test_the_length_of_the_gradient_does_not_matter_in_float32():
    grads, _ = problem()
    expected, _ = bounded()(grads, 0.01)
    run = update(optim.trust_region(predict, FAMILY, max_kl=0.01, damping=0.1, tolerance=1e-6))
    for scale in (1e-30, 1e-8, 1.0, 1e8, 1e25):
        scaled = jax.tree.map(lambda g, scale=scale: scale * g, single(grads))
        updates, state = run(scaled, single(PARAMS), inputs=single(INPUTS))
        np.testing.assert_allclose(flat(updates), flat(expected), rtol=1e-3, atol=1e-5)
        assert flat(updates).dtype == np.float32
        assert state.kl.dtype == jnp.float32
        assert bool(state.accepted)


def test_zero_gradient_is_no_step():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    assert is_refused(*bounded()(zero, 0.01), 0)
    assert is_refused(*search(0 * DOWN), 0)  # without damping


def test_a_divergence_that_is_quadratic_is_not_refused_by_rounding():
    rng = np.random.default_rng(1)
    for dtype in (jnp.float32, jnp.float64):
        grads, inputs = jnp.asarray(rng.normal(size=(40, 3)), dtype), rng.normal(size=(8, 3))
        inputs = jnp.asarray(inputs, dtype)
        tx = line(max_iterations=9, tolerance=1e-6)
        step = lambda g, tx=tx, x=inputs: tx.update(g, tx.init(g), 0 * g, inputs=x)
        _, state = jax.jit(jax.vmap(step))(grads)
        assert not np.asarray(state.num_backtracks).any()
        np.testing.assert_allclose(state.kl, 0.5, rtol=2e-5)
        assert (np.asarray(state.kl) <= 0.5).all()


def affine(params, inputs):
    return LINEAR.natural_from_params(loc=inputs[:, 0] * params["used"] + 0 * params["idle"])


def test_parameters_that_the_model_ignores():
    params = {"used": jnp.zeros(()), "idle": jnp.ones(())}
    tx = functools.partial(optim.trust_region, affine, LINEAR, max_kl=0.5)
    grads = {"used": -jnp.ones(()), "idle": 3 * jnp.ones(())}
    # Without damping there is no bound on them but that they are left out.
    updates, _ = update(tx(damping=0.0))(grads, params, inputs=X)
    np.testing.assert_allclose(updates["idle"], 0.0, atol=1e-12)
    # With damping the norm is bounded: damping |step|^2 / 2 <= max_kl.
    updates, _ = update(tx(damping=0.1))(grads | {"used": jnp.zeros(())}, params, inputs=X)
    np.testing.assert_allclose(updates["idle"], -AIM * np.sqrt(0.5 / 0.1), rtol=1e-9)


def test_divergence_is_weighted_and_summed_over_further_output_axes():
    grads, _ = problem()
    inputs, weights = draw_inputs(3, 2), jnp.asarray([0.5, 0.0, 0.4])
    updates, state = bounded(value_fn=None)(grads, 0.01, inputs=inputs, weights=weights)
    tokens, each = inputs.reshape(6, 2), jnp.repeat(weights, 2)
    direction = solution(0.1, matrix=np.asarray(fisher_matrix(PARAMS, tokens, each)))
    cosine = flat(updates) @ direction / np.linalg.norm(flat(updates)) / np.linalg.norm(direction)
    np.testing.assert_allclose(cosine, -1.0, rtol=1e-9)
    np.testing.assert_allclose(state.kl, mean_kl(updates, inputs=tokens, weights=each), rtol=1e-9)


def test_inputs_need_not_all_be_examples():
    def noisy(params, inputs):
        kept = jax.random.bernoulli(inputs["key"], 0.5, inputs["x"].shape)
        return linear_predict(params, jnp.where(kept, inputs["x"], 0.0))

    tx = optim.trust_region(noisy, LINEAR, max_kl=0.01)
    inputs = {"x": jnp.ones((20, 1)), "key": jax.random.key(0)}
    _, state = update(tx)(DOWN, START, inputs=inputs)
    assert bool(state.accepted)
    assert 0 < state.kl <= 0.01


def test_training_lowers_the_loss_within_the_bound_at_every_step():
    tx = optim.trust_region(predict, FAMILY, max_kl=0.05, damping=1e-3)

    def advance(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(
            grads, state, params, inputs=INPUTS, value=value, value_fn=loss, labels=LABELS
        )
        return (optax.apply_updates(params, updates), state), (value, state.kl, state.accepted)

    start = PARAMS, tx.init(PARAMS)
    (_, state), history = jax.jit(lambda c: jax.lax.scan(advance, c, length=40))(start)
    values, kls, accepted = map(np.asarray, history)
    assert int(state.step) == 40
    assert accepted.all()
    assert (np.diff(values) < 0).all()
    assert (kls <= 0.05).all()
    assert values[-1] < 0.1 * values[0]


def test_half_precision():
    grads, params, inputs = (leaf.astype(jnp.bfloat16) for leaf in (DOWN, START, X))
    updates, state = update(line())(grads, params, inputs=inputs)
    assert updates.dtype == jnp.bfloat16
    assert state.kl.dtype == jnp.float32
    assert bool(state.accepted)
    assert 0.1 < state.kl <= 0.5
