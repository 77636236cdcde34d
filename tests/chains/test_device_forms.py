"""The forms for accelerators give what the scans give, and are chosen by device and size."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.chains import _posterior, crf
from igeojax.chains._chain import chain_of
from igeojax.chains._semiring import by_associative_scan, by_scan, log_add, max_add
from tests.chains.enumeration import listed
from tests.chains.test_enumeration import BATCH, LENGTH, MASKS, STATES, lists, problem


@jax.jit
def both(unary, transition, start, end):
    chain, _ = chain_of(unary, transition, mask=MASKS, start=start, end=end)
    chain, shifts = chain.shifted()
    forms = {
        (form.__name__, add.__name__): form(chain, add)
        for form in (by_scan, by_associative_scan)
        for add in (log_add, max_add)
    }
    law = _posterior._by_associative_scan(chain)
    return forms, law, jnp.sum(shifts, axis=0)


@pytest.mark.parametrize("scale", [1.0, 2000.0])
@pytest.mark.parametrize(("shape", "forbid"), [((), 0.0), ((), 0.4), ((BATCH, LENGTH - 1), 0.2)])
def test_matrices_and_vectors_agree(shape, forbid, scale):
    given = problem(shape, scale, forbid=forbid, seed=7)[:4]
    forms, law, shifts = both(*given)
    exact = 1e-14 * scale
    for add in ("log_add", "max_add"):
        one, other = forms["by_scan", add], forms["by_associative_scan", add]
        np.testing.assert_allclose(one.log_norm, other.log_norm, rtol=0, atol=exact)
        # Before the first step that is present there is no message.
        begun = np.cumsum(MASKS.T, axis=0) > 0
        np.testing.assert_allclose(one.states[begun], other.states[begun], rtol=0, atol=exact)
    laws = lists(*given)
    total = np.asarray(forms["by_associative_scan", "log_add"].log_norm.sum(0) + shifts)
    true = [each.log_partition for each in laws]
    np.testing.assert_allclose(total, true, rtol=0, atol=exact * LENGTH)
    marginals = [each.marginals(LENGTH, STATES) for each in laws]
    np.testing.assert_allclose(jnp.moveaxis(law.states, 1, 0), marginals, rtol=0, atol=exact)
    pairs = np.stack([each.pairs(LENGTH, STATES) for each in laws])
    found = law.pairs if not shape else jnp.moveaxis(law.pairs, 1, 0)[:, 1:]
    np.testing.assert_allclose(found, pairs if shape else pairs.sum(1), rtol=0, atol=exact)


def loops(length, states, platform):
    """Loops of a program that is lowered for a platform, whether or not there is one."""
    scores = jax.ShapeDtypeStruct((2, length, states), jnp.float32)
    moves = jax.ShapeDtypeStruct((states, states), jnp.float32)
    program = jax.jit(crf.log_partition).trace(scores, moves).lower(lowering_platforms=(platform,))
    return len(re.findall(r"stablehlo\.while", program.as_text()))


def test_the_form_is_chosen_by_device_and_size():
    assert loops(1024, 4, "cpu") > 0
    assert loops(1024, 4, "cuda") == 0
    assert loops(1024, 64, "cuda") > 0
    assert loops(16, 4, "cuda") > 0


def test_both_branches_differentiate_where_the_device_decides():
    draws = np.random.default_rng(1)
    unary, transition = draws.normal(size=(300, 2)), draws.normal(size=(2, 2))
    curvature = jax.jit(
        lambda u, a: jax.jvp(jax.grad(crf.log_partition, 1), (u, a), (0 * u, jnp.ones_like(a)))[1]
    )(unary, transition)
    # A common score of all transitions moves log Z and nothing else.
    assert float(jnp.abs(curvature).max()) < 1e-10
    assert float(crf.log_partition(unary[:4], transition)) == pytest.approx(
        listed(unary[:4], transition).log_partition, rel=1e-14, abs=0
    )
