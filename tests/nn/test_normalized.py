"""Normalized layers: their functions by hand, unit vectors, and one numerics in linen and nnx."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

from igeojax import nn
from igeojax.nn import normalized

DRAWS = np.random.default_rng(0)
DIM, HEADS, HIDDEN, TOKENS = 8, 2, 12, 11


def vectors(*shape):
    return DRAWS.normal(size=shape)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", [1e-300, 1e-20, 1.0, 1e20, 1e300])
def test_l2_normalize_has_no_eps(size):
    x = vectors(5, 3)
    found = normalized.l2_normalize(size * x)
    np.testing.assert_allclose(found, unit(x), rtol=1e-15)
    slope = jax.jacobian(normalized.l2_normalize)(size * x[0])
    direction = unit(x[0])
    expected = (np.eye(3) - np.outer(direction, direction)) / np.linalg.norm(x[0])
    np.testing.assert_allclose(slope * size, expected, rtol=0, atol=1e-15)


def test_l2_normalize_in_single_precision():
    x = np.float32([[1e-30, 2e-30], [3e25, 4e25], [0, 0]])
    found = normalized.l2_normalize(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:2], unit(x[:2].astype(float)), rtol=2e-7)
    assert found[2].tolist() == [0, 0]


def test_l2_normalize_of_zero():
    for slope in (jax.jacfwd, jax.jacrev):
        np.testing.assert_array_equal(slope(normalized.l2_normalize)(jnp.zeros(3)), 0)
    x = jnp.zeros((2, 3)).at[0, 0].set(1.0)
    gradient = jax.grad(lambda x: normalized.l2_normalize(x)[:, 1].sum())(x)
    assert gradient.tolist() == [[0, 1, 0], [0, 0, 0]]


def test_l2_normalize_takes_any_axis():
    x = vectors(4, 3, 2)
    found = normalized.l2_normalize(x, axis=1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(found * np.linalg.norm(x, axis=1, keepdims=True), x, rtol=1e-14)
    with pytest.raises(ValueError, match="axis must be one of the 3 axes of x; got 3"):
        normalized.l2_normalize(x, axis=3)


def test_residual_by_hand():
    x, branch, step = unit(vectors(5, 3)), vectors(5, 3), vectors(3)
    expected = unit(x + np.abs(step) * (unit(branch) - x))
    found = normalized.normalized_residual(x, branch, step)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(normalized.normalized_residual(x, branch, 0.0), x, rtol=1e-13)


def test_rotary_turns_pairs_by_their_position():
    x = vectors(2, 7, 3, 4)
    found = np.asarray(normalized.rotary(jnp.asarray(x), base=100.0))
    pairs, turned = x[..., :2] + 1j * x[..., 2:], found[..., :2] + 1j * found[..., 2:]
    angles = np.arange(7)[:, None] * np.array([1.0, 0.1])
    np.testing.assert_allclose(turned, pairs * np.exp(1j * angles)[:, None], rtol=1e-13)
    with pytest.raises(ValueError, match="even number of entries"):
        normalized.rotary(jnp.zeros((2, 1, 3)))


def test_products_of_turned_vectors_depend_on_the_difference_of_positions():
    query, key = (jnp.broadcast_to(vectors(4), (9, 1, 4)) for _ in range(2))
    turned = [np.asarray(normalized.rotary(x))[:, 0] for x in (query, key)]
    products = turned[0] @ turned[1].T
    for shift in range(-8, 9):
        np.testing.assert_allclose(np.diff(np.diagonal(products, shift)), 0, atol=1e-13)


def test_attention_by_hand():
    query, key, value = (vectors(2, 6, HEADS, 4) for _ in range(3))
    scale = np.abs(vectors(HEADS, 4))
    scores = np.einsum("bthd,bshd->bhts", scale * unit(query), scale * unit(key)) * 2
    scores = np.where(np.tri(6, dtype=bool), scores, -np.inf)
    share = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    expected = np.einsum("bhts,bshd->bthd", share, value)
    jitted = jax.jit(normalized.normalized_attention, static_argnames="is_causal")
    found = jitted(query, key, value, scale, is_causal=True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    again = jitted(7 * query, 1e-9 * key, value, scale, is_causal=True)
    np.testing.assert_allclose(again, expected, rtol=1e-12)


LINEN = {
    "linear": (lambda **dtype: nn.linen.NormalizedLinear(5, **dtype)),
    "linear by rows": (lambda **dtype: nn.linen.NormalizedLinear(5, unit="rows", **dtype)),
    "scale": (lambda **dtype: nn.linen.LearnedScale(2.0, 0.5, **dtype)),
    "attention": (lambda **dtype: nn.linen.NormalizedAttention(HEADS, **dtype)),
    "mlp": (lambda **dtype: nn.linen.NormalizedMLP(HIDDEN, **dtype)),
    "block": (lambda **dtype: nn.linen.NormalizedBlock(HEADS, HIDDEN, **dtype)),
}
NNX = {
    "linear": (lambda **made: nn.nnx.NormalizedLinear(DIM, 5, **made)),
    "linear by rows": (lambda **made: nn.nnx.NormalizedLinear(DIM, 5, unit="rows", **made)),
    "scale": (lambda rngs, **dtype: nn.nnx.LearnedScale(DIM, initial=2.0, stored_at=0.5, **dtype)),
    "attention": (lambda **made: nn.nnx.NormalizedAttention(DIM, HEADS, **made)),
    "mlp": (lambda **made: nn.nnx.NormalizedMLP(DIM, HIDDEN, **made)),
    "block": (lambda **made: nn.nnx.NormalizedBlock(DIM, HEADS, HIDDEN, **made)),
}
MODELS = {"normalized": "NormalizedTransformer", "usual": "Transformer"}
SIZES = (TOKENS, DIM, 1, HEADS)
ROWS, TOKEN_ROWS = unit(vectors(2, 6, DIM)), DRAWS.integers(0, TOKENS, (2, 6))


def inputs(name, dtype):
    return TOKEN_ROWS if name in MODELS else jnp.asarray(ROWS, dtype)


def moved(leaf):
    """The leaf away from where it began, so that no factor is 1."""
    return leaf * jnp.asarray(DRAWS.uniform(0.5, 2, leaf.shape), leaf.dtype)


def put(layer, params):
    """The linen parameters in an nnx layer: names of submodules are attributes, blocks a list."""
    for name, value in params.items():
        stem, _, number = name.rpartition("_")
        target = layer.blocks[int(number)] if stem == "block" else getattr(layer, name)
        if isinstance(value, dict):
            put(target, value)
        else:
            assert target[...].shape == value.shape, name
            target[...] = value


def both(name, x, dtype):
    """Parameters of linen away from where they began, and both forms at them."""
    if name in MODELS:
        linen = getattr(nn.linen, MODELS[name])(*SIZES, param_dtype=dtype)
        layer = getattr(nn.nnx, MODELS[name])(*SIZES, param_dtype=dtype, rngs=flax_nnx.Rngs(0))
    else:
        linen = LINEN[name](param_dtype=dtype)
        layer = NNX[name](param_dtype=dtype, rngs=flax_nnx.Rngs(0))
    params = linen.init(jax.random.key(0), x)["params"]
    counts = [
        sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, flax_nnx.state(layer))
    ]
    assert counts[0] == counts[1]
    params = jax.tree.map(moved, params)
    put(layer, params)
    return params, jax.jit(lambda params, x: linen.apply({"params": params}, x)), layer


@pytest.mark.parametrize("name", [*LINEN, *MODELS])
def test_linen_and_nnx_agree(name):
    x = inputs(name, np.float64)
    params, apply, layer = both(name, x, np.float64)
    loss = lambda params: jnp.sum(apply(params, x) ** 2)
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    found = flax_nnx.jit(lambda layer, x: jnp.sum(layer(x) ** 2))(layer, x)
    np.testing.assert_allclose(found, value, rtol=1e-13)
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", [*LINEN, *MODELS])
def test_single_precision_stays(name):
    x = inputs(name, np.float32)
    params, apply, layer = both(name, x, np.float32)
    for leaf in jax.tree.leaves((params, flax_nnx.state(layer))):
        assert leaf.dtype == np.float32
    assert jax.eval_shape(apply, params, x).dtype == np.float32
    assert jax.eval_shape(lambda x: layer(x), x).dtype == np.float32


@pytest.mark.parametrize("form", ["linen", "nnx"])
def test_weights_start_as_unit_vectors(form):
    if form == "linen":
        model = nn.linen.NormalizedTransformer(*SIZES)
        params = model.init(jax.random.key(0), jnp.zeros(3, int))
    else:
        params = flax_nnx.state(nn.nnx.NormalizedTransformer(*SIZES, rngs=flax_nnx.Rngs(0)))
    axes = {"unit_columns": -2, "unit_rows": -1}
    seen = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        for name, axis in axes.items():
            if name in jax.tree_util.keystr(path):
                seen += 1
                np.testing.assert_allclose(np.linalg.norm(leaf, axis=axis), 1, rtol=1e-6)
    assert seen == 2 + 7


def test_a_mask_hides_positions():
    x = unit(vectors(1, 6, DIM)).astype(np.float32)
    params, _, layer = both("attention", jnp.asarray(x), np.float32)
    del params
    mask = jnp.broadcast_to(jnp.arange(6) < 4, (1, HEADS, 6, 6))
    other = x.copy()
    other[:, 4:] = unit(vectors(1, 2, DIM))
    np.testing.assert_allclose(
        layer(x, mask)[:, :4], layer(other, mask)[:, :4], rtol=1e-5, atol=1e-6
    )
    assert not np.allclose(layer(x)[:, :4], layer(other)[:, :4], rtol=1e-3)


@pytest.mark.parametrize("model", ["NormalizedTransformer", "Transformer"])
def test_models_do_not_see_the_future(model):
    tokens = DRAWS.integers(0, TOKENS, 8)
    layer = getattr(nn.nnx, model)(*SIZES, rngs=flax_nnx.Rngs(0))
    other = tokens.copy()
    other[5:] = (other[5:] + 1) % TOKENS
    run = flax_nnx.jit(lambda layer, tokens: layer(tokens))
    a, b = run(layer, tokens), run(layer, other)
    np.testing.assert_allclose(a[:5], b[:5], rtol=0, atol=1e-6)
    assert np.abs(a[5:] - b[5:]).max() > 1e-3


def test_bad_sizes_say_what_to_do():
    x = jnp.ones((2, 6))
    with pytest.raises(ValueError, match="even multiple of num_heads; got 6 features for 2 heads"):
        nn.linen.NormalizedAttention(2).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="even multiple of num_heads; got 6 features for 4 heads"):
        nn.nnx.NormalizedAttention(6, 4, rngs=flax_nnx.Rngs(0))
    with pytest.raises(ValueError, match="num_heads must be at least 1; got 0"):
        nn.linen.NormalizedTransformer(10, 8, 1, 0).init(jax.random.key(0), jnp.array([1]))
    with pytest.raises(ValueError, match="hidden must be at least 1; got 0"):
        nn.nnx.Transformer(10, 8, 1, 2, hidden=0, rngs=flax_nnx.Rngs(0))
    with pytest.raises(ValueError, match="tokens must be from 0 to 4; got 7"):
        nn.nnx.NormalizedEmbedding(5, 3, rngs=flax_nnx.Rngs(0))(jnp.array([0, 7]))
    with pytest.raises(ValueError, match=r"axes of positions, heads and an even.*got \(4, 2\)"):
        normalized.rotary(jnp.ones((4, 2)))
    assert normalized.rotary(jnp.ones((2, 1, 2), int)).dtype == float
    with pytest.raises(ValueError, match="unit must be one of 'columns', 'rows'; got 'row'"):
        nn.nnx.NormalizedLinear(6, 4, unit="row", rngs=flax_nnx.Rngs(0))
