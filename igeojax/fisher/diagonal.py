"""Diagonal, blocks and trace of the Fisher matrix of a model."""

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from igeojax.fisher._chunks import summed_over_chunks
from igeojax.fisher.labels import sampled_rows
from igeojax.fisher.model import Predict, output_jacobian, output_weights
from igeojax.fisher.output import Output


def _like(params: Any, vector: Array) -> Any:
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    return unravel(vector.astype(flat.dtype))


def fisher_diagonal(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Any:
    """Diagonal of the Fisher matrix, exact, as a pytree like `params`.

    `N C P` memory (N examples at a time) and operations, a factor P less than the matrix. Where C
    is large, `fisher_diagonal_from_samples` costs one gradient an example and sample.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, so that memory is bounded; None takes all at once.

    Returns:
      Non-negative entries, a pytree like `params`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, no examples, `weights` of a wrong shape or negative, or
        `chunk_size < 1`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> fisher_diagonal(predict, family, jnp.zeros(1), jnp.array([[1.0], [3.0]])).tolist()
      [5.0]
    """

    def term(scale: Any, inputs: Any) -> Array:
        jacobian, image = output_jacobian(predict, family, params, inputs, weights=scale)
        return jnp.sum(jacobian * image, axis=0)

    if chunk_size is not None:
        weights = output_weights(predict, family, params, inputs, weights)
    return _like(params, summed_over_chunks(term, weights, inputs, chunk_size=chunk_size))


def fisher_diagonal_from_samples(
    key: Key[Array, ""],
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    num_samples: int = 1,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Any:
    """Unbiased estimate of the diagonal from sampled labels: `mean_n mean_m g_nm^2`.

    For large outputs: one gradient an example and sample, whatever the number of output
    coordinates; `N M P` memory for N examples at a time. `g = J^T s` with `s = T(y) - eta` for a
    label y of the model, or random signs on a root of an `OutputMetric`. Its relative error falls
    as `1/sqrt(N M)`.

    Args:
      key: a PRNG key.
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      num_samples: samples M for each example.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time; the same samples are drawn whatever it is.

    Returns:
      Non-negative entries, a pytree like `params`.

    Raises:
      TypeError: `key` is no PRNG key, `family` is not a family, or `predict` does not return a
        point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, `num_samples < 1`, or
        `chunk_size < 1`.

    References:
      [Martens2020] section 5.

    Examples:
      >>> import jax
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> predict = lambda w, x: family.Point(x @ w)
      >>> arguments = predict, family, jnp.zeros(1), jnp.array([[2.0], [4.0]])
      >>> fisher_diagonal_from_samples(jax.random.key(0), *arguments).round(6).tolist()
      [2.5]
    """
    rows, scale, data = sampled_rows(key, predict, family, params, inputs, num_samples, weights)
    term = lambda *chunk: jnp.sum(rows(*chunk) ** 2, axis=0)
    return _like(params, summed_over_chunks(term, scale, *data, chunk_size=chunk_size))


def fisher_block_diagonal(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Any:
    """Diagonal blocks of the Fisher matrix, exact and dense, one for each leaf of `params`.

    `N C P` memory (N examples at a time) and `N C sum_l P_l^2` operations.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, so that memory is bounded; None takes all at once.

    Returns:
      A pytree like `params`: for a leaf of P_l entries the symmetric matrix `(P_l, P_l)`, in
      row-major order of its entries.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, or `chunk_size < 1`.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x * w["slope"] + w["bias"])
      >>> params = {"slope": jnp.zeros(()), "bias": jnp.zeros(())}
      >>> blocks = fisher_block_diagonal(predict, family, params, jnp.array([1.0, 3.0]))
      >>> blocks["slope"].tolist(), blocks["bias"].tolist()
      ([[5.0]], [[1.0]])
    """
    leaves, structure = jax.tree.flatten(params)

    def term(scale: Any, inputs: Any) -> list[Array]:
        jacobian, image = output_jacobian(predict, family, params, inputs, weights=scale)
        blocks, start = [], 0
        for leaf in leaves:
            part = slice(start, start + jnp.size(leaf))
            blocks.append(jacobian[:, part].T @ image[:, part])
            start = part.stop
        return blocks

    if chunk_size is not None:
        weights = output_weights(predict, family, params, inputs, weights)
    blocks = summed_over_chunks(term, weights, inputs, chunk_size=chunk_size)
    return jax.tree.unflatten(structure, [0.5 * (block + block.T) for block in blocks])


def fisher_trace(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Float[Array, ""]:
    """Trace of the Fisher matrix, exact: the sum of `fisher_diagonal`, at its cost.

    For large outputs sum `fisher_diagonal_from_samples`.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, so that memory is bounded; None takes all at once.

    Returns:
      A scalar.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, or `chunk_size < 1`.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> float(fisher_trace(predict, family, jnp.zeros(2), x))
      5.0
    """
    diagonal = fisher_diagonal(
        predict, family, params, inputs, weights=weights, chunk_size=chunk_size
    )
    return jnp.sum(jax.flatten_util.ravel_pytree(diagonal)[0])
