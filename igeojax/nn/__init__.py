"""Layers for flax: `nn.linen` and `nn.nnx` hold the same ones in either form (extra `nn`).

What they compute is in `nn.normalized`, `nn.margins` and `nn.hyperbolic`, functions of arrays.
"""

try:
    import flax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "igeojax.nn needs flax; it is not installed. Run `pip install 'igeojax[nn]'`, or use "
        "igeojax.chains.crf, which needs no more than JAX."
    ) from error

from igeojax.nn import hyperbolic, linen, margins, nnx, normalized
from igeojax.nn.unit_weights import unit_manifolds

__all__ = ["hyperbolic", "linen", "margins", "nnx", "normalized", "unit_manifolds"]
