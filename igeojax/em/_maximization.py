"""The M-step on sums: mean statistics to natural parameters, weights from counts."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.em.expectations import Expectations, along, mean_statistics

FIXABLE = ("weights", "components")
"""Names of what a fit may keep."""


def maximized(
    mixture: Any,
    expectations: Expectations,
    previous: Any,
    fixed: tuple[str | int, ...],
) -> tuple[Array, Any]:
    """Log-weights and components that maximize the expected complete log-likelihood."""
    eta, empty = mean_statistics(expectations)
    components = mixture.family.natural_from_mean(eta)
    log_weights = jnp.log(expectations.counts / jnp.sum(expectations.counts))
    if previous is None:
        return log_weights, components
    if "components" in fixed:
        kept = jnp.ones_like(empty)
    else:
        labels = [label for label in fixed if not isinstance(label, str)]
        kept = empty.at[jnp.asarray(labels, int)].set(True) if labels else empty
    components = jax.tree.map(
        lambda new, old: jnp.where(along(kept, new), old, new), components, previous.components
    )
    return previous.log_weights if "weights" in fixed else log_weights, components


def require_fixable(mixture: Any, fixed: tuple[str | int, ...], previous: Any) -> None:
    """Check what is to stay as it was.

    Raises:
      ValueError: an entry that is no part of the mixture, or nothing to keep it from.
    """
    known = (*FIXABLE, *range(mixture.num_components))
    if not isinstance(fixed, tuple) or not set(fixed) <= set(known):
        raise ValueError(
            f"fixed must be a tuple of {', '.join(map(repr, FIXABLE))} and numbers of components "
            f"below {mixture.num_components}; got {fixed!r}. Write ('weights',) for one name."
        )
    if fixed and previous is None:
        raise ValueError(
            f"fixed={fixed!r} needs the parameters to keep; got None. Pass previous=params (a "
            "starting point, in a fit)."
        )
