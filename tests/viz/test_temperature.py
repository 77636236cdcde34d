"""Paths of softmax over all temperatures."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.special import softmax

from igeojax import viz

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 3.0], [500.0, 0.0, 200.0]])


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def lines(ax, length):
    found = (np.stack(line.get_data(), axis=-1) for line in ax.lines)
    return [line for line in found if len(line) == length]


def test_paths_lead_from_the_largest_logit_to_the_center(ax):
    viz.temperature_paths(ax, LOGITS, labels=("x", "y", "z"), resolution=50)
    paths = lines(ax, 50)
    ends = [CORNERS[0], CORNERS[1:].mean(axis=0), CORNERS[0]]
    for path, end, row in zip(paths, ends, LOGITS, strict=True):
        np.testing.assert_allclose(path[0], end, atol=1e-15)
        np.testing.assert_allclose(path[-1], CORNERS.mean(axis=0), atol=1e-15)
        # Log-ratios stay in proportion to the logits: an e-geodesic.
        system = np.vstack([CORNERS.T, np.ones(3)])
        probs = np.linalg.solve(system, np.vstack([path[25:-1].T, np.ones(24)]))
        ratios = np.log(probs[1:] / probs[0])
        gaps = row[1:] - row[0]
        np.testing.assert_allclose(ratios[0] * gaps[1], ratios[1] * gaps[0], atol=1e-7 * 500)
    names = ["logits (2, 1, 0)", "logits (0, 3, 3)", "logits (500, 0, 200)"]
    found = [text.get_text() for text in ax.get_legend().get_texts()]
    assert found == [*names, "temperatures T = 0.5, 1, 2, 4", "T = infinity: uniform"]


def test_marks_are_where_the_temperature_says(ax):
    viz.temperature_paths(ax, LOGITS[:1], temperatures=(0.5, 3.0, 10.0), names=["falling"])
    (marks,) = lines(ax, 3)
    expected = softmax(LOGITS[0] / np.array([[0.5], [3.0], [10.0]]), axis=1) @ CORNERS
    np.testing.assert_allclose(marks, expected, rtol=1e-12)
    assert {"T=0.5", "T=3", "T=10"} <= {text.get_text() for text in ax.texts}
    file = io.BytesIO()
    ax.figure.savefig(file, dpi=60)
    file.seek(0)
    assert len(np.unique(imread(file)[..., :3].reshape(-1, 3), axis=0)) > 20


def test_equal_logits_stay_in_the_center(ax):
    viz.temperature_paths(ax, np.zeros((1, 3)), resolution=5)
    (path,) = lines(ax, 5)
    np.testing.assert_allclose(path, np.tile(CORNERS.mean(axis=0), (5, 1)), atol=1e-15)


def test_bad_input(ax):
    with pytest.raises(ValueError, match=r"logits must have shape \(n, 3\).*got \(3,\)"):
        viz.temperature_paths(ax, LOGITS[0])
    with pytest.raises(ValueError, match="logits must be finite"):
        viz.temperature_paths(ax, [[0.0, 1.0, -np.inf]])
    with pytest.raises(ValueError, match="temperatures must be positive and finite; got 0"):
        viz.temperature_paths(ax, LOGITS, temperatures=(0.0,))
    with pytest.raises(ValueError, match="names must be as many as paths, 3; got 1"):
        viz.temperature_paths(ax, LOGITS, names=["one"])
    with pytest.raises(ValueError, match="three corners; got 2"):
        viz.temperature_paths(ax, LOGITS, labels="ab")
    assert not ax.lines
