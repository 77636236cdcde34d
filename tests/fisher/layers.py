"""Models of many kinds of layers, small, for what reads the program of a model."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

# flax computes in float32 unless it is told otherwise.
DOUBLE = {"dtype": jnp.float64, "param_dtype": jnp.float64}
KEY = jax.random.key(5)
ROWS = jax.random.normal(KEY, (3, 5))
TOKENS = jax.random.normal(KEY, (3, 6, 4))
OTHERS = jax.random.normal(jax.random.key(6), (3, 5, 4))
IMAGES = jax.random.normal(KEY, (2, 6, 6, 4))
WORDS = jax.random.randint(KEY, (3, 6), 0, 7)


@dataclasses.dataclass(frozen=True)
class Layers:
    """A model and how its parameters are used.

    Args:
      predict: `predict(params, inputs)`, an array with the examples on axis 0.
      params: the parameters.
      inputs: the inputs.
      blocks: kinds of the blocks, each with its shape.
    """

    predict: Callable[[Any, Any], jax.Array]
    params: Any
    inputs: Any
    blocks: list[tuple[str, tuple[int, ...]]]


def _linen(module: nn.Module, inputs: Any, *blocks: Any) -> Layers:
    variables = module.init(jax.random.key(0), inputs)
    rest = {name: value for name, value in variables.items() if name != "params"}

    def predict(params: Any, inputs: Any) -> Any:
        return module.apply({"params": params, **rest}, inputs)

    return Layers(predict, variables["params"], inputs, list(blocks))


def _nnx(module: nnx.Module, inputs: Any, *blocks: Any) -> Layers:
    description, params, rest = nnx.split(module, nnx.Param, ...)

    def predict(params: Any, inputs: Any) -> Any:
        return nnx.merge(description, params, rest)(inputs)

    return Layers(predict, params, inputs, list(blocks))


def _bare(predict: Any, params: Any, inputs: Any, *blocks: Any) -> Layers:
    return Layers(predict, params, inputs, list(blocks))


class Cross(nn.Module):
    @nn.compact
    def __call__(self, pair):
        return nn.MultiHeadDotProductAttention(2, qkv_features=4, **DOUBLE)(pair[0], pair[1])


class Evaluated(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, **DOUBLE)(nn.BatchNorm(use_running_average=True, **DOUBLE)(x))


class Tied(nn.Module):
    @nn.compact
    def __call__(self, words):
        embed = nn.Embed(7, 3, **DOUBLE)
        hidden = jnp.tanh(nn.remat(nn.Dense)(3, **DOUBLE)(embed(words)))
        return embed.attend(hidden)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, hidden, _):
        return jnp.tanh(nn.Dense(4, **DOUBLE)(nn.LayerNorm(**DOUBLE)(hidden))), None


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.scan(nn.remat(Layer), {"params": 0}, split_rngs={"params": True}, length=3)
        return layers()(x, None)[0]


def multi_query(params: Any, x: jax.Array) -> jax.Array:
    queries = jnp.einsum("btc,chd->bthd", x, params["queries"])
    scores = jax.nn.softmax(jnp.einsum("bthd,bsd->bhts", queries, x @ params["keys"]))
    return jnp.einsum("bhts,bsd->bthd", scores, x @ params["values"])


def equinox_style(model: Any, x: jax.Array) -> jax.Array:
    """A layer of a pytree, written for one example and mapped over the batch."""
    return jax.vmap(lambda v: model["weight"] @ jnp.tanh(v) + model["bias"])(x)


def looped(weights: jax.Array, x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ weights[i]), x)


def adapted(params: Any, x: jax.Array) -> jax.Array:
    return x @ (params["kernel"] + params["down"] @ params["up"])


def reused(params: Any, x: jax.Array) -> jax.Array:
    product = x @ params["w"]
    return jnp.tanh(product + params["b"][None]) * product


def shifted_twice(params: Any, x: jax.Array) -> jax.Array:
    product = x @ params["w"]
    return jnp.tanh(product + params["u"][None]) + jnp.sin(product + params["v"][None])


def stacked(weights: Any, x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, jnp.stack(weights))[0]


def scalar_in_a_loop(params: Any, x: jax.Array) -> jax.Array:
    layer = lambda h, p: (jnp.tanh(h @ p["w"] + p["b"]), None)
    return jax.lax.scan(layer, x, params)[0]


@jax.custom_vjp
def clipped(y: jax.Array, weight: jax.Array) -> jax.Array:
    return y * jnp.sum(weight)


def _clipped_forward(y: jax.Array, weight: jax.Array) -> Any:
    return clipped(y, weight), (y, weight)


def _clipped_backward(seen: Any, cotangent: jax.Array) -> Any:
    y, weight = seen
    return 2 * cotangent * jnp.sum(weight), jnp.full(weight.shape, jnp.vdot(cotangent, y))


clipped.defvjp(_clipped_forward, _clipped_backward)
WEIGHT, BIAS = jax.random.normal(KEY, (5, 3)), jnp.arange(3.0)
SQUARE = jax.random.normal(KEY, (3, 5, 5))
DENSE, ATTENTION = "kronecker", [("kronecker", (1, 5, 4))] * 4
GATES = [("kronecker", (1, 5, 4))] * 4 + [("kronecker", (1, 4, 4))] * 4

MODELS: dict[str, Callable[[], Layers]] = {
    "linen.Dense": lambda: _linen(
        nn.Sequential([nn.Dense(4, **DOUBLE), jnp.tanh, nn.Dense(2, **DOUBLE)]),
        ROWS, (DENSE, (1, 6, 4)), (DENSE, (1, 5, 2)),
    ),
    "linen.Dense, shared": lambda: _linen(nn.Dense(2, **DOUBLE), TOKENS, (DENSE, (1, 5, 2))),
    "linen.DenseGeneral": lambda: _linen(
        nn.DenseGeneral((2, 3), **DOUBLE), TOKENS, (DENSE, (1, 5, 6))
    ),
    "linen.DenseGeneral, two axes": lambda: _linen(
        nn.DenseGeneral(3, axis=(-2, -1), **DOUBLE), TOKENS, (DENSE, (1, 25, 3))
    ),
    "linen.Einsum": lambda: _linen(
        nn.Einsum((4, 2, 3), "bta,ahc->bthc", **DOUBLE), TOKENS, (DENSE, (1, 5, 6))
    ),
    "linen.Conv, 1d": lambda: _linen(nn.Conv(5, (3,), **DOUBLE), TOKENS, (DENSE, (1, 13, 5))),
    "linen.Conv, 2d, strided": lambda: _linen(
        nn.Conv(5, (3, 2), strides=2, **DOUBLE), IMAGES, (DENSE, (1, 25, 5))
    ),
    "linen.Conv, grouped": lambda: _linen(
        nn.Conv(6, (3, 3), feature_group_count=2, **DOUBLE), IMAGES, (DENSE, (2, 19, 3))
    ),
    "linen.Conv, depthwise, dilated": lambda: _linen(
        nn.Conv(4, (2, 2), feature_group_count=4, kernel_dilation=2, **DOUBLE),
        IMAGES, (DENSE, (4, 5, 1)),
    ),
    "linen.ConvTranspose": lambda: _linen(
        nn.ConvTranspose(3, (3, 3), strides=(2, 2), **DOUBLE), IMAGES, (DENSE, (1, 37, 3))
    ),
    "linen.Embed": lambda: _linen(nn.Embed(7, 3, **DOUBLE), WORDS, (DENSE, (1, 7, 3))),
    "linen.LayerNorm": lambda: _linen(
        nn.LayerNorm(**DOUBLE), TOKENS, ("dense", (4,)), ("dense", (4,))
    ),
    "linen.RMSNorm": lambda: _linen(nn.RMSNorm(**DOUBLE), TOKENS, ("dense", (4,))),
    "linen.GroupNorm": lambda: _linen(
        nn.GroupNorm(2, **DOUBLE), TOKENS, ("dense", (4,)), ("dense", (4,))
    ),
    "linen.BatchNorm, evaluated": lambda: _linen(
        Evaluated(), TOKENS, (DENSE, (1, 5, 2)), ("dense", (4,)), ("dense", (4,))
    ),
    "linen attention": lambda: _linen(
        nn.MultiHeadDotProductAttention(2, qkv_features=4, **DOUBLE), TOKENS, *ATTENTION
    ),
    "linen attention, cross": lambda: _linen(Cross(), (TOKENS, OTHERS), *ATTENTION),
    "linen.LSTMCell": lambda: _linen(nn.RNN(nn.LSTMCell(4, **DOUBLE)), TOKENS, *GATES),
    "linen.OptimizedLSTMCell": lambda: _linen(
        nn.RNN(nn.OptimizedLSTMCell(4, **DOUBLE)),
        TOKENS, (DENSE, (1, 5, 16)), (DENSE, (1, 4, 16)),
    ),
    "linen.GRUCell, reversed": lambda: _linen(
        nn.RNN(nn.GRUCell(4, **DOUBLE), reverse=True),
        TOKENS, *[(DENSE, (1, 5, 4))] * 4, *[(DENSE, (1, 4, 4))] * 2,
    ),
    "linen tied, remat": lambda: _linen(Tied(), WORDS, (DENSE, (1, 7, 3)), (DENSE, (1, 4, 3))),
    "linen scan over layers, remat": lambda: _linen(
        Stack(), TOKENS, (DENSE, (3, 5, 4)), ("dense", (12,)), ("dense", (12,))
    ),
    "nnx.Linear, LayerNorm": lambda: _nnx(
        nnx.Sequential(
            nnx.Linear(5, 4, rngs=nnx.Rngs(0), **DOUBLE),
            jnp.tanh,
            nnx.LayerNorm(4, rngs=nnx.Rngs(0), **DOUBLE),
        ),
        ROWS, (DENSE, (1, 6, 4)), ("dense", (4,)), ("dense", (4,)),
    ),
    "nnx.Conv": lambda: _nnx(
        nnx.Conv(4, 3, (3,), rngs=nnx.Rngs(0), **DOUBLE), TOKENS, (DENSE, (1, 13, 3))
    ),
    "nnx.Embed": lambda: _nnx(
        nnx.Embed(7, 3, rngs=nnx.Rngs(0), **DOUBLE), WORDS, (DENSE, (1, 7, 3))
    ),
    "nnx.MultiHeadAttention": lambda: _nnx(
        nnx.MultiHeadAttention(2, 4, decode=False, rngs=nnx.Rngs(0), **DOUBLE),
        TOKENS, *ATTENTION,
    ),
    "equinox style": lambda: _bare(
        equinox_style, {"weight": WEIGHT.T, "bias": BIAS}, ROWS, (DENSE, (1, 6, 3))
    ),
    "jnp, scaled outputs": lambda: _bare(
        lambda p, x: jnp.tanh(x @ p["w"] + p["b"][None]) * p["s"][None] - p["t"][None],
        {"w": WEIGHT, "b": BIAS, "s": 1 + BIAS, "t": BIAS},
        ROWS, (DENSE, (1, 6, 3)), ("dense", (3,)), ("dense", (3,)),
    ),
    "jnp, divided": lambda: _bare(
        lambda p, x: p["b"][None] / (1 + jnp.sum(x**2, 1, keepdims=True)), {"b": BIAS},
        ROWS, ("dense", (3,)),
    ),
    "jnp, slices of one array": lambda: _bare(
        lambda w, x: jnp.tanh(x @ w[0]) @ w[1], SQUARE,
        ROWS, (DENSE, (1, 5, 5)), (DENSE, (1, 5, 5)), ("unused", (25,)),
    ),
    "jnp, joined arrays": lambda: _bare(
        lambda p, x: x @ jnp.concatenate([p["a"], p["b"]], 1), {"a": WEIGHT, "b": 2 * WEIGHT},
        ROWS, (DENSE, (1, 5, 6)),
    ),
    "jnp, used twice": lambda: _bare(
        lambda w, x: jnp.tanh(x @ w) @ w.T, WEIGHT, ROWS, (DENSE, (1, 5, 3))
    ),
    "jnp, indexed in a loop": lambda: _bare(looped, SQUARE, ROWS, (DENSE, (1, 3, 25))),
    "jnp, overlapping": lambda: _bare(
        lambda w, x: x @ w[:, :3] + x @ w[:, 2:], SQUARE[0], ROWS, ("dense", (25,))
    ),
    "jnp, nonlinear": lambda: _bare(
        lambda p, x: jnp.tanh(x @ jnp.exp(p["w"]) + p["b"][None]), {"w": WEIGHT, "b": BIAS},
        ROWS, ("dense", (3,)), ("dense", (15,)),
    ),
    "low-rank adaptation": lambda: _bare(
        adapted, {"kernel": WEIGHT, "down": WEIGHT[:, :2], "up": WEIGHT[:2]},
        ROWS, ("dense", (10,)), ("dense", (15,)), ("dense", (6,)),
    ),
    "multi-query attention": lambda: _bare(
        multi_query,
        {"keys": WEIGHT[:4], "queries": SQUARE[0, :4, :4].reshape(4, 2, 2).repeat(2, 2)[..., :3],
         "values": WEIGHT[1:]},
        TOKENS, (DENSE, (1, 4, 6)), (DENSE, (1, 4, 3)), (DENSE, (1, 4, 3)),
    ),
    "jnp, product used again": lambda: _bare(
        reused, {"w": WEIGHT, "b": BIAS}, ROWS, (DENSE, (1, 5, 3)), ("dense", (3,))
    ),
    "jnp, two shifts of a product": lambda: _bare(
        lambda p, x: jnp.tanh(x @ p["w"] + p["u"][None]) + jnp.sin(x @ p["w"] + p["v"][None]),
        {"u": BIAS, "v": BIAS, "w": WEIGHT},
        ROWS, (DENSE, (1, 5, 3)), ("dense", (3,)), ("dense", (3,)),
    ),
    "jnp, product with two shifts": lambda: _bare(
        shifted_twice, {"u": BIAS, "v": BIAS, "w": WEIGHT},
        ROWS, (DENSE, (1, 5, 3)), ("dense", (3,)), ("dense", (3,)),
    ),
    "jnp, subtracted from a shift": lambda: _bare(
        lambda p, x: jnp.tanh(p["b"][None] - x @ p["w"]), {"w": WEIGHT, "b": BIAS},
        ROWS, (DENSE, (1, 5, 3)), ("dense", (3,)),
    ),
    "jnp, product returned too": lambda: _bare(
        lambda p, x: jnp.concatenate([x @ p["w"], jnp.tanh(x @ p["w"] + p["b"][None])], 1),
        {"w": WEIGHT, "b": BIAS}, ROWS, (DENSE, (1, 5, 3)), ("dense", (3,)),
    ),
    "jnp, stacked and scanned": lambda: _bare(
        stacked, [SQUARE[0], SQUARE[1]], ROWS, (DENSE, (2, 5, 5))
    ),
    "jnp, unstacked": lambda: _bare(
        lambda w, x: jnp.tanh(x @ jnp.unstack(w)[0]) @ jnp.unstack(w)[2], SQUARE,
        ROWS, (DENSE, (1, 5, 5)), (DENSE, (1, 5, 5)), ("unused", (25,)),
    ),
    "jnp, split": lambda: _bare(
        lambda w, x: jnp.tanh(x @ jnp.split(w, 3)[1]), jnp.concatenate([SQUARE[0]] * 3),
        ROWS, (DENSE, (1, 5, 5)), ("unused", (50,)),
    ),
    "jnp, scalar in a loop": lambda: _bare(
        scalar_in_a_loop, {"w": SQUARE, "b": BIAS}, ROWS, (DENSE, (3, 5, 5)), ("dense", (3,))
    ),
    "jnp, empty leaf": lambda: _bare(
        lambda p, x: x @ p["w"] + jnp.sum(p["e"]), {"w": WEIGHT, "e": jnp.zeros((0, 3))},
        ROWS, (DENSE, (1, 5, 3)),
    ),
    "jnp, eight axes": lambda: _bare(
        lambda w, x: x @ jnp.exp(w).reshape((5, 2)), jnp.ones((1, 5, 1, 2, 1, 1, 1, 1)),
        ROWS, ("dense", (10,)),
    ),
    "jnp, outside of a table": lambda: _bare(
        lambda w, i: jnp.take(w, i - 4, axis=0, mode="fill", fill_value=0.0), SQUARE[0],
        WORDS, (DENSE, (1, 5, 5)),
    ),
    "jnp, gradient stopped": lambda: _bare(
        lambda w, x: x @ w + jnp.sum(jax.lax.stop_gradient(w) ** 2), WEIGHT,
        ROWS, (DENSE, (1, 5, 3)),
    ),
    "jnp, custom derivative": lambda: _bare(
        lambda w, x: clipped(x @ w, w), WEIGHT, ROWS, ("dense", (15,))
    ),
    "cond": lambda: _bare(
        lambda w, x: jax.lax.cond(jnp.sum(x) > 0, lambda v: v @ w, lambda v: v @ w[::-1], x),
        WEIGHT, ROWS, ("dense", (15,)),
    ),
}  # fmt: skip


@functools.cache
def model(name: str) -> Layers:
    """One of the models, built once."""
    return MODELS[name]()
