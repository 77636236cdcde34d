"""K-FAC and EKFAC with their defaults where factors are of few examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from igeojax import families, optim
from tests.optim.problems import FAMILY, INPUTS, PARAMS, flat, predict, problem


def test_the_damping_waits_for_the_factors_to_agree():
    rule = optim.LevenbergMarquardt(rate=2.0)
    one = jnp.ones(())
    expected = {0.06: 0.5, 0.04: 1.0, 0.02: 2.0}
    for agreement, damping in expected.items():
        found = rule.adapted(one, jnp.asarray(0.9), 1, jnp.asarray(agreement))
        assert float(found) == damping
    assert float(rule.adapted(one, jnp.asarray(0.1), 1, one)) == 2.0
    assert float(rule.adapted(one, jnp.asarray(0.9), 1, jnp.asarray(jnp.nan))) == 2.0


@pytest.mark.parametrize("corrected", [False, True])
def test_agreement_is_of_the_curvature_that_the_factors_tell_and_the_exact_one(corrected):
    grads, matrix = problem()
    options = {"example_inputs": INPUTS[:1], "damping": 0.02, "eigenvalue_correction": corrected}
    direction, _ = jax.jit(
        lambda g: (tx := optim.scale_by_kfac(predict, FAMILY, **options)).update(
            g, tx.init(PARAMS), PARAMS, inputs=INPUTS
        )
    )(grads)
    _, state = jax.jit(
        lambda g: (tx := optim.kfac(predict, FAMILY, **options)).update(
            g, tx.init(PARAMS), PARAMS, inputs=INPUTS
        )
    )(grads)
    d = flat(direction)
    damped = matrix + 0.02 * np.eye(d.size)
    np.testing.assert_allclose(state.agreement, flat(grads) @ d / (d @ damped @ d), rtol=1e-9)


def test_a_direction_of_length_zero_keeps_the_agreement_finite():
    tx = optim.kfac(predict, FAMILY, example_inputs=INPUTS[:1])
    still = jax.tree.map(jnp.zeros_like, PARAMS)
    _, state = jax.jit(functools.partial(tx.update, inputs=INPUTS))(still, tx.init(PARAMS), PARAMS)
    assert float(state.agreement) == 1.0
    assert int(state.num_skipped) == 0


@pytest.mark.slow
@pytest.mark.parametrize("make", [optim.kfac, optim.ekfac])
def test_defaults_train_an_autoencoder_on_batches_of_32(make):
    # With the damping of EKFAC added whole the loss was 84 after 280 steps and 6000 after 560.
    family, widths = families.Bernoulli(), (64, 32, 16, 32, 64)
    x = jnp.asarray(load_digits().data / 16, jnp.float32)
    keys = jax.random.split(jax.random.key(1), 4)
    params = [
        {"w": jax.random.normal(key, (m, n), jnp.float32) / m**0.5, "b": jnp.zeros(n, jnp.float32)}
        for key, m, n in zip(keys, widths[:-1], widths[1:], strict=True)
    ]

    def model(params, x):
        *hidden, last = params
        for layer in hidden:
            x = jnp.tanh(x @ layer["w"] + layer["b"][None])
        return family.natural_from_params(logits=x @ last["w"] + last["b"][None])

    def loss(params, x):
        theta = model(params, x)
        return jnp.sum(family.log_partition(theta) - theta.x * x) / x.shape[0]

    tx = make(model, family, example_inputs=x[:1])

    def step(carry, chosen):
        params, state = carry
        grads = jax.grad(loss)(params, x[chosen])
        updates, state = tx.update(grads, state, params, inputs=x[chosen])
        return (optax.apply_updates(params, updates), state), None

    generator = np.random.default_rng(1)
    batches = jnp.asarray([generator.permutation(len(x))[:32] for _ in range(560)])
    train = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches)[0])
    middle = train((params, tx.init(params)), batches[:280])
    end = train(middle, batches[280:])
    losses = [float(loss(carry[0], x)) for carry in (middle, end)]
    assert losses[0] < 16.4
    assert losses[1] < 15.8
    assert float(end[1].damping) > 2e-5
    assert int(end[1].num_skipped) == 0
