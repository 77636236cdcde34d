"""Normalized layers as `flax.nnx` modules (nGPT)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from igeojax.nn._sizes import head_size, table_rows
from igeojax.nn.normalized import (
    learned_scale,
    normalized_attention,
    normalized_residual,
    rotary,
)
from igeojax.nn.unit_weights import unit_name, unit_normal


class LearnedScale(nnx.Module):
    """Learned factors of the entries, `x learned_scale(scale)`.

    Args:
      features: number of entries.
      initial: the factors at first.
      stored_at: what the parameter is at first; see `nn.normalized.learned_scale`.
      param_dtype: dtype of the parameter.

    References:
      [LoshchilovNgpt2024] section 2.5.

    Examples:
      >>> LearnedScale(3, initial=2.0)(jnp.ones(3)).tolist()
      [2.0, 2.0, 2.0]
    """

    def __init__(
        self,
        features: int,
        *,
        initial: float = 1.0,
        stored_at: float = 1.0,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        self.initial, self.stored_at = initial, stored_at
        self.scale = nnx.Param(jnp.full(features, stored_at, param_dtype))

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """The scaled vectors."""
        scale = learned_scale(self.scale[...], initial=self.initial, stored_at=self.stored_at)
        return x * jnp.broadcast_to(scale, x.shape)


class NormalizedLinear(nnx.Module):
    """A linear map without bias whose weight has unit columns (or rows): outputs are cosines.

    The weight starts with unit vectors; an optimizer keeps them so by the transform of
    `nn.unit_manifolds`, and the layer multiplies by what it is given.

    Args:
      in_features: number of inputs.
      out_features: number of outputs.
      unit: "columns", each output the product with a unit vector; or "rows", the way back: each
        input adds a unit vector.
      param_dtype: dtype of the weight.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] section 2.3.

    Examples:
      >>> layer = NormalizedLinear(2, 4, rngs=nnx.Rngs(0))
      >>> bool(jnp.abs(layer(jnp.array([0.6, 0.8]))).max() <= 1)
      True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        unit: str = "columns",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.name, shape = unit_name(unit), (in_features, out_features)
        setattr(
            self, self.name, nnx.Param(unit_normal(self.name)(rngs.params(), shape, param_dtype))
        )

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch features"]:
        """The products."""
        return jnp.matmul(x, getattr(self, self.name)[...])


class NormalizedEmbedding(nnx.Module):
    """A unit vector for each token.

    Args:
      num_tokens: size of the vocabulary.
      features: dimension of the vectors.
      param_dtype: dtype of the table.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] section 2.1.

    Examples:
      >>> x = NormalizedEmbedding(5, 3, rngs=nnx.Rngs(0))(jnp.array([2, 4]))
      >>> jnp.linalg.norm(x, axis=-1).round(5).tolist()
      [1.0, 1.0]
    """

    def __init__(
        self,
        num_tokens: int,
        features: int,
        *,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        table = unit_normal("unit_rows")(rngs.params(), (num_tokens, features), param_dtype)
        self.unit_rows = nnx.Param(table)

    def __call__(self, tokens: Int[Array, "*batch"]) -> Float[Array, "*batch features"]:
        """The vectors of the tokens."""
        return table_rows("tokens", self.unit_rows[...], tokens)


class NormalizedResidual(nnx.Module):
    """A step of learned rates on the sphere toward a branch, `nn.normalized.normalized_residual`.

    Args:
      features: number of entries.
      initial_step: the rates at first; about one over the number of layers.
      param_dtype: dtype of the parameter.

    References:
      [LoshchilovNgpt2024] section 2.2.2 (the eigen learning rates).

    Examples:
      >>> layer = NormalizedResidual(2, initial_step=1.0)
      >>> layer(jnp.array([1.0, 0.0]), jnp.array([0.0, 9.0])).round(6).tolist()
      [0.0, 1.0]
    """

    def __init__(
        self, features: int, *, initial_step: float = 0.05, param_dtype: DTypeLike = jnp.float32
    ) -> None:
        self.initial_step, self.stored_at = initial_step, features**-0.5
        self.step = nnx.Param(jnp.full(features, self.stored_at, param_dtype))

    def __call__(
        self, x: Float[Array, "*batch d"], branch: Float[Array, "*batch d"]
    ) -> Float[Array, "*batch d"]:
        """Unit vectors."""
        step = learned_scale(self.step[...], initial=self.initial_step, stored_at=self.stored_at)
        return normalized_residual(x, branch, step)


class NormalizedAttention(nnx.Module):
    """Self-attention by cosines with rotary positions, `nn.normalized.normalized_attention`.

    Args:
      features: number of entries of a position.
      num_heads: number of heads.
      is_causal: whether a position sees none after it.
      param_dtype: dtype of the parameters.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] section 2.3.

    Examples:
      >>> NormalizedAttention(8, 2, rngs=nnx.Rngs(0))(jnp.ones((5, 8))).shape
      (5, 8)
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        *,
        is_causal: bool = False,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.heads = (num_heads, head_size(features, num_heads))
        self.is_causal, self.stored_at = is_causal, features**-0.5
        self.query, self.key, self.value, self.out = (
            NormalizedLinear(features, features, unit=unit, param_dtype=param_dtype, rngs=rngs)
            for unit in ("columns", "columns", "columns", "rows")
        )
        self.scale = nnx.Param(jnp.full(self.heads, self.stored_at, param_dtype))

    def __call__(
        self, x: Float[Array, "*batch T d"], mask: Bool[Array, "*batch heads T T"] | None = None
    ) -> Float[Array, "*batch T d"]:
        """What the positions take from each other, of any length."""
        query, key, value = (
            layer(x).reshape(*x.shape[:-1], *self.heads)
            for layer in (self.query, self.key, self.value)
        )
        scale = learned_scale(self.scale[...], initial=1.0, stored_at=self.stored_at)
        turned = rotary(query), rotary(key)
        mixed = normalized_attention(*turned, value, scale, mask=mask, is_causal=self.is_causal)
        return self.out(mixed.reshape(x.shape))


class NormalizedMLP(nnx.Module):
    """A gated layer of unit weights: `W_out (u silu(sqrt(d) v))`, u and v scaled cosines.

    Args:
      features: number of entries.
      hidden: number of hidden entries.
      param_dtype: dtype of the parameters.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] section 2.4.

    Examples:
      >>> NormalizedMLP(8, 16, rngs=nnx.Rngs(0))(jnp.ones((5, 8))).shape
      (5, 8)
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        linear = lambda *sizes, **unit: NormalizedLinear(
            *sizes, **unit, param_dtype=param_dtype, rngs=rngs
        )
        self.up, self.gate = linear(features, hidden), linear(features, hidden)
        self.up_scale, self.gate_scale = (
            LearnedScale(hidden, param_dtype=param_dtype) for _ in range(2)
        )
        self.out = linear(hidden, features, unit="rows")

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """What the layer says of each vector, of any length."""
        # Cosines with d random directions are of size 1 / sqrt(d); silu wants arguments of size 1.
        gate = jax.nn.silu(x.shape[-1] ** 0.5 * self.gate_scale(self.gate(x)))
        return self.out(self.up_scale(self.up(x)) * gate)
