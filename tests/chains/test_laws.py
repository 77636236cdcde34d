"""Laws of all chains: gauge, reversal, relabeling, packing, Bregman, convexity, bounds."""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from igeojax.chains import crf

LENGTH, STATES = 6, 3
numbers = st.floats(-20, 20)
chains = st.tuples(
    hnp.arrays(float, (LENGTH, STATES), elements=numbers),
    hnp.arrays(float, (STATES, STATES), elements=st.one_of(numbers, st.just(-np.inf))),
    hnp.arrays(float, STATES, elements=numbers),
    hnp.arrays(float, STATES, elements=numbers),
)
masks = hnp.arrays(bool, LENGTH)
ATOL = 2e-12  # sums of 20 scores up to 20


@jax.jit
def asked(chain, mask):
    total = lambda u, a, s, e: crf.log_partition(u, a, mask=mask, start=s, end=e)
    value, gradient = jax.value_and_grad(total, argnums=(0, 1, 2, 3))(*chain)
    unary, transition, start, end = chain
    more = {"mask": mask, "start": start, "end": end}
    return {
        "log_partition": value,
        "gradient": gradient,
        "entropy": crf.entropy(unary, transition, **more),
        "viterbi": crf.viterbi(unary, transition, **more).score,
        "k_best": crf.k_best(unary, transition, 2, **more).score,
    }


@jax.jit
def divergence(chain, other, mask):
    return crf.kl(
        *chain[:2],
        *other[:2],
        mask=mask,
        start=chain[2],
        end=chain[3],
        other_start=other[2],
        other_end=other[3],
    )


def inner(gradient, scores):
    return sum(
        np.sum(np.where(g == 0, 0.0, g * np.where(g == 0, 0.0, s)))
        for g, s in zip(gradient, scores, strict=True)
    )


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=ATOL)


@given(chains, masks, hnp.arrays(float, STATES, elements=numbers))
def test_gauge(chain, mask, potential):
    unary, transition, start, end = chain
    found = asked(chain, mask)
    moved = transition + potential[None] - potential[:, None], start + potential, end - potential
    other = asked((unary, *moved), mask)
    close(found["log_partition"], other["log_partition"])
    close(found["gradient"][0], other["gradient"][0])
    close(found["entropy"], other["entropy"])


@given(chains, masks)
def test_reversal(chain, mask):
    unary, transition, start, end = chain
    found = asked(chain, mask)
    other = asked((unary[::-1], transition.T, end, start), mask[::-1])
    close(found["log_partition"], other["log_partition"])
    close(found["gradient"][0], other["gradient"][0][::-1])
    close(found["gradient"][1], other["gradient"][1].T)
    close(found["entropy"], other["entropy"])
    close(found["k_best"], other["k_best"])


@given(chains, masks, st.permutations(range(STATES)))
def test_relabeling(chain, mask, order):
    unary, transition, start, end = chain
    found = asked(chain, mask)
    order = np.array(order)
    other = asked(
        (unary[:, order], transition[np.ix_(order, order)], start[order], end[order]), mask
    )
    close(found["gradient"][0][:, order], other["gradient"][0])
    close(found["viterbi"], other["viterbi"])


@given(chains, masks)
def test_absent_steps_are_as_if_they_were_not_there(chain, mask):
    unary, *rest = chain
    packed = np.concatenate([unary[mask], unary[~mask]])
    found, other = asked(chain, mask), asked((packed, *rest), np.arange(LENGTH) < mask.sum())
    for name in ("log_partition", "entropy", "viterbi", "k_best"):
        close(found[name], other[name])
    close(found["gradient"][0][mask], other["gradient"][0][: mask.sum()])
    assert (found["gradient"][0][~mask] == 0).all()


@given(chains, masks)
def test_entropy_and_bounds(chain, mask):
    found = asked(chain, mask)
    value, gradient = found["log_partition"], found["gradient"]
    if value == -np.inf:
        assert inner(gradient, chain) == found["entropy"] == 0
        return
    close(value, found["entropy"] + inner(gradient, chain))
    count = mask.sum() * np.log(STATES)
    assert -ATOL <= found["entropy"] <= count + ATOL
    assert found["viterbi"] - ATOL <= value <= found["viterbi"] + count + ATOL
    close(found["viterbi"], found["k_best"][0])
    assert found["k_best"][1] <= found["k_best"][0]
    close(gradient[0].sum(-1), mask)
    close(gradient[1].sum(), max(mask.sum() - 1, 0))


@given(chains, chains, masks)
def test_divergence_is_that_of_bregman(chain, other, mask):
    # Where both forbid the same transitions: psi(q) - psi(p) - <grad psi(p), q - p>.
    other = other[0], np.where(chain[1] == -np.inf, -np.inf, np.maximum(other[1], -20)), *other[2:]
    one, two = asked(chain, mask), asked(other, mask)
    if one["log_partition"] == -np.inf:
        assert np.isnan(divergence(chain, other, mask))
        return
    steps = [
        np.where(c == -np.inf, 0.0, o) - np.where(c == -np.inf, 0.0, c)
        for o, c in zip(other, chain, strict=True)
    ]
    bregman = two["log_partition"] - one["log_partition"] - inner(one["gradient"], steps)
    found = divergence(chain, other, mask)
    assert found >= 0
    close(found, bregman)


@given(chains, chains, masks)
def test_log_partition_is_convex(chain, other, mask):
    free = [tuple(np.maximum(part, -20) for part in each) for each in (chain, other)]
    middle = tuple(0.5 * (a + b) for a, b in zip(*free, strict=True))
    first, second, between = (asked(each, mask)["log_partition"] for each in (*free, middle))
    assert between <= 0.5 * (first + second) + ATOL
