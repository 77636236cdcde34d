"""Every solver against numpy, on regular, singular and broken systems."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, optim
from igeojax.numerics.conjugate_gradient import conjugate_gradient
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LINEAR,
    PARAMS,
    fisher_matrix,
    flat,
    linear_predict,
    predict,
    problem,
    single,
    solution,
    update,
)

TIGHT = optim.ConjugateGradient(tolerance=1e-13, max_iterations=60)
EXACT = [optim.Dense(), optim.Dense(pseudo_inverse=True), TIGHT, optim.SampleSpace(), optim.Auto()]
EVERY = [*EXACT, optim.Diagonal()]
each_exact = pytest.mark.parametrize("solver", EXACT, ids=str)
each_solver = pytest.mark.parametrize("solver", EVERY, ids=str)
without_damping = pytest.mark.parametrize(
    "solver", [s for s in EVERY if not s.requires_damping], ids=str
)


@functools.cache
def model_update(solver, damping=0.1):
    return update(optim.scale_by_natural_gradient(predict, FAMILY, solver=solver, damping=damping))


@functools.cache
def linear_update(solver, damping):
    return update(
        optim.scale_by_natural_gradient(linear_predict, LINEAR, solver=solver, damping=damping)
    )


@each_exact
def test_exact_solvers_are_the_damped_dense_solve(solver):
    grads, _ = problem()
    direction, state = model_update(solver)(grads, PARAMS, inputs=INPUTS)
    np.testing.assert_allclose(flat(direction), solution(0.1), rtol=1e-9, atol=1e-11)
    assert jax.tree.structure(direction) == jax.tree.structure(PARAMS)
    assert float(state.residual) < 1e-12
    assert int(state.step) == 1
    assert int(state.num_steps) == 1 or solver == TIGHT


def test_diagonal_divides_by_the_diagonal():
    grads, matrix = problem()
    direction, _ = model_update(optim.Diagonal())(grads, PARAMS, inputs=INPUTS)
    np.testing.assert_allclose(flat(direction), flat(grads) / (np.diag(matrix) + 0.1), rtol=1e-9)


@each_exact
def test_weights_replace_the_mean(solver):
    grads, _ = problem()
    weights = jnp.asarray([1.0, 0.0, 0.5, 0.0, 2.0, 0.0])
    kept, half = INPUTS[::2], np.asarray(weights)[::2]
    images = [np.asarray(fisher_matrix(PARAMS, x[None])) for x in kept]
    matrix = np.tensordot(half, images, 1)
    direction, _ = model_update(solver)(grads, PARAMS, inputs=INPUTS, weights=weights)
    np.testing.assert_allclose(flat(direction), solution(0.1, matrix=matrix), rtol=1e-8, atol=1e-10)


@each_solver
def test_zero_gradient_is_zero(solver):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    direction, state = model_update(solver)(zero, PARAMS, inputs=INPUTS)
    np.testing.assert_array_equal(flat(direction), 0)
    assert float(state.residual) == 0


@each_solver
def test_float32_stays_and_is_near_float64(solver):
    grads, _ = problem()
    wide, _ = model_update(solver)(grads, PARAMS, inputs=INPUTS)
    if solver == TIGHT:
        solver = optim.ConjugateGradient(tolerance=1e-6)
    direction, state = model_update(solver)(single(grads), single(PARAMS), inputs=single(INPUTS))
    assert {leaf.dtype for leaf in jax.tree.leaves(direction)} == {np.dtype("float32")}
    assert state.residual.dtype == np.dtype("float32")
    np.testing.assert_allclose(flat(direction), flat(wide), rtol=0, atol=1e-4)


@each_solver
def test_it_works_without_64_bits(solver):
    if solver == TIGHT:
        solver = optim.ConjugateGradient(tolerance=1e-6)
    grads, _ = problem()
    arguments = jax.tree.map(np.asarray, (single(grads), single(PARAMS), single(INPUTS)))
    with jax.enable_x64(False):
        tx = optim.scale_by_natural_gradient(predict, FAMILY, solver=solver, damping=0.1)
        direction, state = update(tx)(*arguments[:2], inputs=arguments[2])
    assert state.step.dtype == np.dtype("int32")
    expected, _ = model_update(solver)(grads, PARAMS, inputs=INPUTS)
    np.testing.assert_allclose(flat(direction), flat(expected), rtol=0, atol=1e-4)


@each_solver
def test_half_precision_parameters_are_solved_in_single(solver):
    half = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.bfloat16))
    x = jnp.asarray([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    grads, params = jnp.asarray([1.0, 2.0]), jnp.zeros(2)
    direction, state = linear_update(solver, 1.0)(half(grads), half(params), inputs=half(x))
    matrix = np.asarray(x.T @ x) / 3 + np.eye(2)
    if solver == optim.Diagonal():
        matrix = np.diag(np.diag(matrix))
    assert direction.dtype == jnp.bfloat16
    assert state.residual.dtype == jnp.float32
    expected = np.linalg.solve(matrix, np.asarray(grads))
    np.testing.assert_allclose(np.asarray(direction, float), expected, rtol=0.03)


@each_exact
def test_leaves_may_have_several_dtypes(solver):
    grads, _ = problem()
    if solver == TIGHT:
        solver = optim.ConjugateGradient(tolerance=1e-6)
    mixed = lambda tree: tree | {"inner": tree["inner"].astype(jnp.float32)}
    direction, _ = model_update(solver)(mixed(grads), mixed(PARAMS), inputs=INPUTS)
    assert direction["inner"].dtype == jnp.float32
    assert direction["outer"].dtype == jnp.float64
    np.testing.assert_allclose(flat(direction), solution(0.1), rtol=0, atol=1e-4)


# Singular systems: six parameters, two examples.

WIDE = jnp.asarray(np.random.default_rng(8).normal(size=(2, 6)))
CONSISTENT = WIDE.T @ jnp.asarray([1.0, -2.0])


def pseudo_inverse_solution(right_side):
    return np.linalg.pinv(np.asarray(WIDE.T @ WIDE) / 2, rcond=1e-12) @ np.asarray(right_side)


@without_damping
@pytest.mark.parametrize("kind", ["consistent", "arbitrary"])
def test_singular_and_undamped_is_the_minimum_norm_solution(solver, kind):
    rhs = CONSISTENT if kind == "consistent" else jnp.arange(1.0, 7.0)
    direction, _ = linear_update(solver, 0.0)(rhs, jnp.zeros(6), inputs=WIDE)
    assert np.isfinite(direction).all()
    if solver != optim.Diagonal():
        np.testing.assert_allclose(direction, pseudo_inverse_solution(rhs), rtol=1e-6)


@each_exact
def test_singular_with_little_damping_approaches_it(solver):
    direction, _ = linear_update(solver, 1e-6)(CONSISTENT, jnp.zeros(6), inputs=WIDE)
    np.testing.assert_allclose(direction, pseudo_inverse_solution(CONSISTENT), rtol=1e-5)


def test_a_pivot_of_rounding_noise_counts_as_singular():
    # Cholesky of a singular matrix may pass with a pivot of 1e-17; the step would be 1e17 long.
    factors = np.random.default_rng(0).normal(size=(20, 6, 3))
    rhs = np.random.default_rng(1).normal(size=(20, 6))

    @jax.jit
    @jax.vmap
    def directions(a, rhs):
        tx = optim.scale_by_metric(lambda p, u: a @ (a.T @ u), solver=optim.Dense(), damping=0.0)
        return tx.update(rhs, tx.init(rhs), rhs)[0]

    expected = [np.linalg.pinv(a @ a.T, rcond=1e-12) @ b for a, b in zip(factors, rhs, strict=True)]
    np.testing.assert_allclose(directions(factors, rhs), expected, rtol=1e-9, atol=1e-9)


@without_damping
def test_no_curvature_at_all_gives_zero(solver):
    direction, _ = linear_update(solver, 0.0)(jnp.ones(6), jnp.zeros(6), inputs=jnp.zeros((2, 6)))
    np.testing.assert_array_equal(direction, 0)


@each_solver
def test_saturated_outputs_leave_the_damping(solver):
    grads, _ = problem()
    params = PARAMS | {"bias": jnp.asarray([1e4, 0.0, -1e4])}
    direction, _ = model_update(solver)(grads, params, inputs=INPUTS)
    np.testing.assert_allclose(flat(direction), flat(grads) / 0.1, rtol=1e-12)


@each_solver
@pytest.mark.parametrize("where", ["gradient", "params"])
def test_nan_is_not_hidden(solver, where):
    grads, _ = problem()
    spoil = lambda tree: tree | {"inner": tree["inner"].at[0, 0].set(jnp.nan)}
    grads, params = (spoil(grads), PARAMS) if where == "gradient" else (grads, spoil(PARAMS))
    direction, _ = model_update(solver)(grads, params, inputs=INPUTS)
    assert np.isnan(flat(direction)).any()


def test_sample_space_refines_what_cancels_in_single_precision():
    # A gradient of the outputs is where (g - J^T ...) cancels: 1.1e-3 without refinement.
    generator = np.random.default_rng(1)
    x = 3 * generator.normal(size=(64, 200))
    rhs = x.T @ generator.normal(size=64)
    expected = np.linalg.solve(x.T @ x / 64 + 1e-2 * np.eye(200), rhs)
    direction, _ = linear_update(optim.SampleSpace(), 1e-2)(
        single(rhs), single(np.zeros(200)), inputs=single(x)
    )
    error = np.linalg.norm(direction - expected) / np.linalg.norm(expected)
    assert error < 5e-4


def test_sample_space_with_traced_zero_damping_is_finite():
    @jax.jit
    def run(damping):
        tx = optim.scale_by_natural_gradient(
            linear_predict, LINEAR, solver=optim.SampleSpace(), damping=damping
        )
        return tx.update(CONSISTENT, tx.init(CONSISTENT), CONSISTENT, inputs=WIDE)[0]

    assert np.isfinite(run(0.0)).all()


# Conjugate gradients by themselves.


@functools.cache
def solver_of(tolerance, max_iterations):
    return jax.jit(
        lambda matrix, rhs: conjugate_gradient(
            lambda v: matrix @ v, rhs, tolerance=tolerance, max_iterations=max_iterations
        )
    )


def test_conjugate_gradients_take_one_step_for_each_eigenvalue():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))
    matrix = rotation @ np.diag([1.0, 1, 1, 4, 4, 9, 9, 9]) @ rotation.T
    x, info = solver_of(1e-10, 50)(matrix, np.ones(8))
    assert int(info.num_steps) == 3
    assert bool(info.converged)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, np.ones(8)), rtol=1e-9)


def test_conjugate_gradients_stop_at_the_limit_and_say_so():
    matrix = np.diag(np.arange(1.0, 9.0))
    x, info = solver_of(1e-10, 2)(matrix, np.ones(8))
    assert int(info.num_steps) == 2
    assert not bool(info.converged)
    residual = np.linalg.norm(matrix @ x - 1) / np.sqrt(8)
    np.testing.assert_allclose(info.residual, residual, rtol=1e-12)


def test_conjugate_gradients_leave_out_what_no_solution_reaches():
    matrix, rhs = np.diag([1.0, 2.0, 0.0]), np.ones(3)
    x, info = solver_of(1e-10, 50)(matrix, rhs)
    np.testing.assert_allclose(x, [1.0, 0.5, 0.0], atol=1e-12)
    assert not bool(info.converged)
    np.testing.assert_allclose(info.residual, np.sqrt(1 / 3), rtol=1e-9)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_conjugate_gradients_do_not_depend_on_the_size_of_the_gradient(size):
    matrix = jnp.diag(jnp.asarray([1.0, 2.0, 5.0], jnp.float32))
    x, info = solver_of(1e-6, 50)(matrix, jnp.full(3, size, jnp.float32))
    np.testing.assert_allclose(np.asarray(x, float) / size, [1.0, 0.5, 0.2], rtol=1e-5)
    assert bool(info.converged)


def test_conjugate_gradients_under_vmap():
    matrices = jnp.stack([jnp.eye(3), jnp.diag(jnp.asarray([1.0, 2.0, 3.0])), jnp.zeros((3, 3))])
    x, info = jax.vmap(solver_of(1e-10, 50), (0, None))(matrices, jnp.ones(3))
    np.testing.assert_allclose(x, [[1, 1, 1], [1, 0.5, 1 / 3], [0, 0, 0]], rtol=1e-9)
    np.testing.assert_array_equal(info.converged, [True, True, False])
    assert info.num_steps.tolist()[:2] == [1, 3]


def test_solvers_are_descriptions_compared_by_value():
    assert optim.Dense() == optim.Dense()
    assert hash(optim.ConjugateGradient(1e-3)) == hash(optim.ConjugateGradient(1e-3))
    assert jax.tree.leaves(EVERY) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_iterations": 0}, ValueError, r"max_iterations must be at least 1; got 0"),
        ({"max_iterations": 2.5}, TypeError, r"max_iterations must be a Python integer; got float"),
        ({"tolerance": 0.0}, ValueError, r"tolerance must be positive and finite; got 0\.0"),
    ],
)
def test_bad_options_of_conjugate_gradients(options, error, message):
    with pytest.raises(error, match=message):
        optim.ConjugateGradient(**options)


# Systems in which one direction dwarfs the others, in float32.


@pytest.mark.parametrize(
    ("diagonal", "damping", "gradient"),
    [((1e5, 0.0), 1e-2, (1.0, 1.0)), ((1e8, 1.0), 0.0, (1e4, 1.0)), ((1.0, 1e-8), 0.0, (1, 1e-6))],
)
def test_dense_resolves_parameters_of_other_units(diagonal, damping, gradient):
    scale = jnp.asarray(diagonal, jnp.float32)
    tx = optim.scale_by_metric(lambda _, v: scale * v, solver=optim.Dense(), damping=damping)
    params, grads = jnp.ones(2, jnp.float32), jnp.asarray(gradient, jnp.float32)
    direction, state = update(tx)(grads, params)
    expected = np.asarray(gradient) / (np.asarray(diagonal) + damping)
    np.testing.assert_allclose(direction, expected, rtol=1e-6)
    assert float(state.residual) < 1e-6


@pytest.mark.slow
def test_sample_space_never_climbs():
    # Pixels of 0 to 255: the metric is 1e8 times the damping, and Woodbury's formula cancels.
    family = families.Categorical(10)
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.integers(0, 256, (16, 196)), jnp.float32)
    labels = jnp.asarray(generator.integers(0, 10, 16))
    predict = lambda w, x: family.natural_from_params(logits=x @ w)
    params = jnp.asarray(1e-3 * generator.normal(size=(196, 10)), jnp.float32)
    loss = lambda w: -jnp.mean(family.log_density(predict(w, x), labels))
    grads = jax.grad(loss)(params)
    for damping in (1e-3, 1e-2):
        make = functools.partial(optim.scale_by_natural_gradient, predict, family, damping=damping)
        direction, state = update(make(solver=optim.SampleSpace()))(grads, params, inputs=x)
        assert float(jnp.sum(direction * grads)) > 0
        assert float(state.residual) > 1e-3  # and it says so
        wide = jax.tree.map(lambda leaf: leaf.astype(float), (grads, params, x))
        exact, _ = update(make(solver=optim.Dense()))(wide[0], wide[1], inputs=wide[2])
        assert float(jnp.linalg.norm(direction - exact)) < 0.1 * float(jnp.linalg.norm(exact))
