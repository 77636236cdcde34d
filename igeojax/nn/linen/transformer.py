"""Language models as `flax.linen` modules: normalized (nGPT), and the usual one beside it."""

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from igeojax.nn._sizes import head_size, hidden_size
from igeojax.nn.linen.normalized import (
    LearnedScale,
    NormalizedAttention,
    NormalizedEmbedding,
    NormalizedLinear,
    NormalizedMLP,
    NormalizedResidual,
)
from igeojax.nn.normalized import attention, rotary


class NormalizedBlock(linen.Module):
    """A block of nGPT: a step on the sphere by attention, and one by the gated layer.

    Attributes:
      num_heads: number of heads.
      hidden: hidden entries of the gated layer.
      is_causal: whether a position sees none after it.
      initial_step: rates of the steps at first.
      param_dtype: dtype of the parameters.

    References:
      [LoshchilovNgpt2024] section 2.2.

    Examples:
      >>> block, x = NormalizedBlock(2, 16), jnp.full((5, 4), 0.5)
      >>> y = block.init_with_output(jax.random.key(0), x)[0]
      >>> bool(jnp.allclose(jnp.linalg.norm(y, axis=-1), 1))
      True
    """

    num_heads: int
    hidden: int
    is_causal: bool = True
    initial_step: float = 0.05
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(
        self, x: Float[Array, "*batch T d"], mask: Bool[Array, "*batch heads T T"] | None = None
    ) -> Float[Array, "*batch T d"]:
        """Unit vectors."""
        dtype = self.param_dtype
        attention = NormalizedAttention(self.num_heads, self.is_causal, dtype, name="attention")
        mlp = NormalizedMLP(self.hidden, dtype, name="mlp")
        x = NormalizedResidual(self.initial_step, dtype, name="to_attention")(x, attention(x, mask))
        return NormalizedResidual(self.initial_step, dtype, name="to_mlp")(x, mlp(x))


class NormalizedTransformer(linen.Module):
    """A small nGPT: unit embeddings, steps on the sphere, scaled cosines as logits.

    Train it without weight decay and warm-up, with its weights put back on the sphere after each
    step: `optax.chain(optax.adam(1e-2), optim.project_onto(nn.unit_manifolds(params)))`.

    Attributes:
      num_tokens: size of the vocabulary.
      features: dimension of the embeddings.
      num_layers: number of blocks.
      num_heads: heads of each.
      hidden: hidden entries of the gated layers; None for 4 times the features, of which a gate
        takes the place of a third: 8/3 times.
      param_dtype: dtype of the parameters.

    References:
      [LoshchilovNgpt2024] section 2.6.

    Examples:
      >>> model, tokens = NormalizedTransformer(10, 8, 1, 2), jnp.array([3, 1, 4])
      >>> model.init_with_output(jax.random.key(0), tokens)[0].shape
      (3, 10)
    """

    num_tokens: int
    features: int
    num_layers: int
    num_heads: int
    hidden: int | None = None
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, tokens: Int[Array, "*batch T"]) -> Float[Array, "*batch T num_tokens"]:
        """Logits of the token after each."""
        dtype, hidden = self.param_dtype, hidden_size(self.features, self.hidden)
        x = NormalizedEmbedding(self.num_tokens, self.features, dtype, name="embedding")(tokens)
        for layer in range(self.num_layers):
            step = min(0.05, 1 / self.num_layers)
            block = NormalizedBlock(
                self.num_heads, hidden, True, step, dtype, name=f"block_{layer}"
            )
            x = block(x)
        cosines = NormalizedLinear(self.num_tokens, param_dtype=dtype, name="head")(x)
        return LearnedScale(1.0, self.features**-0.5, dtype, name="head_scale")(cosines)


class _Block(linen.Module):
    """A block with norms before its branches."""

    num_heads: int
    hidden: int
    depth: int
    param_dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """The vectors after both branches."""
        features, dtype = x.shape[-1], self.param_dtype
        heads = (self.num_heads, head_size(features, self.num_heads))
        y = linen.RMSNorm(param_dtype=dtype, name="attention_norm")(x)
        query, key, value = (
            _dense(features, name, dtype)(y).reshape(*x.shape[:-1], *heads)
            for name in ("query", "key", "value")
        )
        scaled = heads[1] ** -0.5 * rotary(query)
        mixed = attention(scaled, rotary(key), value, is_causal=True)
        x = x + _dense(features, "out", dtype, self.depth)(mixed.reshape(x.shape))
        y = linen.RMSNorm(param_dtype=dtype, name="mlp_norm")(x)
        up, gate = (_dense(self.hidden, name, dtype)(y) for name in ("up", "gate"))
        return x + _dense(features, "down", dtype, self.depth)(up * jax.nn.silu(gate))


def _dense(features: int, name: str, param_dtype: DTypeLike, depth: int = 1) -> linen.Dense:
    spread = linen.initializers.normal(0.02 * depth**-0.5)
    return linen.Dense(
        features, use_bias=False, kernel_init=spread, param_dtype=param_dtype, name=name
    )


class Transformer(linen.Module):
    """The usual small language model: norms before blocks, rotary positions, gated layers.

    Attributes:
      num_tokens: size of the vocabulary.
      features: dimension of the embeddings.
      num_layers: number of blocks.
      num_heads: heads of each.
      hidden: hidden entries of the gated layers; None for 8/3 times the features.
      param_dtype: dtype of the parameters.

    References:
      [LoshchilovNgpt2024] table 1 (left column).

    Examples:
      >>> model, tokens = Transformer(10, 8, 1, 2), jnp.array([3, 1, 4])
      >>> model.init_with_output(jax.random.key(0), tokens)[0].shape
      (3, 10)
    """

    num_tokens: int
    features: int
    num_layers: int
    num_heads: int
    hidden: int | None = None
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, tokens: Int[Array, "*batch T"]) -> Float[Array, "*batch T num_tokens"]:
        """Logits of the token after each."""
        dtype, hidden = self.param_dtype, hidden_size(self.features, self.hidden)
        spread = linen.initializers.normal(0.02)
        embedding = linen.Embed(
            self.num_tokens,
            self.features,
            embedding_init=spread,
            param_dtype=dtype,
            name="embedding",
        )
        x = embedding(tokens)
        for layer in range(self.num_layers):
            x = _Block(self.num_heads, hidden, 2 * self.num_layers, dtype, name=f"block_{layer}")(x)
        return _dense(self.num_tokens, "head", dtype)(
            linen.RMSNorm(param_dtype=dtype, name="norm")(x)
        )
