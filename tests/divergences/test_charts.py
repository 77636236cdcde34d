"""The charts in which quadrature places its nodes are families of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.divergences._charts import on_a_chart
from igeojax.families import FAMILIES


# Normal laws are moved, reflections drop out: what is left has to keep the maps of its family.
@pytest.mark.parametrize("name", ["Gamma", "InverseGamma", "Beta", "Normal", "Weibull", "Pareto"])
def test_mean_map_of_a_chart(name):
    family = FAMILIES[name].family
    points = [FAMILIES[name].point(jax.random.key(seed), (3,)) for seed in (0, 1)]
    chart, pair = on_a_chart(family, *points)
    slope = jax.grad(lambda theta: jnp.sum(chart.log_partition(theta)))(pair.p)
    mean = chart.mean_from_natural(pair.p)
    for found, expected in zip(*map(jax.tree.leaves, (mean, slope)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    # A change of variables keeps the divergence.
    np.testing.assert_allclose(
        chart.bregman(pair.q, pair.p, step=jax.tree.map(jnp.negative, pair.step)),
        family.bregman(points[1], points[0]),
        rtol=1e-10,
    )
