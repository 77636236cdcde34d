"""Independent component analysis: a matrix that turns mixtures of sources back into sources.

`x = A s + mean` with independent sources s, and W sought with `y = W (x - mean)` independent: the
maximum of the likelihood of `source_densities`, by the relative (natural) gradient. Its steps
multiply W from the left, so what they do to `W A` does not depend on the mixing matrix A.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks
from igeojax.estimation._sources import log_normalizer
from igeojax.estimation._unmixing_steps import Rows, Unmixing, loss_of, sum_of_blocks, unmix
from igeojax.estimation.source_densities import source_log_density

_COARSE = 1024  # least number of observations from which the first steps are taken
_COARSE_TOLERANCE = 0.1  # of the gradient, in units of its error by chance


class IndependentComponents(NamedTuple):
    """Result of `independent_components`.

    `unmixing`: W, a source in each row. `mean`: of the data. `signs`: +1 for sources of heavy
    tails, -1 for light ones. `log_likelihood`: mean, in nats an observation. `residual`: largest
    entry of the relative gradient. `num_iterations`: steps on all the data. `converged`: whether
    the residual is at most the tolerance.
    """

    unmixing: Float[Array, "sources dim"]
    mean: Float[Array, "dim"]
    signs: Float[Array, "sources"]
    log_likelihood: Float[Array, ""]
    residual: Float[Array, ""]
    num_iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def independent_components(
    data: Float[ArrayLike, "N dim"],
    num_components: int | None = None,
    *,
    start: Float[ArrayLike, "sources dim"] | None = None,
    orthogonal: bool = True,
    tolerance: ArrayLike = 1e-5,
    max_iterations: int = 200,
) -> IndependentComponents:
    """Unmix data by maximum likelihood of extended infomax, with quasi-Newton relative steps.

    The data are whitened. Each step is L-BFGS in relative coordinates whose metric is the
    second derivative at independence, blocks of two by two in closed form; its length is halved
    until the loss falls. The density of each source, of heavy or light tails, follows the
    criterion of `source_signs` on the way. Of many observations (4096 and more, and more than
    `64 sources^2`) the first steps, without a start, see a part evenly spaced. One pass over
    the data a step: two products of `sources^2 N` operations and one tanh for each source and
    observation; no copy of the data, unless fewer components are sought.

    Sources come back in arbitrary order, sign and, unless `orthogonal`, scale. At most one may be
    normal. Runs under `jit`; the trajectory of `W A` from a given start does not depend on A.

    Args:
      data: observations, one a row.
      num_components: number of sources; fewer than columns are sought among that many leading
        principal components. None: as many as columns.
      start: unmixing matrix to start from; None: the principal components.
      orthogonal: keep the sources white, of unit variance and uncorrelated as FastICA and Picard-O:
        a step then is a rotation. False is the maximum of the likelihood alone.
      tolerance: largest entry of the relative gradient to stop at, unitless; a scalar, no less than
        `16 eps` of the dtype counts.
      max_iterations: most steps, of either part.

    Returns:
      An `IndependentComponents`; its log-likelihood is that of the leading principal components
      where they are fewer than columns. Nan where the data do not span so many dimensions and
      cannot be looked at, under `jit`.

    Raises:
      TypeError: data that are not real, or a count that is no integer.
      ValueError: data of a wrong shape, not finite, or of fewer dimensions than components; a bad
        start or tolerance.

    References:
      [LeeGirolamiSejnowski1999] (extended infomax); [AblinCardosoGramfort2018] (the steps);
      [CardosoLaheld1996] (relative gradient and equivariance).

    Examples:
      >>> key = jax.random.key(0)
      >>> sources = jax.random.laplace(key, (1000, 2))
      >>> mixing = jnp.array([[1.0, 2.0], [-1.0, 1.0]])
      >>> found = independent_components(sources @ mixing.T)
      >>> bool(found.converged), bool(amari_index(found.unmixing @ mixing) < 0.05)
      (True, True)
    """
    x = checks.floating("data", data)
    if x.ndim != 2 or x.shape[0] < 2:
        raise ValueError(
            f"data must have shape (N, dim) with N >= 2; got {x.shape}. Put one observation in "
            "each row."
        )
    checks.require_finite("data", x, "Drop rows with missing entries.")
    count = x.shape[1] if num_components is None else num_components
    checks.require_count("num_components", count)
    if count > min(x.shape[1], x.shape[0] - 1):
        raise ValueError(
            f"num_components must be at most {min(x.shape[1], x.shape[0] - 1)} for data of shape "
            f"{x.shape}; got {count}. Ask for fewer, or bring more observations."
        )
    checks.require_count("max_iterations", max_iterations)
    tolerance = checks.floating("tolerance", tolerance)
    if tolerance.shape:
        raise ValueError(f"tolerance must be a scalar; got shape {tolerance.shape}. Try 1e-5.")
    checks.require_positive("tolerance", tolerance, "Try 1e-5.")
    if start is not None:
        start = checks.floating("start", start).astype(x.dtype)
        if start.shape != (count, x.shape[1]):
            raise ValueError(
                f"start must have shape {(count, x.shape[1])}; got {start.shape}. It is an "
                "unmixing matrix, with a source in each row."
            )
        checks.require_finite("start", start, "Pass an invertible matrix.")
    found = _fitted(x, start, tolerance, count, orthogonal, max_iterations)
    checks.require_values(
        "mean log-likelihood",
        found.log_likelihood,
        np.isfinite,
        "finite",
        f"The data, and the start, must span {count} dimensions: drop columns that are constant "
        "or combinations of others, or ask for fewer components.",
    )
    return found


@partial(jax.jit, static_argnames=("count", "orthogonal"))
def _fitted(
    x: Array,
    start: Array | None,
    tolerance: Array,
    count: int,
    orthogonal: bool,
    max_iterations: Array,
) -> IndependentComponents:
    mean, covariance = _mean_and_covariance(x)
    whitening, log_volume = _whitening(covariance, count)
    unmixing = jnp.eye(count, dtype=x.dtype)
    if start is not None:
        unmixing = start @ jnp.linalg.pinv(whitening)
        left, sizes, right = jnp.linalg.svd(unmixing)
        spanned = sizes[-1] > count * jnp.finfo(x.dtype).eps * sizes[0]
        unmixing = jnp.where(spanned, left @ right if orthogonal else unmixing, jnp.nan)
    tolerance = jnp.maximum(tolerance.astype(x.dtype), 16 * jnp.finfo(x.dtype).eps)

    # Fewer components than columns are worth a copy of the data.
    whole = Rows(x, mean, whitening)
    if count < x.shape[1]:
        reduced = (x - mean[None]) @ whitening.T
        whole = Rows(reduced, jnp.zeros(count, x.dtype), jnp.eye(count, dtype=x.dtype))

    def unmixed(data: Rows, unmixing: Array, tolerance: Array) -> Unmixing:
        return unmix(
            data,
            unmixing,
            orthogonal=orthogonal,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )

    # More than 1 / 16 of the data would cost more steps on it than it saves on all.
    stride = min(x.shape[0] // max(_COARSE, 16 * count**2), 16)
    if start is None and stride >= 4:
        part = whole._replace(values=whole.values[::stride])
        coarse = _COARSE_TOLERANCE / math.sqrt(part.values.shape[0])
        unmixing = unmixed(part, unmixing, jnp.maximum(tolerance, coarse)).matrix
    end = unmixed(whole, unmixing, tolerance)
    log_likelihood = log_volume - loss_of(end.matrix, end.moments, end.signs)
    log_likelihood = log_likelihood - jnp.sum(log_normalizer(end.signs))
    return IndependentComponents(
        end.matrix @ whitening,
        mean,
        end.signs,
        log_likelihood,
        end.residual,
        end.num_iterations,
        end.residual <= tolerance,
    )


def _mean_and_covariance(x: Array) -> tuple[Array, Array]:
    """Mean and covariance of rows, in two passes."""
    mean = jnp.mean(x, axis=0)
    square = sum_of_blocks(lambda rows: rows.T @ rows, x, mean)
    return mean, square / len(x)


def _whitening(covariance: Array, count: int) -> tuple[Array, Array]:
    """Rows that make the leading components white, and the log of the change of volume.

    Nan where the data do not span so many dimensions.
    """
    dim, dtype = covariance.shape[0], covariance.dtype
    # All columns in units of their own, unless the leading components depend on the units.
    scale = jnp.sqrt(jnp.diagonal(covariance)) if count == dim else jnp.ones(dim, dtype)
    values, vectors = jnp.linalg.eigh(covariance / scale[:, None] / scale[None])
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    spanned = values > dim * jnp.finfo(dtype).eps * values[0]
    roots = jnp.sqrt(jnp.where(spanned, values, jnp.nan))
    log_volume = -jnp.sum(jnp.log(roots)) - jnp.sum(jnp.log(scale))
    return vectors.T / roots[:, None] / scale[None], log_volume


def sources(
    components: IndependentComponents, x: Float[ArrayLike, "*batch dim"]
) -> Float[Array, "*batch sources"]:
    """Sources `W (x - mean)` of observations.

    Args:
      components: a result of `independent_components`.
      x: observations of shape `batch + (dim,)`.

    Returns:
      Sources of shape `batch + (sources,)`. Back to observations:
      `sources @ pinv(unmixing).T + mean`.

    Raises:
      TypeError: `x` is not real.
      ValueError: it lacks the trailing axis.

    Examples:
      >>> data = jax.random.laplace(jax.random.key(0), (100, 2))
      >>> found = independent_components(data)
      >>> sources(found, data).var(axis=0).round(3).tolist()
      [1.0, 1.0]
    """
    x = checks.floating("x", x)
    checks.require_trailing_shape("x", x, components.mean.shape)
    mean = components.mean.reshape((1,) * (x.ndim - 1) + components.mean.shape)
    return (x - mean) @ components.unmixing.T


def unmixing_loss(
    unmixing: Float[ArrayLike, "dim dim"],
    x: Float[ArrayLike, "N dim"],
    signs: Float[ArrayLike, "dim"],
) -> Float[Array, ""]:
    """Mean negative log-likelihood `-log |det W| - mean_n sum_i log p(y_ni)`, `y = W x`, in nats.

    The loss for mini-batches, with `optim.relative_gradient`; `source_signs` gives the signs.

    Args:
      unmixing: the matrix W, square.
      x: centred observations, one a row.
      signs: of each source, +1 for heavy tails, -1 for light ones.

    Returns:
      The loss; infinite for a singular matrix.

    Raises:
      TypeError: an argument is not real.
      ValueError: shapes do not fit.

    References:
      [LeeGirolamiSejnowski1999] section 2.

    Examples:
      >>> loss = unmixing_loss(jnp.eye(1), jnp.zeros((3, 1)), jnp.array([-1.0]))
      >>> round(float(loss), 6)
      1.418939
    """
    unmixing, x, signs = checks.floating_together(unmixing=unmixing, x=x, signs=signs)
    dim = x.shape[-1] if x.ndim == 2 else -1
    if unmixing.shape != (dim, dim) or signs.shape != (dim,):
        raise ValueError(
            "x must have shape (N, dim), unmixing (dim, dim) and signs (dim,); got "
            f"{x.shape}, {unmixing.shape} and {signs.shape}. Whiten the data first to seek fewer "
            "sources than columns."
        )
    log_density = source_log_density(x @ unmixing.T, signs[None])
    return -jnp.linalg.slogdet(unmixing)[1] - jnp.mean(jnp.sum(log_density, axis=1))


def amari_index(product: Float[ArrayLike, "sources sources"]) -> Float[Array, ""]:
    """Amari index of `P = W A`: 0 where W finds every source, up to order and scale; at most 1.

    The mean of `sum_j |p_ij| / max_j |p_ij| - 1` over all rows, and the same of all columns, in
    units of `n - 1`.

    Args:
      product: unmixing matrix times mixing matrix, square, of at least two sources.

    Returns:
      The index in [0, 1]; nan where a row or column is 0.

    Raises:
      TypeError: `product` is not real.
      ValueError: it is not square, or has one row.

    References:
      [AmariCichockiYang1996] section 4.

    Examples:
      >>> float(amari_index(jnp.array([[0.0, 3.0], [-2.0, 0.0]])))
      0.0
      >>> float(amari_index(jnp.ones((2, 2))))
      1.0
    """
    product = checks.floating("product", product)
    size = product.shape[-1] if product.ndim == 2 else -1
    if product.shape != (size, size) or size < 2:
        raise ValueError(
            f"product must be a square matrix of at least two rows; got shape {product.shape}. "
            "Pass unmixing @ mixing."
        )
    sizes = jnp.abs(product)
    rows = jnp.sum(sizes / jnp.max(sizes, axis=1, keepdims=True)) - size
    columns = jnp.sum(sizes / jnp.max(sizes, axis=0, keepdims=True)) - size
    return (rows + columns) / (2 * size * (size - 1))
