"""The picture of a globe shows the near side, where it lies, in the colors that it is given."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from igeojax import viz

POINTS = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.6, 0.0, 0.8]])


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def test_points_of_the_near_side_stand_where_they_are_seen(ax):
    colors, labels = [(0.1 * k, 0.0, 0.0) for k in range(4)], ["a", "b", "c", "d"]
    viz.sphere(ax, points=POINTS, colors=colors, labels=labels, view=(2.0, 0.0, 0.0), grid=0)
    marks = ax.collections[0]
    # From the first axis the second is to the right and the third upward.
    np.testing.assert_allclose(marks.get_offsets(), [[0, 0], [0.8, 0], [0, 0.8]], atol=1e-12)
    np.testing.assert_allclose(marks.get_facecolors()[:, 0], [0.0, 0.2, 0.3])
    assert [text.get_text() for text in ax.texts] == ["a", "c", "d"]
    np.testing.assert_allclose(ax.texts[1].xy, [0.8, 0], atol=1e-12)


def test_from_above_and_from_behind(ax):
    viz.sphere(ax, points=POINTS[2:], view=(0.0, 0.0, 1.0), grid=0)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.6, 0.0]], atol=1e-12)
    viz.sphere(ax, points=POINTS[2:], view=(0.0, -1.0, 1e-3), grid=0)
    np.testing.assert_allclose(ax.collections[1].get_offsets(), [[0.6, 0.8]], atol=1e-3)


def test_fields_are_taken_at_the_directions_that_are_seen(ax):
    seen = []

    def height(x):
        seen.append(np.asarray(x))
        return x[..., 2]

    viz.sphere(ax, height, view=(1.0, 0.0, 0.0), resolution=40, grid=30)
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=-1), 1, rtol=1e-12)
    (image,) = ax.images
    middle = image.get_array()[:, 20]
    # In the middle column the height is that above the middle of the picture.
    np.testing.assert_allclose(middle, (np.arange(40) + 0.5) / 20 - 1, atol=1e-3)
    assert image.get_extent() == [-1, 1, -1, 1]
    assert len(ax.lines) == 1 + 5 + 6
    colored = lambda x: jnp.stack([jnp.abs(x[..., 0])] * 3, axis=-1)
    viz.sphere(ax, colored, view=(1.0, 0.0, 0.0), resolution=40)
    assert ax.images[1].get_array().shape == (40, 40, 3)


def test_bad_input_is_refused(ax):
    with pytest.raises(ValueError, match=r"points must have shape \(n, 3\); got \(2, 2\)"):
        viz.sphere(ax, points=np.eye(2))
    with pytest.raises(ValueError, match=r"length of points must be 1 within 0.001; got 2.0"):
        viz.sphere(ax, points=2 * np.eye(3))
    with pytest.raises(ValueError, match=r"labels must be one for each of 4 points; got 1"):
        viz.sphere(ax, points=POINTS, labels=["a"])
    with pytest.raises(ValueError, match=r"view must be a vector of length 3 other than zero"):
        viz.sphere(ax, view=(0.0, 0.0, 0.0))
