"""The Fisher matrix of a model seen from its outputs: a root with a row an output coordinate."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.fisher._rows import gradient_rows
from igeojax.fisher.model import Predict, output_weights
from igeojax.fisher.output import Output, require_output, score_factors


def fisher_root(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
) -> Float[Array, "rows parameters"]:
    """Root R of the Fisher matrix, `F = R^T R`: rows are gradients of cotangents on the outputs.

    Its rows are `sqrt(w_n) J_n^T s_nk`, with `sum_k s_nk s_nk^T = F_out` of example n: one for each
    class of a `Categorical`, one for each coordinate of other outputs; times T for T outputs an
    example. `N K P` memory for N examples of K rows. Symmetric forms follow, without the asymmetry
    of the pair `(J, W F_out J)` of `output_jacobian`.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.

    Returns:
      The matrix `(N K, P)`, rows of one example together, columns in the order of
      `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, or `weights` of a wrong shape or negative.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> fisher_root(predict, family, jnp.zeros(1), jnp.array([[2.0]])).tolist()
      [[2.0]]
    """
    require_output(family)
    scale = output_weights(predict, family, params, inputs, weights)
    cotangents = lambda theta, _: score_factors(family, theta)
    return gradient_rows(predict, cotangents, params, scale, inputs, None)


def sample_space_gram(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
) -> Float[Array, "rows rows"]:
    """Gram matrix `R R^T` of the Fisher root: the same non-zero eigenvalues as `F = R^T R`.

    For `N K << P`: small where F is large. Also the natural (Fisher) kernel of the examples.
    `N K P` memory and `(N K)^2 P` operations.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.

    Returns:
      The symmetric matrix, rows as those of `fisher_root`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, or `weights` of a wrong shape or negative.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> sample_space_gram(predict, family, jnp.zeros(2), jnp.array([[3.0, 4.0]])).tolist()
      [[25.0]]
    """
    root = fisher_root(predict, family, params, inputs, weights=weights)
    return root @ root.T


def fisher_log_det(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    damping: ArrayLike,
    weights: ArrayLike | None = None,
) -> Float[Array, ""]:
    """Log-determinant `log det(F + damping I)`, exact, in the smaller of the two spaces.

    `P log(damping) + log det(I + R R^T / damping)` by Cholesky, of the Gram matrix or of the matrix
    itself: `N K P` memory, `min(N K, P)^2 max(N K, P)` operations. For large models integrate the
    log over `fisher_spectral_density`.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      damping: positive scalar; may be traced.
      weights: of each example or output, replacing `1/N`.

    Returns:
      A scalar, in nats.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: `damping` is not a positive scalar, no axis of examples, or `weights` of a wrong
        shape or negative.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> arguments = predict, family, jnp.zeros(2), jnp.array([[2.0, 0.0]])
      >>> round(float(fisher_log_det(*arguments, damping=1.0)), 6)
      1.609438
    """
    level = checks.floating("damping", damping)
    if level.shape:
        raise ValueError(
            f"damping must be a scalar; got shape {level.shape}. Scale the parameters instead to "
            "damp them differently."
        )
    remedy = "The Fisher matrix of few examples is singular: its own determinant is 0."
    checks.require_positive("damping", damping, remedy)
    root = fisher_root(predict, family, params, inputs, weights=weights)
    level = level.astype(root.dtype)
    small = root @ root.T if root.shape[0] <= root.shape[1] else root.T @ root
    factor = jnp.linalg.cholesky(jnp.eye(small.shape[0], dtype=root.dtype) + small / level)
    return root.shape[1] * jnp.log(level) + 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))
