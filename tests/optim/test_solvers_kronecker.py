"""The solvers KFAC and EKFAC against dense Kronecker products in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, optim
from tests.optim.problems import flat, update

FAMILY = families.Categorical(3)
DRAWS = np.random.default_rng(7)
INPUTS = jnp.asarray(DRAWS.normal(size=(6, 4)))
KERNEL = jnp.asarray(DRAWS.normal(size=(4, 2)))
SLOPE = jnp.asarray(DRAWS.normal(size=(4, 2)))
DAMPING = 0.05


def predict(kernel, inputs):
    """A linear classifier: the last logit is 0."""
    return FAMILY.natural_from_params(logits=jnp.pad(inputs @ kernel, ((0, 0), (0, 1))))


@functools.cache
def classifier(solver):
    return update(optim.scale_by_natural_gradient(predict, FAMILY, solver=solver, damping=DAMPING))


def metrics(inputs):
    """`diag(p) - p p^T` of each example, in the two free logits."""
    logits = np.pad(np.asarray(inputs @ KERNEL), ((0, 0), (0, 1)))
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.stack([np.diag(p) - np.outer(p, p) for p in probs])[:, :2, :2]


def dense(inputs, weights):
    """The Fisher matrix of the kernel, entries in row-major order, and its two factors."""
    rows, columns = np.asarray(inputs), metrics(inputs)
    blocks = [np.kron(np.outer(x, x), m) for x, m in zip(rows, columns, strict=True)]
    first = np.einsum("n,ni,nj->ij", weights, rows, rows) / np.sum(weights)
    return np.tensordot(weights, blocks, 1), first, np.tensordot(weights, columns, 1)


def factored_solution(first, second):
    ratio = np.sqrt(np.trace(first) / len(first) / (np.trace(second) / len(second)))
    first = first + ratio * np.sqrt(DAMPING) * np.eye(len(first))
    second = second + np.sqrt(DAMPING) / ratio * np.eye(len(second))
    return np.linalg.solve(np.kron(first, second), flat(SLOPE))


def corrected_solution(matrix, first, second):
    basis = np.kron(np.linalg.eigh(first)[1], np.linalg.eigh(second)[1])
    curvature = np.diag(basis.T @ matrix @ basis)
    return basis @ ((basis.T @ flat(SLOPE)) / (curvature + DAMPING))


def expected_of(solver, inputs, weights):
    matrix, first, second = dense(inputs, weights)
    if solver == optim.KFAC():
        return factored_solution(first, second)
    return corrected_solution(matrix, first, second)


each_solver = pytest.mark.parametrize("solver", [optim.KFAC(), optim.EKFAC()], ids=str)


@each_solver
def test_the_blocks_are_those_of_dense_algebra(solver):
    direction, state = classifier(solver)(SLOPE, KERNEL, inputs=INPUTS)
    expected = expected_of(solver, INPUTS, np.full(6, 1 / 6))
    np.testing.assert_allclose(flat(direction), expected, rtol=1e-9)
    damped = dense(INPUTS, np.full(6, 1 / 6))[0] + DAMPING * np.eye(8)
    residual = np.linalg.norm(damped @ expected - flat(SLOPE)) / np.linalg.norm(SLOPE)
    np.testing.assert_allclose(state.residual, residual, rtol=1e-9)
    assert residual > 1e-2, "an approximation, and the residual says so"
    assert int(state.num_steps) == 1


@each_solver
def test_weights_replace_the_mean(solver):
    weights = np.array([1.0, 0.0, 0.5, 0.0, 2.0, 0.0])
    direction, _ = classifier(solver)(SLOPE, KERNEL, inputs=INPUTS, weights=jnp.asarray(weights))
    np.testing.assert_allclose(flat(direction), expected_of(solver, INPUTS, weights), rtol=1e-9)


def test_ekfac_is_exact_for_one_example_and_one_layer():
    direction, state = classifier(optim.EKFAC())(SLOPE, KERNEL, inputs=INPUTS[:1])
    matrix, *_ = dense(INPUTS[:1], np.ones(1))
    expected = np.linalg.solve(matrix + DAMPING * np.eye(8), flat(SLOPE))
    np.testing.assert_allclose(flat(direction), expected, rtol=1e-9)
    assert float(state.residual) < 1e-12


def test_ekfac_is_exact_where_its_basis_diagonalizes_the_matrix_and_kfac_is_not():
    # One-hot inputs of distinct lengths: the matrix is diagonal, and no Kronecker product.
    family = families.Poisson()
    inputs = jnp.diag(jnp.asarray([1.0, 2.0, 3.0]))
    rates = jnp.asarray([[1.0, 5.0], [2.0, 0.5], [0.3, 4.0]])
    kernel = jnp.log(rates) / jnp.diagonal(inputs)[:, None]
    slope = jnp.asarray([[1.0, -2.0], [0.5, 1.0], [-1.0, 0.3]])
    direct = lambda kernel, x: family.natural_from_params(rate=jnp.exp(x @ kernel))
    natural = functools.partial(optim.scale_by_natural_gradient, direct, family, damping=DAMPING)
    expected = slope / (jnp.diagonal(inputs)[:, None] ** 2 * rates / 3 + DAMPING)
    direction, _ = update(natural(solver=optim.EKFAC()))(slope, kernel, inputs=inputs)
    np.testing.assert_allclose(direction, expected, rtol=1e-9)
    direction, state = update(natural(solver=optim.KFAC()))(slope, kernel, inputs=inputs)
    assert np.max(np.abs(direction / expected - 1)) > 0.1
    assert float(state.residual) > 0.1


@each_solver
def test_layers_are_solved_apart_and_other_parameters_densely(solver):
    # Each parameter alone, the others held: scales are no factors of a matrix.
    params = {"kernel": KERNEL, "scale": jnp.asarray([0.5, 2.0])}
    grads = {"kernel": SLOPE, "scale": jnp.asarray([1.0, -1.0])}

    def scaled(params, inputs):
        logits = jnp.tanh(inputs @ params["kernel"]) * params["scale"][None]
        return FAMILY.natural_from_params(logits=jnp.pad(logits, ((0, 0), (0, 1))))

    make = functools.partial(optim.scale_by_natural_gradient, family=FAMILY, damping=DAMPING)
    found, _ = update(make(scaled, solver=solver))(grads, params, inputs=INPUTS)
    for name, alone in (("kernel", solver), ("scale", optim.Dense())):
        other = {key: value for key, value in params.items() if key != name}
        part = lambda p, x, name=name, other=other: scaled(other | {name: p}, x)
        expected, _ = update(make(part, solver=alone))(grads[name], params[name], inputs=INPUTS)
        np.testing.assert_allclose(found[name], expected, rtol=1e-9)


@each_solver
def test_masked_parameters_are_held(solver):
    params, grads = {"w": KERNEL, "b": jnp.ones(2)}, {"w": SLOPE, "b": jnp.ones(2)}
    shifted = lambda p, x: FAMILY.natural_from_params(
        logits=jnp.pad(x @ p["w"] + 0 * p["b"][None], ((0, 0), (0, 1)))
    )
    natural = optim.scale_by_natural_gradient(shifted, FAMILY, solver=solver, damping=DAMPING)
    tx = optax.masked(natural, {"w": True, "b": False})
    direction, _ = update(tx)(grads, params, inputs=INPUTS, full_params=params)
    expected, _ = classifier(solver)(SLOPE, KERNEL, inputs=INPUTS)
    np.testing.assert_allclose(direction["w"], expected, rtol=1e-9)
    np.testing.assert_array_equal(direction["b"], grads["b"])


def test_examples_in_chunks_are_all_at_once():
    expected, _ = classifier(optim.EKFAC())(SLOPE, KERNEL, inputs=INPUTS)
    found, _ = classifier(optim.EKFAC(chunk_size=4))(SLOPE, KERNEL, inputs=INPUTS)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@each_solver
def test_a_metric_without_a_model_is_refused(solver):
    tx = optim.scale_by_metric(lambda params, v: v, solver=solver, damping=0.1)
    with pytest.raises(TypeError, match=f"{type(solver).__name__} needs a model"):
        tx.update(KERNEL, tx.init(KERNEL), KERNEL)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sharing": "sum"}, ValueError, 'sharing must be "expand" or "reduce"; got \'sum\''),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1; got 0"),
        ({"dense_limit": -1}, ValueError, "dense_limit must be at least 0; got -1"),
        ({"factor_limit": 2.0}, TypeError, "factor_limit must be a Python integer; got float"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        optim.KFAC(**options)


def test_zero_damping_is_refused():
    with pytest.raises(ValueError, match="damping must be positive"):
        optim.scale_by_natural_gradient(predict, FAMILY, solver=optim.EKFAC(), damping=0.0)


def test_they_are_descriptions_compared_by_value():
    assert optim.KFAC() == optim.KFAC()
    assert optim.KFAC() != optim.EKFAC()
    assert jax.tree.leaves([optim.KFAC(), optim.EKFAC(), optim.Auto()]) == []
