"""Fisher information of a model whose outputs are natural parameters of a family.

`predict(params, inputs)` is any pure function that returns a point of the output family with the
examples on axis 0. The matrix is `F = mean_x J_x^T F_out J_x`: the mean over axis 0, the sum over
further output axes (tokens, pixels); explicit `weights` replace the `1/N` of the mean. It equals
the generalized Gauss-Newton matrix of the negative log-likelihood.

Dense forms take the Jacobian example by example: there `predict` must treat the examples
independently (no batch statistics). `fisher_matvec` assumes nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.fisher._arguments import require_examples, require_weights, tangent_of
from igeojax.fisher._chunks import summed_over_chunks
from igeojax.fisher.output import Output, require_output, widened

Predict = Callable[[Any, Any], Any]
"""A model: `predict(params, inputs)` returns a point of the output family, or raw outputs."""


def _output_batch(family: Output, theta: Any) -> tuple[int, ...]:
    """Batch shape of the outputs: examples on axis 0, then tokens, pixels, ...

    Raises:
      ValueError: no axis of examples, or no examples.
    """
    batch = family.batch_shape(theta)
    if not batch or batch[0] == 0:
        raise ValueError(
            "predict must return a point with the examples on axis 0, at least one; got batch "
            f"shape {batch}. Give inputs a leading axis of examples."
        )
    return batch


def weights_of(family: Output, theta: Any, weights: ArrayLike | None) -> Float[Array, "*batch"]:
    """Weight of each output: `1/N`, or the given ones broadcast over the further output axes.

    Args:
      family: the output family, or an `OutputMetric`.
      theta: what `predict` returned, examples on axis 0.
      weights: of each example or output; None is `1/N`.

    Returns:
      The weights, of the batch shape of `theta`, at least in float32.

    Raises:
      ValueError: no axis of examples, or `weights` of a wrong shape or negative.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> weights_of(families.Poisson(), families.Poisson().Point(jnp.ones(2)), None).tolist()
      [0.5, 0.5]
    """
    batch = _output_batch(family, theta)
    dtype = jnp.promote_types(jax.tree.leaves(theta)[0].dtype, jnp.float32)
    if weights is None:
        return jnp.full(batch, 1 / batch[0], dtype)
    weights = checks.floating("weights", weights).astype(dtype)
    if weights.shape != batch[: weights.ndim] or weights.ndim == 0:
        raise ValueError(
            f"weights must have shape {batch[:1]} (examples) or {batch} (outputs); got "
            f"{weights.shape}. They replace the factor 1/N of the mean."
        )
    require_weights(weights)
    return jnp.broadcast_to(
        weights.reshape(weights.shape + (1,) * (len(batch) - weights.ndim)), batch
    )


def output_weights(
    predict: Predict, family: Output, params: Any, inputs: Any, weights: ArrayLike | None
) -> Float[Array, "*batch"]:
    """Weight of each output of a model, from shapes alone.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output; None is `1/N`.

    Returns:
      The weights, of the batch shape of the outputs.

    Raises:
      TypeError: `predict` does not return outputs of `family`.
      ValueError: `inputs` without a shared axis of examples, or `weights` of a wrong shape or
        negative.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> predict = lambda w, x: families.Poisson().Point(x * w)
      >>> output_weights(predict, families.Poisson(), 1.0, jnp.ones(2), None).tolist()
      [0.5, 0.5]
    """
    require_examples("inputs", inputs)
    return weights_of(family, jax.eval_shape(predict, params, inputs), weights)


def _weighted_image(family: Output, theta: Any, tangent: Any, weights: Array) -> Any:
    """`W F_out v`, at least in float32."""
    image = family.fisher_matvec(widened(theta), widened(tangent))
    return jax.tree.map(
        lambda leaf: leaf * weights.reshape(weights.shape + (1,) * (leaf.ndim - weights.ndim)),
        image,
    )


def fisher_matvec(
    predict: Predict,
    family: Output,
    params: Any,
    tangent: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Any:
    """Fisher matrix times a tangent, `F v = J^T F_out J v`: one jvp and one vjp of `predict`.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      tangent: pytree like `params`.
      inputs: what `predict` takes.
      weights: of each example or output, replacing `1/N`; a weight 0 masks.
      chunk_size: examples at a time, so that memory is bounded: `predict` must then treat them
        independently, on axis 0 of all inputs. None takes all at once.

    Returns:
      The product, a pytree like `params`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, a `tangent` that
        is not like `params`, or `chunk_size < 1`.

    References:
      [Martens2020] section 9 (the Fisher as a generalized Gauss-Newton matrix).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> fisher_matvec(predict, family, jnp.zeros(2), jnp.ones(2), x).tolist()
      [0.5, 4.5]
    """
    require_output(family)
    tangent = tangent_of(params, tangent)

    def term(weights: Any, inputs: Any) -> Any:
        theta, push = jax.linearize(lambda p: predict(p, inputs), params)
        scale = weights_of(family, theta, weights)
        image = _weighted_image(family, theta, push(tangent), scale)
        image = jax.tree.map(lambda leaf, at: leaf.astype(at.dtype), image, theta)
        return jax.linear_transpose(push, tangent)(image)[0]

    if chunk_size is not None:
        weights = output_weights(predict, family, params, inputs, weights)
    return summed_over_chunks(term, weights, inputs, chunk_size=chunk_size)


def fisher_inner_products(
    predict: Predict,
    family: Output,
    params: Any,
    tangents: Sequence[Any],
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
) -> Float[Array, "m m"]:
    """Inner products `v_i^T F v_j` of a few tangents: one forward pass, one jvp for each.

    What a step size from a quadratic model, or the length of a step, needs: no vjp is taken.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      tangents: m pytrees like `params`.
      inputs: what `predict` takes.
      weights: of each example or output, replacing `1/N`; a weight 0 masks.

    Returns:
      The symmetric matrix, at least float32.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, `weights` of a wrong shape or negative, or a tangent that is
        not like `params`.

    References:
      [MartensGrosse2015] section 6.4 (their use, and appendix C that a jvp is enough).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tangents = [jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0])]
      >>> fisher_inner_products(predict, family, jnp.zeros(2), tangents, jnp.eye(2)).tolist()
      [[0.5, 0.5], [0.5, 1.0]]
    """
    require_output(family)
    theta, push = jax.linearize(lambda p: predict(p, inputs), params)
    scale = weights_of(family, theta, weights)
    pushed = [push(tangent_of(params, tangent)) for tangent in tangents]
    images = [_weighted_image(family, theta, v, scale) for v in pushed]

    def product(a: Any, image: Any) -> Array:
        pairs = zip(jax.tree.leaves(widened(a)), jax.tree.leaves(image), strict=True)
        return sum((jnp.vdot(x, y) for x, y in pairs), start=jnp.zeros((), scale.dtype))

    size = len(pushed)
    entries = {(i, j): product(pushed[i], images[j]) for i in range(size) for j in range(i, size)}
    rows = [[entries[min(i, j), max(i, j)] for j in range(size)] for i in range(size)]
    return jnp.stack([jnp.stack(row) for row in rows])


def output_jacobian(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
) -> tuple[Float[Array, "rows parameters"], Float[Array, "rows parameters"]]:
    """Jacobian `J` of the outputs and its image `W F_out J`, so that `F = J^T (W F_out J)`.

    Memory is `N C P` for N examples of C output coordinates and P parameters. Reverse mode where
    `C < P`, forward mode otherwise.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.

    Returns:
      Both as matrices: rows are the entries of the output leaves, columns those of `params` in the
      order of `jax.flatten_util.ravel_pytree`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, no examples, or `weights` of a wrong shape or negative.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x = jnp.array([[2.0], [3.0]])
      >>> jacobian, image = output_jacobian(predict, family, jnp.zeros(1), x)
      >>> jacobian.tolist(), image.tolist()
      ([[2.0], [3.0]], [[1.0], [1.5]])
    """
    require_output(family)
    require_examples("inputs", inputs)
    vector, unravel = jax.flatten_util.ravel_pytree(params)

    def outputs(coordinates: Array, example: Any) -> Any:
        alone = jax.tree.map(lambda leaf: leaf[None], example)
        theta = predict(unravel(coordinates), alone)
        _output_batch(family, theta)
        return jax.tree.map(lambda leaf: leaf[0], theta)

    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
    shapes = jax.tree.leaves(jax.eval_shape(outputs, vector, example))
    derivative = jax.jacrev if sum(leaf.size for leaf in shapes) < vector.size else jax.jacfwd
    jacobian = jax.vmap(derivative(outputs), (None, 0))(vector, inputs)
    theta = jax.vmap(outputs, (None, 0))(vector, inputs)
    scale = weights_of(family, theta, weights)
    jacobian = widened(jacobian)
    image = jax.vmap(lambda column: _weighted_image(family, theta, column, scale), -1, -1)(jacobian)
    return _rows(jacobian), _rows(image)


def _rows(columns: Any) -> Array:
    leaves = jax.tree.leaves(columns)
    return jnp.concatenate([leaf.reshape((-1, leaf.shape[-1])) for leaf in leaves])


def fisher_matrix(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> Float[Array, "parameters parameters"]:
    """Fisher matrix `F = mean_x J_x^T F_out J_x`, exact: no labels enter.

    For small models: `N C P` memory (N examples at a time) and `N C P^2` operations.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, so that memory is bounded; None takes all at once.

    Returns:
      The symmetric matrix in the order of `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, or `weights` of a wrong shape or negative, or
        `chunk_size < 1`.

    References:
      [Martens2020] section 9.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> fisher_matrix(predict, family, jnp.zeros(1), jnp.array([[1.0], [3.0]])).tolist()
      [[5.0]]
    """

    def term(scale: Any, inputs: Any) -> Array:
        jacobian, image = output_jacobian(predict, family, params, inputs, weights=scale)
        return jacobian.T @ image

    if chunk_size is not None:
        weights = output_weights(predict, family, params, inputs, weights)
    matrix = summed_over_chunks(term, weights, inputs, chunk_size=chunk_size)
    return 0.5 * (matrix + matrix.T)
