"""What is refused says what was required, what came and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.chains import crf

UNARY, MOVES, TAGS = np.zeros((2, 4, 3)), np.zeros((3, 3)), np.zeros((2, 4), int)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"unary": np.zeros(3)}, ValueError, r"unary must have shape \(\*batch, T, K\)"),
        ({"unary": np.zeros((4, 0))}, ValueError, "K at least 1"),
        ({"unary": TAGS.astype(bool)}, TypeError, "unary must hold real numbers"),
        (
            {"unary": np.full((2, 4, 3), np.nan)},
            ValueError,
            "unary must be finite or -inf; got nan",
        ),
        ({"unary": UNARY + np.inf}, ValueError, "pad with any number"),
        ({"transition": np.zeros((3, 2))}, ValueError, r"transition must have shape \(3, 3\)"),
        ({"transition": np.zeros((4, 3, 3))}, ValueError, r"or \(3, 3, 3\).*got \(4, 3, 3\)"),
        ({"transition": MOVES + np.inf}, ValueError, "transition must be finite or -inf"),
        ({"start": np.zeros(2)}, ValueError, r"start must have one score a state"),
        ({"end": np.zeros((4, 3))}, ValueError, r"end must have one score a state"),
        ({"mask": np.ones((2, 4))}, TypeError, "mask must be boolean"),
        ({"mask": np.ones((4, 2), bool)}, ValueError, r"mask must have one entry a step"),
        ({"mask": np.ones((2, 4), bool), "length": 2}, ValueError, "got both"),
        ({"length": [1.0, 2.0]}, TypeError, "length must hold integers"),
        ({"length": [1, 2, 3]}, ValueError, "length must be one number, or one a chain"),
        ({"length": [1, 5]}, ValueError, r"length must be in 0\.\.4; got 5"),
        ({"tags": TAGS.astype(float)}, TypeError, "tags must be integers"),
        ({"tags": TAGS[:, :3]}, ValueError, "tags must have one entry a step"),
        ({"tags": TAGS + 3}, ValueError, r"tags.*in 0\.\.2"),
        ({"tags": TAGS - 1}, ValueError, r"tags.*in 0\.\.2"),
    ],
)
def test_bad_arguments(change, error, message):
    given = {"unary": UNARY, "transition": MOVES, "tags": TAGS, **change}
    with pytest.raises(error, match=message):
        crf.log_likelihood(**given)


def test_tags_of_padding_are_not_read_and_traced_ones_out_of_range_give_nan():
    tags = TAGS.copy()
    tags[0, 2:], tags[1] = -100, [0, 7, 0, 0]
    found = jax.jit(lambda t: crf.log_likelihood(UNARY, MOVES, t, length=jnp.array([2, 4])))(tags)
    assert float(found[0]) == pytest.approx(-2 * np.log(3), rel=1e-15, abs=0)
    assert np.isnan(found[1])


@pytest.mark.parametrize("count", [0, 1.0, True])
def test_counts(count):
    with pytest.raises((TypeError, ValueError), match="num_paths must be"):
        crf.k_best(UNARY, MOVES, count)
    if count:
        with pytest.raises(TypeError, match="num_samples must be"):
            crf.sample(jax.random.key(0), UNARY, MOVES, count)


def test_laws_of_other_shapes_have_no_divergence():
    with pytest.raises(ValueError, match="other_unary must have the shape of unary"):
        crf.kl(UNARY, MOVES, UNARY[..., :2], MOVES[:2, :2])
    with pytest.raises(ValueError, match="other_end must have one score"):
        crf.kl(UNARY, MOVES, UNARY, MOVES, other_end=np.zeros(2))
