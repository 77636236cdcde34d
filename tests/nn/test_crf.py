"""The CRF layers of linen and nnx are `chains.crf` with parameters, and train."""

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx as flax_nnx

from igeojax import nn
from igeojax.chains import crf

NAMES = ("O", "B-x", "I-x")
DRAWS = np.random.default_rng(0)
UNARY = DRAWS.normal(size=(4, 5, 3)).astype(np.float32)
TAGS = DRAWS.integers(0, 2, (4, 5))
LENGTH = np.array([5, 3, 1, 4])


def scores():
    normal = lambda *shape: DRAWS.normal(size=shape).astype(np.float32)
    return {"transition": normal(3, 3), "start": normal(3), "end": normal(3)}


def forms(params, **settings):
    """Log-likelihood and decoded tags of each form at these parameters."""
    linen = nn.linen.CRF(**settings)
    variables = {"params": params}
    yield (
        lambda unary: linen.apply(variables, unary, TAGS, length=LENGTH),
        lambda unary: linen.apply(variables, unary, length=LENGTH, method="viterbi"),
        linen.apply(variables, method="potentials"),
    )
    layer = nn.nnx.CRF(**settings)
    for name, value in params.items():
        getattr(layer, name)[...] = jnp.asarray(value)
    yield (
        lambda unary: layer(unary, TAGS, length=LENGTH),
        lambda unary: layer.viterbi(unary, length=LENGTH),
        layer.potentials(),
    )


def test_layers_are_the_functions():
    params = scores()
    expected = crf.log_likelihood(UNARY, tags=TAGS, length=LENGTH, **params)
    decoded = crf.viterbi(UNARY, length=LENGTH, **params)
    for likelihood, decode, potentials in forms(params, tags=3):
        assert (likelihood(UNARY) == expected).all()
        assert (decode(UNARY).tags == decoded.tags).all()
        assert (decode(UNARY).score == decoded.score).all()
        assert sorted(potentials) == sorted(params)
        assert all((potentials[name] == params[name]).all() for name in params)


def test_a_scheme_forbids():
    params, constraints = scores(), crf.tag_constraints(NAMES)
    for likelihood, decode, potentials in forms(params, tags=NAMES, scheme="BIO"):
        for name, fixed in constraints._asdict().items():
            assert (potentials[name] == params[name] + fixed).all()
        # All scores for the tag that cannot begin: it follows one that can.
        tags = decode(UNARY + np.float32([0, 0, 100])).tags
        assert tags.tolist() == [
            [1, 2, 2, 2, 2],
            [1, 2, 2, -1, -1],
            [tags[2, 0].item(), -1, -1, -1, -1],
            [1, 2, 2, 2, -1],
        ]
        assert tags[2, 0] != 2
        gradient = jax.grad(lambda unary, of=likelihood: jnp.sum(of(unary)))(UNARY)
        assert np.isfinite(gradient).all()


def alternating(count=64):
    """Tags that change at every step, seen through much noise."""
    draws = np.random.default_rng(1)
    tags = (np.arange(8) + draws.integers(0, 2, (count, 1))) % 2
    unary = np.eye(2)[tags] + draws.normal(size=(count, 8, 2))
    return unary.astype(np.float32), tags


def accuracy(tags, found):
    return float(np.mean(np.asarray(found) == tags))


def test_both_train_alike():
    unary, tags = alternating()
    tx = optax.adam(0.1)
    linen = nn.linen.CRF(2)
    params = linen.init(jax.random.key(0), unary, tags)

    @jax.jit
    def step(params, state):
        loss = lambda params: -jnp.mean(linen.apply(params, unary, tags))
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    layer = nn.nnx.CRF(2)
    optimizer = flax_nnx.Optimizer(layer, tx, wrt=flax_nnx.Param)

    @flax_nnx.jit
    def step_nnx(layer, optimizer):
        loss = lambda layer: -jnp.mean(layer(unary, tags))
        value, gradient = flax_nnx.value_and_grad(loss)(layer)
        optimizer.update(layer, gradient)
        return value

    before = accuracy(tags, linen.apply(params, unary, method="viterbi").tags)
    state = tx.init(params)
    for _ in range(30):
        params, state, value = step(params, state)
        other = step_nnx(layer, optimizer)
    assert float(value) == pytest.approx(float(other), rel=1e-5, abs=0)
    after = accuracy(tags, linen.apply(params, unary, method="viterbi").tags)
    assert before < 0.8 < 0.95 < after
    np.testing.assert_array_equal(
        linen.apply(params, unary, method="viterbi").tags, layer.viterbi(unary).tags
    )


@pytest.mark.parametrize("make", [nn.linen.CRF, nn.nnx.CRF])
def test_bad_settings(make):
    def used(**settings):
        layer = make(**settings)
        if make is nn.linen.CRF:
            return layer.init(jax.random.key(0), UNARY, TAGS)
        return layer(UNARY, TAGS)

    with pytest.raises(ValueError, match="names of the tags"):
        used(tags=3, scheme="BIO")
    with pytest.raises(ValueError, match="scheme must be one of"):
        used(tags=NAMES, scheme="IO")
    with pytest.raises(TypeError, match="number or a sequence of names"):
        used(tags=2.5)
    with pytest.raises(ValueError, match="number of tags must be at least 1"):
        used(tags=0)
    with pytest.raises(ValueError, match="transition must have shape"):
        used(tags=4)


def test_flax_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(ImportError, match=r"igeojax\.nn needs flax.*pip install 'igeojax\[nn\]'"):
        importlib.reload(nn)
