"""`scale_by_metric`: the metric of a family, arguments, state and errors."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import geometry, optim
from igeojax.families.registry import FAMILIES
from tests.optim.problems import update

TIGHT = optim.ConjugateGradient(tolerance=1e-13, max_iterations=60)
MATRIX = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
GRADS, PARAMS = jnp.asarray([1.0, -1.0]), jnp.asarray([0.3, 0.4])


def plain(params, tangent):
    return MATRIX @ tangent


@pytest.mark.parametrize("solver", [optim.Dense(), TIGHT], ids=str)
@pytest.mark.parametrize("name", ["Categorical", "Gamma", "MultivariateNormal"])
def test_metric_of_a_family(name, solver, key):
    # In the vector chart the same system; matrices of a point stay symmetric.
    entry, damping = FAMILIES[name], 0.05
    theta = entry.point(key)
    grads = entry.family.mean_from_natural(entry.point(jax.random.key(1)))
    metric = functools.partial(geometry.fisher_matvec, entry.family)
    tx = optim.scale_by_metric(metric, solver=solver, damping=damping)
    direction, _ = update(tx)(grads, theta)
    matrix = jax.jit(lambda t: geometry.fisher_matrix(entry.family, t))(theta)
    vector = np.asarray(geometry.ravel(entry.family, grads))
    expected = np.linalg.solve(matrix + damping * np.eye(len(vector)), vector)
    found = geometry.ravel(entry.family, direction)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    if name == "MultivariateNormal":
        np.testing.assert_allclose(direction.xx, direction.xx.T, rtol=1e-8, atol=1e-10)


def test_metric_takes_the_extra_arguments_it_names():
    def scaled(params, tangent, factor=1.0, *, shift):
        return factor * tangent + shift * tangent

    tx = update(optim.scale_by_metric(scaled, solver=optim.Dense(), damping=0.0))
    direction, _ = tx(GRADS, PARAMS, factor=3.0, shift=1.0, value=7.0, inputs=None)
    np.testing.assert_allclose(direction, GRADS / 4, rtol=1e-12)
    direction, _ = tx(GRADS, PARAMS, shift=1.0)
    np.testing.assert_allclose(direction, GRADS / 2, rtol=1e-12)


def test_metric_that_takes_everything_gets_everything():
    seen = {}

    def curious(params, tangent, **extra):
        seen.update(extra)
        return tangent

    tx = optim.scale_by_metric(curious, damping=0.0)
    tx.update(GRADS, tx.init(PARAMS), PARAMS, inputs=1, value=2)
    assert seen == {"inputs": 1, "value": 2}


def test_metric_is_taken_at_the_current_parameters():
    tx = optim.scale_by_metric(lambda params, v: params**2 * v, damping=0.0, solver=optim.Dense())
    direction, _ = update(tx)(GRADS, PARAMS)
    np.testing.assert_allclose(direction, GRADS / PARAMS**2, rtol=1e-12)


def test_metric_with_a_jacobian_serves_every_solver():
    jacobian = jnp.asarray([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]])
    metric = optim.Metric(lambda p, v: jacobian.T @ (jacobian @ v), lambda p: (jacobian, jacobian))
    expected = np.linalg.solve(jacobian.T @ jacobian + 0.1 * np.eye(2), GRADS)
    for solver in (optim.Dense(), TIGHT, optim.SampleSpace()):
        direction, _ = update(optim.scale_by_metric(metric, solver=solver, damping=0.1))(
            GRADS, PARAMS
        )
        np.testing.assert_allclose(direction, expected, rtol=1e-10)


def test_state_counts_and_reports():
    tx = optim.scale_by_metric(plain, solver=optim.ConjugateGradient(1e-3, 1), damping=0.1)
    state = tx.init(PARAMS)
    step = jax.jit(tx.update)
    for count in (1, 2):
        direction, state = step(GRADS, state, PARAMS)
        assert isinstance(state, optim.MetricState)
        assert int(state.step) == count
    damped = np.asarray(MATRIX) + 0.1 * np.eye(2)
    residual = np.linalg.norm(damped @ direction - GRADS) / np.linalg.norm(GRADS)
    np.testing.assert_allclose(state.residual, residual, rtol=1e-12)
    assert int(state.num_steps) == 1
    assert all(isinstance(leaf, jax.Array) for leaf in state)


def test_state_survives_pickle():
    tx = optim.scale_by_metric(plain, damping=0.1)
    _, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    restored = pickle.loads(pickle.dumps(state))
    once, twice = tx.update(GRADS, state, PARAMS), tx.update(GRADS, restored, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    assert type(restored) is optim.MetricState


def test_state_survives_a_checkpoint(tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    tx = optax.chain(optim.scale_by_metric(plain, damping=0.1), optax.trace(0.9))
    _, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    with checkpoint.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", state)
        saver.wait_until_finished()
        restored = saver.restore(tmp_path / "state", jax.eval_shape(tx.init, PARAMS))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    once, twice = tx.update(GRADS, state, PARAMS), tx.update(GRADS, restored, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_damping_may_be_traced():
    @jax.jit
    def direction(damping):
        tx = optim.scale_by_metric(plain, solver=optim.Dense(), damping=damping)
        return tx.update(GRADS, tx.init(PARAMS), PARAMS)[0]

    for damping in (0.1, 2.0):
        expected = np.linalg.solve(MATRIX + damping * np.eye(2), GRADS)
        np.testing.assert_allclose(direction(damping), expected, rtol=1e-12)


def test_nothing_to_update_is_no_error():
    for solver in (optim.Dense(), TIGHT):
        tx = optim.scale_by_metric(lambda p, v: v, solver=solver)
        updates, state = tx.update({}, tx.init({}), {})
        assert updates == {}
        assert int(state.step) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"damping": -1.0}, ValueError, r"damping must be non-negative; got -1\.0\. Try 1e-3"),
        ({"damping": float("nan")}, ValueError, r"damping must be non-negative; got nan"),
        ({"damping": [0.1, 0.2]}, ValueError, r"damping must be a scalar; got shape \(2,\)"),
        ({"damping": None}, TypeError, r"damping"),
        ({"damping": "much"}, TypeError, r"damping must be a number"),
        ({"solver": "dense"}, TypeError, r"instance of a Solver; got 'dense'\. Use Dense\(\)"),
        ({"solver": optim.Dense}, TypeError, r"instance of a Solver; got <class .*Use Dense\(\)"),
        (
            {"solver": optim.SampleSpace(), "damping": 0},
            ValueError,
            r"damping must be positive.*got 0\. SampleSpace\(\) divides by it.*pseudo_inverse",
        ),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        optim.scale_by_metric(plain, **options)


def test_params_are_needed():
    tx = optim.scale_by_metric(plain)
    with pytest.raises(ValueError, match=r"current parameters; got params=None\. Call tx\.update"):
        tx.update(GRADS, tx.init(PARAMS))


@pytest.mark.parametrize("solver", [optim.SampleSpace(), optim.Diagonal()], ids=str)
def test_solvers_that_need_a_jacobian_say_so(solver):
    tx = optim.scale_by_metric(plain, solver=solver)
    with pytest.raises(TypeError, match=r"needs the Jacobian of a model; .* ConjugateGradient"):
        tx.update(GRADS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
    ("grads", "params", "error", "message"),
    [
        ({"a": GRADS}, PARAMS, ValueError, "one tree structure"),
        (GRADS[:, None], PARAMS, ValueError, r"shapes of params; got \(2, 1\)"),
        (jnp.array([1, 2]), PARAMS, TypeError, "updates must be floating"),
        (GRADS, jnp.array([1, 2]), TypeError, "params must be floating"),
    ],
)
def test_updates_must_be_those_of_the_parameters(grads, params, error, message):
    for tx in (optim.scale_by_metric(plain, damping=0.1), optim.scale_by_mirror_descent()):
        with pytest.raises(error, match=message):
            tx.update(grads, tx.init(params), params)


def test_static_options_are_checked():
    with pytest.raises(ValueError, match="non-negative; got inf"):
        optim.scale_by_metric(plain, damping=float("inf"))
    with pytest.raises(TypeError, match="tolerance must be a Python number"):
        optim.ConjugateGradient("a")
    with pytest.raises(TypeError, match="pseudo_inverse must be True or False"):
        optim.Dense(pseudo_inverse="yes")
