"""Layers as `flax.linen` modules."""

from igeojax.nn.linen.crf import CRF
from igeojax.nn.linen.directions import VonMisesFisherHead
from igeojax.nn.linen.hyperbolic import HyperbolicEmbedding
from igeojax.nn.linen.margins import NormalizedClassifier
from igeojax.nn.linen.normalized import (
    LearnedScale,
    NormalizedAttention,
    NormalizedEmbedding,
    NormalizedLinear,
    NormalizedMLP,
    NormalizedResidual,
)
from igeojax.nn.linen.transformer import NormalizedBlock, NormalizedTransformer, Transformer

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
