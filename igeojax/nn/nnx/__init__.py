"""Layers as `flax.nnx` modules."""

from igeojax.nn.nnx.crf import CRF
from igeojax.nn.nnx.directions import VonMisesFisherHead
from igeojax.nn.nnx.hyperbolic import HyperbolicEmbedding
from igeojax.nn.nnx.margins import NormalizedClassifier
from igeojax.nn.nnx.normalized import (
    LearnedScale,
    NormalizedAttention,
    NormalizedEmbedding,
    NormalizedLinear,
    NormalizedMLP,
    NormalizedResidual,
)
from igeojax.nn.nnx.transformer import NormalizedBlock, NormalizedTransformer, Transformer

__all__ = [
    "CRF",
    "HyperbolicEmbedding",
    "LearnedScale",
    "NormalizedAttention",
    "NormalizedBlock",
    "NormalizedClassifier",
    "NormalizedEmbedding",
    "NormalizedLinear",
    "NormalizedMLP",
    "NormalizedResidual",
    "NormalizedTransformer",
    "Transformer",
    "VonMisesFisherHead",
]
