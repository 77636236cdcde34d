"""Observations and weights as the steps of EM take them."""

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.missing import completed, require_observed_support
from igeojax.families.product import Product

SAMPLE_ROWS = 2**16
"""Rows that the start and the frame of a fit are taken from."""

CACHE_BYTES = 2**20
"""What the arrays of one chunk may take: they stay in the second cache of a core."""


def as_data(family: ExponentialFamily, x: Any) -> Any:
    """Observations as an array, those of a product as a tuple of arrays.

    Raises:
      TypeError: observations of a product that are not one array a factor, or `Chunks`.
    """
    if isinstance(x, Chunks):
        raise TypeError(
            "data must be arrays in memory; got Chunks. Mixture.fit and online EM take them: here "
            "go through their pieces, for x, weights in chunks, and add what is additive."
        )
    if isinstance(family, Product):
        family._require_data(x)
        return tuple(as_data(part, y) for part, y in zip(family.families, x, strict=True))
    return checks.as_array("data", x)


def floating_dtype(x: Any) -> Any:
    """The floating dtype of the steps: that of the data, at least float32; labels have none."""
    kinds = [leaf.dtype for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.promote_types(jnp.result_type(*kinds or [float]), jnp.float32)


def checked_weights(weights: ArrayLike | None, count: int, dtype: Any) -> Float[Array, "data"]:
    """Weights of the observations in the dtype of the steps; ones where None are given.

    Raises:
      TypeError: weights that are not real.
      ValueError: weights of a wrong shape, negative or not finite.
    """
    if weights is None:
        return jnp.ones(count, dtype)
    weights = checks.floating("weights", weights)
    if weights.shape != (count,):
        raise ValueError(
            f"weights must have shape ({count},); got {weights.shape}. Give each row of the data "
            "one; None weighs all alike."
        )
    checks.require_values(
        "weights",
        weights,
        lambda w: np.isfinite(w) & (w >= 0),
        "finite and non-negative",
        "Drop observations instead of giving them negative weight.",
    )
    return weights.astype(dtype)


def default_chunk_size(family: ExponentialFamily, num_components: int, dtype: Any) -> int:
    """Rows whose statistics and responsibilities fit into the cache, 512 to 8192."""
    row = family.dimension + num_components
    rows = CACHE_BYTES // (2 * row * jnp.dtype(dtype).itemsize)
    return int(np.clip(rows // 256 * 256, 512, 8192))


def num_shards(x: Any) -> int:
    """Number of parts that the observations are in, one a device; 1 where that is not known."""
    leaf = jax.tree.leaves(x)[0]
    if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
        return 1
    return leaf.shape[0] // leaf.sharding.shard_shape(leaf.shape)[0] if leaf.shape[0] else 1


class Chunks:
    """Observations that come in pieces, again on each pass: data larger than the memory.

    Args:
      source: a function that returns an iterator, or an object that can be iterated many times (a
        list, slices of a `numpy.memmap`); not a generator, which ends after one pass. Pieces of one
        size are compiled once.
      weighted: whether each piece is a pair of observations and their weights.

    Raises:
      TypeError: `source` is an iterator, or neither a function nor iterable.

    Examples:
      >>> chunks = Chunks(lambda: (np.arange(4.0) + 4 * i for i in range(3)))
      >>> sum(len(x) for x, _ in chunks)
      12
    """

    def __init__(
        self, source: Callable[[], Iterator[Any]] | Iterable[Any], *, weighted: bool = False
    ):
        if isinstance(source, Iterator) or not (callable(source) or isinstance(source, Iterable)):
            raise TypeError(
                f"source must be a function or an iterable that can be passed many times; got "
                f"{type(source).__name__}. Pass the function that makes the generator."
            )
        self.source, self.weighted = source, weighted

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for piece in self.source() if callable(self.source) else self.source:
            if self.weighted and not (isinstance(piece, (tuple, list)) and len(piece) == 2):
                raise TypeError(
                    "a piece of Chunks with weighted=True must be a pair of observations and "
                    f"weights; got {type(piece).__name__}. Drop the option, or give (x, weights)."
                )
            yield (piece[0], piece[1]) if self.weighted else (piece, None)

    def checked(self, family: ExponentialFamily, dtype: Any) -> Iterator[tuple[Any, Array]]:
        """Observations and weights as arrays."""
        for piece, weights in self:
            x = as_data(family, piece)
            if jax.tree.leaves(x)[0].shape[0] == 0:
                continue
            yield x, checked_weights(weights, jax.tree.leaves(x)[0].shape[0], dtype)


class Survey(NamedTuple):
    """What is known of the data before the first pass: all of them or their chunks, a sample.

    The sample has no missing entries. `weights` are those of the sample, `all_weights` those of all
    (None of chunks), `num_data` the number of observations and `total` their weight.
    """

    data: Any
    all_weights: Any
    sample: Any
    weights: Array
    num_data: int
    total: Array


def survey(mixture: Any, data: Any, weights: ArrayLike | None) -> Survey:
    """Look at the data once: their support, number and weight, and a sample of rows.

    Args:
      mixture: the `Mixture`.
      data: arrays with the observations on axis 0, or `Chunks`.
      weights: of the observations of arrays.

    Returns:
      The `Survey`.

    Raises:
      TypeError: data of a wrong kind.
      ValueError: data off the support or of a wrong shape, or bad weights.
    """
    if isinstance(data, Chunks):
        if weights is not None:
            raise ValueError(
                "weights must be None beside Chunks; got an array. Let the chunks be pairs of "
                "observations and weights: Chunks(source, weighted=True)."
            )
        return _survey_of_chunks(mixture, data)
    data, count = checked_rows(mixture, data)
    data = _floating(data)
    alike, weights = weights is None, checked_weights(weights, count, floating_dtype(data))
    total = jnp.sum(weights)
    require_weight(count, total)
    if count <= SAMPLE_ROWS:
        return Survey(data, weights, _complete(mixture, data), weights, count, total)
    # Rows of no weight say nothing of the others, which may be few.
    seen = None if alike else checks.concrete(weights > 0)
    kept = None if seen is None or seen.all() else np.flatnonzero(seen)
    size = count if kept is None else kept.size
    drawn = np.random.default_rng(0).choice(size, min(size, SAMPLE_ROWS), replace=False)
    rows = np.sort(drawn if kept is None else kept[drawn])
    sample, part = jax.tree.map(lambda leaf: leaf[rows], (data, weights))
    return Survey(data, weights, _complete(mixture, sample), part, count, total)


def checked_rows(mixture: Any, x: Any) -> tuple[Any, int]:
    """Observations as arrays and their number.

    Args:
      mixture: the `Mixture`.
      x: observations on axis 0, of a product a tuple of arrays.

    Returns:
      The arrays, and the length of their axis 0.

    Raises:
      TypeError: data of a wrong kind.
      ValueError: data of other axes, or concrete ones off the support.
    """
    x = as_data(mixture.family, x)
    count = require_rows(mixture.family, x)
    if mixture.missing:
        require_observed_support(mixture.family, x)
    else:
        mixture.family.require_support(x)
    return x, count


def require_weight(count: int, total: ArrayLike) -> None:
    """Check that there are observations, and that they count.

    Raises:
      ValueError: there is none, or all weights are 0.
    """
    if count == 0:
        raise ValueError("data must have observations; got none. Is a filter too narrow?")
    checks.require_positive("the sum of weights", total, "Give at least one positive weight.")


def _complete(mixture: Any, sample: Any) -> Any:
    """The sample without missing entries: a start is made as if they were what stands above."""
    return completed(mixture.family, sample) if mixture.missing else sample


def _floating(data: Any) -> Any:
    """Half precision could not hold the sums: those observations are widened."""
    widened = lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
    floats = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.tree.map(lambda leaf: widened(leaf) if floats(leaf) else leaf, data)


def require_rows(family: ExponentialFamily, data: Any) -> int:
    """The number of observations.

    Args:
      family: the family of the components.
      data: observations, of a product a tuple of arrays.

    Returns:
      The length of axis 0.

    Raises:
      ValueError: the data have not exactly one axis of observations, in all factors alike.
    """
    shape = batch_shape(family, data)
    if len(shape) != 1:
        raise ValueError(
            f"data must have shape (N,) + {family.event_shape}; got "
            f"{jax.tree.map(jnp.shape, data)}. Flatten other axes into the first."
        )
    return shape[0]


def batch_shape(family: ExponentialFamily, data: Any) -> tuple[int, ...]:
    """The axes of observations, which the factors of a product must share.

    Raises:
      ValueError: the data lack the event axes, or a factor has other axes than another.
    """
    if not isinstance(family, Product):
        return family._data_batch_shape(data)
    parts = zip(family.families, data, strict=True)
    shapes = [batch_shape(part, x) for part, x in parts]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"data of {family} must have one shape of observations in all columns; got "
            f"{' and '.join(map(str, shapes))}. Give each column one entry a row."
        )
    return shapes[0]


def _survey_of_chunks(mixture: Any, chunks: Chunks) -> Survey:
    """The survey of chunks in one pass; of the rows that count each is as likely in the sample.

    Raises:
      ValueError: there is none, or one that is not fit to use.
    """
    generator, kept, count, total, dtype = np.random.default_rng(0), None, 0, 0.0, None
    tags = np.zeros(0)
    for piece, piece_weights in chunks:
        x, rows = checked_rows(mixture, piece)
        if rows == 0:
            continue
        x = _floating(x)
        dtype = dtype or floating_dtype(x)
        weights = checked_weights(piece_weights, rows, dtype)
        count, total = count + rows, total + float(jnp.sum(weights))
        # The rows of the smallest random tags are a sample without replacement.
        fresh = jax.tree.map(np.asarray, (x, weights))
        counts = fresh[1] > 0
        fresh = jax.tree.map(lambda leaf, mask=counts: leaf[mask], fresh)
        tags = np.concatenate([tags, generator.random(rows)[counts]])
        order = np.sort(np.argsort(tags, kind="stable")[:SAMPLE_ROWS])
        pool = (
            fresh
            if kept is None
            else jax.tree.map(lambda a, b: np.concatenate([a, b]), kept, fresh)
        )
        kept = jax.tree.map(operator.itemgetter(order), pool)
        tags = tags[order]
    if kept is None or dtype is None:
        raise ValueError("data must have observations; got no chunk with any. Is source empty?")
    require_weight(count, total)
    sample, weights = jax.tree.map(jnp.asarray, kept)
    total = jnp.asarray(total, dtype)
    return Survey(chunks, None, _complete(mixture, sample), weights, count, total)
