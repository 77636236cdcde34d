"""Margin logits against their formulas by arccos, and where those have no slope."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

from igeojax import families, nn
from igeojax.nn import margins

DRAWS = np.random.default_rng(0)
FEATURES, WEIGHTS = DRAWS.normal(size=(6, 5)), DRAWS.normal(size=(4, 5))
LABELS = np.array([0, 1, 2, 3, 0, 1])
MARGINS = {
    "cosface": (margins.cosface_logits, 0.3, lambda t: np.cos(t) - 0.3),
    "arcface": (margins.arcface_logits, 0.5, lambda t: np.cos(t + 0.5)),
    "sphereface": (margins.sphereface_logits, 1.2, lambda t: np.cos(1.2 * t)),
}


def angles(features, weights):
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.arccos(unit(features) @ unit(weights).T)


def test_cosine_logits_are_log_posteriors_of_directions():
    found = jax.nn.log_softmax(margins.cosine_logits(FEATURES, WEIGHTS, scale=7.0))
    family = families.VonMisesFisher(5)
    unit = WEIGHTS / np.linalg.norm(WEIGHTS, axis=1, keepdims=True)
    x = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    theta = family.natural_from_params(unit, 7.0)
    joint = jax.vmap(lambda x: family.log_density(theta, jnp.broadcast_to(x, (4, 5))))(x)
    np.testing.assert_allclose(found, jax.nn.log_softmax(joint), rtol=1e-12)


@pytest.mark.parametrize("name", MARGINS)
def test_margins_are_their_formulas(name):
    logits, margin, formula = MARGINS[name]
    angle = angles(FEATURES, WEIGHTS)
    assert np.max(angle[np.arange(6), LABELS]) < np.pi / 1.2
    expected = np.cos(angle)
    expected[np.arange(6), LABELS] = formula(angle[np.arange(6), LABELS])
    found = jax.jit(logits)(FEATURES, WEIGHTS, LABELS, scale=8.0, margin=margin)
    np.testing.assert_allclose(found, 8 * expected, rtol=1e-12)


@pytest.mark.parametrize("name", MARGINS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_at_agreeing_and_opposed_directions(name, dtype):
    logits, margin, _ = MARGINS[name]
    axis = np.array([0.6, 0.8], dtype)
    for x in (axis, -axis, np.zeros(2, dtype), axis + np.array([4e-4, -3e-4], dtype)):
        loss = lambda x, w: -jax.nn.log_softmax(logits(x, w, 0, margin=margin))[0]
        slopes = jax.jit(jax.grad(loss, (0, 1)))(x, np.stack([axis, -axis]))
        assert all(slope.dtype == dtype and np.isfinite(slope).all() for slope in slopes)
        assert max(np.abs(slope).max() for slope in slopes) < 200


def test_angles_keep_their_digits_near_the_class():
    # cos(t + m) - cos(m) = -t sin(m): arccos in single precision has t to 3e-4 at best.
    small = np.float32(1e-5)
    x, weights = np.array([1, small], np.float32), np.eye(2, dtype=np.float32)
    slope = jax.grad(lambda x: margins.arcface_logits(x, weights, 0, scale=1.0)[0])(x)
    np.testing.assert_allclose(slope, [1e-5 * np.sin(0.5), -np.sin(0.5)], rtol=1e-4)


@pytest.mark.parametrize("name", ["arcface", "sphereface"])
def test_logits_fall_with_the_angle(name):
    angle = np.linspace(0, np.pi, 400)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for margin in (1.5, 2.0, 4.0):
        found = MARGINS[name][0](x, np.eye(2), np.zeros(400, int), scale=1.0, margin=margin)[:, 0]
        assert (np.diff(found) < 1e-12).all()
        assert np.abs(np.diff(found)).max() < 0.05


def test_layers_hold_the_functions():
    margin = partial(margins.arcface_logits, margin=0.2)
    linen = nn.linen.NormalizedClassifier(4, scale=9.0, margin=margin, param_dtype=np.float64)
    params = {"params": {"unit_rows": WEIGHTS}}
    layer = nn.nnx.NormalizedClassifier(
        5, 4, scale=9.0, margin=margin, param_dtype=np.float64, rngs=flax_nnx.Rngs(0)
    )
    np.testing.assert_allclose(np.linalg.norm(layer.unit_rows[...], axis=1), 1, rtol=1e-14)
    layer.unit_rows[...] = jnp.asarray(WEIGHTS)
    for found in (linen.apply(params, FEATURES), layer(FEATURES)):
        np.testing.assert_array_equal(found, margins.cosine_logits(FEATURES, WEIGHTS, scale=9.0))
    plain = nn.linen.NormalizedClassifier(4, scale=9.0, param_dtype=np.float64)
    found = plain.apply(params, FEATURES, LABELS)
    np.testing.assert_array_equal(found, margins.cosine_logits(FEATURES, WEIGHTS, scale=9.0))
    expected = margin(FEATURES, WEIGHTS, LABELS, scale=9.0)
    for found in (linen.apply(params, FEATURES, LABELS), layer(FEATURES, LABELS)):
        np.testing.assert_array_equal(found, expected)


def test_bad_input():
    with pytest.raises(ValueError, match=r"weights \(K, d\); got \(6, 5\) and \(5, 4\)"):
        margins.cosine_logits(FEATURES, WEIGHTS.T)
    with pytest.raises(ValueError, match="labels must be from 0 to 3; got 4 at index"):
        margins.cosface_logits(FEATURES, WEIGHTS, LABELS + 1)
    with pytest.raises(ValueError, match=r"batch shape of features \(6,\); got \(5,\)"):
        margins.arcface_logits(FEATURES, WEIGHTS, LABELS[:5])
    with pytest.raises(TypeError, match="labels must be integers; got float64"):
        margins.sphereface_logits(FEATURES, WEIGHTS, LABELS * 1.0)
    match = r"margin must be a function or None; got 0\.2\. Of an angle"
    with pytest.raises(TypeError, match=match):
        nn.linen.NormalizedClassifier(4, margin=0.2).init(jax.random.key(0), FEATURES)
    with pytest.raises(TypeError, match=match):
        nn.nnx.NormalizedClassifier(5, 4, margin=0.2, rngs=flax_nnx.Rngs(0))(FEATURES)


@pytest.mark.parametrize(
    ("logits", "margin", "least"),
    [
        (margins.cosface_logits, -0.1, 0),
        (margins.arcface_logits, -0.1, 0),
        (margins.sphereface_logits, 0.9, 1),
    ],
)
def test_a_margin_that_would_help_is_refused(logits, margin, least):
    with pytest.raises(ValueError, match=f"margin must be at least {least}; got {margin}"):
        logits(jnp.ones((1, 2)), jnp.eye(2), jnp.array([0]), margin=margin)
    plain = margins.cosine_logits(jnp.ones((1, 2)), jnp.eye(2), scale=64.0)
    same = logits(jnp.ones((1, 2)), jnp.eye(2), jnp.array([0]), margin=float(least))
    np.testing.assert_allclose(same, plain, rtol=1e-6)
