"""The Fisher matrix of a model in Kronecker-factored blocks, found in its program.

Nothing is registered: `kronecker_layout` reads the program of any `predict` and finds how each
parameter enters, in a dense, einsum or convolution product, an embedding, a scale or a shift, also
inside `jit`, `jax.checkpoint` and `lax.scan`. A matrix that is used by such products alone gets a
Kronecker-factored block; what is used in any other way gets an exact dense block, or above
`dense_limit` entries an exact diagonal one.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Key

from igeojax._core import checks
from igeojax.fisher._chunks import summed_over_chunks
from igeojax.fisher._layout import Block, Layout, layout_of
from igeojax.fisher._statistics import (
    Sharing,
    entry_gradients,
    in_basis,
    kronecker_moments,
    kronecker_product,
    seen_by_uses,
    squared_gradients,
)
from igeojax.fisher.model import Predict, output_weights
from igeojax.fisher.output import Output, require_output, score_factors, score_samples


class KroneckerFactor(NamedTuple):
    """A block `rows (x) columns` for each of S matrices `(I, O)`, entries in row-major order.

    `rows`, second moments of features: `(S, I, I)`, or `(S, I)` where diagonal; `columns`, of
    cotangents: `(S, O, O)`, or `(S, O)`.
    """

    rows: Array
    columns: Array


class DenseFactor(NamedTuple):
    """A block as a dense `matrix`, `(P, P)`."""

    matrix: Array


class DiagonalFactor(NamedTuple):
    """The `diagonal` of a block, `(P,)`; zeros for entries that the outputs do not depend on."""

    diagonal: Array


Factor = KroneckerFactor | DenseFactor | DiagonalFactor
"""What stands for a block of the Fisher matrix."""


def _cotangents(family: Output, key: Key[Array, ""] | None) -> Any:
    """`cotangents(theta, key)`: one random, or all that make up the metric of the outputs."""
    if key is None:
        return lambda theta, _: score_factors(family, theta)
    return lambda theta, key: jax.tree.map(lambda s: s[None], score_samples(key, family, theta))


def _data(
    layout: Layout,
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    key: Key[Array, ""] | None,
    weights: ArrayLike | None,
) -> tuple[Array, tuple[Any, Any]]:
    require_output(family)
    shapes = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), params)
    expected = jax.tree.map(lambda x: (x.shape, x.dtype), layout.shapes)
    if shapes != expected:
        raise ValueError(
            f"params must be those that the layout was made for, {expected}; got {shapes}. Make a "
            "new layout with kronecker_layout, or initialize the optimizer anew."
        )
    scale = output_weights(predict, family, params, inputs, weights)
    if key is not None:
        checks.require_key(key)
        key = jax.random.split(key, scale.shape[0])
    return scale, (inputs, key)


def kronecker_layout(
    predict: Predict,
    params: Any,
    inputs: Any,
    *,
    dense_limit: int = 256,
    factor_limit: int = 4096,
) -> Layout:
    """Blocks of the parameters of a model, read from its program for one example.

    Costs one trace of `predict`; nothing is computed.

    Args:
      predict: `predict(params, inputs)`, examples independent, on axis 0 of all inputs.
      params: any pytree of floating arrays, or of their shapes.
      inputs: what `predict` takes, or its shapes.
      dense_limit: entries of a leaf up to which a block without factors is dense.
      factor_limit: rows up to which a Kronecker factor is dense; above it is diagonal.

    Returns:
      The layout, to pass to `kronecker_factors`.

    Raises:
      TypeError: a parameter is not floating, or a limit is not an integer.
      ValueError: no axis of examples, or a negative limit.

    Examples:
      >>> predict = lambda p, x: jnp.tanh(x @ p["kernel"] + p["bias"][None])
      >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
      >>> [(b.kind, b.shape) for b in kronecker_layout(predict, params, jnp.ones((1, 3))).blocks]
      [('kronecker', (1, 4, 2))]
    """
    return layout_of(predict, params, inputs, dense_limit=dense_limit, factor_limit=factor_limit)


def kronecker_factors(
    layout: Layout,
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    key: Key[Array, ""] | None = None,
    sharing: Sharing = "expand",
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> tuple[Factor, ...]:
    """Factors of the blocks of the Fisher matrix of a model.

    For a matrix with features a and cotangents g of its products,
    `F_block ~ E[mean_r a a^T] (x) E[sum_r g g^T]` over positions r that share it ("expand"), or
    `E[a' a'^T] (x) E[g' g'^T]` with `a' = mean_r a`, `g' = sum_r g` ("reduce"). Exact for one
    example without sharing, for independent features and cotangents, and for deep linear networks
    with squared error. Dense and diagonal blocks are exact given the cotangents.

    Cost: one forward and K backward passes, and `N R (I^2 + K O^2)` for each matrix. Memory holds
    what the uses see in the examples of a chunk.

    Args:
      layout: from `kronecker_layout`.
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: pytree like that of the layout.
      inputs: pytree of arrays with the examples on axis 0.
      key: with one, labels are sampled, one for each output, `K = 1`; None sums over a root of the
        output metric, one cotangent for each class or coordinate of an output.
      sharing: "expand" or "reduce".
      weights: of each example or output, replacing `1/N`; a weight 0 masks.
      chunk_size: examples at a time; None takes all at once.

    Returns:
      A factor for each block of the layout.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: `params` are not like those of the layout, no axis of examples, `weights` of a
        wrong shape or negative, an unknown `sharing`, or `chunk_size < 1`.

    References:
      [MartensGrosse2015] section 3; [Eschenhagen2023] sections 3.1 and 3.2.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=(x @ w)[:, 0])
      >>> params, x = jnp.ones((2, 1)), jnp.array([[1.0, 2.0]])
      >>> layout = kronecker_layout(predict, params, x)
      >>> (factor,) = kronecker_factors(layout, predict, family, params, x)
      >>> factor.rows.tolist(), factor.columns.tolist()
      ([[[1.0, 2.0], [2.0, 4.0]]], [[[1.0]]])
    """
    if sharing not in ("expand", "reduce"):
        raise ValueError(
            f'sharing must be "expand" or "reduce"; got {sharing!r}. It says how positions that '
            "share parameters are summed over."
        )
    scale, data = _data(layout, predict, family, params, inputs, key, weights)
    cotangents = _cotangents(family, key)

    def term(scale: Array, inputs: Any, keys: Any) -> Any:
        seen = seen_by_uses(layout, params, scale, inputs, keys, cotangents)
        activations, outgoing, whole = seen
        of_example = jnp.mean(scale.reshape((scale.shape[0], -1)), axis=1)
        moments = []
        for block in layout.blocks:
            if block.kind == "kronecker":
                moments.append(
                    kronecker_moments(layout, block, scale, activations, outgoing, sharing)
                )
            elif block.kind == "unused":
                moments.append(jnp.zeros(block.shape, of_example.dtype))
            else:
                rows = entry_gradients(layout, block, activations, outgoing, whole)
                rows = rows.reshape((-1, rows.shape[-1]))
                dense = block.kind == "dense"
                moments.append(rows.T @ rows if dense else jnp.sum(rows**2, axis=0))
        return moments, jnp.sum(of_example)

    moments, total = summed_over_chunks(term, scale, *data, chunk_size=chunk_size)
    return tuple(_factor(*pair, total) for pair in zip(layout.blocks, moments, strict=True))


def _factor(block: Block, moments: Any, total: Array) -> Factor:
    if block.kind == "kronecker":
        rows, columns = kronecker_product(block, moments)
        return KroneckerFactor(rows / jnp.where(total > 0, total, 1.0), columns)
    return DenseFactor(moments) if block.kind == "dense" else DiagonalFactor(moments)


def eigenbasis_moments(
    layout: Layout,
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    bases: tuple[tuple[Array | None, Array | None] | None, ...],
    *,
    key: Key[Array, ""] | None = None,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> tuple[Array, ...]:
    """Diagonals `diag(U^T F U)` of the blocks of matrices in given bases: those of EKFAC.

    Gradients of an example are summed over all uses and positions before they are squared, so that
    these are the exact diagonals given the cotangents.

    Args:
      layout: from `kronecker_layout`.
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: pytree like that of the layout.
      inputs: pytree of arrays with the examples on axis 0.
      bases: for each block of matrices orthonormal `(S, I, I)` and `(S, O, O)`, a basis of vectors
        in columns; None on a diagonal side keeps it, and is what other blocks get.
      key: as for `kronecker_factors`.
      weights: likewise.
      chunk_size: examples at a time: memory is that times the parameters.

    Returns:
      `(S, I, O)` for each block of matrices, an empty array for the others.

    References:
      [George2018] section 3.1.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=(x @ w)[:, 0])
      >>> params, x = jnp.ones((2, 1)), jnp.array([[1.0, 2.0]])
      >>> layout = kronecker_layout(predict, params, x)
      >>> bases = ((jnp.eye(2)[None], jnp.eye(1)[None]),)
      >>> eigenbasis_moments(layout, predict, family, params, x, bases)[0].tolist()
      [[[1.0], [4.0]]]
    """
    scale, data = _data(layout, predict, family, params, inputs, key, weights)
    cotangents = _cotangents(family, key)

    def term(scale: Array, inputs: Any, keys: Any) -> Any:
        seen = seen_by_uses(layout, params, scale, inputs, keys, cotangents)
        activations, outgoing, _ = seen
        moments = []
        for block, pair in zip(layout.blocks, bases, strict=True):
            if block.kind != "kronecker":
                moments.append(jnp.zeros(0, scale.dtype))
                continue
            turned = functools.partial(in_basis, pair)
            moments.append(squared_gradients(layout, block, activations, outgoing, turned))
        return moments

    return tuple(summed_over_chunks(term, scale, *data, chunk_size=chunk_size))
