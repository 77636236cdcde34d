"""Limits from even powers of the step."""

import jax.numpy as jnp
import numpy as np

from igeojax.numerics import richardson_limit


def perimeters(levels):
    """Half the perimeters of inscribed polygons of 4, 8, 16, ... sides, which tend to pi."""
    sides = 4.0 * 2 ** np.arange(levels)
    return jnp.asarray(sides * np.sin(np.pi / sides))


def test_archimedes():
    for levels, exact in ((2, 5e-3), (4, 1e-7), (6, 1e-13)):
        limit, error = richardson_limit(perimeters(levels))
        assert abs(float(limit) - np.pi) < exact
        assert abs(float(limit) - np.pi) <= float(error) < 1


def test_a_change_that_is_small_by_chance_is_no_error():
    # The last halving changes the first order by nothing, while the limit is 1/64 away.
    steps = 0.5 ** np.arange(4)
    values = jnp.asarray(1 + steps**2 - 5 * steps**4 + 4 * steps**6)
    limit, error = richardson_limit(values)
    assert abs(float(limit) - 1) <= float(error)


def test_each_entry_has_its_own_order():
    limit, error = richardson_limit(jnp.stack([perimeters(6), jnp.ones(6)], axis=1))
    np.testing.assert_allclose(limit, [np.pi, 1.0], rtol=1e-12)
    assert float(error[1]) == 0
