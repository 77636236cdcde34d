"""Language models as `flax.nnx` modules: normalized (nGPT), and the usual one beside it."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from igeojax.nn._sizes import head_size, hidden_size
from igeojax.nn.nnx.normalized import (
    LearnedScale,
    NormalizedAttention,
    NormalizedEmbedding,
    NormalizedLinear,
    NormalizedMLP,
    NormalizedResidual,
)
from igeojax.nn.normalized import attention, rotary


class NormalizedBlock(nnx.Module):
    """A block of nGPT: a step on the sphere by attention, and one by the gated layer.

    Args:
      features: number of entries of a position.
      num_heads: number of heads.
      hidden: hidden entries of the gated layer.
      is_causal: whether a position sees none after it.
      initial_step: rates of the steps at first.
      param_dtype: dtype of the parameters.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] section 2.2.

    Examples:
      >>> y = NormalizedBlock(4, 2, 16, rngs=nnx.Rngs(0))(jnp.full((5, 4), 0.5))
      >>> bool(jnp.allclose(jnp.linalg.norm(y, axis=-1), 1))
      True
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        hidden: int,
        *,
        is_causal: bool = True,
        initial_step: float = 0.05,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        dtype = {"param_dtype": param_dtype}
        self.attention = NormalizedAttention(
            features, num_heads, is_causal=is_causal, **dtype, rngs=rngs
        )
        self.mlp = NormalizedMLP(features, hidden, **dtype, rngs=rngs)
        self.to_attention = NormalizedResidual(features, initial_step=initial_step, **dtype)
        self.to_mlp = NormalizedResidual(features, initial_step=initial_step, **dtype)

    def __call__(
        self, x: Float[Array, "*batch T d"], mask: Bool[Array, "*batch heads T T"] | None = None
    ) -> Float[Array, "*batch T d"]:
        """Unit vectors."""
        x = self.to_attention(x, self.attention(x, mask))
        return self.to_mlp(x, self.mlp(x))


class NormalizedTransformer(nnx.Module):
    """A small nGPT: unit embeddings, steps on the sphere, scaled cosines as logits.

    Train it without weight decay and warm-up, with its weights put back on the sphere after each
    step: `optax.chain(optax.adam(1e-2), optim.project_onto(nn.unit_manifolds(params)))`.

    Args:
      num_tokens: size of the vocabulary.
      features: dimension of the embeddings.
      num_layers: number of blocks.
      num_heads: heads of each.
      hidden: hidden entries of the gated layers; None for 4 times the features, of which a gate
        takes the place of a third: 8/3 times.
      param_dtype: dtype of the parameters.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] section 2.6.

    Examples:
      >>> model = NormalizedTransformer(10, 8, 1, 2, rngs=nnx.Rngs(0))
      >>> model(jnp.array([3, 1, 4])).shape
      (3, 10)
    """

    def __init__(
        self,
        num_tokens: int,
        features: int,
        num_layers: int,
        num_heads: int,
        *,
        hidden: int | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        made = {"param_dtype": param_dtype, "rngs": rngs}
        hidden, step = hidden_size(features, hidden), min(0.05, 1 / num_layers)
        self.embedding = NormalizedEmbedding(num_tokens, features, **made)
        self.blocks = nnx.List(
            NormalizedBlock(features, num_heads, hidden, initial_step=step, **made)
            for _ in range(num_layers)
        )
        self.head = NormalizedLinear(features, num_tokens, **made)
        self.head_scale = LearnedScale(
            num_tokens, stored_at=features**-0.5, param_dtype=param_dtype
        )

    def __call__(self, tokens: Int[Array, "*batch T"]) -> Float[Array, "*batch T num_tokens"]:
        """Logits of the token after each."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head_scale(self.head(x))


class _Block(nnx.Module):
    """A block with norms before its branches."""

    def __init__(self, features, num_heads, hidden, depth, *, param_dtype, rngs) -> None:
        self.heads = (num_heads, head_size(features, num_heads))
        linear = lambda n, m, depth=1: _linear(n, m, depth, param_dtype=param_dtype, rngs=rngs)
        norm = lambda: nnx.RMSNorm(features, param_dtype=param_dtype, rngs=rngs)
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.query, self.key, self.value = (linear(features, features) for _ in range(3))
        self.out = linear(features, features, depth)
        self.up, self.gate = linear(features, hidden), linear(features, hidden)
        self.down = linear(hidden, features, depth)

    def __call__(self, x: Array) -> Array:
        y = self.attention_norm(x)
        query, key, value = (
            layer(y).reshape(*x.shape[:-1], *self.heads)
            for layer in (self.query, self.key, self.value)
        )
        scaled = self.heads[1] ** -0.5 * rotary(query)
        mixed = attention(scaled, rotary(key), value, is_causal=True)
        x = x + self.out(mixed.reshape(x.shape))
        y = self.mlp_norm(x)
        return x + self.down(self.up(y) * jax.nn.silu(self.gate(y)))


def _linear(n: int, m: int, depth: int = 1, **made) -> nnx.Linear:
    spread = nnx.initializers.normal(0.02 * depth**-0.5)
    return nnx.Linear(n, m, use_bias=False, kernel_init=spread, **made)


class Transformer(nnx.Module):
    """The usual small language model: norms before blocks, rotary positions, gated layers.

    Args:
      num_tokens: size of the vocabulary.
      features: dimension of the embeddings.
      num_layers: number of blocks.
      num_heads: heads of each.
      hidden: hidden entries of the gated layers; None for 8/3 times the features.
      param_dtype: dtype of the parameters.
      rngs: random streams; `params` is drawn from.

    References:
      [LoshchilovNgpt2024] table 1 (left column).

    Examples:
      >>> Transformer(10, 8, 1, 2, rngs=nnx.Rngs(0))(jnp.array([3, 1, 4])).shape
      (3, 10)
    """

    def __init__(
        self,
        num_tokens: int,
        features: int,
        num_layers: int,
        num_heads: int,
        *,
        hidden: int | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        made = {"param_dtype": param_dtype, "rngs": rngs}
        spread = nnx.initializers.normal(0.02)
        self.embedding = nnx.Embed(num_tokens, features, embedding_init=spread, **made)
        self.blocks = nnx.List(
            _Block(features, num_heads, hidden_size(features, hidden), 2 * num_layers, **made)
            for _ in range(num_layers)
        )
        self.norm = nnx.RMSNorm(features, **made)
        self.head = _linear(features, num_tokens, **made)

    def __call__(self, tokens: Int[Array, "*batch T"]) -> Float[Array, "*batch T num_tokens"]:
        """Logits of the token after each."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
