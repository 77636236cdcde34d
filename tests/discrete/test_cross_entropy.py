"""Cross-entropy of label probabilities: impossible classes, smoothing, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax.discrete import softmax_cross_entropy

INF = np.inf
LOGITS = np.random.default_rng(0).normal(size=(4, 5))
LABELS = np.random.default_rng(1).dirichlet(np.ones(5), 4)


def test_agrees_with_optax_on_ordinary_rows():
    found = softmax_cross_entropy(LOGITS, LABELS)
    np.testing.assert_allclose(found, optax.softmax_cross_entropy(LOGITS, LABELS), rtol=1e-14)
    smooth = optax.smooth_labels(jnp.asarray(LABELS), 0.1)
    found = softmax_cross_entropy(LOGITS, LABELS, smoothing=0.1)
    np.testing.assert_allclose(found, optax.softmax_cross_entropy(LOGITS, smooth), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_an_impossible_class_without_label(dtype):
    z, y = jnp.asarray([0.0, 1.0, -INF], dtype), jnp.asarray([0.5, 0.5, 0.0], dtype)
    value, gradients = jax.jit(jax.value_and_grad(softmax_cross_entropy, (0, 1)))(z, y)
    assert value.dtype == dtype
    tolerance = 1e-2 if dtype == "bfloat16" else 1e-6
    assert float(value) == pytest.approx(np.log1p(np.e) - 0.5, rel=tolerance, abs=0)
    assert all(np.isfinite(np.asarray(leaf, float)).all() for leaf in gradients)
    assert float(gradients[0][2]) == 0


def test_smoothing_of_an_impossible_class_is_infinite_and_a_mask_mends_it():
    z, y = jnp.array([0.0, 1.0, -INF]), jnp.array([0.0, 1.0, 0.0])
    assert float(softmax_cross_entropy(z, y, smoothing=0.1)) == INF
    mask = np.array([True, True, False])
    masked = lambda z: softmax_cross_entropy(z, y, smoothing=0.1, where=mask)
    expected = softmax_cross_entropy(z[:2], y[:2], smoothing=0.1)
    assert float(masked(z)) == pytest.approx(float(expected), rel=1e-15, abs=0)
    assert np.isfinite(jax.grad(masked)(z)).all()
    assert float(softmax_cross_entropy([0.0, -INF], [0.0, 1.0])) == INF


def test_a_row_without_a_class():
    nothing = jnp.zeros(3, bool)
    function = lambda z: softmax_cross_entropy(z, jnp.zeros(3), where=nothing)
    value, gradient = jax.jit(jax.value_and_grad(function))(jnp.ones(3))
    assert float(value) == 0
    assert (np.asarray(gradient) == 0).all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([0.0, 1.0], [1.0]), {}, ValueError, "one number of classes.*token_log_probs"),
        (([0.0, 1.0], [0.7, 0.7]), {}, ValueError, "labels.*sum to"),
        (([0.0, 1.0], [0.5, 0.5]), {"smoothing": 1.5}, ValueError, r"in \[0, 1\]; got 1.5"),
        (([0.0, 1.0], 1.0), {}, ValueError, "labels must have at least one axis"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        softmax_cross_entropy(*arguments, **options)
