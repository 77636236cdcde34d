"""Training: convergence, invariance, `scan` and `vmap`, flax models, and large batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from igeojax import families, fisher, optim
from tests.fisher.models import draw_inputs, draw_params
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
    solution,
    update,
)

TIGHT = optim.ConjugateGradient(tolerance=1e-13, max_iterations=60)
SOLVERS = [optim.Dense(), TIGHT, optim.SampleSpace(), optim.Diagonal()]
each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=str)


def train(tx, gradient, params, num_steps, **extra):
    """The parameters after each step, in one scan."""

    def advance(carry, _):
        params, state = carry
        updates, state = tx.update(gradient(params), state, params, **extra)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda p: jax.lax.scan(advance, (p, tx.init(p)), length=num_steps))
    (_, state), path = run(params)
    return path, state


@pytest.mark.parametrize("solver", [optim.Dense(), TIGHT], ids=str)
def test_one_step_solves_least_squares(solver):
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(20, 4)), generator.normal(size=20)
    tx = optim.natural_gradient(1.0, linear_predict, LINEAR, solver=solver, damping=0.0)
    start = jnp.asarray(generator.normal(size=4))
    updates, _ = update(tx)(x.T @ (x @ start - y) / 20, start, inputs=x)
    best, *_ = np.linalg.lstsq(x, y)
    np.testing.assert_allclose(start + updates, best, rtol=1e-9)


def test_logistic_regression_converges_like_newton():
    # In a canonical model the Fisher matrix is the Hessian: iteratively reweighted least squares.
    family, x = families.Bernoulli(), draw_inputs(30)
    y = jnp.asarray(np.random.default_rng(6).integers(0, 2, 30))
    predict = lambda w, x: family.natural_from_params(logits=x @ w)
    gradient = jax.grad(lambda w: -jnp.mean(family.log_density(predict(w, x), y)))
    tx = optim.natural_gradient(1.0, predict, family, solver=optim.Dense(), damping=0.0)
    path, _ = train(tx, gradient, jnp.zeros(2), 6, inputs=x)

    w = np.zeros(2)
    for found in np.asarray(path):
        p = 1 / (1 + np.exp(-x @ w))
        w = w + np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]), x.T @ (y - p))
        np.testing.assert_allclose(found, w, rtol=1e-8, atol=1e-12)
    assert np.abs(gradient(path[-1])).max() < 1e-12


@each_solver
def test_scan_is_a_loop(solver):
    tx = optim.natural_gradient(0.5, predict, FAMILY, solver=solver, damping=0.1)
    path, state = train(tx, gradient, PARAMS, 3, inputs=INPUTS)
    step, params, looped = jax.jit(tx.update), PARAMS, tx.init(PARAMS)
    for index in range(3):
        updates, looped = step(gradient(params), looped, params, inputs=INPUTS)
        params = optax.apply_updates(params, updates)
        here = jax.tree.map(lambda leaf, i=index: leaf[i], path)
        np.testing.assert_allclose(flat(here), flat(params), rtol=1e-9, atol=1e-11)
    assert int(state[0].step) == 3
    assert float(loss(params)) < float(loss(PARAMS))


@each_solver
def test_vmap_trains_an_ensemble(solver):
    tx = optim.scale_by_natural_gradient(predict, FAMILY, solver=solver, damping=0.1)
    members = [draw_params(3, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    states = jax.vmap(tx.init)(stacked)
    grads = jax.vmap(gradient)(stacked)
    step = jax.jit(jax.vmap(lambda g, s, p: tx.update(g, s, p, inputs=INPUTS)))
    updates, states = step(grads, states, stacked)
    assert states.step.tolist() == [1, 1, 1]
    alone = update(tx)
    for index, params in enumerate(members):
        expected, _ = alone(gradient(params), params, inputs=INPUTS)
        here = jax.tree.map(lambda leaf, i=index: leaf[i], updates)
        np.testing.assert_allclose(flat(here), flat(expected), rtol=1e-8, atol=1e-11)


# The trajectory in function space does not depend on the parameterization.

BERNOULLI, X = families.Bernoulli(), draw_inputs(24, seed=9)
Y = jnp.asarray(np.random.default_rng(9).integers(0, 2, 24))
FACTOR = 10.0


def logits(params, x):
    return jnp.tanh(x @ params["inner"]) @ params["outer"]


def rescaled(params):
    return params | {"inner": params["inner"] / FACTOR}


def original(params):
    return params | {"inner": params["inner"] * FACTOR}


def trajectories(build):
    """Log-odds after each step, of the net and of the net with a rescaled first layer."""
    start = {
        "inner": jnp.asarray([[1.0, -0.5], [0.3, 0.8]]),
        "outer": jnp.asarray([0.7, -0.4]),
    }
    paths = []
    for there, params in ((lambda p: p, start), (original, rescaled(start))):
        model = lambda p, x, there=there: BERNOULLI.natural_from_params(logits=logits(there(p), x))
        gradient = jax.grad(lambda p, m=model: -jnp.mean(BERNOULLI.log_density(m(p, X), Y)))
        path, _ = train(build(model), gradient, params, 5, inputs=X)
        paths.append(jax.vmap(lambda p, there=there: logits(there(p), X))(path))
    return paths


@pytest.mark.parametrize("solver", [optim.Dense(), TIGHT], ids=str)
def test_natural_gradient_does_not_see_a_rescaled_layer(solver):
    plain, scaled = trajectories(
        lambda model: optim.natural_gradient(0.3, model, BERNOULLI, solver=solver, damping=0.0)
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-6, atol=1e-7)
    assert np.abs(plain[-1] - plain[0]).max() > 0.1  # it moved


def test_little_damping_leaves_it_nearly_invariant():
    plain, scaled = trajectories(
        lambda model: optim.natural_gradient(0.3, model, BERNOULLI, solver=TIGHT, damping=1e-12)
    )
    np.testing.assert_allclose(scaled, plain, atol=1e-3)


def test_gradient_descent_does_see_it():
    plain, scaled = trajectories(lambda model: optax.with_extra_args_support(optax.sgd(0.3)))
    assert np.abs(scaled - plain).max() > 0.05


# Flax.


def test_flax_linen_parameters():
    net = linen.Sequential([linen.Dense(2), linen.tanh, linen.Dense(3)])
    params = jax.jit(net.init)(jax.random.key(0), INPUTS)
    predict = lambda p, x: FAMILY.natural_from_params(logits=net.apply(p, x))
    check_flax(predict, jax.tree.map(lambda leaf: leaf.astype(float), params))


def test_flax_nnx_state():
    net = nnx.Sequential(
        nnx.Linear(2, 2, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(2, 3, rngs=nnx.Rngs(1))
    )
    graph, params = nnx.split(net, nnx.Param)
    predict = lambda p, x: FAMILY.natural_from_params(logits=nnx.merge(graph, p)(x))
    check_flax(predict, jax.tree.map(lambda leaf: leaf.astype(float), params))


def check_flax(predict, params):
    """The same weights as a plain dictionary give the same direction."""
    loss = lambda p: -jnp.mean(FAMILY.log_density(predict(p, INPUTS), LABELS))
    grads = jax.jit(jax.grad(loss))(params)
    tx = optim.scale_by_natural_gradient(predict, FAMILY, solver=optim.Dense(), damping=0.1)
    direction, state = update(tx)(grads, params, inputs=INPUTS)
    assert jax.tree.structure(direction) == jax.tree.structure(params)
    assert int(state.step) == 1
    matrix = jax.jit(functools.partial(fisher.fisher_matrix, predict, FAMILY))(params, INPUTS)
    matrix = np.asarray(matrix)
    np.testing.assert_allclose(flat(direction), solution(0.1, grads, matrix), rtol=1e-8, atol=1e-11)
    jacobian = jax.jit(jax.jacrev(lambda p: predict(p, INPUTS).one_hot))(params)
    rows = np.concatenate([np.asarray(j).reshape(12, -1) for j in jax.tree.leaves(jacobian)], 1)
    p = np.asarray(FAMILY.mean_from_natural(predict(params, INPUTS)).one_hot)
    output = [np.diag(q) - np.outer(q, q) for q in p]
    blocks = rows.reshape(6, 2, -1)
    expected = sum(j.T @ o @ j for j, o in zip(blocks, output, strict=True)) / 6
    np.testing.assert_allclose(matrix, expected, rtol=1e-8, atol=1e-11)


def test_flax_nnx_optimizer_hands_on_extra_arguments():
    net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    graph, start = nnx.split(net, nnx.Param)
    predict = lambda p, x: FAMILY.natural_from_params(logits=nnx.merge(graph, p)(x))
    tx = optim.natural_gradient(0.5, predict, FAMILY, solver=optim.Dense(), damping=0.1)
    optimizer = nnx.Optimizer(net, tx, wrt=nnx.Param)
    loss = lambda p: -jnp.mean(FAMILY.log_density(predict(p, INPUTS), LABELS))
    grads = jax.jit(jax.grad(loss))(start)
    expected, _ = update(tx)(grads, start, inputs=INPUTS)
    before = flat(start)

    @nnx.jit
    def step(net, optimizer):
        grads = nnx.grad(lambda net: loss(nnx.state(net, nnx.Param)))(net)
        optimizer.update(net, grads, inputs=INPUTS)

    step(net, optimizer)
    np.testing.assert_allclose(
        flat(nnx.state(net, nnx.Param)), before + flat(expected), rtol=1e-5, atol=1e-6
    )


# Batches of 4096 rows and more: the size from which XLA on CPU (jaxlib 0.10.2) returned garbage for
# a derivative along a constant zero under jit.


def large_batch(num_rows):
    """A regression, its gradient at random and its Fisher matrix, in numpy."""
    generator = np.random.default_rng(num_rows)
    x = generator.normal(size=(num_rows, 3))
    params = {"inner": generator.normal(size=(3, 4)), "outer": generator.normal(size=4)}
    grads = {name: generator.normal(size=leaf.shape) for name, leaf in params.items()}
    hidden = np.tanh(x @ params["inner"])
    slope = x[:, :, None] * ((1 - hidden**2) * params["outer"])[:, None, :]
    jacobian = np.concatenate([slope.reshape(num_rows, -1), hidden], 1)
    return x, params, grads, jacobian.T @ jacobian / num_rows


def of_tanh(p, x):
    return LINEAR.natural_from_params(loc=jnp.tanh(x @ p["inner"]) @ p["outer"])


@pytest.mark.parametrize("num_rows", [4096, 8192])
def test_conjugate_gradients_on_a_large_batch(num_rows):
    x, params, grads, matrix = large_batch(num_rows)
    for dtype, tolerance, solver in (
        (jnp.float64, 1e-8, TIGHT),
        (jnp.float32, 1e-3, optim.ConjugateGradient(tolerance=1e-6)),
    ):
        cast = functools.partial(jax.tree.map, lambda leaf, d=dtype: jnp.asarray(leaf, d))
        tx = optim.scale_by_natural_gradient(of_tanh, LINEAR, solver=solver, damping=0.01)
        direction, _ = update(tx)(cast(grads), cast(params), inputs=cast(x))
        expected = solution(0.01, grads, matrix)
        error = np.linalg.norm(flat(direction) - expected) / np.linalg.norm(expected)
        assert error < tolerance


@pytest.mark.parametrize("num_rows", [4096, 8192])
def test_trust_region_on_a_large_batch(num_rows):
    x, params, grads, matrix = large_batch(num_rows)
    max_kl = 1e-6
    tx = optim.trust_region(
        of_tanh, LINEAR, max_kl=max_kl, damping=0.01, tolerance=1e-12, max_iterations=60
    )
    found, state = update(tx)(grads, params, inputs=jnp.asarray(x))
    direction = solution(0.01, grads, matrix)
    # As long as the damped matrix allows, less the margin of the first candidate.
    length = np.sqrt(2 * max_kl / (direction @ flat(grads)))
    np.testing.assert_allclose(flat(found), -length * direction, rtol=1e-4)
    loc = lambda p: np.tanh(x @ p["inner"]) @ p["outer"]
    moved = {name: leaf + np.asarray(found[name]) for name, leaf in params.items()}
    np.testing.assert_allclose(state.kl, np.mean((loc(moved) - loc(params)) ** 2) / 2, rtol=1e-6)
    assert bool(state.accepted)
    assert int(state.num_backtracks) == 0
