"""The Poincaré disk: where points, names and edges are drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from igeojax import viz


@pytest.fixture
def ax():
    return Figure().add_subplot()


def test_edges_are_arcs_that_meet_the_rim_at_right_angles(ax):
    points = np.array([[0.5, 0.1], [-0.2, 0.7], [0.0, 0.0]])
    edges, colors = [[0, 1], [2, 0]], ["red", "blue"]
    viz.poincare_disk(ax, points, edges=edges, labels={1: "b"}, edge_colors=colors)
    lines, marks = ax.collections
    arc, ray = (np.asarray(way) for way in lines.get_segments())
    np.testing.assert_allclose([arc[0], arc[-1], ray[0], ray[-1]], points[[0, 1, 2, 0]], atol=1e-12)
    # A circle about m of radius r is at a right angle to the rim where |m|^2 = 1 + r^2, which is
    # 2 <m, x> = 1 + |x|^2 on it; a ray of the origin is straight.
    middle = np.linalg.solve(2 * points[:2], 1 + (points[:2] ** 2).sum(axis=1))
    np.testing.assert_allclose(2 * arc @ middle, 1 + (arc**2).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(ray[:, 0] * 0.1, ray[:, 1] * 0.5, atol=1e-15)
    np.testing.assert_array_equal(marks.get_offsets(), points)
    np.testing.assert_array_equal(lines.get_colors(), [[1, 0, 0, 1], [0, 0, 1, 1]])
    (text,) = ax.texts
    assert text.get_text() == "b"
    np.testing.assert_array_equal(text.xy, points[1])
    (rim,) = ax.patches
    assert (rim.center, rim.radius) == ((0.0, 0.0), 1.0)
    assert ax.get_aspect() == 1.0


def test_errors_say_what_came(ax):
    with pytest.raises(ValueError, match=r"points must have shape \(n, 2\); got \(2, 3\)"):
        viz.poincare_disk(ax, np.zeros((2, 3)))
    with pytest.raises(TypeError, match="edges must be integers; got float64"):
        viz.poincare_disk(ax, np.zeros((2, 2)), edges=np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"edges must have shape \(n, 2\); got \(2,\)"):
        viz.poincare_disk(ax, np.zeros((2, 2)), edges=[0, 1])
    with pytest.raises(ValueError, match="edges must be from 0 to 1; got 2"):
        viz.poincare_disk(ax, np.zeros((2, 2)), edges=[[0, 2]])
    with pytest.raises(ValueError, match="points must be inside the unit disk"):
        viz.poincare_disk(ax, [[1.0, 1.0]])
