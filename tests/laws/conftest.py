"""The families, one after the other: whatever a law needs of one is compiled once in a process."""

import pytest

from tests.laws.programs import EACH


@pytest.fixture(scope="session", params=EACH)
def name(request) -> str:
    """Name of a family. Session scope makes pytest run all laws of one before the next."""
    return request.param
