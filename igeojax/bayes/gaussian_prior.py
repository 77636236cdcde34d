"""Laplace's approximation for models: the Fisher matrix of the outputs beside a Gaussian prior.

The Fisher (generalized Gauss-Newton) matrix F is never indefinite, and is taken whole, by its
diagonal or in Kronecker-factored blocks. With a Gaussian prior of precision tau, which is what L2
regularization of strength tau is, the precision of the posterior is `F + tau`.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from igeojax._core import checks
from igeojax.families.base import require_family
from igeojax.fisher._layout import Layout
from igeojax.fisher._statistics import in_bases
from igeojax.fisher.diagonal import fisher_diagonal
from igeojax.fisher.eigenvalues import effective_dimension
from igeojax.fisher.kronecker import (
    DenseFactor,
    DiagonalFactor,
    kronecker_factors,
    kronecker_layout,
)
from igeojax.fisher.model import Predict, fisher_matrix, output_weights

Structure = Literal["dense", "diagonal", "kronecker"]
"""What is kept of the Fisher matrix."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("mean", "log_likelihood", "curvatures", "bases", "prior_precision"),
    meta_fields=("layout",),
)
@dataclasses.dataclass(frozen=True, eq=False)
class ModelLaplace:
    """A normal law over the parameters of a model, of precision `U (curvatures + tau) U^T`.

    Made by `model_laplace`. All is kept by its eigenvalues: another `prior_precision` costs
    nothing, and the evidence can be differentiated in it.

    Args:
      mean: the parameters, a pytree.
      log_likelihood: of the data at the mean.
      curvatures: eigenvalues of the Fisher matrix of each block, `(S, I, O)`.
      bases: of each block a pair of stacks of orthonormal columns, None on a diagonal side.
      prior_precision: tau.
      layout: of the blocks; None for one block of all entries.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> data = jnp.ones((3, 1)), jnp.ones(3)
      >>> law = model_laplace(predict, family, jnp.zeros(1), *data, prior_precision=1.0)
      >>> law.curvatures[0].tolist()
      [[[3.0]]]
    """

    mean: Any
    log_likelihood: Float[Array, ""]
    curvatures: tuple[Array, ...]
    bases: tuple[tuple[Array | None, Array | None], ...]
    prior_precision: Float[Array, ""]
    layout: Layout | None

    def with_prior_precision(self, prior_precision: ArrayLike) -> "ModelLaplace":
        """The same mean and curvature under another prior precision.

        The mean is not moved: for a change of more than a few percent train again.

        Args:
          prior_precision: tau > 0, a scalar.

        Returns:
          The approximation.

        Raises:
          ValueError: it is not positive.

        Examples:
          >>> from igeojax import families
          >>> family = families.NormalKnownScale()
          >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
          >>> data = jnp.ones((3, 1)), jnp.ones(3)
          >>> law = model_laplace(predict, family, jnp.zeros(1), *data, prior_precision=1.0)
          >>> float(law.with_prior_precision(3.0).effective_dimension)
          0.5
        """
        return dataclasses.replace(self, prior_precision=_positive(prior_precision))

    @property
    def log_evidence(self) -> Float[Array, ""]:
        """Log marginal likelihood of the data, in nats.

        `log p(data | mean) - tau/2 |mean|^2 + P/2 log tau - 1/2 log det(F + tau)`; its maximum in
        tau is that of the evidence procedure.

        References:
          [MacKay1992] section 3 (evidence).

        Examples:
          >>> from igeojax import families
          >>> family = families.NormalKnownScale()
          >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
          >>> data = jnp.ones((3, 1)), jnp.ones(3)
          >>> law = model_laplace(predict, family, jnp.zeros(1), *data, prior_precision=1.0)
          >>> exact = jnp.log(2 * jnp.pi) * 1.5 + jnp.log(4.0) / 2 + 1.5
          >>> round(float(law.log_evidence + exact), 6)
          0.0
        """
        tau = self.prior_precision
        square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(self.mean))
        ratios = (jnp.sum(jnp.log1p(values / tau)) for values in self.curvatures)
        return self.log_likelihood - 0.5 * tau * square - 0.5 * sum(ratios)

    @property
    def effective_dimension(self) -> Float[Array, ""]:
        """Number of directions that the data determine, `sum lambda / (lambda + tau)`.

        References:
          [MacKay1992] section 4 (well-determined parameters).

        Examples:
          >>> from igeojax import families
          >>> family = families.NormalKnownScale()
          >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
          >>> data = jnp.ones((3, 1)), jnp.ones(3)
          >>> law = model_laplace(predict, family, jnp.zeros(1), *data, prior_precision=1.0)
          >>> float(law.effective_dimension)
          0.75
        """
        tau = self.prior_precision
        counts = (effective_dimension(values.ravel(), damping=tau) for values in self.curvatures)
        return jnp.asarray(sum(counts))

    def covariance_matvec(self, tangent: Any) -> Any:
        """Covariance of the parameters times a vector.

        Args:
          tangent: pytree like `mean`.

        Returns:
          The product, a pytree like `mean`.

        Examples:
          >>> from igeojax import families
          >>> family = families.NormalKnownScale()
          >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
          >>> data = jnp.ones((3, 1)), jnp.ones(3)
          >>> law = model_laplace(predict, family, jnp.zeros(1), *data, prior_precision=1.0)
          >>> round(float(law.covariance_matvec(jnp.ones(1))[0]), 6)
          0.25
        """
        scaled = [
            part / (values + self.prior_precision)
            for part, values in zip(self._coordinates(tangent), self.curvatures, strict=True)
        ]
        return self._tree(scaled)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Any:
        """Draws of the parameters.

        Args:
          key: a PRNG key.
          shape: leading shape of the draws.

        Returns:
          A pytree like `mean` with leading axes `shape`.

        Raises:
          TypeError: `key` is no PRNG key, or `shape` not a tuple.

        Examples:
          >>> from igeojax import families
          >>> family = families.NormalKnownScale()
          >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
          >>> data = jnp.ones((3, 1)), jnp.ones(3)
          >>> law = model_laplace(predict, family, jnp.zeros(1), *data, prior_precision=1.0)
          >>> law.sample(jax.random.key(0), (5,)).shape
          (5, 1)
        """
        checks.require_key(key)
        checks.require_shape(shape)
        keys = jax.random.split(key, int(np.prod(shape)))

        def draw(key: Array) -> Any:
            each = jax.random.split(key, len(self.curvatures))
            noise = [
                jax.random.normal(one, values.shape, values.dtype)
                * jax.lax.rsqrt(values + self.prior_precision)
                for one, values in zip(each, self.curvatures, strict=True)
            ]
            return jax.tree.map(jnp.add, self.mean, self._tree(noise))

        draws = jax.vmap(draw)(keys)
        return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), draws)

    def _coordinates(self, tree: Any) -> list[Array]:
        """Coordinates of a pytree like the mean in the bases, block by block."""
        if self.layout is None:
            parts = [jax.flatten_util.ravel_pytree(tree)[0]]
        else:
            parts = [block.read(tree) for block in self.layout.blocks]
        blocks = zip(parts, self.curvatures, self.bases, strict=True)
        return [in_bases(part.reshape(values.shape), pair) for part, values, pair in blocks]

    def _tree(self, coordinates: list[Array]) -> Any:
        pairs = zip(coordinates, self.bases, strict=True)
        parts = [in_bases(part, pair, back=True) for part, pair in pairs]
        if self.layout is None:
            vector, unravel = jax.flatten_util.ravel_pytree(self.mean)
            return unravel(parts[0].ravel().astype(vector.dtype))
        blocks = zip(parts, self.layout.blocks, strict=True)
        return self.layout.write([part.reshape(block.shape) for part, block in blocks])


def model_laplace(
    predict: Predict,
    family: Any,
    params: Any,
    inputs: Any,
    targets: Any,
    *,
    prior_precision: ArrayLike,
    structure: Structure = "kronecker",
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> ModelLaplace:
    """Laplace's approximation of the posterior of a model under a Gaussian prior `N(0, 1/tau)`.

    The Fisher matrix `F = sum_n J_n^T F_out J_n` stands for the Hessian of the negative
    log-likelihood: never indefinite, equal to it for linear models with natural parameters. For the
    last layer alone, see `restricted`.

    | structure | memory | cost beside the Jacobians |
    | --- | --- | --- |
    | "dense" | `P^2` | `P^3` |
    | "kronecker" | `I^2 + O^2` of each layer `(I, O)` | `I^3 + O^3` |
    | "diagonal" | `P` | none |

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family.
      params: the trained parameters, a minimum of `-sum_n log p(y_n | x_n) + tau/2 |params|^2`.
      inputs: pytree of arrays with the examples on axis 0.
      targets: observations, one for each output.
      prior_precision: tau > 0, the strength of the L2 regularization of the *sum* over examples:
        weight decay on a mean loss, times N.
      structure: "dense", "kronecker" or "diagonal".
      weights: of each example or output; None is 1.
      chunk_size: examples at a time; None takes all at once.

    Returns:
      The approximation.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: an unknown `structure`, `prior_precision` not positive, targets of another shape
        than the outputs, or bad weights.

    References:
      [Ritter2018] section 3 (Kronecker factors).
      [Daxberger2021] section 2.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([1.0, 2.0])
      >>> law = model_laplace(
      ...     predict, family, jnp.ones(1), x, y, prior_precision=5.0, structure="dense"
      ... )
      >>> round(float(law.covariance_matvec(jnp.ones(1))[0]), 6)
      0.1
    """
    require_family(family)
    checks.require_option("structure", structure, ("dense", "kronecker", "diagonal"))
    tau = _positive(prior_precision)
    theta = predict(params, inputs)
    batch = family.batch_shape(theta)
    data = family._data(targets, jax.tree.leaves(theta)[0].dtype)
    if family._data_batch_shape(data) != batch:
        raise ValueError(
            f"targets must have one observation for each output, batch shape {batch}; got "
            f"{family._data_batch_shape(data)}. Broadcasting would count some several times."
        )
    family.require_support(data)
    ones = jnp.ones(batch[:1]) if weights is None else weights
    scale = output_weights(predict, family, params, inputs, ones)
    log_likelihood = jnp.sum(scale * family.log_density(theta, data))
    options: dict[str, Any] = {"weights": scale, "chunk_size": chunk_size}
    layout, values, bases = None, [], []
    if structure == "dense":
        one, pair = _eigen_dense(fisher_matrix(predict, family, params, inputs, **options))
        values, bases = [one], [pair]
    elif structure == "diagonal":
        diagonal = fisher_diagonal(predict, family, params, inputs, **options)
        values = [jax.flatten_util.ravel_pytree(diagonal)[0].reshape((1, -1, 1))]
        bases = [(None, None)]
    else:
        layout = kronecker_layout(predict, params, inputs)
        factors = kronecker_factors(layout, predict, family, params, inputs, **options)
        for factor in factors:
            one, pair = _eigen_of(factor)
            values.append(one)
            bases.append(pair)
    return ModelLaplace(params, log_likelihood, tuple(values), tuple(bases), tau, layout)


def _positive(prior_precision: ArrayLike) -> Array:
    tau = checks.floating("prior_precision", prior_precision)
    if tau.ndim:
        raise ValueError(
            f"prior_precision must be a number; got shape {tau.shape}. It is that of every "
            "parameter."
        )
    checks.require_positive("prior_precision", tau, "It is the strength of the L2 penalty.")
    return jnp.where(tau > 0, tau, jnp.nan)


def _eigen_dense(matrix: Array) -> tuple[Array, tuple[Array | None, Array | None]]:
    values, basis = jnp.linalg.eigh(matrix)
    return jnp.maximum(values, 0.0).reshape((1, -1, 1)), (basis[None], None)


def _eigen_of(factor: Any) -> tuple[Array, tuple[Array | None, Array | None]]:
    """Eigenvalues `(S, I, O)` of a block, and its bases."""
    if isinstance(factor, DenseFactor):
        return _eigen_dense(factor.matrix)
    if isinstance(factor, DiagonalFactor):
        return factor.diagonal.reshape((1, -1, 1)), (None, None)
    sides = []
    for stack in factor:
        values, basis = (stack, None) if stack.ndim == 2 else jnp.linalg.eigh(stack)
        sides.append((jnp.maximum(values, 0.0), basis))
    (rows, first), (columns, second) = sides
    return rows[:, :, None] * columns[:, None, :], (first, second)
