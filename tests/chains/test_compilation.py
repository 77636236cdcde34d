"""A second call with arrays of the same shapes compiles nothing, outside of `jit` too."""

import jax
import jax.numpy as jnp
import numpy as np

from igeojax import em, families
from igeojax.chains import crf, hmm

UNARY = np.random.default_rng(0).normal(size=(3, 2))
FREE, EVEN = np.zeros((2, 2)), np.log([0.5, 0.5])
LAWS = EVEN, np.log(np.full((2, 2), 0.5))
FAMILY = families.Bernoulli()
MODEL = em.HiddenMarkovModel(FAMILY, 2)
STATIONARY = em.HiddenMarkovModel(FAMILY, 2, stationary_start=True)
MOVES, RATES = np.array([[0.9, 0.1], [0.2, 0.8]]), FAMILY.natural_from_params(jnp.array([0.2, 0.7]))


def calls(key):
    """Every public function, and the transformations that are used outside of `jit`."""
    given, tags = (UNARY, FREE), np.array([0, 1, 1])
    loss = lambda unary: crf.log_likelihood(unary, FREE, tags)
    for function in (crf.log_partition, crf.marginals, crf.pair_marginals, crf.entropy):
        yield function.__name__, lambda function=function: function(*given)
    yield "crf.kl", lambda: crf.kl(*given, 2 * UNARY, FREE)
    yield "crf.log_likelihood", lambda: loss(UNARY)
    yield "its gradient", lambda: jax.grad(loss)(UNARY)
    yield "its map", lambda: jax.vmap(loss)(np.stack([UNARY, UNARY]))
    yield "crf.viterbi", lambda: crf.viterbi(*given)
    yield "crf.k_best", lambda: crf.k_best(*given, 2)
    yield "crf.sample", lambda: crf.sample(key, *given, 3)
    for function in (hmm.log_likelihood, hmm.filter, hmm.smooth, hmm.viterbi):
        yield f"hmm.{function.__name__}", lambda function=function: function(*LAWS, UNARY)
    yield "hmm.sample", lambda: hmm.sample(key, *LAWS, UNARY, 3)
    yield "hmm.forecast", lambda: hmm.forecast(*LAWS, UNARY, 2)
    params = STATIONARY.point(None, MOVES, RATES)
    yield "the stationary law", lambda: STATIONARY.point(None, MOVES, RATES)
    yield "HiddenMarkovModel.sample", lambda: MODEL.sample(key, params, 3, (2,))
    sums = MODEL.expectations(params, np.array([0, 1, 1]))
    yield "a stationary M-step", lambda: STATIONARY.maximized(sums, previous=params)


def test_a_second_call_compiles_nothing(key, caplog):
    def compiled(call):
        caplog.clear()
        with jax.log_compiles():
            call()
        return [line for line in caplog.messages if line.startswith("Compiling ")]

    assert compiled(lambda: jax.jit(lambda x: x + 1)(1.0)), "compilation is no longer told"
    again = []
    for name, call in calls(key):
        call()
        again += [name] if compiled(call) else []
    assert not again
