"""How the uses of parameters are found in a program: by the gradients that follow from them."""

import functools
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import fisher
from igeojax.fisher._layout import Layout
from igeojax.fisher._statistics import entry_gradients, features
from tests.fisher.layers import MODELS, Layers, model

# Those that compile long are slow; one of each kind of use is not.
QUICK = {"linen.Dense", "linen.Conv, grouped", "linen.LSTMCell", "linen tied, remat",
         "linen scan over layers, remat", "nnx.Linear, LayerNorm"}  # fmt: skip
each_model = pytest.mark.parametrize(
    "name",
    [
        name
        if name in QUICK or not name.startswith(("linen", "nnx"))
        else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(MODELS)
    ],
)


@functools.cache
def layout_of(name: str) -> Layout:
    found = model(name)
    return fisher.kronecker_layout(found.predict, found.params, found.inputs)


def rebuilt_gradients(found: Layers, layout: Layout, example: Any, cotangent: jax.Array) -> Any:
    """The gradient of `cotangent . predict` from what the uses see, block by block."""
    activations, outgoing, whole = jax.tree.map(
        lambda leaf: leaf[None],
        layout.taps(found.params, example, lambda theta: cotangent[None].astype(theta.dtype)),
    )
    values = []
    for block in layout.blocks:
        if block.kind == "kronecker":
            total = 0.0
            for use in block.uses:
                rows = features(layout, use, activations[use.index])
                columns = outgoing[use.index]
                if use.groups is not None:
                    columns = columns[:, :, jnp.asarray(use.groups)]
                pattern = "nsri,nksro->soi" if use.swapped else "nsri,nksro->sio"
                total = total + jnp.einsum(pattern, rows, columns)
            values.append(total)
        elif block.kind == "unused":
            values.append(jnp.zeros(block.shape))
        else:
            values.append(entry_gradients(layout, block, activations, outgoing, whole)[0, 0])
    return layout.write(values)


@each_model
def test_gradients_follow_from_what_the_uses_see(name):
    found = model(name)
    layout = layout_of(name)
    example = jax.tree.map(lambda leaf: leaf[1], found.inputs)
    alone = jax.tree.map(lambda leaf: leaf[None], example)
    cotangent = jax.random.normal(
        jax.random.key(2), jax.eval_shape(found.predict, found.params, alone).shape[1:]
    )
    direct = jax.grad(lambda params: jnp.vdot(found.predict(params, alone)[0], cotangent))
    rebuilt, expected = jax.jit(
        lambda: (rebuilt_gradients(found, layout, example, cotangent), direct(found.params))
    )()
    assert jax.tree.structure(rebuilt) == jax.tree.structure(expected)
    size = max(float(jnp.max(jnp.abs(leaf), initial=0.0)) for leaf in jax.tree.leaves(expected))
    assert size > 1e-3
    # The softmax of nnx's attention is in float32 whatever it is told.
    error = 1e-6 if name == "nnx.MultiHeadAttention" else 1e-12
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=error, atol=error * size),
        rebuilt,
        expected,
    )


@each_model
def test_parameters_are_treated_as_the_layer_asks(name):
    found = model(name)
    blocks = [(block.kind, block.shape) for block in layout_of(name).blocks]
    assert sorted(blocks) == sorted(found.blocks)


@each_model
def test_blocks_are_a_partition(name):
    found = model(name)
    layout = layout_of(name)
    vector, unravel = jax.flatten_util.ravel_pytree(found.params)
    numbered = unravel(jnp.arange(vector.size, dtype=vector.dtype))
    read = [block.read(numbered) for block in layout.blocks]
    everything = np.sort(np.concatenate([np.ravel(part) for part in read]))
    assert np.array_equal(everything, np.arange(vector.size))
    back = layout.write(read)
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.array_equal(a, b), back, numbered))


def test_limits_decide_between_dense_and_diagonal():
    found = model("linen.LayerNorm")
    layout = fisher.kronecker_layout(found.predict, found.params, found.inputs, dense_limit=3)
    assert [block.kind for block in layout.blocks] == ["diagonal", "diagonal"]
    found = model("linen.Dense")
    layout = fisher.kronecker_layout(found.predict, found.params, found.inputs, factor_limit=4)
    assert [block.diagonal for block in layout.blocks] == [(True, False), (True, False)]


def test_shapes_are_enough():
    found = model("linen attention")
    shapes = jax.eval_shape(lambda: (found.params, found.inputs))
    layout = fisher.kronecker_layout(found.predict, *shapes)
    assert [block.shape for block in layout.blocks] == [(1, 5, 4)] * 4


def test_errors():
    with pytest.raises(TypeError, match="params must be floating arrays"):
        fisher.kronecker_layout(lambda p, x: x * p, jnp.ones(3, int), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="inputs must be arrays that share the examples"):
        fisher.kronecker_layout(lambda p, x: x * p, jnp.ones(3), jnp.ones(()))
    with pytest.raises(ValueError, match="dense_limit must be at least 0"):
        fisher.kronecker_layout(lambda p, x: x * p, jnp.ones(3), jnp.ones((2, 3)), dense_limit=-1)
