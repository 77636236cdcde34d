"""Generating functions and cumulants of each family against sums and quadrature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.families import FAMILIES, cumulants
from tests.laws.programs import flat, natural, quantities, tangent
from tests.laws.test_density import mass

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow


@functools.cache
def program(name: str):
    """Cumulants along a direction, and the generating function at it."""
    family = FAMILIES[name].family

    def everything(theta, t):
        orders = [cumulants.cumulant(family, theta, t, order=k) for k in (1, 2, 3, 4)]
        return jnp.stack(orders), cumulants.cumulant_generating_function(family, theta, t)

    return jax.jit(jax.vmap(everything, out_axes=(1, 0)))


def values(name: str, t) -> np.ndarray:
    """`<t, T(x)>` at the nodes, and the law's weights."""
    return np.einsum("bk,bmk->bm", flat(name, t), quantities(name)["statistics"])


def test_cumulants(name):
    t = tangent(name, 0)
    found, generating = program(name)(natural(name, 0), t)
    weights, value = mass(name), values(name, t)
    mean = np.sum(weights * value, axis=1)
    centred = value - mean[:, None]
    moment = [np.sum(weights * centred**k, axis=1) for k in range(5)]
    expected = np.stack([mean, moment[2], moment[3], moment[4] - 3 * moment[2] ** 2])
    size = np.stack([np.sqrt(moment[2]) ** k for k in (1, 2, 3, 4)])
    np.testing.assert_allclose(found / size, expected / size, rtol=1e-8, atol=1e-8)
    moved = jax.tree.map(np.add, natural(name, 0), t)
    inside = np.asarray(FAMILIES[name].family.in_natural_domain(moved))
    assert inside.any()
    expected = np.log(np.sum(weights * np.exp(np.where(weights > 0, value, 0)), axis=1))
    np.testing.assert_allclose(generating[inside], expected[inside], rtol=1e-8, atol=1e-10)
    assert (np.asarray(generating)[~inside] == np.inf).all()


def test_characteristic_function(name):
    family, t = FAMILIES[name].family, jax.tree.map(lambda leaf: 3 * leaf, tangent(name, 0))
    theta = natural(name, 0)
    found = jax.jit(lambda theta, t: cumulants.characteristic_function(family, theta, t))(theta, t)
    expected = np.sum(mass(name) * np.exp(1j * values(name, t)), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert (np.abs(found) <= 1 + 1e-12).all()
