"""What the E-step hands to the M-step: weighted sums over observations, which add.

Chunks, devices, minibatches and streams are all one `jax.tree.map(jnp.add, one, two)`; the M-step
reads nothing else. The mean statistics `statistics / counts` are the mean parameters of the
components: the M-step is `natural_from_mean`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.discrete.softmax import log_softmax, logsumexp

ASSIGNMENTS = ("soft", "hard")
"""Names of the ways in which observations are shared out to components."""


class Expectations(NamedTuple):
    """Sums over observations n with weights `w_n` and responsibilities `r_nk`.

    `counts`: `sum_n w_n r_nk`, of each component. `statistics`: `sum_n w_n r_nk T(x_n)`, a point of
    the family with the components first. `log_likelihood`: `sum_n w_n log p(x_n)`, nats. `weight`:
    `sum_n w_n`.
    """

    counts: Float[Array, "components"]
    statistics: Any
    log_likelihood: Float[Array, ""]
    weight: Float[Array, ""]


def assigned(joint: Array, *, hard: bool = False, axis: int = -1) -> tuple[Array, Array]:
    """Responsibilities of the components, and what each observation adds to the objective.

    Soft ones are posterior probabilities, with the log-likelihood; hard ones give an observation to
    its likeliest component (the first of equals), with the classification log-likelihood.

    Args:
      joint: `log w_k + log p(x_n; theta_k)`, the components on `axis`.
      hard: which of the two.
      axis: of the components.

    Returns:
      Responsibilities of the shape of `joint`, and values without its `axis`.

    References:
      [CeleuxGovaert1992] section 3 (the C-step of classification EM).

    Examples:
      >>> responsibilities, values = assigned(jnp.array([[-2.0, -1.0]]), hard=True)
      >>> responsibilities.tolist(), values.tolist()
      ([[0.0, 1.0]], [-1.0])
    """
    if not hard:
        return jnp.exp(log_softmax(joint, axis=axis)), logsumexp(joint, axis=axis)
    likeliest = jnp.argmax(joint, axis=axis)
    chosen = jax.nn.one_hot(likeliest, joint.shape[axis], dtype=joint.dtype, axis=axis)
    return chosen, jnp.max(joint, axis=axis)


def mean_statistics(expectations: Expectations) -> tuple[Any, Array]:
    """Mean parameters `statistics / counts` of the components, and which of them are empty.

    Args:
      expectations: sums of an E-step.

    Returns:
      A point of the family with the components first, and a mask of the components without mass,
      whose statistics come back as they are.

    Examples:
      >>> from igeojax import families
      >>> sums = families.Poisson.Point(jnp.array([6.0, 0.0]))
      >>> eta, empty = mean_statistics(
      ...     Expectations(jnp.array([2.0, 0.0]), sums, jnp.zeros(()), jnp.array(2.0))
      ... )
      >>> eta.x.tolist(), empty.tolist()
      ([3.0, 0.0], [False, True])
    """
    counts = expectations.counts
    empty = counts <= jnp.finfo(counts.dtype).tiny
    divisor = jnp.where(empty, 1.0, counts)
    return (
        jax.tree.map(lambda leaf: leaf / along(divisor, leaf), expectations.statistics),
        empty,
    )


def along(values: Array, leaf: Array) -> Array:
    """Values of the components, to broadcast against a leaf with the components first.

    Args:
      values: shape `(components,)`.
      leaf: shape `(components, ...)`.

    Returns:
      The values with trailing axes of length one.

    Examples:
      >>> along(jnp.ones(3), jnp.ones((3, 2, 2))).shape
      (3, 1, 1)
    """
    return values.reshape(values.shape + (1,) * (leaf.ndim - values.ndim))


def shared_out(family: Any, mass: Float[Array, "data components"], x: Any) -> Expectations:
    """Sums of observations that are shared out to components; of no log-likelihood.

    Args:
      family: the family of the components.
      mass: responsibilities times weights.
      x: observations on axis 0.

    Returns:
      The `Expectations`.

    Examples:
      >>> from igeojax import families
      >>> sums = shared_out(families.Poisson(), jnp.ones((2, 1)), jnp.array([3.0, 4.0]))
      >>> sums.statistics.x.tolist()
      [7.0]
    """
    statistics = jax.vmap(family.statistics_sum, (None, 1))(x, mass)
    counts = jnp.sum(mass, axis=0)
    return Expectations(counts, statistics, jnp.zeros((), mass.dtype), jnp.sum(counts))


def neutral_frames(mixture: Any, dtype: Any) -> Any:
    """For each component the frame in which nothing changes, or the empty frame.

    Args:
      mixture: the `Mixture`.
      dtype: floating dtype.

    Returns:
      The frames, the components first.

    Examples:
      >>> from igeojax import em, families
      >>> neutral_frames(em.Mixture(families.Normal(), 2), float).scale.tolist()
      [1.0, 1.0]
    """
    spread = lambda leaf: jnp.broadcast_to(leaf, (mixture.num_components, *leaf.shape))
    return jax.tree.map(spread, mixture.family.neutral_frame(dtype))


def sum_over_chunks(
    partial_sum: Callable[[Any, Array], Any],
    x: Any,
    weights: Array,
    *,
    chunk_size: int,
    num_shards: int = 1,
) -> Any:
    """`partial_sum(x, weights)` over chunks of rows, added: the memory is that of one chunk.

    The last chunk ends at the last row; rows that were counted before have weight 0 in it. Where
    the rows lie on `num_shards` devices, each device takes a chunk of its own rows at a time.

    Args:
      partial_sum: function of observations and weights, additive over rows.
      x: arrays with the observations on axis 0.
      weights: shape `(N,)`.
      chunk_size: rows taken at once on each device.
      num_shards: number of equal parts of axis 0, one a device.

    Returns:
      The sum; in float32 with the rounding of each addition carried along.

    Examples:
      >>> total = lambda x, w: jnp.sum(w * x)
      >>> float(sum_over_chunks(total, jnp.arange(5.0), jnp.ones(5), chunk_size=2))
      10.0
    """
    rows = weights.shape[0] // num_shards
    if rows <= chunk_size:
        return partial_sum(x, weights)
    parts = jax.tree.map(lambda leaf: leaf.reshape(num_shards, rows, *leaf.shape[1:]), (x, weights))
    position = jnp.arange(chunk_size)

    def chunk(index: Array) -> tuple[Any, Array]:
        start = jnp.minimum(index * chunk_size, rows - chunk_size)
        part_x, part_weights = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, chunk_size, 1).reshape(
                num_shards * chunk_size, *leaf.shape[2:]
            ),
            parts,
        )
        fresh = jnp.tile(start + position >= index * chunk_size, num_shards)
        return part_x, jnp.where(fresh, part_weights, 0.0)

    def add(carry: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], None]:
        return compensated_sum(*carry, partial_sum(*chunk(index))), None

    shapes = jax.eval_shape(lambda index: partial_sum(*chunk(index)), 0)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (total, _), _ = jax.lax.scan(add, (zero, zero), jnp.arange(-(-rows // chunk_size)))
    return total


def compensated_sum(total: Any, lost: Any, term: Any) -> tuple[Any, Any]:
    """A sum and the rounding that it still owes, after one more term (Kahan).

    Args:
      total: the sum so far, any pytree.
      lost: what the additions have taken too much so far; zeros at first.
      term: what is added.

    Returns:
      The new sum and what it owes.

    References:
      [Higham2002] section 4.3.

    Examples:
      >>> total, lost = jnp.float32(1e8), jnp.float32(0)
      >>> for _ in range(4):
      ...     total, lost = compensated_sum(total, lost, jnp.float32(3))
      >>> int(total)  # 12 more, rounded to the next number of float32
      100000016
    """
    term = jax.tree.map(jnp.subtract, term, lost)
    grown = jax.tree.map(jnp.add, total, term)

    def owed(new: Array, old: Array, part: Array) -> Array:
        excess = (new - old) - part
        return jnp.where(jnp.isfinite(excess), excess, 0.0)

    return grown, jax.tree.map(owed, grown, total, term)
