"""The von Mises-Fisher log-partition as a function of a vector, and its Bregman remainder.

Functions of `square = |theta|^2`, in which the log-partition is smooth: a gradient through
`kappa = |theta|` would be nan at 0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax.numerics.bessel import RadialLaw, log_sphere, radial_law
from igeojax.numerics.bessel_ratio import (
    vmf_concentration,
    vmf_log_partition_offset,
    vmf_mean_gap,
)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


_of_square = functools.partial(jax.custom_jvp, nondiff_argnums=(0,))


def _law(dim: int, square: Array) -> RadialLaw:
    return radial_law(dim, jnp.sqrt(jnp.maximum(square, 0.0)), square)


@_of_square
def _excess(dim: int, square: Array) -> Array:
    return _law(dim, square).excess


@_excess.defjvp
def _excess_jvp(dim, primals, tangents):
    (square,), (step,) = primals, tangents
    return _excess(dim, square), 0.5 * vmf_ratio_of_square(dim, square) * step


@_of_square
def vmf_ratio_of_square(dim: int, square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Ratio `A(kappa) / kappa` as a function of `kappa^2`: the mean of the law is it times theta.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      square: squared concentrations.

    Returns:
      Positive values, of the shape of `square`, to a few eps; `1 / dim` at 0.

    Examples:
      >>> float(vmf_ratio_of_square(4, jnp.asarray(0.0)))
      0.25
    """
    return _law(dim, square).ratio


@vmf_ratio_of_square.defjvp
def _vmf_ratio_of_square_jvp(dim, primals, tangents):
    (square,), (step,) = primals, tangents
    return vmf_ratio_of_square(dim, square), -0.5 * _drop(dim, square) * step


@_of_square
def _drop(dim: int, square: Array) -> Array:
    return _law(dim, square).drop


@_drop.defjvp
def _drop_jvp(dim, primals, tangents):
    (square,), (step,) = primals, tangents
    law = _law(dim, square)
    # In this order: a square below the smallest float would be flushed to 0 in float32.
    return law.drop, law.drop * (law.drop_rate * step)


@_of_square
def _slope(dim: int, square: Array) -> Array:
    return _law(dim, square).slope


@_slope.defjvp
def _slope_jvp(dim, primals, tangents):
    (square,), (step,) = primals, tangents
    law = _law(dim, square)
    return law.slope, -0.5 * law.bend * step


@_of_square
def _dual(dim: int, square: Array) -> Array:
    """`kappa A - psi + psi(0)`, the entropy lost against the uniform law."""
    law = _law(dim, square)
    kappa = jnp.sqrt(jnp.maximum(square, 0.0))
    high = -law.offset - kappa * law.gap
    return jnp.where(kappa < dim, square * law.ratio - law.excess, high)


@_dual.defjvp
def _dual_jvp(dim, primals, tangents):
    (square,), (step,) = primals, tangents
    return _dual(dim, square), 0.5 * _slope(dim, square) * step


def vmf_potential(theta: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
    """Log-partition of the von Mises-Fisher law of natural parameter `theta = kappa mu`.

    Smooth, at 0 too: gradient, Hessian and third derivatives are right there.

    Args:
      theta: vectors along the last axis.

    Returns:
      `vmf_log_partition` of the length of each vector, in nats; its error, and as much again for
      the rounding of the length.

    Examples:
      >>> jax.grad(vmf_potential)(jnp.zeros(3)).tolist()
      [0.0, 0.0, 0.0]
    """
    dim = theta.shape[-1]
    return log_sphere(dim) + _excess(dim, _dot(theta, theta))


def vmf_dual_excess(theta: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
    """Entropy of the uniform law less that of `theta`, non-negative and smooth.

    Args:
      theta: vectors along the last axis.

    Returns:
      Values in nats, `vmf_entropy(dim, 0) - vmf_entropy(dim, |theta|)`, to some 10 eps.

    Examples:
      >>> float(vmf_dual_excess(jnp.zeros(3)))
      0.0
    """
    return _dual(theta.shape[-1], _dot(theta, theta))


def vmf_bregman(
    theta: Float[Array, "*batch dim"],
    other: Float[Array, "*batch dim"],
    step: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    """Bregman divergence of `vmf_potential`, non-negative: `KL(p_other || p_theta)`.

    Between near points it is the integral of the Fisher form of the step along the segment, whose
    parts along and across the direction are both positive; no difference is taken. Between far ones
    the part along is a difference of `psi - kappa`, and the part across comes from the tangential
    part of the step. Exactly 0 for a step of 0; gradients and Hessians are finite everywhere. Costs
    12 (in float32 6) evaluations of the log-partition for each pair.

    Args:
      theta: vectors along the last axis.
      other: vectors, the point of tangency.
      step: `theta - other`, to as many digits as it is known.

    Returns:
      Non-negative values in nats.

    Examples:
      >>> step = jnp.asarray([1e-6, 0.0, 0.0])
      >>> round(float(vmf_bregman(step, 0 * step, step)) * 6e12, 3)
      1.0
    """
    square = _dot(other, other)
    base = jnp.where(square > 0, square, 1.0)[..., None]
    # Twice: what rounding leaves along `other` in the first projection is taken out by the second.
    across = step
    for _ in range(2):
        across = across - other * (_dot(other, across)[..., None] / base)
    return _bregman(
        theta.shape[-1],
        _dot(theta, theta),
        square,
        _dot(other, step),
        _dot(step, step),
        _dot(across, across),
    )


def vmf_radial_bregman(
    dim: int,
    kappa: Float[Array, "*shape"],
    other: Float[Array, "*shape"],
    step: Float[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Bregman divergence of `vmf_log_partition` in the concentration, without cancellation.

    The divergence of two laws of one mean direction. Where directions differ,
    `KL(p || q) = vmf_radial_bregman(dim, kappa_q, kappa_p) + kappa_q A(kappa_p) (1 - cos)`.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.
      other: non-negative concentrations, the point of tangency.
      step: `kappa - other` where it is known to more digits than the subtraction gives.

    Returns:
      Non-negative values in nats, of the common shape.

    Examples:
      >>> near = vmf_radial_bregman(3, jnp.asarray(2.001), jnp.asarray(2.0))
      >>> round(float(near) * 1e8, 1)
      8.7
    """
    kappa, other = jnp.broadcast_arrays(kappa, other)
    step = kappa - other if step is None else step
    across = jnp.zeros_like(step)
    return _bregman(dim, kappa * kappa, other * other, other * step, step * step, across)


def vmf_natural_from_mean(
    eta: Float[Array, "*batch dim"], gap: Float[Array, "*batch"] | None = None
) -> Float[Array, "*batch dim"]:
    """Natural parameter of a mean resultant vector: inverse of the gradient of `vmf_potential`.

    Args:
      eta: vectors inside the unit ball, along the last axis.
      gap: `1 - |eta|` where it is known to more digits than the subtraction gives.

    Returns:
      Natural parameters; not finite where `|eta| >= 1`. Differentiable, at 0 too.

    Examples:
      >>> vmf_natural_from_mean(jnp.zeros(3)).tolist()
      [0.0, 0.0, 0.0]
    """
    square = _dot(eta, eta)
    if gap is None:
        fixed = jax.lax.stop_gradient(square)
        gap = (1 - fixed) / (1 + jnp.sqrt(fixed))
    return eta * _inverse_ratio(eta.shape[-1], square, gap)[..., None]


@_of_square
def _inverse_ratio(dim: int, square: Array, gap: Array) -> Array:
    """`kappa / A` of the squared mean resultant length; its gap says the same more exactly."""
    length = jnp.sqrt(square)
    kappa = vmf_concentration(dim, length, jnp.where(square > 0, gap, 1.0))
    safe = jnp.where(jnp.isfinite(kappa), kappa, 0.0)
    return jnp.where(jnp.isfinite(kappa), 1 / _law(dim, safe * safe).ratio, kappa)


@_inverse_ratio.defjvp
def _inverse_ratio_jvp(dim, primals, tangents):
    # With m = kappa/A and a = 1/m: dm/ds = drop / (2 a^2), and d(s a^2)/ds = a A'.
    (square, gap), (step, _) = primals, tangents
    inverse = _inverse_ratio(dim, square, gap)
    kappa2 = inverse * inverse * square
    slope = 0.5 * inverse**3 * _drop(dim, kappa2) / _slope(dim, kappa2)
    return inverse, slope * step


def _bregman(dim, square, other, along, length, across) -> Array:
    """Of squares `|theta|^2`, `|other|^2`, `<other, step>`, `|step|^2`, `|tangential step|^2`."""
    largest = jnp.maximum(square, other)
    near = (length <= 0.25 * largest) | (largest <= (dim / 6) ** 2)
    big, both_big = largest > dim**2, jnp.minimum(square, other) > dim**2
    # Near: the integral of (1 - u) <step, F(other + u step) step>.
    lead = (-1,) + (1,) * square.ndim
    nodes, weights = (jnp.asarray(v.reshape(lead), square.dtype) for v in _rule(square.dtype.name))
    s, o, a, t, c = (v[None] for v in (square, other, along, length, across))
    middle = (1 - nodes) * o + nodes * s - nodes * (1 - nodes) * t
    push = a + nodes * t
    ratio = vmf_ratio_of_square(dim, middle)
    root = jax.lax.rsqrt(jnp.where(big[None], middle, 1.0))
    polar = ratio * c * (o * root * root) + _slope(dim, middle) * (push * root) ** 2
    plain = ratio * t - _drop(dim, middle) * push * push
    close = jnp.sum(weights * jnp.where(big[None], polar, plain), axis=0)
    # Far, at least one concentration moderate: three terms of which none dwarfs the result.
    product = other + along
    other_ratio = vmf_ratio_of_square(dim, other)
    mixed = _excess(dim, square) + _dual(dim, other) - other_ratio * product
    # Far, both large: psi - kappa, and the part across from the tangential step.
    kappa, tangency = (jnp.sqrt(jnp.where(both_big, v, 1.0 * dim**2)) for v in (square, other))
    total = kappa * tangency + product
    ahead = both_big & (product > 0)
    sine = across * (other / jnp.where(ahead, total, 1.0))
    apart = (
        vmf_log_partition_offset(dim, kappa)
        - vmf_log_partition_offset(dim, tangency)
        + vmf_mean_gap(dim, tangency) * ((2 * along + length) / (kappa + tangency))
        + other_ratio * jnp.where(ahead, sine, kappa * tangency - product)
    )
    return jnp.where(near, close, jnp.where(both_big, apart, mixed))


@functools.cache
def _rule(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes in `(0, 1)`, and weights with the factor `1 - u`."""
    x, w = np.polynomial.legendre.leggauss(12 if dtype == "float64" else 6)
    nodes = 0.5 * (1 + x)
    return nodes, 0.5 * w * (1 - nodes)
