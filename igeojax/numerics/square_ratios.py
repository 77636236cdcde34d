"""Ratios such as `sin(r) / r` as functions of the square `r^2`: smooth at 0, as norms are not.

Maps of curved spaces take a tangent `u` to `cos(|u|) x + sin(|u|) u / |u|`. In the square of the
length they have all derivatives at `u = 0` too, in both modes.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.angles import quadrant_angle

_SINE = tuple(1.0 / math.factorial(2 * k + 1) for k in range(10))
_ARCSINE = tuple(math.comb(2 * k, k) / 4.0**k / (2 * k + 1) for k in range(16))


def _by_series(
    square: Array, coefficients: tuple[float, ...], sign: float, far: Callable[[Array], Array]
) -> Array:
    """The series near 0, where the ratio of the roots has no derivative, and the ratio elsewhere.

    The first series ends at 1 with an error below rounding, the second, which converges below 1, at
    0.1.
    """
    limit = 1.0 if coefficients is _SINE else 0.1
    near = square < limit
    small = sign * jnp.where(near, square, 0.0)
    total = jnp.full_like(small, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * small + coefficient
    root = jnp.sqrt(jnp.where(near, limit, square))
    # A quotient last: XLA stores the numbers it gives instead of computing them once an entry.
    return jnp.where(near, total, far(root)) / jnp.where(near, 1.0, root)


def sin_ratio(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sin(r) / r` of the square `r^2`.

    Args:
      square: non-negative values.

    Returns:
      The ratio, 1 at 0, to a few eps of 1.

    Examples:
      >>> import jax
      >>> sin_ratio(jnp.asarray(0.0)).item(), round(jax.grad(sin_ratio)(0.0).item(), 6)
      (1.0, -0.166667)
    """
    return _by_series(square, _SINE, -1.0, jnp.sin)


def sinh_ratio(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sinh(r) / r` of the square `r^2`.

    Args:
      square: non-negative values.

    Returns:
      The ratio, 1 at 0, to a few eps.

    Examples:
      >>> round(sinh_ratio(jnp.asarray(1.0)).item(), 6)
      1.175201
    """
    return _by_series(square, _SINE, 1.0, jnp.sinh)


def tanh_ratio(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`tanh(r) / r` of the square `r^2`.

    Args:
      square: non-negative values.

    Returns:
      The ratio, 1 at 0, to a few eps.

    Examples:
      >>> round(tanh_ratio(jnp.asarray(1.0)).item(), 6)
      0.761594
    """
    near = square < 1
    small = jnp.where(near, square, 0.0)
    root = jnp.sqrt(jnp.where(near, 1.0, square))
    above = jnp.where(near, sinh_ratio(small), jnp.tanh(root))
    return above / jnp.where(near, 1 + cosh_excess(small), root)


def cos_deficit(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`1 - cos(r)` of the square `r^2`, which does not cancel.

    Args:
      square: non-negative values.

    Returns:
      The difference, 0 at 0, to a few eps.

    Examples:
      >>> round(cos_deficit(jnp.asarray(1e-12)).item() * 1e12, 6)
      0.5
    """
    return 0.5 * square * sin_ratio(0.25 * square) ** 2


def cosh_excess(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`cosh(r) - 1` of the square `r^2`, which does not cancel.

    Args:
      square: non-negative values.

    Returns:
      The difference, 0 at 0, to a few eps.

    Examples:
      >>> round(cosh_excess(jnp.asarray(1e-12)).item() * 1e12, 6)
      0.5
    """
    return 0.5 * square * sinh_ratio(0.25 * square) ** 2


def arcsin_ratio(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`arcsin(s) / s` of the square `s^2`.

    Args:
      square: values in `[0, 1]`.

    Returns:
      The ratio, 1 at 0, to a few eps.

    Examples:
      >>> round(arcsin_ratio(jnp.asarray(0.25)).item(), 6)  # pi / 3
      1.047198
    """
    far = lambda root: quadrant_angle(root, jnp.sqrt((1 - root) * (1 + root)))
    return _by_series(square, _ARCSINE, 1.0, far)


def arcsinh_ratio(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`arcsinh(s) / s` of the square `s^2`.

    Args:
      square: non-negative values.

    Returns:
      The ratio, 1 at 0, to a few eps.

    Examples:
      >>> round(arcsinh_ratio(jnp.asarray(1.0)).item(), 6)
      0.881374
    """
    return _by_series(square, _ARCSINE, -1.0, jnp.arcsinh)
