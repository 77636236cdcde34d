"""Chains answer as pytorch-crf, hmmlearn and dynamax, which need not be installed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.chains import crf, hmm
from tests.parity import chain_peers

STORED = json.loads(chain_peers.STORED.read_text(encoding="utf-8"))


def require_close(one, other):
    """Nested lists of numbers agree, to the rounding of either."""
    assert sorted(one) == sorted(other)
    for name in one:
        rows = zip(one[name], other[name], strict=True)
        for mine, theirs in rows:
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the peers import
@pytest.mark.parametrize("peer", chain_peers.PEERS)
def test_the_stored_answers_are_those_of_the_peer(peer):
    pytest.importorskip(peer)
    require_close(STORED[peer], chain_peers.PEERS[peer]())


def test_conditional_random_field():
    given = chain_peers.crf_problem()
    tags, mask = given.pop("tags"), given.pop("mask")
    values = lambda given: crf.log_likelihood(**given, tags=tags, mask=mask)
    gradient = jax.jit(jax.grad(lambda given: jnp.sum(values(given))))(given)
    decoded = jax.jit(crf.viterbi)(**given, mask=mask).tags
    found = {
        "log_likelihood": jax.jit(values)(given),
        "tags": [row[:n] for row, n in zip(decoded, chain_peers.LENGTHS, strict=True)],
        **{f"{name}_gradient": value for name, value in gradient.items()},
    }
    require_close(STORED["torchcrf"], found)


@pytest.mark.parametrize("peer", ["hmmlearn", "dynamax"])
def test_hidden_markov_model(peer):
    problem = chain_peers.hmm_problem()
    model = np.log(problem["initial"]), np.log(problem["transition"])
    given = *model, chain_peers.log_emission(problem)
    lengths = np.array(chain_peers.LENGTHS)
    rows = lambda array: [row[:n] for row, n in zip(array, lengths, strict=True)]
    smoothed = jax.jit(hmm.smooth)(*given, length=lengths)
    decoded = jax.jit(hmm.viterbi)(*given, length=lengths)
    found = {
        "log_likelihood": smoothed.log_likelihood,
        "states": rows(smoothed.states),
        "path": rows(decoded.states),
    }
    if peer == "hmmlearn":
        found["log_density"] = decoded.log_density
    else:
        found["transitions"] = smoothed.transitions
        found["filtered"] = rows(jax.jit(hmm.filter)(*given, length=lengths).states)
    require_close(STORED[peer], found)
