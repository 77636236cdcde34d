"""Checks of options that are Python numbers, in torch and in JAX."""

import math
from numbers import Real


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
