"""Layers for flax: `nn.linen` and `nn.nnx` hold the same ones in either form (extra `nn`)."""

from igeojax.nn import linen, nnx

__all__ = ["linen", "nnx"]
