"""Pictures: what is drawn on the Axes, not how it looks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from igeojax import families, geometry, viz


@pytest.fixture
def ax():
    return Figure().add_subplot()


def test_loss_curves_draws_each_curve_and_the_target(ax):
    viz.loss_curves(ax, {"a": ([0, 1], [1.0, 0.1]), "b": ([0, 2], [2.0, 0.2])}, target=0.5)
    assert [line.get_label() for line in ax.lines] == ["a", "b", "target 0.5"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [2.0, 0.2])
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match=r"curve 'c' .* got \(2,\) and \(3,\)"):
        viz.loss_curves(ax, {"c": ([0, 1], [1, 2, 3])})


def test_kl_asymmetry_draws_three_densities(ax):
    grid = np.linspace(-1, 1, 5)
    viz.kl_asymmetry(ax, grid, grid**2, grid + 1, grid + 2)
    np.testing.assert_array_equal([line.get_ydata()[0] for line in ax.lines], [1, 0, 1])


def test_simplex_puts_corners_and_center_where_they_belong(ax):
    viz.simplex(ax, points=[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]])
    x, y = ax.lines[-1].get_data()
    height = np.sqrt(3) / 2
    np.testing.assert_allclose(x, [0, 1, 0.5, 0.5], atol=1e-15)
    np.testing.assert_allclose(y, [0, 0, height, height / 3], atol=1e-15)


def test_simplex_evaluates_only_probability_vectors(ax):
    seen = []

    def function(p):
        seen.append(np.asarray(p))
        return p[:, 0]

    viz.simplex(ax, function, labels="abc")
    np.testing.assert_allclose(seen[0].sum(axis=1), 1, rtol=1e-12)
    assert (seen[0] > 0).all()
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]


@pytest.mark.parametrize("rotation", [0.0, 0.3, 1.2])
def test_ellipses_have_fisher_length_radius(ax, rotation):
    # Every point of each ellipse is `radius` away from its center in the metric of its center.
    normal, radius = families.Normal(), 0.2
    cos, sin = np.cos(rotation), np.sin(rotation)
    turn = jnp.array([[cos, -sin], [sin, cos]])

    def chart(xi):
        loc, scale = turn @ xi
        return normal.natural_from_params(loc=loc, scale=scale)

    centers = np.array([[0.5, 1.0], [0.0, 2.0]]) @ np.asarray(turn)
    viz.fisher_ellipses(ax, normal, chart, centers, radius=radius)
    for patch, center in zip(ax.patches, centers, strict=True):
        rim = patch.get_patch_transform().transform(patch.get_path().vertices) - center
        metric = geometry.pullback(normal, chart, jnp.asarray(center))
        lengths = np.sqrt(np.einsum("ni,ij,nj->n", rim, metric, rim))
        # matplotlib's circle is a spline, 3e-4 off.
        np.testing.assert_allclose(lengths[np.linalg.norm(rim, axis=1) > 0], radius, rtol=0.05)
        np.testing.assert_allclose(lengths.min(), radius, rtol=1e-3)


def test_errors_say_what_came(ax):
    with pytest.raises(ValueError, match=r"points must have shape \(n, 3\); got \(2, 2\)"):
        viz.simplex(ax, points=np.eye(2))
    with pytest.raises(ValueError, match="three corners; got 2"):
        viz.simplex(ax, labels="ab")
    with pytest.raises(ValueError, match=r"points must have shape \(n, 2\); got \(3, 3\)"):
        viz.fisher_ellipses(ax, families.Normal(), jax.numpy.asarray, np.eye(3))


def test_curves_and_densities_must_be_there_and_fit(ax):
    with pytest.raises(ValueError, match=r"at least one curve; got none\. Pass \{name"):
        viz.loss_curves(ax, {})
    good = np.ones(3)
    for index, name in enumerate(("target", "forward", "reverse")):
        densities = [good] * 3
        densities[index] = np.ones(2)
        with pytest.raises(ValueError, match=rf"grid and {name} must .* \(3,\) and \(2,\)\. Eval"):
            viz.kl_asymmetry(ax, good, *densities)
    assert not ax.lines


@pytest.mark.parametrize("point", [[1, 1, 1], [1.2, -0.2, 0.0], [np.nan, 0.5, 0.5]])
def test_simplex_marks_only_probability_vectors(ax, point):
    with pytest.raises(ValueError, match=r"points must (sum to one|be non-negative)"):
        viz.simplex(ax, points=[point])


@pytest.mark.parametrize("scale", [-1.0, 0.0, np.nan])
def test_ellipses_need_a_metric(ax, scale):
    normal = families.Normal()
    checked = lambda xi: normal.natural_from_params(loc=xi[0], scale=xi[1])
    with pytest.raises(ValueError, match=r"scale must be positive and finite; got"):
        viz.fisher_ellipses(ax, normal, checked, [[0.0, 1.0], [0.0, scale]])
    unchecked = lambda xi: normal.Point(xi[0], -0.5 * xi[1])
    with pytest.raises(ValueError, match=r"and positive definite; got .* index \(1,\)\. Move"):
        viz.fisher_ellipses(ax, normal, unchecked, [[0.0, 1.0], [0.0, scale]])
    redundant = lambda xi: normal.natural_from_params(loc=xi[0] + xi[1], scale=1.0)
    with pytest.raises(ValueError, match=r"positive definite.*drop a redundant coordinate"):
        viz.fisher_ellipses(ax, normal, redundant, [[0.0, 1.0]])
    assert not ax.patches


@pytest.mark.parametrize("radius", [-1.0, 0.0, np.nan])
def test_ellipses_need_a_positive_radius(ax, radius):
    with pytest.raises(ValueError, match="radius must be positive and finite; got"):
        viz.fisher_ellipses(
            ax, families.Normal(), families.Normal().Point, [[0.0, 1.0]], radius=radius
        )


def test_lines_of_the_simplex_have_one_probability(ax):
    viz.simplex(ax, grid=4)
    height = np.sqrt(0.75)
    ends = [np.stack(line.get_data(), axis=-1) for line in ax.lines[:9]]
    corners = np.array([[0, 0, 1], [1, 0, 1], [0.5, height, 1]])
    levels = []
    for pair in ends:
        probs = np.linalg.solve(corners.T, np.vstack([pair.T, np.ones(2)]))
        (same,) = np.flatnonzero(np.isclose(*probs.T) & (probs[:, 0] > 0.1))
        levels.append((same, round(probs[same, 0], 6)))
    assert sorted(levels) == [(i, share) for i in range(3) for share in (0.25, 0.5, 0.75)]
    texts = [text.get_text() for text in ax.texts]
    assert sorted(texts) == sorted(["0.25", "0.5", "0.75"] * 3 + ["1", "2", "3"])
    with pytest.raises(ValueError, match="grid must be at least 0"):
        viz.simplex(ax, grid=-1)


def test_the_determinant_is_that_of_the_metric(ax):
    normal = families.Normal()
    chart = lambda xi: normal.natural_from_params(loc=xi[0], scale=xi[1])
    scales = np.linspace(0.5, 2.0, 7)
    viz.fisher_log_determinant(
        ax, normal, chart, np.linspace(-1, 1, 4), scales, x_label="mean (cm)"
    )
    mesh, *_ = ax.collections
    expected = np.broadcast_to(np.log(2 / scales**4)[:, None], (7, 4))
    np.testing.assert_allclose(mesh.get_array(), expected, rtol=1e-12, atol=1e-12)
    assert ax.get_xlabel() == "mean (cm)"
    assert ax.figure.axes[1].get_ylabel() == "log det of the Fisher metric"
    with pytest.raises(ValueError, match="first must be increasing; got 0"):
        viz.fisher_log_determinant(ax, normal, chart, [1.0, 1.0], scales)
    with pytest.raises(ValueError, match=r"second must be a vector of two .* got shape \(1,\)"):
        viz.fisher_log_determinant(ax, normal, chart, scales, [1.0])
    outside = lambda xi: normal.Point(xi[0], -0.5 * xi[1])
    with pytest.raises(ValueError, match=r"the metric at each point of the grid must be finite"):
        viz.fisher_log_determinant(ax, normal, outside, scales, [-1.0, 1.0])
