"""Sequences of observations as Baum-Welch takes them: padding and missing entries told apart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool

from igeojax.chains._chain import presence
from igeojax.em._data import as_data, batch_shape
from igeojax.families.base import ExponentialFamily
from igeojax.families.missing import require_observed_support
from igeojax.families.product import Product


class Sequences(NamedTuple):
    """Checked sequences: `x` is inside the support where absent, and nan where not observed."""

    x: Any
    present: Bool[Array, "*batch T"]
    observed: Bool[Array, "*batch T"]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(*batch, T)`."""
        return self.present.shape

    def flat(self) -> "Sequences":
        """The same with one batch axis."""
        axes = self.present.ndim
        count = self.present[..., :1].size if self.shape[-1] else self.present.size
        lead = (count, self.shape[-1])
        return jax.tree.map(lambda leaf: leaf.reshape(lead + leaf.shape[axes:]), self)

    def rows(self) -> Any:
        """All observations on one axis."""
        axes = self.present.ndim
        return jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[axes:])), self.x)


def sequences_of(
    family: ExponentialFamily,
    x: Any,
    length: ArrayLike | None,
    mask: ArrayLike | None,
    *,
    missing: bool,
) -> Sequences:
    """Sequences as users give them.

    Raises:
      TypeError: data, length or mask of a wrong kind.
      ValueError: shapes do not fit, an observation is off the support, or nan where `missing` is
        not asked for.
    """
    _require_even(family, x)
    x = as_data(family, x)
    shape = batch_shape(family, x)
    if not shape:
        raise ValueError(
            f"data must have shape (*batch, T) + {family.event_shape}; got "
            f"{jax.tree.map(jnp.shape, x)}. Put the steps on the axis before those of the event."
        )
    present = presence(shape, length, mask)
    x = _filled(family, present, x)
    if missing:
        require_observed_support(family, x)
        return Sequences(x, present, present & ~_unknown(family, x))
    try:
        family.require_support(x)
    except ValueError as error:
        raise ValueError(
            f"{error} HiddenMarkovModel(..., missing=True) takes nan for a missing entry."
        ) from None
    return Sequences(x, present, present)


def _require_even(family: ExponentialFamily, x: Any) -> None:
    """Check that a list of sequences holds those of one length.

    Raises:
      ValueError: it does not.
    """
    if isinstance(family, Product):
        family._require_data(x)
        for part, y in zip(family.families, x, strict=True):
            _require_even(part, y)
        return
    lengths = [len(y) for y in x if hasattr(y, "__len__")] if isinstance(x, (list, tuple)) else []
    if len(set(lengths)) > 1:
        raise ValueError(
            f"sequences must have one number of steps in the array; got a list of "
            f"{', '.join(map(str, lengths[:4]))} steps. Pad them to the longest and tell their "
            "lengths: length=jnp.array([...])."
        )


def _unknown(family: ExponentialFamily, x: Any) -> Array:
    """Whether nothing of an observation is known."""
    if isinstance(family, Product):
        parts = [_unknown(part, y) for part, y in zip(family.families, x, strict=True)]
        return jnp.stack(parts).all(axis=0)
    return family._is_missing(x)


def _filled(family: ExponentialFamily, keep: Array, x: Any) -> Any:
    """Observations with one inside the support in the place of those that are not kept."""
    if isinstance(family, Product):
        return tuple(_filled(part, keep, y) for part, y in zip(family.families, x, strict=True))
    event = (...,) + (None,) * len(family.event_shape)
    return jnp.where(keep[event], x, jnp.asarray(family._inside, x.dtype))
