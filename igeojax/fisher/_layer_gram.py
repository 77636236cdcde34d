"""Inner products of gradients of examples, layer by layer, without the gradients.

The gradient of an example in a matrix is a sum of outer products `a_r g_r^T`, so that the inner
product of two is `sum_rr' (a_r . a'_r') (g_r . g'_r')`: two small Gram matrices, multiplied entry
by entry.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.fisher._layout import Block, Layout
from igeojax.fisher._statistics import chosen_groups, entry_gradients, features, seen_by_uses

ENTRY_COST = 16
"""What the product of two entries costs, in multiplications of a matrix product: it waits for
memory."""


def layer_gram(
    layout: Layout,
    params: Any,
    weights: Array,
    inputs: Any,
    extra: Any,
    cotangents: Callable[[Any, Any], Any],
    num_cotangents: int,
) -> Float[Array, "rows rows"]:
    """Gram matrix of the rows `sqrt(w_n) J_n^T s_nk`, rows of one example together.

    Args:
      layout: of the model.
      params: the parameters.
      weights: of each output, `(N, ...)`.
      inputs: pytree of arrays with the examples on axis 0.
      extra: likewise; what `cotangents` takes.
      cotangents: `cotangents(theta, extra)` of one example, of batch shape `(1, ...)`, K cotangents
        stacked on axis 0.
      num_cotangents: K.
    """
    seen = seen_by_uses(layout, params, weights, inputs, extra, cotangents)
    activations, outgoing, _ = seen
    size = weights.shape[0] * num_cotangents
    explicit, products = [], []
    for block in layout.blocks:
        if block.kind == "unused":
            continue
        if block.kind != "kronecker":
            explicit.append(entry_gradients(layout, block, *seen))
        elif is_factored(block, activations, outgoing):
            products.append(_factored_gram(layout, block, activations, outgoing))
        else:
            explicit.append(_matrix_gradients(layout, block, activations, outgoing))
    rows = [part.reshape((size, -1)) for part in explicit]
    if rows:
        joined = jnp.concatenate(rows, axis=1)
        products.append(joined @ joined.T)
    if not products:
        return jnp.zeros((size, size), weights.dtype)
    return sum(products[1:], start=products[0])


def is_factored(block: Block, activations: Sequence[Array], cotangents: Sequence[Array]) -> bool:
    """Whether the Gram matrices of features and cotangents cost less than the gradients do.

    Uses of a matrix and of its transpose together always take the gradients.
    """
    if len({use.swapped for use in block.uses}) > 1:
        return False
    shapes = [cotangents[use.index].shape for use in block.uses]
    count, outputs = shapes[0][1], shapes[0][4]
    positions = sum(shape[3] for shape in shapes)
    first = block.uses[0]
    inner = block.shape[2 if first.swapped else 1]
    if len(block.uses) == 1 and jnp.issubdtype(activations[first.index].dtype, jnp.integer):
        inner_cost = 1  # indices are compared
    else:
        inner_cost = inner
    squared = count**2
    factored = positions**2 * (inner_cost + squared * (outputs + ENTRY_COST))
    return factored <= squared * inner * outputs


def _factored_gram(
    layout: Layout, block: Block, activations: Sequence[Array], cotangents: Sequence[Array]
) -> Array:
    """`sum_s sum_rr' (A_s A_s^T) o (G_s G_s^T)`, one group of matrices after the other."""
    outgoing = [chosen_groups(cotangents[use.index], 2, use.groups) for use in block.uses]
    outgoing = outgoing[0] if len(outgoing) == 1 else jnp.concatenate(outgoing, axis=3)
    found = layout.capture.uses[block.uses[0].index]
    if len(block.uses) == 1 and found.kind == "embedding":
        (use,) = block.uses
        index = chosen_groups(activations[use.index], 1, use.groups)
        known = (index >= 0) & (index < found.numbers.shape[1])
        # Rows that do not exist are like no other.
        incoming = jnp.where(known, index, -1)[..., None]
    else:
        rows = [features(layout, use, activations[use.index]) for use in block.uses]
        incoming = rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=2)
    incoming, outgoing = jnp.moveaxis(incoming, 1, 0), jnp.moveaxis(outgoing, 2, 0)
    if incoming.shape[0] == 1:
        return _group_gram(incoming[0], outgoing[0])

    def add(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        return total + _group_gram(*pair), None

    size = outgoing.shape[1] * outgoing.shape[2]
    return jax.lax.scan(add, jnp.zeros((size, size), outgoing.dtype), (incoming, outgoing))[0]


def _group_gram(incoming: Float[Array, "N R I"], outgoing: Float[Array, "N K R O"]) -> Array:
    examples, count, positions, _ = outgoing.shape
    if jnp.issubdtype(incoming.dtype, jnp.integer):
        index = incoming.reshape(-1)
        inner = ((index[:, None] == index[None]) & (index[:, None] >= 0)).astype(outgoing.dtype)
    else:
        flat = incoming.reshape((examples * positions, -1))
        inner = flat @ flat.T
    flat = outgoing.reshape((examples * count * positions, -1))
    outer = flat @ flat.T
    inner = inner.reshape((examples, 1, positions, examples, 1, positions))
    outer = outer.reshape((examples, count, positions, examples, count, positions))
    product = jnp.sum(inner * outer, axis=(2, 5)) if positions > 1 else inner * outer
    return product.reshape((examples * count, examples * count))


def _matrix_gradients(
    layout: Layout, block: Block, activations: Sequence[Array], cotangents: Sequence[Array]
) -> Array:
    """Gradients in the matrices of a block, `(N, K, S, I, O)`, summed over uses and positions."""
    parts = []
    for use in block.uses:
        rows = features(layout, use, activations[use.index])
        outgoing = chosen_groups(cotangents[use.index], 2, use.groups)
        pattern = "nsri,nksro->nksoi" if use.swapped else "nsri,nksro->nksio"
        parts.append(jnp.einsum(pattern, rows, outgoing))
    return sum(parts[1:], start=parts[0])
