"""The log-likelihood never decreases: every family, by steps that nothing guards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igeojax import em
from igeojax.families import FAMILIES

ROWS, STEPS = 12, 30
ROUNDING = 1e-10
"""Of a mean log-likelihood in float64, as a share of one and its size."""
DEFAULT = ("Bernoulli", "Exponential", "Normal")
EACH = [
    pytest.param(name, marks=[] if name in DEFAULT else [pytest.mark.slow]) for name in FAMILIES
]


@functools.cache
def program(name):
    """Objectives of a few steps `expectations -> maximized` from a drawn start on drawn data."""
    entry = FAMILIES[name]
    mixture = em.Mixture(entry.family, 2)

    @jax.jit
    def run(seed, rows, weights, share, count):
        keys = jax.random.split(jax.random.key(seed), 4)
        drawn = mixture.sample(
            keys[0],
            em.MixturePoint(jnp.log(jnp.array([0.3, 0.7])), entry.point(keys[1], (2,))),
            (ROWS,),
        )
        x = jax.tree.map(lambda leaf: leaf[rows], drawn)
        center = jax.tree.map(lambda leaf: leaf[0], entry.point(keys[3], (1,)))
        prior = em.mixture_prior(mixture, center, count, concentration=1 + count)
        start = em.MixturePoint(jnp.log(jnp.stack([share, 1 - share])), entry.point(keys[2], (2,)))

        def step(params, _):
            sums = mixture.expectations(params, x, weights)
            value = sums.log_likelihood + prior.log_density(mixture, params)
            return mixture.maximized(sums, previous=params, prior=prior), value / sums.weight

        return jax.lax.scan(step, start, length=STEPS)[1]

    return run


@pytest.mark.parametrize("name", EACH)
def test_no_step_loses(name):
    @given(
        seed=st.integers(0, 10**6),
        rows=st.lists(st.integers(0, ROWS - 1), min_size=ROWS, max_size=ROWS),
        weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=ROWS, max_size=ROWS),
        share=st.floats(0.01, 0.99),
        count=st.sampled_from([0.0, 0.5]),
    )
    @settings(max_examples=40)
    def check(seed, rows, weights, share, count):
        weights[0] = 1.0
        values = np.asarray(
            program(name)(seed, np.array(rows), np.array(weights), np.float64(share), count)
        )
        # A component on one value has no maximum: what comes after is nan, never less.
        values = values[: int(np.argmin(np.isfinite(values))) or None]
        assert (np.diff(values) >= -ROUNDING * (1 + np.abs(values[1:]))).all(), values

    check()
