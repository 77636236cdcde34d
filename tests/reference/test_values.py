"""The library against true values: divergences, entropies, metrics and gradients of a wide grid."""

import numpy as np
import pytest

from tests.reference.compare import quantities, summary
from tests.reference.functions import FILES, SLOW
from tests.reference.goals import DTYPES, EXCEPTIONS, committed, goal, is_of_matrices

PARAMETERS = [
    pytest.param(
        *(file, quantity, dtype),
        id=f"{quantity}-{dtype}",
        marks=[pytest.mark.slow] if file in SLOW else [],
    )
    for file, functions in FILES.items()
    for quantity in functions
    for dtype in DTYPES
]


@pytest.mark.parametrize(("file", "quantity", "dtype"), PARAMETERS)
def test_no_cell_of_the_table_doubles(file, quantity, dtype):
    found, table = summary(file, quantity, dtype, FILES[file][quantity]), committed()
    # Rounding of a few eps is the noise of the machine.
    unit = 1.0 if is_of_matrices(quantity) else np.finfo(dtype).eps
    for name, got, known in zip(found._fields, found, table[quantity][dtype], strict=True):
        assert got <= max(2 * known, 4 * unit), f"{name}: {got:.2g}, in the table {known:.2g}"


def test_the_table_meets_the_goals():
    beyond = {}
    for quantity, row in committed().items():
        for dtype, errors in row.items():
            aim = goal(quantity, dtype)
            if any(error > limit for error, limit in zip(errors, aim, strict=True)):
                beyond[quantity, dtype] = errors
    assert set(beyond) == set(EXCEPTIONS), beyond


def test_every_stored_quantity_is_in_the_table():
    tested = {quantity for functions in FILES.values() for quantity in functions}
    assert set(committed()) == tested
    for file, functions in FILES.items():
        assert set(quantities(file)) == set(functions)
