"""Fixtures of all tests."""

import jax
import pytest


@pytest.fixture
def key() -> jax.Array:
    """One fixed random key; split it where several are needed."""
    return jax.random.key(20260101)
