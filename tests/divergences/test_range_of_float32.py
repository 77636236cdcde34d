"""Derivatives and moments of laws whose scales lie near the ends of the range of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential


@pytest.mark.parametrize(
    ("family", "unit"),
    [
        *((families.Laplace(0.0), unit) for unit in (1e-25, 1e25)),
        *((families.Exponential(), unit) for unit in (1e-25, 1e25)),
        *((families.Rayleigh(), unit) for unit in (1e-18, 1e18)),
        *((families.Normal(), unit) for unit in (1e-18, 1e18)),
    ],
    ids=str,
)
def test_gradients_at_the_ends_of_float32(family, unit):
    """A change of unit changes the gradient by its power alone."""
    ordinary = [np.array([0.5, 1.5]), np.array([1.0, 1.25])]
    if len(family.Params._fields) == 1:
        ordinary = ordinary[1:]

    def slopes(unit, dtype):
        law = lambda i: family.Params(*(jnp.asarray(leaf[i] * unit, dtype) for leaf in ordinary))
        slope = jax.grad(lambda pair: exponential.kl(family, *pair))((law(0), law(1)))
        return np.array([float(leaf) * float(unit) for leaf in jax.tree.leaves(slope)])

    np.testing.assert_allclose(
        slopes(np.float32(unit), "float32"), slopes(1.0, "float64"), rtol=1e-5
    )


@pytest.mark.parametrize("unit", [1e-25, 1e25])
def test_hessian_products_of_exponential_laws_at_the_ends_of_float32(unit):
    family = families.Exponential()
    slope = jax.grad(
        lambda p, q: exponential.kl(family, family.Params(p), family.Params(q)), (0, 1)
    )

    def products(unit, dtype):
        pair = tuple(jnp.asarray(rate * unit, dtype) for rate in (1.0, 1.25))
        moved = jax.jvp(slope, pair, pair)[1]
        return np.array([float(leaf) * float(unit) for leaf in moved])

    np.testing.assert_allclose(
        products(np.float32(unit), "float32"), products(1.0, "float64"), rtol=1e-5
    )


def test_moments_of_normal_vectors_at_the_ends_of_float32():
    for family in (families.DiagonalNormal(2), families.IsotropicNormal(2)):
        for scale in (1e-12, 1e12):
            theta = family.natural_from_params(np.zeros(2, "f"), np.float32(scale))
            back = family.natural_from_mean(family.mean_from_natural(theta))
            for found, expected in zip(back, theta, strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-5)
