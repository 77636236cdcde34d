"""Mixed coordinates of a family: some of the mean parameters, the natural ones of the rest.

Fixing the mean ones and moving the natural ones gives leaves that are exponential families, fixing
the natural ones mixture families; the two meet orthogonally everywhere.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry._arguments import one_vector
from igeojax.geometry.coordinates import ravel, unravel
from igeojax.geometry.metric import fisher_matrix
from igeojax.numerics.small_solve import small_solve

_STEPS, _HALVINGS = 64, 40


def mixed_from_natural(
    family: ExponentialFamily, theta: Any, is_mean: Bool[ArrayLike, " dimension"]
) -> Float[Array, "*batch dimension"]:
    """Mixed coordinates: entries of `ravel(eta)` where `is_mean`, of `ravel(theta)` elsewhere.

    The cost of `mean_from_natural`.

    Args:
      family: the family.
      theta: natural parameter.
      is_mean: which entries of the minimal vector are mean parameters.

    Returns:
      Vectors of length `family.dimension`.

    Raises:
      TypeError: `family` is not a family, `theta` not a point of it, or `is_mean` not boolean.
      ValueError: shapes do not fit the family.

    References:
      [AmariNagaoka2000] section 3.7 (mutually dual foliations).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> theta = normal.natural_from_params(loc=3.0, scale=1.0)
      >>> mixed_from_natural(normal, theta, [True, False]).tolist()  # the mean, -1/(2 s^2)
      [3.0, -0.5]
    """
    require_family(family)
    natural = ravel(family, theta)
    mean = ravel(family, family.mean_from_natural(theta))
    return jnp.where(jnp.broadcast_to(_mask(family, is_mean), natural.shape), mean, natural)


def natural_from_mixed(
    family: ExponentialFamily,
    mixed: Float[Array, " dimension"],
    is_mean: Bool[ArrayLike, " dimension"],
    start: Any,
) -> Any:
    """Natural parameter of mixed coordinates, the inverse of `mixed_from_natural`.

    The minimum of `psi(theta) - <eta_a, theta_a>` over the entries `theta_a` whose mean parameters
    are given, which is convex, with the others on their way to the values that are given: Newton's
    method that shortens a step until it stays inside the natural domain and Newton's next step,
    measured in the Fisher metric, shrinks. Each step costs `fisher_matrix` and a dense solve.
    Derivatives of both modes and all orders are those of the implicit function.

    Args:
      family: the family.
      mixed: mixed coordinates of one law; use jax.vmap for more.
      is_mean: which entries are mean parameters.
      start: natural parameter of any law of the family, where the search begins.

    Returns:
      The natural parameter; nan where no law has these coordinates or the search did not end.

    Raises:
      TypeError: `family` is not a family, `start` not a point of it, `is_mean` not boolean, or
        `mixed` not real.
      ValueError: shapes do not fit the family.

    References:
      [AmariNagaoka2000] section 3.7; [Deuflhard2004] section 3.3 (the step length).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> start = normal.natural_from_params(loc=0.0, scale=5.0)
      >>> theta = natural_from_mixed(normal, jnp.array([3.0, -0.5]), [True, False], start)
      >>> [round(float(leaf), 6) for leaf in theta]
      [3.0, -0.5]
    """
    require_family(family)
    mixed = one_vector("mixed", mixed)
    checks.require_trailing_shape("mixed", mixed, (family.dimension,))
    mask = _mask(family, is_mean)
    begin = one_vector("ravel(start)", ravel(family, start)).astype(mixed.dtype)
    precision = float(jnp.finfo(mixed.dtype).eps)

    def residual(vector: Array) -> Array:
        eta = ravel(family, family.mean_from_natural(unravel(family, vector)))
        return jnp.where(mask, eta, vector) - mixed

    def jacobian(metric: Array) -> Array:
        return jnp.where(mask[:, None], metric, jnp.eye(metric.shape[0], dtype=metric.dtype))

    def length(metric: Array, vector: Array) -> Array:
        return jnp.sqrt(vector @ metric @ vector)

    def newton(state: tuple) -> tuple:
        vector, count, _, _ = state
        metric = fisher_matrix(family, unravel(family, vector))
        solved = lambda v: small_solve(jacobian(metric), residual(v)[:, None])[:, 0]
        step = -solved(vector)
        size = length(metric, step)

        def is_short(trial: tuple) -> Array:
            share, _ = trial
            there = vector + share * step
            inside = family.in_natural_domain(unravel(family, there))
            following = solved(there)
            shrinks = length(metric, following) <= (1 - share / 2) * size
            return ~(inside & shrinks) & (size > precision**0.75)

        share, halvings = jax.lax.while_loop(
            lambda trial: is_short(trial) & (trial[1] < _HALVINGS),
            lambda trial: (0.5 * trial[0], trial[1] + 1),
            (jnp.ones((), vector.dtype), 0),
        )
        stalled = (halvings == _HALVINGS) | ~jnp.isfinite(size)
        moved = jnp.where(stalled, vector, vector + share * step)
        return moved, count + 1, size, stalled

    def solve(_: Any, guess: Array) -> tuple[Array, Array]:
        def unfinished(state: tuple) -> Array:
            _, count, size, stalled = state
            return (count < _STEPS) & (size > precision**0.75) & ~stalled

        infinite, no = jnp.full((), jnp.inf, guess.dtype), jnp.zeros((), bool)
        vector, _, size, _ = jax.lax.while_loop(unfinished, newton, (guess, 0, infinite, no))
        return vector, size

    def tangent_solve(linear: Any, value: Array) -> Array:
        basis = jnp.eye(value.shape[0], dtype=value.dtype)
        return small_solve(jax.vmap(linear, out_axes=1)(basis), value[:, None])[:, 0]

    vector, size = jax.lax.custom_root(residual, begin, solve, tangent_solve, has_aux=True)
    # Rounding may stop the search of an ill-conditioned law before its steps are as small as asked.
    found = size <= precision**0.5
    return unravel(family, jnp.where(found, vector, jnp.nan))


def _mask(family: ExponentialFamily, is_mean: Any) -> Array:
    """The mask as an array.

    Raises:
      TypeError: it is not boolean.
      ValueError: it has another shape.
    """
    mask = jnp.asarray(is_mean)
    if mask.dtype != bool:
        raise TypeError(
            f"is_mean must be boolean; got dtype {mask.dtype}. Pass True for a mean parameter, "
            "False for a natural one."
        )
    if mask.shape != (family.dimension,):
        raise ValueError(
            f"is_mean must have shape {(family.dimension,)}, one entry for each of the minimal "
            f"vector of {family}; got {mask.shape}. See ravel for their order."
        )
    return mask
