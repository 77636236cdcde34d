"""Fisher matrices from labels: labels of the model, or those of the data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.fisher._arguments import require_examples, require_weights
from igeojax.fisher._chunks import summed_over_chunks
from igeojax.fisher._rows import gradient_rows
from igeojax.fisher.model import Predict, output_weights
from igeojax.fisher.output import Output, require_output, score_samples


def sampled_rows(
    key: Key[Array, ""],
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    num_samples: int,
    weights: ArrayLike | None,
) -> tuple[Callable[..., Array], Array, tuple[Any, Any]]:
    """Rows R of gradients for sampled labels, with `E[R^T R] = F`, as a function of a chunk.

    Args:
      key: a PRNG key.
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      num_samples: samples for each example.
      weights: of each example or output; None is `1/N`.

    Returns:
      `rows(weights, inputs, keys)`, and these arguments for all examples: the weights apart, then
      the others as a tuple.

    Raises:
      TypeError: `key` is no PRNG key, or `family` is not a family.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, or `num_samples < 1`.

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> arguments = lambda w, x: family.Point(x @ w), family, jnp.zeros(1), jnp.ones((4, 1))
      >>> rows, weights, data = sampled_rows(jax.random.key(0), *arguments, 2, None)
      >>> rows(weights, *data).shape
      (8, 1)
    """
    require_output(family)
    checks.require_key(key)
    checks.require_count("num_samples", num_samples)
    scale = output_weights(predict, family, params, inputs, weights)
    keys = jax.random.split(key, scale.shape[0])

    def cotangents(theta: Any, key: Any) -> Any:
        draw = lambda key: score_samples(key, family, theta)
        return jax.vmap(draw)(jax.random.split(key, num_samples))

    def rows(scale: Array, inputs: Any, keys: Array) -> Array:
        return gradient_rows(predict, cotangents, params, scale / num_samples, inputs, keys)

    return rows, scale, (inputs, keys)


def sampled_fisher_matrix(
    key: Key[Array, ""],
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    num_samples: int = 1,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Float[Array, "parameters parameters"]:
    """Monte-Carlo Fisher matrix `mean_n mean_m g_nm g_nm^T`, with labels of the model: unbiased.

    For large outputs: one gradient an example and sample. `N M P` memory for N examples at a time
    and M samples, `N M P^2` operations. Not the empirical Fisher, whose labels are the data's.

    Args:
      key: a PRNG key.
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`: then random signs on a root of the metric.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      num_samples: samples M for each example.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time; the same samples are drawn whatever it is.

    Returns:
      The symmetric matrix in the order of `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `key` is no PRNG key, `family` is not a family, or `predict` does not return a
        point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, `num_samples < 1`, or
        `chunk_size < 1`.

    References:
      [Martens2020] section 5.

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> predict = lambda w, x: family.Point(x @ w)
      >>> arguments = predict, family, jnp.zeros(1), jnp.array([[2.0], [4.0]])
      >>> sampled_fisher_matrix(jax.random.key(0), *arguments).round(6).tolist()
      [[2.5]]
    """
    rows, scale, data = sampled_rows(key, predict, family, params, inputs, num_samples, weights)

    def term(*chunk: Any) -> Array:
        gradients = rows(*chunk)
        return gradients.T @ gradients

    return summed_over_chunks(term, scale, *data, chunk_size=chunk_size)


def empirical_fisher_matrix(
    predict: Predict,
    family: ExponentialFamily,
    params: Any,
    inputs: Any,
    targets: Any,
    *,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Float[Array, "parameters parameters"]:
    """Empirical Fisher `mean_n g_n g_n^T`, with `g_n` the gradient for the label in the data.

    Not the Fisher matrix and not an estimate of it away from a well-specified optimum: the labels
    of `fisher_matrix` are those of the model. Offered for comparison. `N P` memory
    (N examples at a time) and `N P^2` operations for P parameters.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      targets: observations of the family, one for each output.
      weights: of each example, shape `(N,)`, replacing `1/N`.
      chunk_size: examples at a time, so that memory is bounded; None takes all at once.

    Returns:
      The symmetric matrix in the order of `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it,
        or `targets` are not numeric.
      ValueError: `inputs` and `targets` disagree on axis 0, or `weights` of a wrong shape or
        negative, or `chunk_size < 1`.

    References:
      [Kunstner2019] equation (3).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x, y = jnp.array([[1.0], [3.0]]), jnp.array([2.0, 0.0])
      >>> empirical_fisher_matrix(predict, family, jnp.zeros(1), x, y).tolist()
      [[2.0]]
    """
    require_family(family)
    require_examples("inputs and targets", (inputs, targets))
    family.require_support(targets)
    vector, unravel = jax.flatten_util.ravel_pytree(params)

    def log_likelihood(coordinates: Array, example: Any, target: Any) -> Array:
        alone = jax.tree.map(lambda leaf: leaf[None], (example, target))
        theta = predict(unravel(coordinates), alone[0])
        outputs = family.batch_shape(theta)
        found = family._data_batch_shape(family._data(target))
        if outputs[1:] != found:
            raise ValueError(
                f"targets must have one observation for each output, batch shape {outputs[1:]} an "
                f"example; got {found}. Broadcasting would count some of them several times."
            )
        return jnp.sum(family.log_density(theta, alone[1]))

    def term(scale: Array, data: Any) -> Array:
        gradients = jax.vmap(jax.grad(log_likelihood), (None, 0, 0))(vector, *data)
        return (gradients * scale[:, None]).T @ gradients

    size = jnp.shape(jax.tree.leaves(inputs)[0])[0]
    if weights is None:
        weights = jnp.full(size, 1 / max(size, 1), vector.dtype)
    weights = checks.floating("weights", weights)
    if weights.shape != (size,):
        raise ValueError(
            f"weights must have shape {(size,)}, one for each example; got "
            f"{weights.shape}. They replace the factor 1/N of the mean."
        )
    require_weights(weights)
    return summed_over_chunks(term, weights, (inputs, targets), chunk_size=chunk_size)
