"""Densities of independent sources: one with heavier tails than the normal law, one with lighter.

With sign `s = +1` (super-Gaussian) or `-1` (sub-Gaussian) the density of a source is
`p(y) = exp(-y^2 / 2 - s log cosh y) / Z_s`; for `s = -1` it is the mixture of `N(1, 1)` and
`N(-1, 1)` in equal parts. Its score function `-d log p / dy` is `y + s tanh y`.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.estimation._sources import log_normalizer, stable_signs


def source_log_density(y: ArrayLike, signs: ArrayLike) -> Float[Array, "*batch"]:
    """Log-density `-y^2 / 2 - s log cosh y - log Z_s` of a source, in nats.

    Args:
      y: values of sources, any real number.
      signs: +1 for heavy tails, -1 for light ones; shaped to broadcast against `y`, as one number
        or with the axes of `y`.

    Returns:
      Log-densities of the broadcast shape.

    Raises:
      TypeError: an argument is not real.
      ValueError: a concrete sign is neither 1 nor -1, or shapes do not fit.

    References:
      [LeeGirolamiSejnowski1999] section 2 (extended infomax).

    Examples:
      >>> round(float(source_log_density(0.0, -1.0)), 6)
      -1.418939
    """
    y, signs = _checked(y, signs)
    size = jnp.abs(y)
    log_cosh = size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)
    return -0.5 * y**2 - signs * log_cosh - log_normalizer(signs)


def source_score(y: ArrayLike, signs: ArrayLike) -> Float[Array, "*batch"]:
    """Score function `-d log p / dy = y + s tanh y` of a source.

    Args:
      y: values of sources.
      signs: +1 for heavy tails, -1 for light ones; one number or with the axes of `y`.

    Returns:
      Scores of the broadcast shape.

    Raises:
      TypeError: an argument is not real.
      ValueError: a concrete sign is neither 1 nor -1, or shapes do not fit.

    References:
      [LeeGirolamiSejnowski1999] equation (14).

    Examples:
      >>> round(float(source_score(1.0, 1.0)), 6)
      1.761594
    """
    y, signs = _checked(y, signs)
    return y + signs * jnp.tanh(y)


def source_signs(y: ArrayLike) -> Float[Array, "sources"]:
    """Sign of each source: of `E[sech^2 y] E[y^2] - E[y tanh y]`, +1 for heavy tails.

    The sign for which the independent solution is a stable point of the relative gradient.

    Args:
      y: sources of shape `(N, sources)`, centred.

    Returns:
      Signs of shape `(sources,)`; +1 where the criterion is 0.

    Raises:
      TypeError: `y` is not real.
      ValueError: `y` is not a matrix with at least one row.

    References:
      [LeeGirolamiSejnowski1999] equation (13).

    Examples:
      >>> y = jnp.array([[3.0, 1.0], [-3.0, -1.0], [0.1, 1.0], [-0.1, -1.0]])
      >>> source_signs(y).tolist()
      [1.0, -1.0]
    """
    y = checks.floating("y", y)
    if y.ndim != 2 or not y.shape[0]:
        raise ValueError(
            f"y must have shape (N, sources) with N >= 1; got {y.shape}. Put one observation in "
            "each row."
        )
    tanh = jnp.tanh(y)
    slope, product = 1 - jnp.mean(tanh**2, axis=0), jnp.mean(y * tanh, axis=0)
    return stable_signs(slope, jnp.mean(y**2, axis=0), product)


def _checked(y: ArrayLike, signs: ArrayLike) -> tuple[Array, Array]:
    """Values and signs of one dtype.

    Raises:
      ValueError: a sign is neither 1 nor -1, or ranks do not fit.
    """
    y, signs = checks.floating_together(y=y, signs=signs)
    checks.require_values("signs", signs, lambda s: abs(s) == 1, "1 or -1", "See source_signs.")
    if signs.ndim not in (0, y.ndim):
        raise ValueError(
            f"signs must be one number or have the {y.ndim} axes of y; got shape {signs.shape}. "
            "Write signs[None] for one sign a column."
        )
    checks.require_broadcastable(y=y.shape, signs=signs.shape)
    return y, signs
