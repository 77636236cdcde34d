"""The families, one after the other: whatever a law needs of one is compiled once in a process."""

import pytest

from tests.laws.programs import NAMES


@pytest.fixture(scope="session", params=NAMES)
def name(request) -> str:
    """Name of a family. Session scope makes pytest run all laws of one before the next."""
    return request.param
