"""Charts of a family: the two dual affine ones, and the minimal vector chart of either.

Any other chart is a smooth function of natural parameters, or to them. A tangent is pushed forward
by `jax.jvp(chart, (point,), (tangent,))[1]`, a cotangent pulled back by
`jax.vjp(chart, point)[1](cotangent)[0]`; `pullback` does it for the metric, `sharp` and
`fisher_matvec` (flat) turn one kind into the other.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family


def mean_from_natural(family: ExponentialFamily, theta: Any) -> Any:
    """Mean coordinates `eta = grad psi(theta) = E[T(x)]`.

    A closed form of the family, else one gradient of `psi`.

    Args:
      family: the family.
      theta: natural parameter.

    Returns:
      The mean parameter, same batch shape.

    Raises:
      TypeError: `family` is not a family, or `theta` not a point of it.
      ValueError: its shapes do not fit the family.

    References:
      [Amari2016] chapter 2 (exponential families).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> float(mean_from_natural(poisson, poisson.Point(0.0)).x)
      1.0
    """
    require_family(family)
    return family.mean_from_natural(theta)


def natural_from_mean(family: ExponentialFamily, eta: Any) -> Any:
    """Natural coordinates `theta = grad phi(eta)`, the inverse of `mean_from_natural`.

    A closed form where the family has one, else a fixed number of Newton steps.

    Args:
      family: the family.
      eta: mean parameter, inside the mean domain.

    Returns:
      The natural parameter, same batch shape; not finite where `eta` is on the boundary.

    Raises:
      TypeError: `family` is not a family, or `eta` not a point of it.
      ValueError: its shapes do not fit the family.

    References:
      [Amari2016] chapter 2 (exponential families).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> float(natural_from_mean(poisson, poisson.Point(1.0)).x)
      0.0
    """
    require_family(family)
    family.batch_shape(eta)
    return family.natural_from_mean(eta)


def ravel(family: ExponentialFamily, point: Any) -> Float[Array, "*batch dimension"]:
    """Minimal vector chart of a point: as many entries as the manifold has dimensions.

    A symmetric matrix gives its diagonal and upper triangle, off-diagonals times `sqrt 2`, so that
    the pairing of points is the dot product of vectors. One copy of the entries.

    Args:
      family: the family.
      point: natural or mean parameter, tangent or cotangent.

    Returns:
      Vectors of length `family.dimension` on the last axis.

    Raises:
      TypeError: `family` is not a family, or `point` not a point of it.
      ValueError: its shapes do not fit the family.

    Examples:
      >>> from igeojax import families
      >>> import jax.numpy as jnp
      >>> family = families.MultivariateNormal(2)
      >>> point = family.Point(x=jnp.zeros(2), xx=jnp.ones((2, 2)))
      >>> [round(v, 3) for v in ravel(family, point).tolist()]
      [0.0, 0.0, 1.0, 1.414, 1.0]
    """
    require_family(family)
    batch = family.batch_shape(point)
    parts = []
    for leaf, shape in zip(jax.tree.leaves(point), family.point_shape, strict=True):
        if len(shape) == 2:
            rows, columns = np.triu_indices(shape[0])
            scale = jnp.asarray(np.where(rows == columns, 1.0, math.sqrt(2)), leaf.dtype)
            # The mean of both triangles: a cotangent then acts on symmetric matrices as its vector
            # does, also where automatic differentiation left it not symmetric.
            upper = 0.5 * (leaf[..., rows, columns] + leaf[..., columns, rows])
            parts.append(upper * scale.reshape((1,) * len(batch) + (-1,)))
        else:
            parts.append(jnp.reshape(leaf, (*batch, math.prod(shape))))
    return jnp.concatenate(parts, axis=-1)


def unravel(family: ExponentialFamily, vector: Float[Array, "*batch dimension"]) -> Any:
    """Point of a minimal vector, the inverse of `ravel`: one copy of the entries.

    Args:
      family: the family.
      vector: vectors of length `family.dimension` on the last axis.

    Returns:
      The point; matrices are symmetric.

    Raises:
      TypeError: `family` is not a family, or `vector` is not real.
      ValueError: its last axis has another length.

    Examples:
      >>> from igeojax import families
      >>> import jax.numpy as jnp
      >>> unravel(families.Poisson(), jnp.array([2.0])).x.item()
      2.0
    """
    require_family(family)
    vector = checks.floating("vector", vector)
    checks.require_trailing_shape("vector", vector, (family.dimension,))
    batch, leaves, start = vector.shape[:-1], [], 0
    for shape in family.point_shape:
        if len(shape) == 2:
            rows, columns = np.triu_indices(shape[0])
            size = rows.size
            scale = np.where(rows == columns, 1.0, math.sqrt(0.5))
            position = np.zeros(shape, int)
            position[rows, columns] = position[columns, rows] = np.arange(size)
            entries = vector[..., start : start + size]
            entries = entries * jnp.asarray(scale, vector.dtype).reshape((1,) * len(batch) + (-1,))
            leaves.append(entries[..., position])
        else:
            size = math.prod(shape)
            leaves.append(vector[..., start : start + size].reshape(batch + shape))
        start += size
    return family.from_leaves(leaves)
