"""Normalized layers as `flax.linen` modules (nGPT)."""

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from igeojax.nn._sizes import head_size, table_rows
from igeojax.nn.normalized import (
    learned_scale,
    normalized_attention,
    normalized_residual,
    rotary,
)
from igeojax.nn.unit_weights import unit_name, unit_normal


class LearnedScale(linen.Module):
    """Learned factors of the entries, `x learned_scale(scale)`.

    Attributes:
      initial: the factors at first.
      stored_at: what the parameter is at first; see `nn.normalized.learned_scale`.
      param_dtype: dtype of the parameter.

    References:
      [LoshchilovNgpt2024] section 2.5.

    Examples:
      >>> layer, x = LearnedScale(initial=2.0), jnp.ones(3)
      >>> layer.apply(layer.init(jax.random.key(0), x), x).tolist()
      [2.0, 2.0, 2.0]
    """

    initial: float = 1.0
    stored_at: float = 1.0
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """The scaled vectors."""
        at_first = linen.initializers.constant(self.stored_at)
        stored = self.param("scale", at_first, (x.shape[-1],), self.param_dtype)
        scale = learned_scale(stored, initial=self.initial, stored_at=self.stored_at)
        return x * jnp.broadcast_to(scale, x.shape)


class NormalizedLinear(linen.Module):
    """A linear map without bias whose weight has unit columns (or rows): outputs are cosines.

    The weight starts with unit vectors; an optimizer keeps them so by the transform of
    `nn.unit_manifolds`, and the layer multiplies by what it is given.

    Attributes:
      features: number of outputs.
      unit: "columns", each output the product with a unit vector; or "rows", the way back: each
        input adds a unit vector.
      param_dtype: dtype of the weight.

    References:
      [LoshchilovNgpt2024] section 2.3.

    Examples:
      >>> layer, x = NormalizedLinear(4), jnp.array([0.6, 0.8])
      >>> params = layer.init(jax.random.key(0), x)
      >>> bool(jnp.abs(layer.apply(params, x)).max() <= 1)
      True
    """

    features: int
    unit: str = "columns"
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch features"]:
        """The products."""
        name, shape = unit_name(self.unit), (x.shape[-1], self.features)
        return jnp.matmul(x, self.param(name, unit_normal(name), shape, self.param_dtype))


class NormalizedEmbedding(linen.Module):
    """A unit vector for each token.

    Attributes:
      num_tokens: size of the vocabulary.
      features: dimension of the vectors.
      param_dtype: dtype of the table.

    References:
      [LoshchilovNgpt2024] section 2.1.

    Examples:
      >>> layer = NormalizedEmbedding(5, 3)
      >>> x = layer.init_with_output(jax.random.key(0), jnp.array([2, 4]))[0]
      >>> jnp.linalg.norm(x, axis=-1).round(5).tolist()
      [1.0, 1.0]
    """

    num_tokens: int
    features: int
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, tokens: Int[Array, "*batch"]) -> Float[Array, "*batch features"]:
        """The vectors of the tokens."""
        shape = (self.num_tokens, self.features)
        table = self.param("unit_rows", unit_normal("unit_rows"), shape, self.param_dtype)
        return table_rows("tokens", table, tokens)


class NormalizedResidual(linen.Module):
    """A step of learned rates on the sphere toward a branch, `nn.normalized.normalized_residual`.

    Attributes:
      initial_step: the rates at first; about one over the number of layers.
      param_dtype: dtype of the parameter.

    References:
      [LoshchilovNgpt2024] section 2.2.2 (the eigen learning rates).

    Examples:
      >>> layer, x = NormalizedResidual(1.0), jnp.array([1.0, 0.0])
      >>> layer.init_with_output(jax.random.key(0), x, jnp.array([0.0, 9.0]))[0].round(6).tolist()
      [0.0, 1.0]
    """

    initial_step: float = 0.05
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(
        self, x: Float[Array, "*batch d"], branch: Float[Array, "*batch d"]
    ) -> Float[Array, "*batch d"]:
        """Unit vectors."""
        stored_at = x.shape[-1] ** -0.5
        at_first = linen.initializers.constant(stored_at)
        stored = self.param("step", at_first, (x.shape[-1],), self.param_dtype)
        step = learned_scale(stored, initial=self.initial_step, stored_at=stored_at)
        return normalized_residual(x, branch, step)


class NormalizedAttention(linen.Module):
    """Self-attention by cosines with rotary positions, `nn.normalized.normalized_attention`.

    Attributes:
      num_heads: number of heads.
      is_causal: whether a position sees none after it.
      param_dtype: dtype of the parameters.

    References:
      [LoshchilovNgpt2024] section 2.3.

    Examples:
      >>> layer, x = NormalizedAttention(2), jnp.ones((5, 8))
      >>> layer.init_with_output(jax.random.key(0), x)[0].shape
      (5, 8)
    """

    num_heads: int
    is_causal: bool = False
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(
        self, x: Float[Array, "*batch T d"], mask: Bool[Array, "*batch heads T T"] | None = None
    ) -> Float[Array, "*batch T d"]:
        """What the positions take from each other, of any length."""
        features = x.shape[-1]
        heads = (self.num_heads, head_size(features, self.num_heads))
        query, key, value = (
            NormalizedLinear(features, param_dtype=self.param_dtype, name=name)(x).reshape(
                *x.shape[:-1], *heads
            )
            for name in ("query", "key", "value")
        )
        stored_at = features**-0.5
        at_first = linen.initializers.constant(stored_at)
        stored = self.param("scale", at_first, heads, self.param_dtype)
        scale = learned_scale(stored, initial=1.0, stored_at=stored_at)
        turned = rotary(query), rotary(key)
        mixed = normalized_attention(*turned, value, scale, mask=mask, is_causal=self.is_causal)
        out = NormalizedLinear(features, "rows", self.param_dtype, name="out")
        return out(mixed.reshape(x.shape))


class NormalizedMLP(linen.Module):
    """A gated layer of unit weights: `W_out (u silu(sqrt(d) v))`, u and v scaled cosines.

    Attributes:
      hidden: number of hidden entries.
      param_dtype: dtype of the parameters.

    References:
      [LoshchilovNgpt2024] section 2.4.

    Examples:
      >>> layer, x = NormalizedMLP(16), jnp.ones((5, 8))
      >>> layer.init_with_output(jax.random.key(0), x)[0].shape
      (5, 8)
    """

    hidden: int
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """What the layer says of each vector, of any length."""
        features, dtype = x.shape[-1], self.param_dtype
        up, gate = (
            LearnedScale(param_dtype=dtype, name=f"{name}_scale")(
                NormalizedLinear(self.hidden, param_dtype=dtype, name=name)(x)
            )
            for name in ("up", "gate")
        )
        # Cosines with d random directions are of size 1 / sqrt(d); silu wants arguments of size 1.
        activated = up * jax.nn.silu(features**0.5 * gate)
        return NormalizedLinear(features, "rows", dtype, name="out")(activated)
