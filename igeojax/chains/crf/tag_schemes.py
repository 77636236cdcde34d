"""Which tags may follow each other in schemes that mark spans: constraints as scores 0 and -inf."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax._core import checks

# By scheme: all prefixes, and those that go on with a span that a tag before them has begun.
_PREFIXES = {"BIO": "BIO", "BIOES": "BIOES"}
_JOINED = {"BIO": "I", "BIOES": "IE"}
# Prefixes after which a span must go on.
_OPEN = {"BIO": "", "BIOES": "BI"}


class TagConstraints(NamedTuple):
    """Scores to add to those of a model: 0 where a scheme allows, `-inf` where it forbids."""

    transition: Float[Array, "K K"]
    start: Float[Array, " K"]
    end: Float[Array, " K"]


def tag_constraints(tags: Sequence[str], *, scheme: str = "BIO") -> TagConstraints:
    """Constraints of a tag scheme: the tags of a span belong together.

    `BIO`: a span is `B-x` and then any number of `I-x`; `I-x` follows `B-x` or `I-x` alone.
    `BIOES`: `B-x`, any number of `I-x`, `E-x`, or `S-x` by itself; a span that is open goes on.
    `O` is outside.

    Args:
      tags: names of the K tags, in the order of the scores.
      scheme: "BIO" or "BIOES".

    Returns:
      Scores of transitions, of the first and of the last tag.

    Raises:
      TypeError: `tags` are no sequence of strings.
      ValueError: an unknown scheme, a tag that is none of it, or one that stands twice.

    References:
      [RamshawMarcus1995], where B and I are introduced.

    Examples:
      >>> tag_constraints(["O", "B-x", "I-x"]).transition[0].tolist()
      [0.0, 0.0, -inf]
    """
    checks.require_option("scheme", scheme, tuple(_PREFIXES))
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError(
            f"tags must be a sequence of names; got {tags!r}. Write them in the order of the "
            'scores, as ("O", "B-x", "I-x").'
        )
    for tag in tags:
        prefix, dash, kind = tag.partition("-")
        fits = prefix in _PREFIXES[scheme] and len(prefix) == 1
        if not fits or (prefix == "O") != (not dash and not kind):
            raise ValueError(
                f"tags must be O or one of {', '.join(_PREFIXES[scheme].replace('O', ''))} with a "
                f"kind, as B-x, in the scheme {scheme}; got {tag!r}. Rename it, or choose another "
                "scheme."
            )
    if len(set(tags)) != len(tags) or not tags:
        raise ValueError(
            f"tags must be different names, at least one; got {list(tags)}. Their order is that "
            "of the scores."
        )
    joined, unfinished = _JOINED[scheme], _OPEN[scheme]

    def may_follow(before: str, after: str) -> bool:
        if after[0] in joined:
            return before[0] in "BI" and before[1:] == after[1:]
        return before[0] not in unfinished

    allowed = np.array([[may_follow(before, after) for after in tags] for before in tags])
    scores = lambda flags: jnp.where(np.asarray(flags), 0.0, -jnp.inf)
    return TagConstraints(
        scores(allowed),
        scores([tag[0] not in joined for tag in tags]),
        scores([tag[0] not in unfinished for tag in tags]),
    )
