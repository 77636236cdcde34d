"""The library against true values: divergences, entropies, metrics and gradients of a wide grid."""

import math
import statistics

import numpy as np
import pytest

from tests.reference.compare import Case, errors, quantities
from tests.reference.functions import FILES
from tests.reference.limits import BOUNDS, KNOWN_LIMITS, goal

DTYPES = ("float64", "float32")
PARAMETERS = [
    pytest.param(file, quantity, dtype, id=f"{quantity}-{dtype}")
    for file, functions in FILES.items()
    for quantity in functions
    for dtype in DTYPES
]


def condition_of_matrices(case: Case) -> float:
    return sum(
        float(np.linalg.cond(value))
        for name, value in case.inputs.items()
        if name.startswith("cov")
    )


def measured(file: str, quantity: str, dtype: str) -> list[tuple[float, Case]]:
    """Errors in the unit of the tables, worst first."""
    found = errors(file, quantity, dtype, FILES[file][quantity])
    if file != "multivariate_normal":
        return found
    eps = float(np.finfo(dtype).eps)
    scaled = [(error / eps / (1 + condition_of_matrices(case)), case) for error, case in found]
    return sorted(scaled, key=lambda pair: -pair[0])


@pytest.mark.parametrize(("file", "quantity", "dtype"), PARAMETERS)
def test_error_is_bounded(file, quantity, dtype):
    found = measured(file, quantity, dtype)
    worst, case = found[0]
    shown = f"{worst:.2g} at order {case.order}, {case.inputs}"
    limit = KNOWN_LIMITS.get((quantity, dtype))
    if limit is None:
        bound = BOUNDS[quantity][DTYPES.index(dtype)]
        assert bound is not None
        assert bound <= 1.5 * goal(quantity, dtype)
        assert worst <= bound, shown
        return
    # Known to be worse: no more cases than known, and the typical case is right all the same.
    beyond = [error for error, _ in found if error > 2 * goal(quantity, dtype)]
    assert len(found) == limit.cases
    assert len(beyond) <= limit.beyond, shown
    assert math.isfinite(worst) or math.isinf(limit.worst), shown
    typical = statistics.median(error for error, _ in found)
    assert typical <= limit.typical
    assert worst > goal(quantity, dtype), "no longer a limit: move it to BOUNDS"


def test_every_stored_quantity_is_tested():
    for file, functions in FILES.items():
        stored = set(quantities(file))
        assert stored == set(functions)


def test_every_bound_belongs_to_a_quantity():
    tested = {quantity for functions in FILES.values() for quantity in functions}
    assert set(BOUNDS) | {quantity for quantity, _ in KNOWN_LIMITS} == tested
