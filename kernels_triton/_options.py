"""Checks of options that are Python numbers, in torch and in JAX."""

import math
from numbers import Integral, Real


def require_temperature(temperature: float) -> float:
    """Return the temperature as a Python float.

    Raises:
      TypeError: it is not a Python number.
      ValueError: it is not positive and finite.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, Real):
        raise TypeError(
            f"temperature must be a Python number; got {type(temperature).__name__}. "
            "For a learned or per-row temperature divide x by it before the call."
        )
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature must be positive and finite; got {temperature}. "
            "The limit 0 is argmax, the limit inf is uniform: compute those directly."
        )
    return float(temperature)


def require_smoothing(label_smoothing: float) -> float:
    """Return the label smoothing as a Python float.

    Raises:
      TypeError: it is not a Python number.
      ValueError: it is not between 0 and 1.
    """
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, Real):
        raise TypeError(
            f"label_smoothing must be a Python number; got {type(label_smoothing).__name__}. "
            "Pass a float between 0 and 1."
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"label_smoothing must be between 0 and 1; got {label_smoothing}. Pass 0 for none."
        )
    return float(label_smoothing)


def require_reduction(reduction: str) -> None:
    """Check that `reduction` is one of three.

    Raises:
      ValueError: it is none of them.
    """
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(
            f"reduction must be none, sum or mean; got {reduction!r}. Check the spelling."
        )


def require_ignore_index(ignore_index: int) -> int:
    """Return the label that does not count as a Python integer.

    Raises:
      TypeError: it is not an integer.
    """
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, Integral):
        raise TypeError(
            f"ignore_index must be an integer; got {ignore_index!r}. "
            "Pass -100, or a number that no label has."
        )
    return int(ignore_index)
