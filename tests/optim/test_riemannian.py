"""Steps on manifolds against closed forms, optax on Euclidean leaves, and eigenvectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import nn, optim
from igeojax.manifolds import Euclidean, Oblique, PoincareBall, ProductManifold, Sphere

DRAWS = np.random.default_rng(0)
MIXED = {"x": Sphere(3), "rest": None}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def params(dtype=np.float64):
    rest = {"a": DRAWS.normal(size=2), "b": DRAWS.normal(size=(2, 3))}
    tree = {"x": unit(DRAWS.normal(size=(4, 3))), "rest": rest}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def gradients(count):
    draw = lambda *shape: DRAWS.normal(size=(count, *shape))
    return {"x": draw(4, 3), "rest": {"a": draw(2), "b": draw(2, 3)}}


def trajectory(tx, params, grads):
    """Parameters after each step, in one compiled scan."""

    def advance(carry, gradient):
        params, state = carry
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda params: jax.lax.scan(advance, (params, tx.init(params)), grads)[1])
    return run(params)


def sphere_by_hand(x, grads, rate, decay):
    """Momentum on the sphere by the textbook: rotation in the plane, transport by reflection."""
    momentum = np.zeros_like(x)
    for gradient in grads:
        along = lambda v, x: np.sum(v * x, axis=-1, keepdims=True)
        momentum = decay * momentum + gradient - along(gradient, x) * x
        step = -rate * momentum
        angle = np.linalg.norm(step, axis=-1, keepdims=True)
        y = np.cos(angle) * x + np.sin(angle) * step / angle
        momentum = momentum - along(momentum, y) / (1 + along(x, y)) * (x + y)
        x = y
        yield x


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_momentum_on_the_sphere_by_hand(decay):
    start, grads = params(), gradients(8)
    expected = list(sphere_by_hand(np.asarray(start["x"]), grads["x"], 0.3, decay))
    tx = optim.riemannian_momentum(0.3, MIXED, decay) if decay else optim.riemannian_sgd(0.3, MIXED)
    found = trajectory(tx, start, grads)
    np.testing.assert_allclose(found["x"], expected, rtol=0, atol=1e-13)
    plain = trajectory(optax.sgd(0.3, decay or None), start["rest"], grads["rest"])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-13), found["rest"], plain)


def test_nesterov_looks_a_step_ahead():
    start, grads = params(), gradients(8)
    tx = optim.riemannian_momentum(0.3, MIXED, 0.9, nesterov=True)
    found = trajectory(tx, start, grads)["rest"]
    plain = trajectory(optax.sgd(0.3, 0.9, nesterov=True), start["rest"], grads["rest"])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-13), found, plain)


def test_adam_on_euclidean_leaves_is_that_of_optax():
    start, grads = params(), gradients(8)
    found = trajectory(optim.riemannian_adam(0.1, MIXED), start, grads)["rest"]
    plain = trajectory(optax.adam(0.1), start["rest"], grads["rest"])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), found, plain)


def test_adam_gives_each_point_one_scale():
    # The first step has length one whatever the gradients are.
    x, scales = params()["x"], np.array([1e-3, 1.0, 1e3, 1e6])[:, None]
    gradient = scales * DRAWS.normal(size=(4, 3))
    for manifold, sizes in ((Sphere(3), np.ones(4)), (Oblique(4, 3), None)):
        tx = optim.scale_by_riemannian_adam(manifold, eps=0.0)
        raised = manifold.riemannian_gradient(x, gradient)
        step, state = tx.update(raised, tx.init(x), x)
        lengths = np.linalg.norm(raised, axis=1)
        expected = lengths / np.linalg.norm(lengths) if sizes is None else sizes
        np.testing.assert_allclose(np.linalg.norm(step, axis=1), expected, rtol=1e-12)
        assert state.nu.shape == (() if sizes is None else (4,))


def test_adam_gives_a_point_of_a_product_one_scale():
    product = ProductManifold((Sphere(3), Euclidean(2)))
    x = (params()["x"], jnp.asarray(DRAWS.normal(size=(4, 2))))
    ambient = (jnp.asarray(DRAWS.normal(size=(4, 3))), jnp.asarray(DRAWS.normal(size=(4, 2))))
    raised = product.riemannian_gradient(x, ambient)
    tx = optim.scale_by_riemannian_adam(product, eps=0.0)
    step, state = tx.update(raised, tx.init(x), x)
    assert state.nu.shape == (4,)
    length = np.linalg.norm(np.concatenate(raised, axis=1), axis=1, keepdims=True)
    for found, part in zip(step, raised, strict=True):
        np.testing.assert_allclose(found, part / length, rtol=1e-12)


def test_adam_by_hand_in_the_ball():
    ball, x = PoincareBall(2), jnp.asarray([0.3, -0.4])
    tx = optim.scale_by_riemannian_adam(ball, b1=0.8, b2=0.9, eps=1e-3)
    state, mean, square, before = tx.init(x), jnp.zeros(2), 0.0, x
    for count in range(1, 4):
        gradient = jnp.asarray(DRAWS.normal(size=2))
        found, state = tx.update(gradient, state, x)
        mean = 0.8 * ball.transport(before, x, mean) + 0.2 * gradient
        square = 0.9 * square + 0.1 * ball.inner(x, gradient, gradient)
        expected = mean / (1 - 0.8**count) / (np.sqrt(square / (1 - 0.9**count)) + 1e-3)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        before, x = x, ball.exp(x, -0.1 * found)


def test_descent_finds_the_leading_eigenvector():
    matrix = np.diag([1.0, 2.0, 5.0]) + 0.3
    loss = lambda x: -0.5 * x @ matrix @ x
    leading = np.linalg.eigh(matrix)[1][:, -1]
    for tx in (
        optim.riemannian_sgd(0.1, Sphere(3)),
        optim.riemannian_momentum(0.03, Sphere(3)),
        optim.riemannian_adam(optax.exponential_decay(0.1, 10, 0.7), Sphere(3), b2=0.9),
        optax.chain(optax.sgd(0.1), optim.project_onto(Sphere(3))),
    ):

        def advance(_, carry, tx=tx):
            x, state = carry
            updates, state = tx.update(jax.grad(loss)(x), state, x)
            return optax.apply_updates(x, updates), state

        start = jnp.asarray([0.6, 0.8, 0.0])
        x, _ = jax.jit(lambda x: jax.lax.fori_loop(0, 300, advance, (x, tx.init(x))))(start)  # noqa: B023
        assert 1 - abs(float(x @ leading)) < 1e-9


def test_points_stay_on_the_sphere_in_single_precision():
    start = params(np.float32)["x"]
    grads = jnp.asarray(DRAWS.normal(size=(20, 4, 3)), jnp.float32)
    grads = jnp.tile(grads, (250, 1, 1))
    for tx in (optim.riemannian_adam(0.1, Sphere(3)), optim.riemannian_sgd(1.0, Sphere(3))):
        found = trajectory(tx, start, grads)
        assert found.dtype == np.float32
        error = np.abs(np.linalg.norm(np.asarray(found, np.float64), axis=-1) - 1)
        assert error.max() < 3 * np.finfo(np.float32).eps


def test_the_projected_step_is_cut_short():
    # A tangent of length s turns by s along the geodesic, by arctan(s) where it is projected.
    x, direction = jnp.asarray([1.0, 0.0, 0.0]), jnp.asarray([0.0, 0.6, 0.8])
    for size in (1e-3, 0.1, 1.0, 3.0):
        angles = []
        for tx in (optim.geodesic_updates(Sphere(3)), optim.project_onto(Sphere(3))):
            updates, _ = tx.update(size * direction, tx.init(x), x)
            angles.append(float(Sphere(3).distance(x, x + updates)))
        np.testing.assert_allclose(angles, [size, np.arctan(size)], rtol=1e-12)


def test_near_the_rim_of_the_ball_geodesics_are_followed():
    ball = PoincareBall(2)
    x = ball.exp(jnp.zeros(2, jnp.float32), jnp.asarray([2.0, 0.0], jnp.float32))
    gradient = jnp.asarray([-1e3, 2e2], jnp.float32)
    tx = optim.riemannian_sgd(1.0, ball, additive=False)
    for _ in range(20):
        updates, _ = tx.update(gradient, tx.init(x), x)
        x = optim.apply_riemannian_updates(x, updates, ball)
        assert bool(ball.contains(x))
    assert x.dtype == np.float32


def test_tangent_updates_are_those_of_the_geodesic():
    start, grads = params(), jax.tree.map(lambda leaf: leaf[0], gradients(1))
    added, tangent = (
        optim.riemannian_adam(0.3, MIXED, additive=additive) for additive in (True, False)
    )
    update = lambda tx: tx.update(grads, tx.init(start), start)[0]
    expected = optax.apply_updates(start, update(added))
    found = optim.apply_riemannian_updates(start, update(tangent), MIXED)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), found, expected)


@pytest.mark.parametrize("form", ["linen", "nnx"])
def test_weights_of_a_normalized_network_stay_unit(form):
    from flax import nnx

    tokens = jnp.asarray(DRAWS.integers(0, 7, (2, 5)))
    if form == "linen":
        model = nn.linen.NormalizedTransformer(7, 4, 1, 2)
        params = model.init(jax.random.key(0), tokens)
        logits = model.apply
    else:
        split = nnx.split(nn.nnx.NormalizedTransformer(7, 4, 1, 2, rngs=nnx.Rngs(0)), nnx.Param)
        params, logits = split[1], lambda params, tokens: nnx.merge(split[0], params)(tokens)
    places = nn.unit_manifolds(params)
    tx = optax.chain(optax.adam(0.1), optim.project_onto(places))

    @jax.jit
    def step(params, state):
        loss = lambda params: optax.softmax_cross_entropy_with_integer_labels(
            logits(params, tokens), tokens
        ).mean()
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses = tx.init(params), []
    for _ in range(20):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    assert len(jax.tree.leaves(places, is_leaf=lambda node: isinstance(node, Oblique))) == 9
    inside = jax.tree.map(
        lambda manifold, leaf: manifold is None or bool(manifold.contains(leaf, 1e-6)),
        places,
        params,
        is_leaf=lambda node: node is None or isinstance(node, Oblique),
    )
    assert all(jax.tree.leaves(inside))


@pytest.mark.parametrize("optimizer", [optim.riemannian_adam, optim.riemannian_momentum])
def test_a_step_may_reuse_the_memory_of_what_it_is_given(optimizer):
    start = params()
    tx = optimizer(0.1, MIXED)

    def step(params, state):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(start)
    expected = step(start, state)[0]
    found = jax.jit(step, donate_argnums=(0, 1))(start, state)[0]
    for leaf, same in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, same, rtol=1e-12)


def test_bad_input_is_told():
    with pytest.raises(TypeError, match="and None for Euclidean leaves; got 3"):
        optim.riemannian_sgd(0.1, {"x": 3})
    with pytest.raises(TypeError, match="must hold a manifold"):
        optim.project_onto({"x": None})
    tx = optim.riemannian_sgd(0.1, MIXED)
    start = params()
    with pytest.raises(ValueError, match="tree structure of params down to their leaves"):
        tx.update({"x": start["x"]}, tx.init(start), {"x": start["x"]})
    with pytest.raises(ValueError, match="riemannian_gradient needs the current parameters"):
        tx.update(start, tx.init(start))
    twice = jax.tree.map(lambda leaf: 2 * leaf, start)
    with pytest.raises(ValueError, match="on the manifold Sphere"):
        tx.update(start, tx.init(start), twice)
    with pytest.raises(ValueError, match="must hold a weight named unit_columns or unit_rows"):
        nn.unit_manifolds({"kernel": jnp.eye(2)})
    with pytest.raises(ValueError, match=r"head/unit_rows must be a matrix; got shape \(3,\)"):
        nn.unit_manifolds({"head": {"unit_rows": jnp.ones(3)}})
