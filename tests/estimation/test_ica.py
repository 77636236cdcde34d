"""Independent components against a search of angles, derivatives, and the laws of equivariance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import optim
from igeojax.estimation import (
    IndependentComponents,
    amari_index,
    independent_components,
    source_signs,
    sources,
    unmixing_loss,
)

COUNT, DIM = 3000, 3


def mixed(seed=0, count=COUNT):
    """A source of heavy tails, two of light ones, and their mixture."""
    rng = np.random.default_rng(seed)
    hidden = np.stack(
        [
            rng.laplace(size=count),
            rng.uniform(-1, 1, size=count),
            rng.choice([-1.0, 1.0], count) + 0.3 * rng.normal(size=count),
        ],
        axis=1,
    )
    mixing = rng.normal(size=(DIM, DIM))
    return hidden @ mixing.T + rng.normal(size=DIM), mixing


@pytest.mark.parametrize("orthogonal", [True, False])
def test_sources_of_both_kinds_are_found(orthogonal):
    data, mixing = mixed()
    found = independent_components(data, orthogonal=orthogonal)
    assert isinstance(found, IndependentComponents)
    assert found.converged
    assert sorted(found.signs.tolist()) == [-1, -1, 1]
    # The error of an entry has deviation below 1 / sqrt(N) = 0.018 here; other solutions have 0.2.
    assert amari_index(found.unmixing @ mixing) < 0.03
    np.testing.assert_allclose(found.mean, data.mean(0), rtol=1e-12)


def test_the_likelihood_is_stationary_and_the_value_is_told():
    data, _ = mixed()
    found = independent_components(data, orthogonal=False, tolerance=1e-9)
    centred = jnp.asarray(data - data.mean(0))
    value, slope = jax.value_and_grad(unmixing_loss)(found.unmixing, centred, found.signs)
    relative = slope @ found.unmixing.T
    assert jnp.max(jnp.abs(relative)) <= 2e-9
    np.testing.assert_allclose(found.log_likelihood, -value, rtol=1e-12)
    assert source_signs(sources(found, data)).tolist() == found.signs.tolist()


def test_a_rotation_is_the_best_of_all_angles():
    rng = np.random.default_rng(1)
    data = np.stack([rng.laplace(size=500), rng.uniform(-1, 1, 500)], 1) @ rng.normal(size=(2, 2))
    found = independent_components(data, tolerance=1e-8)
    white = np.asarray(sources(found, data))
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(2), atol=1e-12)
    angles = np.linspace(-np.pi / 4, np.pi / 4, 2001)
    turned = np.stack([np.cos(angles), np.sin(angles)], 1) @ white.T
    other = np.stack([-np.sin(angles), np.cos(angles)], 1) @ white.T
    signs = np.asarray(found.signs)
    log_cosh = lambda y: np.log(np.cosh(y)).mean(axis=1)
    loss = signs[0] * log_cosh(turned) + signs[1] * log_cosh(other)
    assert abs(angles[np.argmin(loss)]) <= angles[1] - angles[0]


@pytest.mark.parametrize("orthogonal", [True, False])
def test_the_trajectory_does_not_depend_on_the_mixing(orthogonal):
    data, mixing = mixed()
    start = np.random.default_rng(5).normal(size=(DIM, DIM))
    other = np.array([[1.0, 0.5, 0.0], [100.0, -1.0, 2.0], [0.3, 0.1, 0.01]])
    for steps in (1, 2, 5):
        options = {"orthogonal": orthogonal, "max_iterations": steps, "tolerance": 1e-12}
        here = independent_components(data, start=start, **options)
        there = independent_components(
            data @ other.T, start=start @ np.linalg.inv(other), **options
        )
        assert int(here.num_iterations) == int(there.num_iterations) == steps
        # Rounding of the whitening: the condition of `other` squared, times eps.
        np.testing.assert_allclose(
            there.unmixing @ other @ mixing, here.unmixing @ mixing, rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("orthogonal", [True, False])
def test_float32_under_jit_is_near_float64(orthogonal):
    data, mixing = mixed()
    wide = independent_components(data, orthogonal=orthogonal)
    fit = jax.jit(lambda x: independent_components(x, orthogonal=orthogonal))
    narrow = fit(jnp.asarray(data, jnp.float32))
    assert narrow.unmixing.dtype == jnp.float32
    assert narrow.converged
    error = np.abs(narrow.unmixing @ mixing) - np.abs(wide.unmixing @ mixing)
    assert np.abs(error).max() < 1e-4


def test_units_and_offsets_of_columns_do_not_matter():
    data, mixing = mixed()
    scale = np.array([1e6, 1e-6, 1.0])
    shifted = jnp.asarray(data * scale + np.array([3e6, 0.0, 100.0]), jnp.float32)
    found = independent_components(shifted)
    # The offset of 100 units costs two digits of seven.
    assert amari_index(found.unmixing @ (scale[:, None] * mixing)) < 0.03
    assert found.converged


def test_first_steps_on_a_part_end_where_others_do():
    data, mixing = mixed(count=8192 + 5)
    many = independent_components(data, tolerance=1e-9)
    whole = independent_components(data, start=many.unmixing, tolerance=1e-9, max_iterations=1)
    np.testing.assert_allclose(many.unmixing, whole.unmixing, atol=1e-8)
    assert many.num_iterations < independent_components(data[:4000], tolerance=1e-9).num_iterations
    assert amari_index(many.unmixing @ mixing) < 0.02


def test_fewer_components_than_columns():
    rng = np.random.default_rng(2)
    hidden = rng.laplace(size=(4000, 2))
    mixing = rng.normal(size=(5, 2))
    data = hidden @ mixing.T + 1e-3 * rng.normal(size=(4000, 5))
    found = independent_components(data, 2)
    assert found.unmixing.shape == (2, 5)
    assert amari_index(found.unmixing @ mixing) < 0.03
    back = np.asarray(sources(found, data)) @ np.linalg.pinv(found.unmixing).T
    np.testing.assert_allclose(back + np.asarray(found.mean), data, atol=0.01)


def test_mini_batches_with_the_relative_gradient():
    data, mixing = mixed(count=8000)
    x = jnp.asarray(data - data.mean(0)) / data.std()
    tx = optim.relative_gradient(optax.exponential_decay(0.2, 80, 0.6), max_norm=1.0)

    def step(carry, batch):
        unmixing, state = carry
        signs = source_signs(batch @ unmixing.T)
        slope = jax.grad(unmixing_loss)(unmixing, batch, signs)
        updates, state = tx.update(slope, state, unmixing)
        return (optax.apply_updates(unmixing, updates), state), None

    batches = jnp.tile(x.reshape(80, 100, DIM), (6, 1, 1))
    start = jnp.eye(DIM) + 0.1
    (unmixing, _), _ = jax.jit(lambda c, b: jax.lax.scan(step, c, b))(
        (start, tx.init(start)), batches
    )
    assert amari_index(unmixing @ mixing) < 0.05


def test_amari_index():
    rng = np.random.default_rng(3)
    assert amari_index(np.eye(4)[[2, 0, 3, 1]] * rng.normal(size=(4, 1))) == 0
    product = rng.normal(size=(4, 4))
    size, total = np.abs(product), 0.0
    for i in range(4):
        total += sum(size[i, j] / size[i].max() for j in range(4)) - 1
        total += sum(size[j, i] / size[:, i].max() for j in range(4)) - 1
    np.testing.assert_allclose(amari_index(product), total / 24, rtol=1e-12)
    np.testing.assert_allclose(amari_index(-3 * product), total / 24, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros(3),), {}, "one observation in each row"),
        ((np.full((5, 2), np.nan),), {}, "missing"),
        ((np.ones((5, 2)), 3), {}, "at most 2"),
        ((np.ones((5, 2)), 0), {}, "at least 1"),
        ((np.random.default_rng(0).normal(size=(9, 1)) * np.ones(2),), {}, "must span 2"),
        ((np.column_stack([np.arange(9.0), np.ones(9)]),), {}, "must span 2"),
        ((np.eye(5)[:, :2],), {"tolerance": -1.0}, "positive"),
        ((np.eye(5)[:, :2],), {"tolerance": np.ones(2)}, "scalar"),
        ((np.eye(5)[:, :2],), {"start": np.eye(3)}, "source in each row"),
        ((mixed()[0],), {"start": np.ones((DIM, DIM)), "orthogonal": False}, "span"),
        ((np.eye(5)[:, :2],), {"max_iterations": 0}, "at least 1"),
    ],
)
def test_bad_input_is_told(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        independent_components(*arguments, **options)


def test_bad_input_of_the_others_is_told():
    with pytest.raises(TypeError, match="data"):
        independent_components("text")
    with pytest.raises(ValueError, match="unmixing @ mixing"):
        amari_index(np.ones((2, 3)))
    with pytest.raises(ValueError, match="Whiten"):
        unmixing_loss(np.eye(2), np.ones((4, 3)), np.ones(3))
    data, _ = mixed()
    with pytest.raises(ValueError, match="trailing"):
        sources(independent_components(data), np.ones((4, 2)))
