"""Pictures of dual geometry: every curve is what its label says."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from igeojax import families, geometry, viz
from igeojax.divergences import exponential

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
CLASSES, NORMAL = families.Categorical(3), families.Normal()
THREE = NORMAL.Params(np.array([-2.0, 2.0, 0.3]), np.array([0.7, 1.0, 2.6]))
PROBS = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def curves(ax):
    """The points of each line that has more than the two ends of a grid line."""
    lines = [np.stack(line.get_data(), axis=-1) for line in ax.lines]
    return [line for line in lines if len(line) > 4]


def probs_at(places):
    """Probability vectors at places of the triangle."""
    return np.linalg.solve(
        np.vstack([CORNERS.T, np.ones(3)]), np.vstack([places.T, np.ones(len(places))])
    ).T


def assert_not_blank(ax):
    file = io.BytesIO()
    ax.figure.savefig(file, dpi=60)
    file.seek(0)
    colors = np.unique(imread(file)[..., :3].reshape(-1, 3), axis=0)
    assert len(colors) > 20


def off_geodesics(family, laws, found, kind):
    """How far the points of a curve stretch the way between its ends, a share of it."""
    if kind == "Levi-Civita geodesic":
        distance = functools.partial(geometry.fisher_rao_distance, family)
        row = lambda points, i: jax.tree.map(lambda leaf: leaf[i], points)
        ends = [row(laws, 0), row(laws, 1)]
        return max(
            abs(float(distance(ends[0], p) + distance(p, ends[1]) - distance(*ends)))
            for p in (row(found, i) for i in range(0, 65, 16))
        )
    chart = family.mean_from_natural(found) if kind == "m-geodesic" else found
    vector = np.asarray(geometry.ravel(family, chart))
    chord, away = vector[-1] - vector[0], vector - vector[0]
    share = away @ chord / (chord @ chord)
    return np.abs(away - share[:, None] * chord).max()


@pytest.mark.slow
@pytest.mark.parametrize("family", [NORMAL, CLASSES], ids=str)
def test_sides_of_a_triangle_are_geodesics(ax, family):
    laws = THREE if family is NORMAL else CLASSES.Params(PROBS)
    viz.geodesic_triangle(ax, family, laws, names="abc")
    kinds = ["e-geodesic", "m-geodesic", "Levi-Civita geodesic"]
    assert legend(ax) == kinds
    assert {"a", "b", "c"} <= {text.get_text() for text in ax.texts}
    found = curves(ax)
    assert len(found) == 9
    theta = family.natural_from_params(*laws)
    for index, kind in enumerate(kinds):
        line = found[3 * index]  # from the first law to the second
        if family is NORMAL:
            points = family.natural_from_params(*map(jnp.asarray, line.T))
        else:
            points = family.natural_from_params(jnp.asarray(probs_at(line)))
        assert off_geodesics(family, theta, points, kind) < 1e-4
    if family is NORMAL:
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("loc", "scale")
    assert_not_blank(ax)


def test_the_pythagorean_triangle_holds_its_numbers(ax):
    p, r = NORMAL.Params(2.0, 2.0), NORMAL.Params(-1.0, 1.0)
    direction = NORMAL.Point(1.0, 0.1)
    viz.pythagorean_triangle(ax, NORMAL, p, r, direction, labels=("mean (cm)", "deviation (cm)"))
    numbers = [float(text.split("= ")[1].split()[0]) for text in legend(ax)[1:]]
    assert numbers[2] == pytest.approx(numbers[0] + numbers[1], abs=2e-4)
    line, to_q, to_r, whole = curves(ax)[:4]
    q = NORMAL.Params(*to_q[-1])
    for number, pair in zip(numbers, ((p, q), (q, r), (p, r)), strict=True):
        assert number == pytest.approx(float(exponential.kl(NORMAL, *pair)), abs=1e-4)
    np.testing.assert_allclose(to_r[[0, -1]], [to_q[-1], [-1, 1]], rtol=1e-6)
    np.testing.assert_allclose(whole[[0, -1]], [[2, 2], [-1, 1]], rtol=1e-6)
    # The line is that of the direction; the view is of the triangle, not of the line.
    theta = NORMAL.natural_from_params(*map(jnp.asarray, line[np.isfinite(line).all(axis=1)].T))
    np.testing.assert_allclose(theta.xx + 0.5, 0.1 * (theta.x + 1), atol=1e-9)
    assert np.ptp(ax.get_xlim()) < 6
    assert ax.get_xlabel() == "mean (cm)"
    assert_not_blank(ax)


def test_rims_have_the_divergence_that_the_legend_says(ax):
    viz.kl_balls(ax, NORMAL, NORMAL.Params(0.5, 1.0), [0.05, 0.5])
    center = NORMAL.natural_from_params(0.5, 1.0)
    assert legend(ax) == ["KL(p || q) = 0.05, 0.5 nats", "KL(q || p) = 0.05, 0.5 nats"]
    for index, line in enumerate(curves(ax)[:4]):
        point = NORMAL.natural_from_params(*map(jnp.asarray, line.T))
        wide = jax.tree.map(lambda leaf, like: jnp.full_like(like, leaf), center, point)
        pair = (wide, point) if index < 2 else (point, wide)
        radius = (0.05, 0.5)[index % 2]
        np.testing.assert_allclose(exponential.kl(NORMAL, *pair), radius, rtol=1e-6)
    assert_not_blank(ax)


@pytest.mark.slow
def test_a_ball_ends_at_the_edge_of_the_simplex(ax):
    # log(1 / 0.9): from there on laws without the third class are in the ball.
    viz.kl_balls(ax, CLASSES, CLASSES.Params(jnp.array([0.6, 0.3, 0.1])), [0.3])
    right, left = (probs_at(line) for line in curves(ax))
    assert right[:, 2].min() > 1e-4
    assert abs(left[:, 2].min()) < 1e-6
    kl = np.sum(left * (np.log(np.maximum(left, 1e-300)) - np.log([0.6, 0.3, 0.1])), axis=1)
    inside = left[:, 2] > 1e-5
    np.testing.assert_allclose(kl[inside], 0.3, rtol=1e-5)
    assert (kl < 0.3 + 1e-5).all()


def test_bad_input(ax):
    with pytest.raises(ValueError, match="two coordinates to be drawn: three classes, or two"):
        viz.kl_balls(ax, families.Categorical(4), None, [0.1])
    with pytest.raises(ValueError, match="got Poisson"):
        viz.geodesic_triangle(ax, families.Poisson(), None)
    two = jax.tree.map(lambda leaf: leaf[:2], THREE)
    with pytest.raises(ValueError, match="laws and names must be three; got 2 and 3"):
        viz.geodesic_triangle(ax, NORMAL, two)
    with pytest.raises(ValueError, match=r"labels must be 2, one for each of loc, scale; got 3"):
        viz.kl_balls(ax, NORMAL, NORMAL.Params(0.0, 1.0), [0.1], labels="abc")
    with pytest.raises(ValueError, match="radii must hold at least one"):
        viz.kl_balls(ax, NORMAL, NORMAL.Params(0.0, 1.0), [])
    with pytest.raises(ValueError, match="radii must be positive and finite; got -1"):
        viz.kl_balls(ax, NORMAL, NORMAL.Params(0.0, 1.0), [0.1, -1.0])
    with pytest.raises(ValueError, match="center must be inside the natural domain"):
        viz.kl_balls(ax, NORMAL, NORMAL.Point(0.0, 1.0), [0.1])
    assert not ax.lines
