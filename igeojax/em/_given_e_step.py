"""An E-step that the caller gives to a fit, such as a fused kernel."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from igeojax.em.expectations import Expectations
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.multivariate_normal import MultivariateNormal


def require_e_step(mixture: Any, e_step: Any, assignment: str) -> None:
    """Check an E-step that is given, and that the fit is one that it can be given to.

    Raises:
      TypeError: it is no function.
      ValueError: the family has no such E-step, entries are missing, or assignments are hard.
    """
    if not callable(e_step):
        raise TypeError(
            f"e_step must be a function; got {type(e_step).__name__}. It takes and returns what "
            "kernels_triton.jax.mixture_e_step does."
        )
    if not isinstance(mixture.family, (DiagonalNormal, MultivariateNormal)) or mixture.missing:
        what = "missing entries" if mixture.missing else str(mixture.family)
        raise ValueError(
            "e_step must be None but for DiagonalNormal and MultivariateNormal without missing "
            f"entries; got {what}. Leave it out."
        )
    if assignment != "soft":
        raise ValueError(
            f'e_step must be None where assignment is "hard"; got {e_step!r}. Leave one out.'
        )


def given_sums(
    mixture: Any, params: Any, z: Array, weights: Array, e_step: Callable
) -> Expectations:
    """The sums of a pass by the given E-step, each component in its own frame.

    Args:
      mixture: the `Mixture`.
      params: `Framed` parameters.
      z: standardized observations, all of a pass.
      weights: shape `(N,)`.
      e_step: see `Mixture.fit`.

    Returns:
      The sums, the log-likelihood that of `z`.

    Raises:
      TypeError: results of another dtype.
      ValueError: results that are fewer than four, or of other shapes.
    """
    frames = params.frames
    found = tuple(e_step(z, params.log_weights, frames.offset, frames.inverse, weights))[:4]
    names = ("log_likelihood", "counts", "sums", "squares")
    shapes = (), params.log_weights.shape, frames.offset.shape, frames.inverse.shape
    if tuple(map(jnp.shape, found)) != shapes:
        wanted = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        raise ValueError(
            f"e_step must return arrays of shapes {wanted}; got "
            f"{', '.join(str(jnp.shape(value)) for value in found)}. See Mixture.fit."
        )
    if strange := {str(jnp.result_type(value)) for value in found} - {str(weights.dtype)}:
        raise TypeError(
            f"e_step must return {weights.dtype}, as it is given; got "
            f"{', '.join(sorted(strange))}. Keep the dtype of its arguments."
        )
    log_likelihood, counts, sums, squares = map(jnp.asarray, found)
    if squares.ndim == 3:
        squares = 0.5 * (squares + jnp.swapaxes(squares, 1, 2))
    statistics = mixture.family.Point(sums, squares)
    return Expectations(counts, statistics, log_likelihood, jnp.sum(weights))
