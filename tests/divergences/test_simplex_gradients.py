"""Gradients of simplex divergences: inside, at zeros, at equal vectors, at the ends of order."""

import numpy as np
import pytest

from tests.divergences.programs import (
    ORDERED,
    ORDERS,
    PLAIN,
    by_definition,
    forward,
    reverse,
    values,
    vectors,
)

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

ONE_HOT, HALF, OTHER = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]
INNER = [0.1, 0.6, 0.3]
PAIRS = [
    *[(ONE_HOT, HALF), (HALF, ONE_HOT), (ONE_HOT, OTHER), (HALF, HALF), (ONE_HOT, ONE_HOT)],
    *[([0.5, 0.5, 0.0], [0.25, 0.75, 0.0]), (INNER, ONE_HOT), (ONE_HOT, INNER), (INNER, INNER)],
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients_are_finite_where_the_value_is(dtype):
    p, q = (np.repeat([pair[i] for pair in PAIRS], len(ORDERS), axis=0) for i in (0, 1))
    orders = np.tile(ORDERS, len(PAIRS))
    found = values(p, q, orders, dtype)
    in_forward, in_reverse = forward(p, q, orders, dtype), reverse(p, q, orders, dtype)
    tolerance = 1e-11 if dtype == "float64" else 1e-4
    for name, value in found.items():
        assert not np.isnan(value).any(), name
        finite = np.isfinite(value)
        assert finite[3 * len(ORDERS) : 6 * len(ORDERS)].all(), name
        for one, other in zip(in_forward[name], in_reverse[name], strict=True):
            assert np.isfinite(one[finite]).all(), name
            np.testing.assert_allclose(
                one[finite], other[finite], tolerance, tolerance, err_msg=name
            )


@pytest.mark.parametrize("order", ORDERS)
def test_gradient_along_the_simplex(order):
    """Along directions that keep the sums it is that of the textbook formula."""
    p, q = (0.9 * vectors(seed, 50) + 0.025 for seed in (4, 5))
    step = 1e-5 * (vectors(6, 50) - 0.25)
    in_p, in_q = {}, {}
    for name, (slope_p, slope_q, _) in reverse(p, q, order).items():
        in_p[name], in_q[name] = np.sum(slope_p * step, -1), np.sum(slope_q * step, -1)
    for name in ORDERED + (PLAIN if order == 0.5 else ()):
        value = lambda a, b, name=name: by_definition(name, a, b, order)
        change_p = (value(p + step, q) - value(p - step, q)) / 2
        change_q = (value(p, q + step) - value(p, q - step)) / 2
        np.testing.assert_allclose(in_p[name], change_p, rtol=1e-5, atol=1e-11, err_msg=name)
        np.testing.assert_allclose(in_q[name], change_q, rtol=1e-5, atol=1e-11, err_msg=name)


def test_zero_entries_have_derivative_zero_where_it_would_be_infinite():
    p, q = [[0.0, 0.4, 0.6]], [[0.2, 0.3, 0.5]]
    slopes = reverse(p, q, 0.5)
    for name in ("kl", "jensen_shannon", "hellinger", "bhattacharyya", *ORDERED):
        assert slopes[name][0][0, 0] == 0, name
    # In the other argument it is finite and kept: for KL(p || q) of measures it is 1 - p/q.
    np.testing.assert_allclose(slopes["kl"][1][0, :3], [1, 1 - 4 / 3, 1 - 6 / 5], rtol=1e-14)


@pytest.mark.parametrize("order", [1.7, 2.0])
def test_zero_entries_keep_a_finite_derivative(order):
    p, q = [[0.0, 0.4, 0.6]], [[0.2, 0.3, 0.5]]
    # sum (p^a q^(1-a) - a p + (a-1) q) / (a (a-1)), the divergence of measures, in p.
    ratio = np.array([0, 4 / 3, 6 / 5])
    expected = (ratio ** (order - 1) - 1) / (order - 1)
    found = reverse(p, q, order)["alpha_divergence"][0][0, :3]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    mirrored = reverse(q, p, 1 - order)["alpha_divergence"][1][0, :3]
    np.testing.assert_allclose(mirrored, expected, rtol=1e-12)
    if order == 2.0:
        pearson = reverse(p, q)["chi_square"][0][0, :3]
        np.testing.assert_allclose(pearson, 2 * expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient_vanishes_at_equal_vectors(dtype):
    p = vectors(7, 100)
    for name, slopes in reverse(p, p, np.linspace(-1, 2, 100), dtype).items():
        for slope in slopes:
            assert (np.abs(slope) <= 4 * np.finfo(dtype).eps).all(), name


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_order_is_continuous_at_its_ends(name, end):
    p, q = vectors(8, 20), vectors(9, 20)
    value = values(p, q, end)[name]
    at_end = forward(p, q, end)[name]
    for gap in (-1e-3, -1e-5, -1e-9, 1e-9, 1e-5, 1e-3):
        near = values(p, q, end + gap)[name]
        size = 1 + np.abs(value) ** 3
        assert (np.abs(near - value - gap * at_end[2]) <= (10 * gap**2 + 1e-13) * size).all()
    near = forward(p, q, end + 1e-7)[name]
    for one, other in zip(at_end, near, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
