"""Outputs of a model under a Laplace approximation, by its linearization; models of some layers.

The outputs `f(params) ~ f(mean) + J (params - mean)` of a normal law of the parameters are normal,
with covariance `J Sigma J^T`: no sampled network is run, and none of the samples leaves the region
where the curvature was taken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from igeojax._core import checks
from igeojax.bayes.gaussian_prior import ModelLaplace
from igeojax.fisher._arguments import require_examples
from igeojax.fisher.model import Predict


class LinearizedOutputs(NamedTuple):
    """Normal laws of the outputs of a model, one for each example.

    `mean`: what `predict` returns at the mean of the parameters. `covariance`: of the C entries of
    the output of one example, in the order of its leaves, `(N, C, C)`.
    """

    mean: Any
    covariance: Float[Array, "N C C"]

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Any:
        """Draws of the outputs: of natural parameters, whose `family.mean` averages to predictions.

        Args:
          key: a PRNG key.
          shape: leading shape of the draws.

        Returns:
          Points like `mean`, with leading axes `shape`.

        Raises:
          TypeError: `key` is no PRNG key, or `shape` not a tuple.

        Examples:
          >>> from igeojax import families
          >>> mean = families.Poisson().Point(jnp.zeros(2))
          >>> LinearizedOutputs(mean, jnp.ones((2, 1, 1))).sample(jax.random.key(0), (3,)).x.shape
          (3, 2)
        """
        checks.require_key(key)
        checks.require_shape(shape)
        values, basis = jnp.linalg.eigh(self.covariance)
        root = basis * jnp.sqrt(jnp.maximum(values, 0.0))[..., None, :]
        noise = jax.random.normal(key, (*shape, *root.shape[:2]), root.dtype)
        moved = jnp.einsum("nij,...nj->...ni", root, noise)

        def placed(apart: Array, one: Any) -> Any:
            flat, unravel = jax.flatten_util.ravel_pytree(one)
            return unravel(flat + apart)

        placed_all = jax.vmap(placed)
        for _ in shape:
            placed_all = jax.vmap(placed_all, (0, None))
        return placed_all(moved, self.mean)


def linearized_outputs(
    law: ModelLaplace, predict: Predict, inputs: Any, *, chunk_size: int | None = None
) -> LinearizedOutputs:
    """Mean and covariance of the outputs of a model, `f(mean)` and `J Sigma J^T`.

    C vjps an example for C entries of an output, turned into the eigenbasis of the blocks: the
    covariance is a Gram matrix and so positive semi-definite.

    Args:
      law: from `model_laplace`.
      predict: `predict(params, inputs)`, examples independent.
      inputs: pytree of arrays with the examples on axis 0.
      chunk_size: examples at a time, each of `C P` memory; None takes all at once.

    Returns:
      The laws of the outputs: of natural parameters of the output family.

    Raises:
      TypeError: `law` is not a `ModelLaplace`.
      ValueError: `inputs` without a shared axis of examples, or `chunk_size < 1`.

    References:
      [Immer2021] section 3 (linearized predictions).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.bayes.gaussian_prior import model_laplace
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([1.0, 2.0])
      >>> law = model_laplace(predict, family, jnp.ones(1), x, y, prior_precision=5.0)
      >>> outputs = linearized_outputs(law, predict, jnp.array([[3.0]]))
      >>> round(float(outputs.covariance[0, 0, 0]), 6)
      0.9
    """
    if not isinstance(law, ModelLaplace):
        raise TypeError(
            f"law must be a ModelLaplace; got {type(law).__name__}. Make it with "
            "bayes.model_laplace."
        )
    require_examples("inputs", inputs)
    if chunk_size is not None:
        checks.require_count("chunk_size", chunk_size)
    tau = law.prior_precision

    def covariance(example: Any) -> Array:
        alone = jax.tree.map(lambda leaf: leaf[None], example)
        output = lambda params: jax.flatten_util.ravel_pytree(predict(params, alone))[0]
        rows = jax.jacrev(output)(law.mean)

        def white(row: Any) -> Array:
            parts = zip(law._coordinates(row), law.curvatures, strict=True)
            scaled = [part * jax.lax.rsqrt(values + tau) for part, values in parts]
            return jnp.concatenate([part.ravel() for part in scaled])

        coordinates = jax.vmap(white)(rows)
        return coordinates @ coordinates.T

    size = jax.tree.leaves(inputs)[0].shape[0]
    batch = size if chunk_size is None else min(chunk_size, size)
    return LinearizedOutputs(
        predict(law.mean, inputs), jax.lax.map(covariance, inputs, batch_size=batch)
    )


def restricted(
    predict: Predict, params: Any, chosen: Callable[[str], bool]
) -> tuple[Predict, dict[str, Array]]:
    """The model as a function of some of its parameters: of the last layer, say.

    For a last-layer Laplace approximation pass both to `model_laplace`: the other parameters are
    constants then, without curvature and without cost beside the forward pass.

    Args:
      predict: `predict(params, inputs)`.
      params: all parameters, a pytree.
      chosen: whether a leaf belongs to them, of its path as `jax.tree_util.keystr` writes it with
        slashes: "dense_1/kernel".

    Returns:
      `predict(some, inputs)`, which takes the chosen parameters and no others, and those by their
      paths.

    Raises:
      ValueError: none is chosen.

    Examples:
      >>> predict = lambda p, x: p["last"] * jnp.tanh(p["first"] * x)
      >>> params = {"first": 1.0, "last": 2.0}
      >>> model, some = restricted(predict, params, lambda path: path == "last")
      >>> some, float(model({"last": 3.0}, 0.0))
      ({'last': 2.0}, 0.0)
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    some = {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True) if chosen(name)}
    if not some:
        raise ValueError(
            f"chosen must be true of at least one leaf; it is of none of {', '.join(names)}."
            " Compare with these paths."
        )

    def of_some(given: dict[str, Array], inputs: Any) -> Any:
        if given.keys() != some.keys():
            raise ValueError(
                f"the chosen parameters are {', '.join(some)}; got {', '.join(given) or 'none'}. "
                "Pass all of them by their paths."
            )
        pairs = zip(names, leaves, strict=True)
        return predict(tree.unflatten([given.get(name, leaf) for name, (_, leaf) in pairs]), inputs)

    return of_some, some
