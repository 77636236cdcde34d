"""What both forms of the CRF layer share."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.chains.crf.tag_schemes import tag_constraints

Tags = int | Sequence[str]
"""The number of tags, or their names."""


def tag_count(tags: Tags) -> int:
    """How many tags there are.

    Raises:
      TypeError: `tags` is neither a number nor names.
      ValueError: there is none.
    """
    if not isinstance(tags, int) and not (
        isinstance(tags, Sequence) and all(isinstance(tag, str) for tag in tags)
    ):
        raise TypeError(
            f"tags must be a number or a sequence of names; got {tags!r}. "
            "Names are needed for a scheme only."
        )
    count = tags if isinstance(tags, int) else len(tags)
    checks.require_count("the number of tags", count)
    return count


def constrained(
    tags: Tags, scheme: str | None, transition: Array, start: Array, end: Array
) -> dict[str, Array]:
    """Scores by the names of the arguments of `crf`, with `-inf` where the scheme forbids.

    Raises:
      ValueError: a scheme without names of the tags.
    """
    if scheme is None:
        return {"transition": transition, "start": start, "end": end}
    if isinstance(tags, int):
        raise ValueError(
            f"the scheme {scheme!r} must be given names of the tags; got {tags}. Pass "
            "tags=('O', 'B-x', 'I-x')."
        )
    fixed = tag_constraints(tuple(tags), scheme=scheme)
    cast = lambda array: jnp.asarray(array, transition.dtype)
    return {
        "transition": transition + cast(fixed.transition),
        "start": start + cast(fixed.start),
        "end": end + cast(fixed.end),
    }
