"""Factor analysis and probabilistic principal components: few factors behind many coordinates.

`x = mean + W z + noise` with `z ~ N(0, I)` of `num_factors` dimensions and independent noise of
variances `psi`: a normal law of covariance `W W^T + diag(psi)`, of which no `dim x dim` matrix is
factored to evaluate it.
"""

import dataclasses
import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from igeojax._core import checks
from igeojax.em.loop import LoopResult, iterate
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.numerics.positive_definite import log_det
from igeojax.numerics.triangular import cho_solve, cholesky
from igeojax.numerics.weighting import normalized_weights, weighted_mean


class FactorAnalysisPoint(NamedTuple):
    """Mean, loadings `W` with a factor a column, and the variances `psi` of the noise."""

    mean: Float[Array, "dim"]
    loadings: Float[Array, "dim factors"]
    noise: Float[Array, "dim"]


class FactorAnalysisFit(NamedTuple):
    """Result of `FactorAnalysis.fit`.

    `params`: the estimate. `converged`: whether a step gained less than the tolerance.
    `num_iterations`: steps taken, 0 in closed form. `log_likelihoods`: the mean log-likelihood
    (nats an observation) before each step and after the last, nan beyond. `log_likelihood`: the
    last, as a total over the (weighted) data. `bic`, `aic`: information criteria, lower is better.
    """

    params: FactorAnalysisPoint
    converged: Bool[Array, ""]
    num_iterations: Int[Array, ""]
    log_likelihoods: Float[Array, "steps"]
    log_likelihood: Float[Array, ""]
    bic: Float[Array, ""]
    aic: Float[Array, ""]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class FactorAnalysis:
    """Normal vectors of covariance `W W^T + diag(psi)`; one `psi`: probabilistic PCA.

    Loadings are defined up to a rotation of the factors; a fit gives those for which
    `W^T diag(psi)^-1 W` is diagonal and falls, each column with a positive sum.

    Args:
      dim: number of coordinates.
      num_factors: number of factors, at most `dim`; below `dim` where `isotropic`.
      isotropic: one noise variance for all coordinates: probabilistic principal component analysis.

    Raises:
      TypeError: a number is not an integer.
      ValueError: it is out of range.

    References:
      [Bishop2006] section 12.2; [TippingBishop1999] (probabilistic PCA).

    Examples:
      >>> model = FactorAnalysis(3, 1)
      >>> x = jax.random.normal(jax.random.key(0), (50, 1)) * jnp.array([[3.0, 2.0, 1.0]])
      >>> x = x + 0.1 * jax.random.normal(jax.random.key(1), (50, 3))
      >>> fitted = model.fit(x).params
      >>> bool(fitted.loadings[0, 0] > fitted.loadings[1, 0] > fitted.loadings[2, 0])
      True
    """

    dim: int
    num_factors: int
    isotropic: bool = False

    Point: ClassVar[type[FactorAnalysisPoint]] = FactorAnalysisPoint

    def __post_init__(self):
        checks.require_count("dim", self.dim)
        checks.require_count("num_factors", self.num_factors)
        most = self.dim - 1 if self.isotropic else self.dim
        if self.num_factors > most:
            raise ValueError(
                f"num_factors must be at most {most}; got {self.num_factors}. Use fewer factors, "
                "or a MultivariateNormal."
            )

    @property
    def dimension(self) -> int:
        """Number of free parameters, the rotation of the factors not counted."""
        rotations = self.num_factors * (self.num_factors - 1) // 2
        noise = 1 if self.isotropic else self.dim
        return self.dim + self.dim * self.num_factors - rotations + noise

    def log_density(self, params: FactorAnalysisPoint, x: ArrayLike) -> Float[Array, "*batch"]:
        """Log-density, in nats, by Woodbury's identity: `dim * num_factors` operations a point.

        Args:
          params: mean, loadings and noise.
          x: observations of shape `batch + (dim,)`.

        Returns:
          Log-densities of shape `batch`.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: wrong shapes.

        Examples:
          >>> model = FactorAnalysis(2, 1)
          >>> params = model.Point(jnp.zeros(2), jnp.zeros((2, 1)), jnp.ones(2))
          >>> round(float(model.log_density(params, jnp.zeros(2))), 6)
          -1.837877
        """
        white, columns, factor = self._whitened(params, x)
        factors = _posterior_mean(factor, columns, white)
        # |white|^2 less what the factors explain, as a sum of squares: it cannot cancel.
        rest = white - factors @ columns.T
        square = jnp.sum(rest**2, axis=-1) + jnp.sum(factors**2, axis=-1)
        volume = jnp.sum(jnp.log(params.noise)) + log_det(factor)
        return -0.5 * (square + volume + self.dim * math.log(2 * math.pi))

    def transform(
        self, params: FactorAnalysisPoint, x: ArrayLike
    ) -> Float[Array, "*batch factors"]:
        """Expected factors `E[z | x] = (I + W^T Psi^-1 W)^-1 W^T Psi^-1 (x - mean)`.

        Args:
          params: mean, loadings and noise.
          x: observations of shape `batch + (dim,)`.

        Returns:
          Factors of shape `batch + (num_factors,)`.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: wrong shapes.

        Examples:
          >>> model = FactorAnalysis(1, 1)
          >>> params = model.Point(jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1))
          >>> model.transform(params, jnp.array([4.0])).round(6).tolist()
          [2.0]
        """
        white, columns, factor = self._whitened(params, x)
        return _posterior_mean(factor, columns, white)

    def sample(
        self, key: Key[Array, ""], params: FactorAnalysisPoint, shape: tuple[int, ...] = ()
    ) -> Float[Array, "*shape dim"]:
        """Independent samples.

        Args:
          key: a PRNG key.
          params: mean, loadings and noise.
          shape: shape of the sample.

        Returns:
          Draws of shape `shape + (dim,)`.

        Raises:
          TypeError: `key` is no PRNG key, or `params` of a wrong kind.
          ValueError: wrong shapes.

        Examples:
          >>> model = FactorAnalysis(2, 1)
          >>> params = model.Point(jnp.zeros(2), jnp.ones((2, 1)), jnp.ones(2))
          >>> model.sample(jax.random.key(0), params, (5,)).shape
          (5, 2)
        """
        checks.require_key(key)
        self._require_params(params)
        one, two = jax.random.split(key)
        dtype = params.mean.dtype
        factors = jax.random.normal(one, (*shape, self.num_factors), dtype)
        noise = jax.random.normal(two, (*shape, self.dim), dtype)
        lead = (1,) * len(shape)
        shift, scale = (
            leaf.reshape(lead + leaf.shape) for leaf in (params.mean, jnp.sqrt(params.noise))
        )
        return shift + factors @ params.loadings.T + scale * noise

    def natural_from_params(self, params: FactorAnalysisPoint) -> Any:
        """The law of x as a member of `MultivariateNormal`, with its geometry and divergences.

        Args:
          params: mean, loadings and noise.

        Returns:
          Natural parameter of `MultivariateNormal(dim)`.

        Raises:
          TypeError: `params` of a wrong kind.
          ValueError: wrong shapes.

        Examples:
          >>> model = FactorAnalysis(1, 1)
          >>> theta = model.natural_from_params(
          ...     model.Point(jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1))
          ... )
          >>> MultivariateNormal(1).variance(theta).round(6).tolist()
          [2.0]
        """
        self._require_params(params)
        covariance = params.loadings @ params.loadings.T + jnp.diag(params.noise)
        return MultivariateNormal(self.dim).natural_from_params(params.mean, covariance)

    def fit(
        self,
        data: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        tolerance: ArrayLike = 1e-8,
        max_iterations: int = 1000,
    ) -> FactorAnalysisFit:
        """Maximum likelihood: in closed form where isotropic, else by EM on the covariance.

        Each step takes the loadings of largest likelihood given the noise (an eigendecomposition),
        then the EM step of the noise, which is monotone and far faster than an EM step of both.
        Costs one pass over the data, and `dim^3` a step. Noise variances stay at least `sqrt(eps)`
        of that of their column: the likelihood may grow up to a variance of 0 (Heywood's case).

        Args:
          data: observations of shape `(N, dim)`, N >= 2.
          weights: non-negative, shape `(N,)`; None weighs all alike.
          tolerance: least gain in mean log-likelihood (nats an observation) to go on.
          max_iterations: most steps.

        Returns:
          A `FactorAnalysisFit`.

        Raises:
          TypeError: data that are not real.
          ValueError: data of a wrong shape, not finite, or with a constant column; data of fewer
            dimensions than an isotropic noise needs; bad weights, tolerance or count.

        References:
          [RubinThayer1982] (EM); [LiuRubin1994] section 3 (conditional steps of the likelihood);
          [TippingBishop1999] eqs. (7) and (8) (closed form).

        Examples:
          >>> x = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
          >>> params = FactorAnalysis(2, 1, isotropic=True).fit(x).params
          >>> [round(v, 6) for v in params.noise.tolist()]
          [0.5, 0.5]
        """
        x = checks.floating("data", data)
        if x.ndim != 2 or x.shape[1] != self.dim or x.shape[0] < 2:
            raise ValueError(
                f"data must have shape (N, {self.dim}) with N >= 2; got {x.shape}. Put one "
                "observation in each row."
            )
        checks.require_finite("data", x, "Drop rows with missing entries.")
        floor = checks.floating("tolerance", tolerance)
        checks.require_values("tolerance", floor, lambda v: v >= 0, "non-negative", "Try 1e-8.")
        checks.require_count("max_iterations", max_iterations)
        shares = normalized_weights(weights, x.shape[0])
        found, params = _fitted(self, x, shares, floor, max_iterations)
        checks.require_values(
            "variances of the columns",
            params.noise,
            lambda noise: np.isfinite(noise) & (noise > 0),
            "positive",
            "Drop constant columns, and use fewer factors than there are dimensions of the data.",
        )
        total = x.shape[0] if weights is None else jnp.sum(jnp.asarray(weights, x.dtype))
        log_likelihood = found.objective * total
        return FactorAnalysisFit(
            params,
            found.converged,
            found.num_iterations,
            found.history,
            log_likelihood,
            self.dimension * jnp.log(jnp.asarray(total, x.dtype)) - 2 * log_likelihood,
            2 * self.dimension - 2 * log_likelihood,
        )

    def _whitened(self, params: FactorAnalysisPoint, x: ArrayLike) -> tuple[Array, Array, Array]:
        """Data and loadings in units of the noise, and the factor of `I + W^T Psi^-1 W`."""
        self._require_params(params)
        x = checks.floating("data", x)
        checks.require_trailing_shape("data", x, (self.dim,))
        lead = (1,) * (x.ndim - 1) + (self.dim,)
        scale = jnp.sqrt(params.noise)
        white = (x - params.mean.reshape(lead)) / scale.reshape(lead)
        columns = params.loadings / scale[:, None]
        identity = jnp.eye(self.num_factors, dtype=columns.dtype)
        return white, columns, cholesky(identity + columns.T @ columns)

    def _require_params(self, params: FactorAnalysisPoint) -> None:
        """Check parameters of this model.

        Raises:
          TypeError: they are anything but a `FactorAnalysisPoint`.
          ValueError: wrong shapes.
        """
        if not isinstance(params, FactorAnalysisPoint):
            raise TypeError(
                f"params must be a FactorAnalysisPoint; got {type(params).__name__}. Take the "
                "params of a fit, or FactorAnalysis.Point(mean, loadings, noise)."
            )
        shapes = ((self.dim,), (self.dim, self.num_factors), (self.dim,))
        for name, leaf, shape in zip(params._fields, params, shapes, strict=True):
            if jnp.shape(leaf) != shape:
                raise ValueError(
                    f"{name} must have shape {shape}; got {jnp.shape(leaf)}. Parameters are "
                    "single: use jax.vmap for more."
                )


def _posterior_mean(factor: Array, columns: Array, white: Array) -> Array:
    scores = white @ columns
    flat = scores.reshape(-1, scores.shape[-1])
    return cho_solve(factor, flat.T).T.reshape(scores.shape)


@partial(jax.jit, static_argnames=("model", "max_iterations"))
def _fitted(
    model: FactorAnalysis, x: Array, shares: Array | None, tolerance: Array, max_iterations: int
) -> tuple[LoopResult, FactorAnalysisPoint]:
    """The fit of data centred and in units of its columns' deviations, or of one of all."""
    mean = weighted_mean(x, shares)
    centred = x - mean[None]
    variance = weighted_mean(centred**2, shares)
    if model.isotropic:
        variance = jnp.full_like(variance, jnp.mean(variance))
    # Rounding of the mean is no variance: it makes the noise nan, which the caller reports.
    proper = variance > (4 * jnp.finfo(x.dtype).eps * mean) ** 2
    scale = jnp.sqrt(jnp.where(proper, variance, jnp.nan))
    unit = centred / scale[None]
    covariance = unit.T @ (unit / x.shape[0] if shares is None else unit * shares[:, None])
    spectrum = jnp.linalg.eigvalsh(covariance)[: model.dim - model.num_factors]
    rest = jnp.mean(spectrum) if spectrum.size else jnp.asarray(0.5, x.dtype)
    floor = jnp.finfo(x.dtype).eps ** 0.5

    def e_step(noise: Array) -> tuple[Array, Array]:
        loadings, value = _loadings(covariance, noise, model.num_factors)
        return loadings, value - jnp.sum(jnp.log(scale))

    def m_step(loadings: Array, _: Array) -> Array:
        return jnp.maximum(jnp.diagonal(covariance) - jnp.sum(loadings**2, axis=1), floor)

    start = jnp.full(model.dim, jnp.maximum(rest, floor), x.dtype)
    if model.isotropic:
        # Data in a plane of the factors have no noise to estimate.
        noise = jnp.finfo(x.dtype).eps * model.dim
        start = jnp.where(rest > noise, jnp.full(model.dim, rest), jnp.nan)
        _, value = e_step(start)
        done, none = jnp.asarray(True), jnp.zeros((), int)
        found = LoopResult(start, value, value[None], none, done)
    else:
        found = iterate(e_step, m_step, start, tolerance=tolerance, max_iterations=max_iterations)
    loadings, _ = e_step(found.params)
    noise = found.params * scale**2
    return found, FactorAnalysisPoint(mean, loadings * scale[:, None], noise)


def _loadings(covariance: Array, noise: Array, num_factors: int) -> tuple[Array, Array]:
    """Loadings of largest likelihood given the noise, and that mean log-likelihood."""
    scale = jnp.sqrt(noise)
    values, vectors = jnp.linalg.eigh(covariance / scale[:, None] / scale[None, :])
    values, vectors = values[::-1], vectors[:, ::-1]
    top = jnp.maximum(values[:num_factors] - 1, 0.0)
    loadings = scale[:, None] * vectors[:, :num_factors] * jnp.sqrt(top)[None]
    loadings = loadings * jnp.where(jnp.sum(loadings, axis=0) < 0, -1.0, 1.0)[None]
    volume = jnp.sum(jnp.log1p(top)) + jnp.sum(jnp.log(noise))
    trace = jnp.sum(values) - jnp.sum(top)
    norm = noise.shape[0] * math.log(2 * math.pi)
    return loadings.astype(covariance.dtype), -0.5 * (norm + volume + trace)
