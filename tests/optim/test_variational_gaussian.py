"""IVON and VOGN: steps in numpy, fixed points that are exact posteriors, and optax around them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, fisher, optim

PARAMS = {"w": jnp.array([1.0, -0.5]), "b": jnp.array(0.3)}
LINEAR = families.NormalKnownScale(0.5)
INPUTS = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0] * [2.0, 3.0])
TARGETS = jnp.array([1.0, -0.5, 0.3, 2.0, 0.0, -1.0])


def predict(w, x):
    return LINEAR.natural_from_params(loc=x @ w)


def loss(w):
    """Mean negative log-likelihood of a linear regression."""
    return -jnp.mean(LINEAR.log_density(predict(w, INPUTS), TARGETS))


def exact(decay):
    """Mean and precision of the posterior with a prior of precision `6 decay`."""
    precision = INPUTS.T @ INPUTS / 0.25 + 6 * decay * jnp.eye(2)
    return jnp.linalg.solve(precision, INPUTS.T @ TARGETS / 0.25), precision


def test_steps_are_those_of_numpy():
    ess, decay, b1, b2 = 20.0, 0.1, 0.9, 0.8
    tx = optim.ivon(0.3, ess=ess, weight_decay=decay, b1=b1, b2=b2, curvature_init=0.5)
    rng = np.random.default_rng(0)
    m, h, g = np.array([1.0, -0.5]), np.full(2, 0.5), np.zeros(2)
    params, state, step = jnp.asarray(m), tx.init(jnp.asarray(m)), jax.jit(tx.update)
    for count in range(1, 5):
        grads, sample = rng.normal(size=2), m + rng.normal(size=2)
        updates, state = step(jnp.asarray(grads), state, params, sample=jnp.asarray(sample))
        params = optax.apply_updates(params, updates)
        new = grads * (sample - m) * ess * (h + decay)
        g = b1 * g + (1 - b1) * grads
        h = b2 * h + (1 - b2) * new + 0.5 * (1 - b2) ** 2 * (h - new) ** 2 / (h + decay)
        m = m - 0.3 * (g / (1 - b1**count) + decay * m) / (h + decay)
        np.testing.assert_allclose(params, m, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(state[0].curvature, h, rtol=1e-12, atol=0)
        np.testing.assert_allclose(
            optim.posterior_scale(state), (ess * (h + decay)) ** -0.5, rtol=1e-12, atol=0
        )
    assert int(state[0].step) == 4


def test_fixed_point_of_ivon_is_the_mean_field_posterior_of_a_quadratic_loss():
    """Every corner of a box about the mean is an exact rule for products of two coordinates."""
    matrix = jnp.array([[2.0, 0.7], [0.7, 1.0]])
    centre, ess, decay = jnp.array([1.0, -2.0]), 10.0, 0.2
    gradient = jax.vmap(lambda x: matrix @ (x - centre))
    tx = optim.ivon(0.2, ess=ess, weight_decay=decay, b1=0.5, b2=0.8)
    corners = jnp.asarray(list(itertools.product((-1.0, 1.0), repeat=2)))

    def step(carry, _):
        params, state = carry
        samples = params[None] + optim.posterior_scale(state)[None] * corners
        grads = gradient(samples)
        curvature = optim.sampled_curvature(state, params, samples, grads)
        updates, state = tx.update(grads.mean(axis=0), state, params, curvature=curvature)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros(2)
    params, state = jax.lax.scan(step, (start, tx.init(start)), length=400)[0]
    precision = ess * (matrix + decay * jnp.eye(2))
    mean = jnp.linalg.solve(precision, ess * matrix @ centre)
    np.testing.assert_allclose(params, mean, rtol=1e-12, atol=0)
    scale = optim.posterior_scale(state)
    np.testing.assert_allclose(scale, jnp.diag(precision) ** -0.5, rtol=1e-12, atol=0)


@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_fixed_point_of_vogn_is_the_posterior_of_linear_regression(decay):
    """Orthogonal inputs: the posterior is a mean field, and the Gauss-Newton matrix the Hessian."""
    tx = optim.vogn(0.5, predict, LINEAR, ess=6.0, weight_decay=decay, b1=0.5, b2=0.7)

    def step(carry, key):
        params, state = carry
        sample = optim.sample_posterior(key, state, params)
        grads = jax.grad(loss)(params)
        updates, state = tx.update(grads, state, params, inputs=INPUTS, sample=sample)
        return (optax.apply_updates(params, updates), state), None

    start, keys = jnp.zeros(2), jax.random.split(jax.random.key(0), 200)
    params, state = jax.lax.scan(step, (start, tx.init(start)), keys)[0]
    mean, precision = exact(decay)
    np.testing.assert_allclose(params, mean, rtol=1e-12, atol=0)
    scale = optim.posterior_scale(state)
    np.testing.assert_allclose(scale, jnp.diag(precision) ** -0.5, rtol=1e-12, atol=0)


def test_ivon_finds_the_posterior_from_noise():
    """Gradients at single draws: mean and deviations of the exact posterior, up to their noise."""
    tx = optim.ivon(
        optax.cosine_decay_schedule(0.1, 4000), ess=6.0, weight_decay=0.4, b1=0.9, b2=0.999
    )

    def step(carry, key):
        params, state = carry
        sample = optim.sample_posterior(key, state, params)
        updates, state = tx.update(jax.grad(loss)(sample), state, params, sample=sample)
        return (optax.apply_updates(params, updates), state), None

    start, keys = jnp.zeros(2), jax.random.split(jax.random.key(0), 4000)
    params, state = jax.jit(lambda: jax.lax.scan(step, (start, tx.init(start)), keys)[0])()
    mean, precision = exact(0.4)
    scale = jnp.diag(precision) ** -0.5
    assert jnp.max(jnp.abs(params - mean) / scale) < 0.1
    np.testing.assert_allclose(optim.posterior_scale(state), scale, rtol=0.1, atol=0)


def test_vogn_takes_the_fisher_diagonal_at_the_draw():
    family = families.Bernoulli()
    model = lambda w, x: family.Point(x @ w)
    tx = optim.scale_by_vogn(model, family, ess=6.0, weight_decay=0.1, b1=0.9, b2=0.75)
    params, sample, grads = jnp.array([0.3, -1.0]), jnp.array([2.0, 1.0]), jnp.array([1.0, -2.0])
    weights = jnp.arange(6.0)
    for point, extra in ((sample, {"sample": sample, "weights": weights}), (params, {})):
        got, state = tx.update(grads, tx.init(params), params, inputs=INPUTS, **extra)
        h = 0.75 + 0.25 * fisher.fisher_diagonal(
            model, family, point, INPUTS, weights=extra.get("weights")
        )
        np.testing.assert_allclose(state.curvature, h, rtol=1e-12, atol=0)
        np.testing.assert_allclose(got, (grads + 0.1 * params) / (h + 0.1), rtol=1e-12, atol=0)


def test_draws_have_the_mean_and_deviation_of_the_state():
    tx = optax.chain(optax.clip_by_global_norm(1.0), optim.ivon(0.1, ess=4.0, weight_decay=0.5))
    state = tx.init(PARAMS)
    draws = optim.sample_posterior(jax.random.key(0), state, PARAMS, (20000,))
    scale = (4.0 * 1.5) ** -0.5
    for name, leaf in draws.items():
        assert leaf.shape == (20000, *PARAMS[name].shape)
        # Five standard errors.
        assert jnp.max(jnp.abs(leaf.mean(axis=0) - PARAMS[name])) < 5 * scale / 20000**0.5
        assert jnp.max(jnp.abs(leaf.std(axis=0) / scale - 1)) < 5 * (2 * 20000) ** -0.5
    first = jnp.corrcoef(draws["w"].T)[0, 1], jnp.corrcoef(draws["w"][:, 0], draws["b"])[0, 1]
    assert jnp.max(jnp.abs(jnp.stack(first))) < 5 / 20000**0.5


def test_curvature_never_makes_the_precision_negative():
    tx = optim.scale_by_ivon(ess=1.0, weight_decay=0.1, b2=0.1)
    params = jnp.ones(3)
    state, step = tx.init(params), jax.jit(tx.update)
    for value in (-10.0, -1e4, -3.0):
        _, state = step(params, state, params, curvature=jnp.array([value, -0.1, 0.0]))
        assert jnp.all(state.curvature + 0.1 > 0)
    assert jnp.all(jnp.isfinite(optim.posterior_scale(state)))


def test_hyperparameters_in_flight_masks_and_vmap():
    make = optax.inject_hyperparams(optim.ivon)
    tx = make(0.1, ess=4.0, weight_decay=0.5, b2=0.9)
    state, step = tx.init(PARAMS), jax.jit(tx.update)
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    _, state = step(grads, state, PARAMS, curvature=grads)
    state.hyperparams["ess"] = jnp.zeros(()) + 16.0
    updates, state = step(grads, state, PARAMS, curvature=grads)
    assert step._cache_size() == 1
    np.testing.assert_allclose(optim.posterior_scale(state)["w"], (16 * 1.5) ** -0.5)
    np.testing.assert_allclose(updates["w"], -0.1 * (1 + 0.5 * PARAMS["w"]) / 1.5, rtol=1e-6)
    masked = optax.masked(optim.ivon(0.1, ess=4.0), {"w": True, "b": False})
    updates, state = masked.update(grads, masked.init(PARAMS), PARAMS, curvature=grads)
    assert float(updates["b"]) == 1.0
    np.testing.assert_allclose(updates["w"], -0.1 * (1 + 1e-4 * PARAMS["w"]) / 1.0001, rtol=1e-12)
    draw = optim.sample_posterior(jax.random.key(0), state, PARAMS, (3,))
    np.testing.assert_array_equal(draw["b"], jnp.full(3, PARAMS["b"]))
    assert jnp.all(draw["w"] != PARAMS["w"][None])
    one = jax.tree.map(lambda leaf: leaf[0], draw)
    _, after = masked.update(grads, state, PARAMS, sample=one)
    found = optim.sampled_curvature(state, PARAMS, draw, jax.tree.map(jnp.ones_like, draw))
    precision = 4 * (state.inner_state[0].curvature["w"] + 1e-4)
    mean = precision * jnp.mean(draw["w"] - PARAMS["w"][None], axis=0)
    np.testing.assert_allclose(found["w"], mean, rtol=1e-12)
    change = 1e-5 * (precision * (one["w"] - PARAMS["w"]) - state.inner_state[0].curvature["w"])
    np.testing.assert_allclose(
        after.inner_state[0].curvature["w"] - state.inner_state[0].curvature["w"], change, rtol=1e-3
    )
    plain = optim.scale_by_ivon(ess=4.0, b2=0.5)
    run = lambda params, g: plain.update(g, plain.init(params), params, sample=params + 1.0)
    many = jnp.arange(6.0).reshape(3, 2)
    found, _ = jax.vmap(run)(many, jnp.ones((3, 2)))
    np.testing.assert_allclose(found[1], run(many[1], jnp.ones(2))[0], rtol=1e-14)


def test_low_precision_parameters_keep_a_float32_state():
    params = jnp.ones(3, jnp.bfloat16)
    tx = optim.ivon(0.1, ess=100.0)
    state = tx.init(params)
    sample = optim.sample_posterior(jax.random.key(0), state, params)
    assert sample.dtype == jnp.bfloat16
    updates, state = tx.update(params, state, params, sample=sample)
    assert updates.dtype == jnp.bfloat16
    assert state[0].curvature.dtype == state[0].momentum.dtype == jnp.float32
    narrow = jax.tree.map(jnp.float32, PARAMS)
    assert {leaf.dtype for leaf in jax.tree.leaves(tx.init(narrow)[0][1:])} == {
        jnp.dtype("float32")
    }


def test_bad_input_is_told():
    make = functools.partial(optim.scale_by_ivon, ess=4.0)
    tx, params = make(), jnp.ones(2)
    state = tx.init(params)
    with pytest.raises(ValueError, match="params=None"):
        tx.update(params, state, sample=params)
    for extra, what in (({}, "none"), ({"sample": params, "curvature": params}, "both")):
        with pytest.raises(ValueError, match=what):
            tx.update(params, state, params, **extra)
    with pytest.raises(ValueError, match="shapes of params"):
        tx.update(params, state, params, sample=jnp.ones(3))
    for wrong in ({"sample": {"a": params}}, {"curvature": {"a": params}}):
        with pytest.raises(ValueError, match="one tree structure"):
            tx.update(params, state, params, **wrong)
    with pytest.raises(ValueError, match="gradient for each of samples"):
        optim.sampled_curvature(state, params, jnp.ones((3, 2)), jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="curvature must have"):
        tx.update(params, state, params, curvature=jnp.ones(3))
    with pytest.raises(ValueError, match="one more axis"):
        optim.sampled_curvature(state, params, params, params)
    with pytest.raises(ValueError, match="that of params"):
        optim.sample_posterior(jax.random.key(0), state, jnp.ones(3))
    with pytest.raises(ValueError, match="one MeanFieldState; got 0"):
        optim.posterior_scale(optax.adam(0.1).init(params))
    for wrong, why in (
        ({"ess": 0.0}, "positive"),
        ({"weight_decay": -1.0}, "non-negative"),
        ({"b1": 1.0}, r"\[0, 1\)"),
        ({"b2": -0.1}, r"\[0, 1\)"),
        ({"curvature_init": 0.0}, "positive"),
        ({"b2": jnp.ones(2) * 0.5}, "scalar"),
    ):
        with pytest.raises(ValueError, match=why):
            make(**wrong)
    vogn = optim.vogn(0.1, predict, LINEAR, ess=4.0)
    with pytest.raises(ValueError, match="inputs=x"):
        vogn.update(params, vogn.init(params), params)
    with pytest.raises(TypeError, match="predict must be a function"):
        optim.vogn(0.1, None, LINEAR, ess=4.0)
