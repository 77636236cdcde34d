"""Information geometry in JAX: one convex function and one map, everything else by differentiation.

Import the rooms you need: `from igeojax import divergences, em, families, fisher, geometry, optim`.
"""

from importlib.metadata import version as _version

__version__ = _version("igeojax")
