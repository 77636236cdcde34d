"""Mirror descent against closed formulas, and as natural-gradient descent in the dual chart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, geometry, optim
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family
from tests.optim.problems import update

SIMPLEX = jnp.asarray([[0.2, 0.3, 0.5], [0.7, 0.0, 0.3]])
GRADS = jnp.asarray([[1.0, -2.0, 0.5], [0.0, -3.0, 1.0]])


@functools.cache
def step(mirror_map, learning_rate=0.3):
    """The point after one compiled step."""
    run = update(optim.mirror_descent(learning_rate, mirror_map))
    return lambda params, grads: optax.apply_updates(params, run(grads, params)[0])


@pytest.mark.parametrize("mirror_map", [None, optim.Euclidean()])
def test_euclidean_is_gradient_descent(mirror_map):
    params = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(-1.0)}
    found = step(mirror_map)(params, jax.tree.map(lambda p: p**2, params))
    expected = jax.tree.map(lambda p: p - 0.3 * p**2, params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-15), found, expected)


def test_negative_entropy_is_the_exponentiated_gradient():
    found = step(optim.NegativeEntropy())(SIMPLEX, GRADS)
    weight = np.asarray(SIMPLEX) * np.exp(-0.3 * np.asarray(GRADS))
    np.testing.assert_allclose(found, weight / weight.sum(-1, keepdims=True), rtol=1e-13)
    assert found[1, 1] == 0


def test_negative_entropy_of_free_positive_numbers():
    found = step(optim.NegativeEntropy(normalized=False))(SIMPLEX, GRADS)
    np.testing.assert_allclose(found, SIMPLEX * np.exp(-0.3 * np.asarray(GRADS)), rtol=1e-13)
    scalar = step(optim.NegativeEntropy(normalized=False))(jnp.asarray(2.0), jnp.asarray(1.0))
    np.testing.assert_allclose(scalar, 2 * np.exp(-0.3), rtol=1e-14)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e200])
def test_huge_steps_do_not_overflow(size):
    found = np.asarray(step(optim.NegativeEntropy())(SIMPLEX, size * GRADS))
    np.testing.assert_allclose(found, [[0, 1, 0], [1, 0, 0]], atol=1e-12)


def test_a_huge_push_on_a_zero_entry_does_not_swamp_the_rest():
    params, grads = jnp.asarray([0.25, 0.75, 0.0]), jnp.asarray([0.0, 0.0, -1e6])
    np.testing.assert_allclose(step(optim.NegativeEntropy())(params, grads), params, rtol=1e-15)


def test_negative_entropy_is_invariant_to_a_constant_in_the_gradient():
    plain = step(optim.NegativeEntropy())(SIMPLEX, GRADS)
    shifted = step(optim.NegativeEntropy())(SIMPLEX, GRADS + 7.0)
    np.testing.assert_allclose(shifted, plain, rtol=1e-13, atol=1e-16)


def test_many_steps_stay_on_the_simplex_and_find_the_best_vertex():
    tx = optim.mirror_descent(0.1, optim.NegativeEntropy())
    cost = jnp.asarray([1.0, 0.2, 0.6])

    def advance(carry, _):
        params, state = carry
        updates, state = tx.update(cost, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jnp.full(3, 1 / 3)
    _, path = jax.jit(lambda p: jax.lax.scan(advance, (p, tx.init(p)), length=600))(start)
    assert (path >= 0).all()
    np.testing.assert_allclose(path.sum(-1), 1, atol=1e-13)
    expected = np.exp(-0.1 * np.outer(np.arange(1, 601), cost))
    np.testing.assert_allclose(path, expected / expected.sum(-1, keepdims=True), rtol=1e-9)


def test_float32_stays():
    params, grads = SIMPLEX.astype(jnp.float32), GRADS.astype(jnp.float32)
    found = step(optim.NegativeEntropy())(params, grads)
    assert found.dtype == jnp.float32
    expected = step(optim.NegativeEntropy())(SIMPLEX, GRADS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


# Families. KL to a target has a closed path: a straight line in the dual chart.

RATE, NUM_STEPS = 0.3, 4


def trajectory(tx, gradient, start):
    """The points of a few steps, the start left out."""

    @jax.jit
    def advance(params, state):
        updates, state = tx.update(gradient(params), state, params)
        return optax.apply_updates(params, updates), state

    path, params, state = [], start, tx.init(start)
    for _ in range(NUM_STEPS):
        params, state = advance(params, state)
        path.append(params)
    return path


def natural_gradient_descent(matvec):
    solver = optim.ConjugateGradient(tolerance=1e-14, max_iterations=40)
    return optax.chain(
        optim.scale_by_metric(matvec, solver=solver, damping=0.0),
        optax.scale_by_learning_rate(RATE),
    )


def ends(name):
    entry = FAMILIES[name]
    return entry.family, entry.point(jax.random.key(11)), entry.point(jax.random.key(12))


def line(start, target, count):
    return jax.tree.map(lambda a, b: b + (1 - RATE) ** count * (a - b), start, target)


def close(found, expected, rtol=1e-8):
    for leaf, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=rtol, atol=1e-10)


@each_family
def test_mean_chart_is_natural_gradient_descent_in_natural_coordinates(name):
    family, start, target = ends(name)
    mean = jax.jit(family.mean_from_natural)
    # KL(p_theta || p_target), seen from both charts.
    by_theta = jax.grad(lambda theta: family.bregman(target, theta))
    by_eta = jax.grad(lambda eta: family.bregman(target, family.natural_from_mean(eta)))
    mirror = optim.mirror_descent(RATE, optim.FamilyPotential(family, "mean"))
    etas = trajectory(mirror, by_eta, mean(start))
    natural = natural_gradient_descent(functools.partial(geometry.fisher_matvec, family))
    thetas = trajectory(natural, by_theta, start)
    for count, (eta, theta) in enumerate(zip(etas, thetas, strict=True), start=1):
        close(mean(theta), eta)
        close(theta, line(start, target, count))


@each_family
def test_natural_chart_is_natural_gradient_descent_in_mean_coordinates(name):
    family, start, target = ends(name)
    mean, natural = jax.jit(family.mean_from_natural), jax.jit(family.natural_from_mean)
    # KL(p_target || p_theta), the negative log-likelihood of data whose fit is the target.
    by_theta = jax.grad(lambda theta: family.bregman(theta, target))
    by_eta = jax.grad(lambda eta: family.bregman(family.natural_from_mean(eta), target))
    mirror = optim.mirror_descent(RATE, optim.FamilyPotential(family, "natural"))
    thetas = trajectory(mirror, by_theta, start)
    inverse_metric = lambda eta, v: jax.jvp(family.natural_from_mean, (eta,), (v,))[1]
    etas = trajectory(natural_gradient_descent(inverse_metric), by_eta, mean(start))
    for count, (eta, theta) in enumerate(zip(etas, thetas, strict=True), start=1):
        close(natural(eta), theta)
        close(mean(theta), line(mean(start), mean(target), count))


def test_categorical_potential_is_negative_entropy_on_the_simplex():
    family, p = families.Categorical(3), jnp.asarray([0.2, 0.3, 0.5])
    gradient = jnp.asarray([1.0, -2.0, 0.5])
    whole = step(optim.NegativeEntropy())(p, gradient)
    # The minimal chart drops the last class; its gradient is relative to that class.
    minimal = step(optim.FamilyPotential(family, "mean"))(
        family.Point(p[:-1]), family.Point(gradient[:-1] - gradient[-1])
    )
    np.testing.assert_allclose(minimal.one_hot, whole[:-1], rtol=1e-13)


def test_too_long_a_step_in_the_natural_chart_is_nan():
    poisson = families.Poisson()
    found = step(optim.FamilyPotential(poisson, "natural"))(
        poisson.Point(jnp.asarray(0.0)), poisson.Point(jnp.asarray(10.0))
    )
    assert np.isnan(found.x)


# In optax.


def test_schedules_and_injection():
    tx = optax.inject_hyperparams(optim.mirror_descent)(
        learning_rate=lambda count: 0.3 / (1 + count), mirror_map=optim.NegativeEntropy()
    )
    scheduled = optim.mirror_descent(lambda count: 0.3 / (1 + count), optim.NegativeEntropy())
    params, states = SIMPLEX, [tx.init(SIMPLEX), scheduled.init(SIMPLEX)]
    for count in range(3):
        results = [t.update(GRADS, s, params) for t, s in zip((tx, scheduled), states, strict=True)]
        states = [state for _, state in results]
        weight = np.asarray(params) * np.exp(-0.3 / (1 + count) * np.asarray(GRADS))
        params = params + results[0][0]
        np.testing.assert_allclose(params, weight / weight.sum(-1, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-12, atol=1e-15)
    states[0].hyperparams["learning_rate"] = jnp.asarray(0.0)  # a schedule overrides it
    assert not np.allclose(tx.update(GRADS, states[0], params)[0], 0)


def test_it_goes_last_in_a_chain():
    mirror = optim.scale_by_mirror_descent(optim.NegativeEntropy())
    right = optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(0.3), mirror)
    updates, _ = update(right)(GRADS, SIMPLEX)
    np.testing.assert_allclose(SIMPLEX + updates, step(optim.NegativeEntropy())(SIMPLEX, GRADS))
    wrong = optax.chain(mirror, optax.scale_by_learning_rate(0.3))
    moved = SIMPLEX + update(wrong)(GRADS, SIMPLEX)[0]
    assert np.abs(moved - (SIMPLEX + updates)).max() > 0.1


def test_leaves_may_have_several_geometries():
    params = {"weights": SIMPLEX[0], "scale": jnp.asarray(2.0)}
    grads = {"weights": GRADS[0], "scale": jnp.asarray(1.0)}
    tx = optax.multi_transform(
        {
            "simplex": optim.mirror_descent(0.3, optim.NegativeEntropy()),
            "positive": optim.mirror_descent(0.3, optim.NegativeEntropy(normalized=False)),
        },
        {"weights": "simplex", "scale": "positive"},
    )
    updates, _ = update(tx)(grads, params)
    np.testing.assert_allclose(params["scale"] + updates["scale"], 2 * np.exp(-0.3), rtol=1e-14)
    expected = step(optim.NegativeEntropy())(SIMPLEX, GRADS)[0]
    np.testing.assert_allclose(params["weights"] + updates["weights"], expected, rtol=1e-12)


def test_vmap_is_a_loop():
    tx = optim.mirror_descent(0.3, optim.NegativeEntropy())
    mapped = jax.vmap(lambda g, p: tx.update(g, tx.init(p), p)[0])(GRADS, SIMPLEX)
    np.testing.assert_allclose(mapped, update(tx)(GRADS, SIMPLEX)[0], rtol=1e-14)


def test_errors():
    normal = families.Normal()
    with pytest.raises(TypeError, match=r"instance of a MirrorMap; got 'entropy'\. Use Euclidean"):
        optim.mirror_descent(0.1, "entropy")
    with pytest.raises(TypeError, match=r"instance of a MirrorMap; got <class"):
        optim.scale_by_mirror_descent(optim.NegativeEntropy)
    with pytest.raises(ValueError, match=r"chart must be one of 'mean', 'natural'; got 'eta'"):
        optim.FamilyPotential(normal, "eta")
    with pytest.raises(TypeError, match=r"family must be an ExponentialFamily; got <class"):
        optim.FamilyPotential(families.Normal)
    tx = optim.mirror_descent(0.1, optim.FamilyPotential(normal))
    with pytest.raises(ValueError, match=r"current parameters; got params=None\. Call"):
        tx.update(GRADS, tx.init(GRADS))
    with pytest.raises(TypeError, match=r"needs a Normal\.Point; got"):
        tx.update(GRADS, tx.init(GRADS), GRADS)
    tx = optim.mirror_descent(0.1, optim.NegativeEntropy())
    with pytest.raises(ValueError, match=r"vectors on the last axis; got a scalar leaf\. Use"):
        tx.update(jnp.ones(()), tx.init(jnp.ones(())), jnp.ones(()))


def test_negative_entropy_refuses_points_off_its_domain():
    for mirror, params in (
        (optim.NegativeEntropy(), jnp.array([0.6, 0.9, 1.5])),
        (optim.NegativeEntropy(), jnp.array([1.5, -0.5])),
        (optim.NegativeEntropy(normalized=False), jnp.array([1.0, -1.0])),
    ):
        tx = optim.mirror_descent(0.1, mirror)
        with pytest.raises(ValueError, match="params of NegativeEntropy"):
            tx.update(jnp.ones_like(params), tx.init(params), params)
