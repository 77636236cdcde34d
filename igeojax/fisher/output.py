"""The metric of the outputs of a model: of an output family, or of a user's convex loss.

What the Fisher information of a model asks of its outputs is here, for a family and an
`OutputMetric` alike: the product with `F_out`, and cotangents `s` on the outputs whose outer
products are `F_out`, in expectation (`score_samples`) or as a sum (`score_factors`). Outputs of
half precision are worked on in float32.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from igeojax._core import checks
from igeojax.discrete.softmax import log_softmax
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.categorical import Categorical
from igeojax.families.product import Product
from igeojax.fisher.output_metric import OutputMetric

Output = ExponentialFamily | OutputMetric
"""What describes the outputs of a model: a family, or the metric of a loss."""


def require_output(family: Any) -> None:
    """Check that an argument describes outputs: a family or an `OutputMetric`.

    Args:
      family: what came.

    Raises:
      TypeError: it is anything else.

    Examples:
      >>> require_output(OutputMetric(lambda outputs, tangent: tangent))
    """
    if not isinstance(family, OutputMetric):
        require_family(family)


def widened(tree: Any) -> Any:
    """Leaves of half precision as float32; others as they are.

    Args:
      tree: a pytree of floating arrays.

    Returns:
      The same pytree.

    Examples:
      >>> widened(jnp.ones(1, jnp.bfloat16)).dtype.name
      'float32'
    """
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32)), tree
    )


def _like(tree: Any, theta: Any) -> Any:
    return jax.tree.map(lambda leaf, at: leaf.astype(jnp.result_type(at)), tree, theta)


def score_of(family: ExponentialFamily, theta: Any, targets: Any) -> Any:
    """Score `T(y) - eta` of observations: the gradient of the log-density in `theta`.

    For labels `1 - p` is a sum of the other probabilities, exact where `p` rounds to 1.

    Args:
      family: the output family.
      theta: natural parameter.
      targets: observations, one for each output.

    Returns:
      The cotangent, a pytree like `theta`.

    Raises:
      TypeError: `family` is not a family, or `theta` is not a point of it.
      ValueError: `targets` have another batch shape than `theta`.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> theta = family.natural_from_params(loc=jnp.zeros(2))
      >>> score_of(family, theta, jnp.array([2.0, 0.0])).x.tolist()
      [2.0, 0.0]
    """
    require_family(family)
    wide = widened(theta)
    batch = family.batch_shape(wide)
    data = family._data(targets, jax.tree.leaves(wide)[0].dtype)
    found = family._data_batch_shape(data)
    if found != batch:
        raise ValueError(
            f"targets must have one observation for each output, batch shape {batch}; got {found}."
            " Broadcasting would count some of them several times."
        )
    return _like(_score(family, wide, data), theta)


def _score(family: ExponentialFamily, theta: Any, data: Any) -> Any:
    if isinstance(family, Product):
        parts = zip(family.families, theta, data, strict=True)
        return family.Point(*(_score(*part) for part in parts))
    if isinstance(family, Bernoulli):
        up, down = jax.nn.sigmoid(theta.x), jax.nn.sigmoid(-theta.x)
        return family.Point(jnp.where(data == 1, down, -up))
    if isinstance(family, Categorical):
        _, probs, others = _probabilities(family, theta)
        hit = data[..., None] == jnp.arange(family.num_classes).reshape((1,) * data.ndim + (-1,))
        return family.Point(jnp.where(hit, others, -probs)[..., :-1])
    statistics = family.statistics(data)
    return jax.tree.map(jnp.subtract, statistics, family.mean_from_natural(theta))


def _probabilities(family: Categorical, theta: Any) -> tuple[Array, Array, Array]:
    """`sqrt(p)`, `p` and `1 - p` of all classes, each to its own digits."""
    scores = log_softmax(family.logits(theta))
    probs = jnp.exp(scores)
    classes = jnp.arange(family.num_classes).reshape((1,) * (probs.ndim - 1) + (-1,))
    largest = classes == jnp.argmax(scores, axis=-1)[..., None]
    # Only the largest can be near 1, where the difference would cancel.
    rest = jnp.sum(jnp.where(largest, 0.0, probs), axis=-1, keepdims=True)
    return jnp.exp(0.5 * scores), probs, jnp.where(largest, rest, 1 - probs)


def score_samples(key: Key[Array, ""], family: Output, theta: Any) -> Any:
    """One random cotangent `s` on the outputs with `E[s] = 0` and `E[s s^T] = F_out`.

    `T(y) - eta` for labels `y` of the model; for an `OutputMetric` the columns of a root of the
    metric with random signs, at C products for C coordinates of an output and `N C^2` memory.

    Args:
      key: a PRNG key.
      family: the output family or metric.
      theta: the outputs of the model, any batch shape; outputs are drawn independently.

    Returns:
      The cotangent, a pytree like `theta`.

    Raises:
      TypeError: `key` is no PRNG key, or `theta` are not outputs of `family`.

    References:
      [Martens2020] section 5.

    Examples:
      >>> import jax
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> score = score_samples(jax.random.key(0), family, family.Point(jnp.zeros(3)))
      >>> abs(score.x).tolist()
      [0.5, 0.5, 0.5]
    """
    require_output(family)
    wide = widened(theta)
    if isinstance(family, OutputMetric):
        checks.require_key(key)
        batch = family.batch_shape(wide)
        roots = _roots(family, wide)
        size = jax.tree.leaves(roots)[0].shape[0]
        signs = jax.random.rademacher(key, (size, *batch), int)

        def mixed(root: Array) -> Array:
            shaped = signs.reshape(signs.shape + (1,) * (root.ndim - signs.ndim))
            return jnp.sum(shaped.astype(root.dtype) * root, axis=0)

        return _like(jax.tree.map(mixed, roots), theta)
    data = family.sample(key, wide)
    return _like(_score(family, wide, family._data(data, jax.tree.leaves(wide)[0].dtype)), theta)


def score_factors(family: Output, theta: Any) -> Any:
    """Cotangents `s_k` on the outputs with `sum_k s_k s_k^T = F_out` exactly, stacked on axis 0.

    For one output an example, batch shape `(N,)`, K is the number of classes C of a `Categorical`
    (`s_k = sqrt(p_k) (T(k) - eta)`), the sum over the heads of a `Product`, else the number of
    coordinates of an output (eigenvectors of the dense metric, 0 where it is singular; its
    coordinates are resolved in units in which its diagonal is 1). For batch shape `(N, T, ...)` the
    metric of one example is block-diagonal: `K = T C`, and cotangent `t C + c` is zero but at
    output t, so that memory grows as `N T^2 C^2`; `score_samples` costs `N T C`.

    Args:
      family: the output family or metric.
      theta: the outputs of the model with the examples on axis 0.

    Returns:
      A pytree like `theta` with one more leading axis, of size K.

    Raises:
      TypeError: `theta` are not outputs of `family`.
      ValueError: their shapes do not fit it.

    References:
      [Martens2020] section 9.

    Examples:
      >>> from igeojax import families
      >>> family = families.Poisson()
      >>> factors = score_factors(family, family.natural_from_params(rate=jnp.array([4.0, 9.0])))
      >>> factors.x.round(6).tolist()
      [[2.0, 3.0]]
    """
    require_output(family)
    wide = widened(theta)
    batch = family.batch_shape(wide)
    roots = _roots(family, wide)
    outputs = math.prod(batch[1:])
    if outputs != 1:
        # (C, N, T, ...) to (T, C, N, T, ...): one output of an example at a time.
        chosen = jnp.eye(outputs).reshape(outputs, 1, 1, *batch[1:])

        def spread(root: Array) -> Array:
            at = chosen.reshape(chosen.shape + (1,) * (root.ndim + 1 - chosen.ndim))
            return jnp.where(at == 1, root[None], 0.0).reshape(-1, *root.shape[1:])

        roots = jax.tree.map(spread, roots)
    return jax.tree.map(lambda root, at: root.astype(jnp.result_type(at)), roots, theta)


def _roots(family: Output, theta: Any) -> Any:
    """Factors of each output by itself, stacked on axis 0."""
    if isinstance(family, Product):
        heads = [_roots(*pair) for pair in zip(family.families, theta, strict=True)]
        sizes = [jax.tree.leaves(head)[0].shape[0] for head in heads]

        def placed(leaf: Array, k: int) -> Array:
            pad = [(sum(sizes[:k]), sum(sizes[k + 1 :]))] + [(0, 0)] * (leaf.ndim - 1)
            return jnp.pad(leaf, pad)

        return family.Point(
            *(jax.tree.map(lambda leaf, k=k: placed(leaf, k), head) for k, head in enumerate(heads))
        )
    if isinstance(family, Categorical):
        roots, probs, others = _probabilities(family, theta)
        hit = jnp.eye(family.num_classes, dtype=bool)
        scores = jnp.where(
            hit.reshape((1,) * (probs.ndim - 1) + hit.shape),
            others[..., None],
            -probs[..., None, :],
        )
        return family.Point(jnp.moveaxis(roots[..., None] * scores, -2, 0)[..., :-1])
    if isinstance(family, Bernoulli):
        root = jnp.sqrt(jax.nn.sigmoid(theta.x)) * jnp.sqrt(jax.nn.sigmoid(-theta.x))
        return family.Point(root[None])
    return _eigen_roots(family, theta)


def _eigen_roots(family: Output, theta: Any) -> Any:
    """Columns of a root of the dense metric of each output, from its eigenvectors."""
    leaves, structure = jax.tree.flatten(theta)
    batch = family.batch_shape(theta)
    shapes = [leaf.shape[len(batch) :] for leaf in leaves]
    symmetric = isinstance(family, ExponentialFamily)

    def cotangent(rows: Array) -> Any:
        """Rows of coordinates on the last axis, as a pytree like theta."""
        parts, start = [], 0
        for leaf, shape in zip(leaves, shapes, strict=True):
            size = math.prod(shape)
            part = rows[..., start : start + size].reshape(rows.shape[:-1] + shape)
            # A leaf of two event axes of a family is a symmetric matrix.
            if symmetric and len(shape) == 2:
                part = 0.5 * (part + jnp.swapaxes(part, -1, -2))
            parts.append(part.astype(leaf.dtype))
            start += size
        return jax.tree.unflatten(structure, parts)

    def coordinates(tree: Any) -> Array:
        parts = [leaf.reshape((*batch, -1)) for leaf in jax.tree.leaves(tree)]
        return jnp.concatenate(parts, axis=-1)

    size = sum(map(math.prod, shapes))
    dtype = jnp.result_type(*leaves)
    row = lambda e: coordinates(
        family.fisher_matvec(theta, cotangent(jnp.broadcast_to(e, (*batch, size))))
    )
    metric = jax.vmap(row, out_axes=-2)(jnp.eye(size, dtype=dtype))
    metric = 0.5 * (metric + jnp.swapaxes(metric, -1, -2))
    diagonal = jnp.diagonal(metric, axis1=-2, axis2=-1)
    # Nan stays: no information is known there.
    scale = jnp.sqrt(jnp.where(diagonal <= 0, 0.0, diagonal))
    if size == 1:
        return cotangent(scale[None])
    unit = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1.0), 1.0)
    values, vectors = jnp.linalg.eigh(unit[..., :, None] * metric * unit[..., None, :])
    rows = jnp.sqrt(jnp.maximum(values, 0.0))[..., :, None] * jnp.swapaxes(vectors, -1, -2)
    return cotangent(jnp.moveaxis(scale[..., None, :] * rows, -2, 0))
