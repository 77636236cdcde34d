"""Pictures of studies of estimators hold the numbers they are given."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from igeojax import viz
from igeojax.estimation import EfficiencyStudy, normal_approximation

SIZES = (10, 40)


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def study(**fields):
    """A study of two parameters, with nan where a test gives nothing."""
    empty = dict.fromkeys(EfficiencyStudy._fields, np.full(2, np.nan))
    return EfficiencyStudy(**(empty | fields))


def edges(band):
    """Lower and upper edge at each size."""
    (path,) = band.get_paths()
    heights = {}
    for x, y in path.vertices:
        heights.setdefault(round(float(x)), set()).add(float(y))
    return [(min(heights[size]), max(heights[size])) for size in sorted(heights)]


def test_efficiency_of_the_parameter_that_is_asked_for(ax):
    mean = [
        study(efficiency=np.array([0.5, share]), efficiency_error=np.array([1.0, 0.1 * share]))
        for share in (0.9, 1.1)
    ]
    other = [study(efficiency=np.full(2, 0.6), efficiency_error=np.zeros(2))] * 2
    viz.efficiency(ax, SIZES, {"mean": mean, "median": other}, parameter=1)
    first, second, bound = ax.lines
    np.testing.assert_array_equal(first.get_xdata(), SIZES)
    np.testing.assert_array_equal(first.get_ydata(), [0.9, 1.1])
    np.testing.assert_array_equal(second.get_ydata(), [0.6, 0.6])
    assert set(bound.get_ydata()) == {1.0}
    np.testing.assert_allclose(edges(ax.collections[0]), [(0.72, 1.08), (0.88, 1.32)])
    assert [line.get_label() for line in ax.lines] == ["mean", "median", "Cramer-Rao bound"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["10", "40"]
    assert ax.get_xscale() == "log"


def test_coverage_by_both_informations(ax):
    found = [
        study(
            coverage_expected=np.array([expected, 0.1]),
            coverage_observed=np.array([observed, 0.2]),
            coverage_error=np.array(0.01),
        )
        for expected, observed in ((0.7, 0.8), (0.85, 0.9))
    ]
    viz.coverage(ax, SIZES, found, level=0.9)
    expected, observed, level = ax.lines
    np.testing.assert_array_equal(expected.get_ydata(), [0.7, 0.85])
    np.testing.assert_array_equal(observed.get_ydata(), [0.8, 0.9])
    assert set(level.get_ydata()) == {0.9}
    np.testing.assert_allclose(edges(ax.collections[1]), [(0.78, 0.82), (0.88, 0.92)])
    names = ["expected information", "observed information", "promised: 0.9"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    other = Figure().add_subplot()
    viz.coverage(other, SIZES, found, parameter=1)
    np.testing.assert_array_equal(other.lines[0].get_ydata(), [0.1, 0.1])


def test_distance_beside_the_bound(ax):
    found = normal_approximation(
        jax.random.key(0), jax.random.exponential, 1.0, 1.0, 12 / jnp.e - 2, sizes=(1, 9)
    )
    viz.normal_approximation(ax, found)
    distance, bound = ax.lines
    np.testing.assert_array_equal(distance.get_xdata(), [1, 9])
    np.testing.assert_allclose(distance.get_ydata(), found.distance)
    np.testing.assert_allclose(bound.get_ydata(), 0.4748 * (12 / np.e - 2) / np.array([1, 3]))
    lower, upper = np.transpose(edges(ax.collections[0]))
    np.testing.assert_allclose(upper, found.distance + found.band)
    np.testing.assert_allclose(lower, found.distance - found.band)
    assert ax.get_ylim()[0] == pytest.approx(0.5 * float(found.distance.min()))
    file = io.BytesIO()
    ax.figure.savefig(file, dpi=60)
    file.seek(0)
    assert len(np.unique(imread(file)[..., :3].reshape(-1, 3), axis=0)) > 20


def test_bad_input(ax):
    with pytest.raises(ValueError, match="studies must name an estimator; got none"):
        viz.efficiency(ax, SIZES, {})
    with pytest.raises(ValueError, match=r"studies of 'mean' must be one.*got 1 for 2"):
        viz.efficiency(ax, SIZES, {"mean": [study()]})
    with pytest.raises(ValueError, match="got 0 for 0 sizes"):
        viz.coverage(ax, [], [])
    empty = np.zeros(0)
    found = normal_approximation(jax.random.key(0), jax.random.normal, 0.0, 1.0, 1.6, sizes=(1,))
    with pytest.raises(ValueError, match="a number of summands; got none"):
        viz.normal_approximation(ax, found._replace(num_summands=empty, distance=empty))
    assert not ax.lines
