"""Chains of 10^5 steps: no underflow, and rounding that does not pile up."""

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.chains import crf

LENGTH, STATES = 100_000, 3


def recursion(unary, transition):
    """log Z and marginals by scaled probabilities in numpy, in float64."""
    weights, moves = np.exp(unary.astype(float)), np.exp(transition.astype(float))
    alphas, total = np.empty(unary.shape), 0.0
    alpha = weights[0]
    for t in range(len(unary)):
        alpha = weights[t] * (alphas[t - 1] @ moves if t else 1.0)
        total += np.log(alpha.sum())
        alphas[t] = alpha = alpha / alpha.sum()
    beta, found = np.ones(unary.shape[1]), np.empty(unary.shape)
    for t in reversed(range(len(unary))):
        found[t] = alphas[t] * beta / (alphas[t] * beta).sum()
        beta = moves @ (weights[t] * beta)
        beta /= beta.sum()
    return total, found


def test_values_and_marginals_of_a_long_chain():
    draws = np.random.default_rng(0)
    unary = draws.normal(size=(LENGTH, STATES)).astype(np.float32)
    transition = draws.normal(size=(STATES, STATES)).astype(np.float32)
    tags = draws.integers(0, STATES, LENGTH)
    total, marginals = recursion(unary, transition)

    @jax.jit
    def asked(unary, transition):
        value, gradient = jax.value_and_grad(crf.log_partition)(unary, transition)
        return (
            value,
            gradient,
            crf.viterbi(unary, transition),
            crf.log_likelihood(unary, transition, tags),
        )

    value, gradient, decoded, likelihood = asked(unary, transition)
    eps = float(np.finfo(np.float32).eps)
    assert abs(float(value) / total - 1) < 8 * eps
    # Errors of single steps decay along the chain.
    np.testing.assert_allclose(gradient, marginals, rtol=0, atol=64 * eps)
    wide, moves = unary.astype(float), transition.astype(float)
    score = lambda path: wide[np.arange(LENGTH), path].sum() + moves[path[:-1], path[1:]].sum()
    assert abs(float(likelihood) / (score(tags) - total) - 1) < 8 * eps
    best = np.zeros(STATES)
    for t in range(LENGTH):
        best = wide[t] + ((best[:, None] + moves).max(0) if t else 0.0)
    path = np.asarray(decoded.tags)
    # In float32 scores of this size are spaced by 1/64: the path is that of float64 all the same.
    assert abs(score(path) - best.max()) < 1e-3
    assert abs(float(decoded.score) / best.max() - 1) < 8 * eps


def test_entropy_and_samples_of_a_long_chain():
    # A chain that nothing is known of: entropy T log K, and uniform states.
    unary = jnp.zeros((20_000, 2), jnp.float32)
    transition = jnp.zeros((2, 2), jnp.float32)
    entropy, path = jax.jit(
        lambda u, a: (crf.entropy(u, a), crf.sample(jax.random.key(0), u, a)[0])
    )(unary, transition)
    assert abs(float(entropy) / (20_000 * np.log(2)) - 1) < 1e-5
    # Six standard deviations: an error probability of 2e-9.
    assert abs(float(jnp.mean(path)) - 0.5) < 6 * 0.5 / np.sqrt(20_000)
