"""Supports on the real line, for sums and quadrature over the observations of a family."""

import math
from typing import NamedTuple


class Support(NamedTuple):
    """Where observations lie: an interval, or the integers `low..high`.

    Ends are numbers or infinite; whether they belong to an interval does not matter to integrals.

    Examples:
      >>> COUNTS.size is None, Support(0, 1, integers=True).size
      (True, 2)
    """

    low: float
    high: float
    integers: bool = False

    @property
    def size(self) -> int | None:
        """Number of observations; None where it is infinite."""
        finite = self.integers and math.isfinite(self.low) and math.isfinite(self.high)
        return int(self.high - self.low) + 1 if finite else None


REALS = Support(-math.inf, math.inf)
"""The real line."""

POSITIVES = Support(0.0, math.inf)
"""The positive half-line."""

COUNTS = Support(0, math.inf, integers=True)
"""The counts 0, 1, 2, ..."""
