"""Tables of hyperbolic points: the manifold's own distances, one numerics, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

from igeojax import nn, optim
from igeojax.manifolds import Lorentz, PoincareBall, Sphere, lorentz_from_poincare
from igeojax.nn import hyperbolic

COUNT, CURVATURE = 6, -0.3
RADIUS = (-CURVATURE) ** -0.5
MODELS = {"unit_ball": PoincareBall(2, CURVATURE), "unit_hyperboloid": Lorentz(2, CURVATURE)}
TABLES = {"unit_ball": np.random.default_rng(0).uniform(-0.6, 0.6, (COUNT, 2))}
TABLES["unit_hyperboloid"] = np.asarray(lorentz_from_poincare(PoincareBall(2), TABLES["unit_ball"]))
FIRST, SECOND = np.array([[0], [3]]), np.arange(COUNT)
every = pytest.mark.parametrize("name", MODELS)
FORMS = pytest.mark.parametrize("form", ["linen", "nnx"])


def made(form, name, dtype=np.float64, **options):
    """Parameters, and a function of parameters and what the layer is called with."""
    options = {"param_dtype": dtype, **options}
    if form == "linen":
        layer = nn.linen.HyperbolicEmbedding(COUNT, MODELS[name], **options)
        params = layer.init(jax.random.key(0), 0)
        return params, layer.apply, lambda *rows: layer.apply(*rows, method="distance")
    layer = nn.nnx.HyperbolicEmbedding(COUNT, MODELS[name], rngs=flax_nnx.Rngs(0), **options)
    graph, params = flax_nnx.split(layer)
    merged = lambda params: flax_nnx.merge(graph, params)
    return (
        params,
        lambda params, index: merged(params)(index),
        lambda params, *rows: merged(params).distance(*rows),
    )


@every
@FORMS
def test_layers_hold_the_points_and_distances_of_the_manifold(form, name):
    params, points, distance = made(form, name)
    params = jax.tree.map(lambda leaf: jnp.asarray(TABLES[name]), params)
    x = RADIUS * TABLES[name]
    np.testing.assert_allclose(points(params, FIRST), x[FIRST], rtol=1e-15)
    assert MODELS[name].contains(points(params, SECOND)).all()
    found = jax.jit(distance)(params, FIRST, SECOND)
    # Both models, by the formula of the ball.
    ball = TABLES["unit_ball"]
    a, b = ball[FIRST], ball[SECOND]
    gaps = (1 - (a**2).sum(-1)) * (1 - (b**2).sum(-1))
    expected = RADIUS * np.arccosh(1 + 2 * ((a - b) ** 2).sum(-1) / gaps)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-7)
    np.testing.assert_allclose(found, MODELS[name].distance(x[FIRST], x[SECOND]), rtol=1e-13)
    assert found[0, 0] == 0 == found[1, 3]


def test_distances_lose_nothing_to_the_radius():
    # At the rim of single precision, where `x r` and back would change the distance by 2 %.
    table = jnp.float32([[0.0], [1 - 2.0**-22]])
    found = hyperbolic.distance_between(PoincareBall(1, -0.3), table, 0, 1)
    np.testing.assert_allclose(found, RADIUS * 2 * np.arctanh(1 - 2.0**-22), rtol=3e-7)


@every
@FORMS
def test_points_start_near_the_origin(form, name):
    params, points, distance = made(form, name, np.float32, spread=1e-2)
    (table,) = jax.tree.leaves(params)
    space = table[:, -2:]
    assert table.dtype == points(params, SECOND).dtype == np.float32
    assert distance(params, 0, SECOND).dtype == np.float32
    assert 0.3e-2 < np.abs(space).max() <= 1e-2
    assert len(np.unique(space)) == 2 * COUNT
    assert MODELS[name].contains(points(params, SECOND)).all()


@every
@FORMS
def test_manifolds_are_found_by_name(form, name):
    params, _, _ = made(form, name)
    found = jax.tree.leaves(
        nn.unit_manifolds(params), is_leaf=lambda node: isinstance(node, PoincareBall | Lorentz)
    )
    assert found == [type(MODELS[name])(2)]


@every
@FORMS
def test_training_keeps_points_on_the_manifold_and_finds_a_star(form, name):
    # Three points about a center, 4 radii away and 8 from each other: a tree no plane holds.
    wanted = np.where(np.eye(4, dtype=bool), 0.0, 8.0)
    wanted[0, 1:] = wanted[1:, 0] = 4.0
    params, points, distance = made(form, name, np.float32, spread=0.1)
    manifolds = nn.unit_manifolds(params)
    tx = optim.riemannian_adam(0.1, manifolds, additive=False)
    rows = np.arange(4)

    def loss(params):
        return jnp.mean((distance(params, rows[:, None], rows) / RADIUS - wanted) ** 2)

    @jax.jit
    def trained(params):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = tx.update(gradient, state, params)
            return (optim.apply_riemannian_updates(params, updates, manifolds), state), value

        (params, _), losses = jax.lax.scan(step, (params, tx.init(params)), length=300)
        return params, losses

    params, losses = trained(params)
    assert losses[-1] < 0.02 * losses[0]
    assert MODELS[name].contains(points(params, rows)).all()


def test_bad_input():
    table = jnp.asarray(TABLES["unit_ball"])
    ball = MODELS["unit_ball"]
    with pytest.raises(TypeError, match=r"PoincareBall or a Lorentz; got Sphere\(dim=3"):
        nn.nnx.HyperbolicEmbedding(COUNT, Sphere(3), rngs=flax_nnx.Rngs(0))
    with pytest.raises(ValueError, match="num_points must be at least 1; got 0"):
        nn.linen.HyperbolicEmbedding(0, ball).init(jax.random.key(0), 0)
    with pytest.raises(TypeError, match="index must be of integers; got float64"):
        hyperbolic.points_at(ball, table, 1.0)
    with pytest.raises(ValueError, match="index must be from 0 to 5; got 6"):
        hyperbolic.points_at(ball, table, 6)
    with pytest.raises(ValueError, match="broadcast"):
        hyperbolic.distance_between(ball, table, np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match="spread must be positive"):
        hyperbolic.near_origin(ball, 0.0)
