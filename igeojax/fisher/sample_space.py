"""The Fisher matrix of a model seen from its outputs: a root with a row an output coordinate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.fisher._arguments import require_examples, tangent_of
from igeojax.fisher._layer_gram import layer_gram
from igeojax.fisher._rows import gradient_rows
from igeojax.fisher.kronecker import kronecker_layout
from igeojax.fisher.model import Predict, output_weights, weights_of
from igeojax.fisher.output import Output, require_output, score_factors, widened


class RootOperator(NamedTuple):
    """The root R of a Fisher matrix `F = R^T R` as functions, its rows those of `fisher_root`.

    `matvec(tangent)`: `R v`, a vector of the rows, by one jvp; `transposed_matvec(rows)`: `R^T u`,
    a pytree like the parameters, by one vjp; `gram()`: `R R^T`, as in `sample_space_gram`.
    """

    matvec: Callable[[Any], Float[Array, "rows"]]
    transposed_matvec: Callable[[Float[Array, "rows"]], Any]
    gram: Callable[[], Float[Array, "rows rows"]]


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


def fisher_root_operator(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
) -> RootOperator:
    """Root R of the Fisher matrix, `F = R^T R`, as products; no Jacobian is formed.

    One forward pass, shared by all products. What a solve in the space of the outputs needs:
    `(F + damping I)^{-1} g = (g - R^T (R R^T + damping I)^{-1} R g) / damping`.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`; a weight 0 masks.

    Returns:
      The products; the rows are those of `fisher_root`, of one example together.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative; from the products, a
        vector of another shape.

    References:
      [Goldshlager2024] (the solve in sample space).

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> root = fisher_root_operator(predict, family, jnp.zeros(2), jnp.array([[3.0, 4.0]]))
      >>> root.matvec(jnp.ones(2)).tolist(), root.transposed_matvec(jnp.ones(1)).tolist()
      ([7.0], [3.0, 4.0])
    """
    require_output(family)
    require_examples("inputs", inputs)
    theta, push = jax.linearize(lambda p: predict(p, inputs), params)
    scale = weights_of(family, theta, weights)
    positive = scale > 0
    roots = jnp.where(positive, jnp.sqrt(jnp.where(positive, scale, 1.0)), 0.0)
    scores = score_factors(family, theta)
    leaves = jax.tree.leaves(scores)
    count, examples = leaves[0].shape[:2]

    def weighted(score: Array) -> Array:
        shape = (1, *roots.shape) + (1,) * (score.ndim - 1 - roots.ndim)
        return widened(score) * roots.reshape(shape)

    factors = jax.tree.map(weighted, scores)

    def matvec(tangent: Any) -> Array:
        image = push(tangent_of(params, tangent))

        def shares(factor: Array, at: Array) -> Array:
            return jnp.sum(factor * widened(at)[None], axis=tuple(range(2, factor.ndim)))

        found = jax.tree.leaves(jax.tree.map(shares, factors, image))
        return jnp.asarray(sum(found[1:], start=found[0])).T.reshape(-1)

    def transposed_matvec(rows: Array) -> Any:
        if jnp.shape(rows) != (examples * count,):
            raise ValueError(
                f"rows must have shape {(examples * count,)}, one for each example and cotangent; "
                f"got {jnp.shape(rows)}. Use jax.vmap for several vectors."
            )
        shares = rows.reshape((examples, count)).T

        def cotangent(factor: Array, at: Array) -> Array:
            share = shares.reshape(shares.shape + (1,) * (factor.ndim - 2))
            return jnp.sum(factor * share, axis=0).astype(at.dtype)

        return jax.linear_transpose(push, params)(jax.tree.map(cotangent, factors, theta))[0]

    def gram() -> Array:
        layout = kronecker_layout(predict, params, inputs)
        # The very scores of the products: eigenvectors of a multiple eigenvalue may turn where
        # outputs differ by rounding.
        own = jax.tree.map(lambda score: jnp.moveaxis(score, 0, 1), scores)
        given = lambda _, score: jax.tree.map(lambda s: s[:, None], score)
        return layer_gram(layout, params, scale, inputs, own, given, count)

    return RootOperator(matvec, transposed_matvec, gram)


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

    Layer by layer, without the Jacobian: for a matrix `(I, O)` with features a and cotangents g of
    its products it is `(A A^T) o (G G^T)`, entry by entry, of `(N K)^2 (I + O)` operations in place
    of `(N K)^2 I O`. Where many positions share a matrix (tokens, pixels) and that would cost more,
    and for parameters that enter in other ways, the gradients of the examples are formed.

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
    return fisher_root_operator(predict, family, params, inputs, weights=weights).gram()


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
