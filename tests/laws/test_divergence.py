"""Divergences of each family against quadrature, and the laws that they obey."""

import itertools

import jax
import numpy as np
import pytest

from igeojax import geometry
from igeojax.divergences import exponential
from igeojax.families import FAMILIES
from tests.laws.programs import NAMES, ORDERS, natural, nodes, pairs, quantities, stacked


def grid(name: str, dtype: str = "float64"):
    """Nine pairs of three points."""
    p, q = natural(name, 0, dtype=dtype), natural(name, 1, dtype=dtype)
    first = jax.tree.map(lambda leaf: np.repeat(leaf, 3, axis=0), p)
    second = jax.tree.map(lambda leaf: np.concatenate([leaf] * 3), q)
    return first, second


@pytest.mark.parametrize("name", NAMES)
def test_against_quadrature(name):
    found, weights = quantities(name), nodes(name)[1]
    log_p, log_q = found["log_density"], found["other_log_density"]
    p, q = natural(name, 0), natural(name, 1)
    gap = np.where(log_p > -690, log_p - log_q, 0)
    kl = np.sum(weights * np.exp(log_p) * gap, axis=1)
    affinity = lambda a: np.sum(weights * np.exp(a * log_p + (1 - a) * log_q), axis=1)
    half, third = pairs(name, p, q, 0.5).value, pairs(name, p, q, 0.3).value
    tight = {"rtol": 1e-8, "atol": 1e-12}
    np.testing.assert_allclose(half["kl"], kl, **tight)
    np.testing.assert_allclose(half["cross_entropy"], found["entropy"] + kl, **tight)
    np.testing.assert_allclose(half["bhattacharyya"], -np.log(affinity(0.5)), **tight)
    np.testing.assert_allclose(half["hellinger"], np.sqrt(1 - affinity(0.5)), **tight)
    np.testing.assert_allclose(half["alpha_divergence"], 4 * (1 - affinity(0.5)), **tight)
    expected = (affinity(0.3) - 1) / (0.3 * -0.7)
    np.testing.assert_allclose(third["alpha_divergence"], expected, **tight)
    np.testing.assert_allclose(third["renyi"], np.log(affinity(0.3)) / -0.7, **tight)


@pytest.mark.parametrize("name", NAMES)
def test_symmetries_and_signs(name):
    p, q = grid(name)
    there, back = pairs(name, p, q, 0.3).value, pairs(name, q, p, 0.7).value
    for values in (there, back):
        for key in ("kl", "jeffreys", "alpha_divergence", "renyi", "hellinger", "bhattacharyya"):
            assert (values[key] > 0).all(), key
    np.testing.assert_allclose(there["jeffreys"], there["kl"] + back["kl"], rtol=1e-13)
    np.testing.assert_allclose(there["jeffreys"], back["jeffreys"], rtol=1e-13)
    for key in ("hellinger", "bhattacharyya"):
        np.testing.assert_allclose(there[key], back[key], rtol=1e-10)
    # D_a(p || q) = D_{1-a}(q || p).
    np.testing.assert_allclose(there["alpha_divergence"], back["alpha_divergence"], rtol=1e-10)
    assert (there["hellinger"] <= 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_kl_is_the_bregman_divergence_with_swapped_arguments(name):
    found, p, q = quantities(name), natural(name, 0), natural(name, 1)
    values = pairs(name, p, q, 0.5).value
    np.testing.assert_allclose(values["kl"], found["bregman"], rtol=1e-13)
    np.testing.assert_allclose(values["kl"], found["bregman_derived"], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_points_are_at_zero(name, dtype):
    p = natural(name, 0, dtype=dtype)
    # Through the mixture of the two points, which rounds.
    noise = {"kl": 0.0, "jeffreys": 0.0}
    eps = np.finfo(dtype).eps
    for order in (0.0, 0.3, 1.0):
        result = pairs(name, p, p, order, dtype)
        for key, value in result.value.items():
            if key == "cross_entropy":
                continue
            assert value.dtype == dtype
            if key in noise or (order in {0.0, 1.0} and key == "alpha_divergence"):
                assert (value == 0).all(), key
            size = 64 * (eps if key != "hellinger" else np.sqrt(eps))
            assert (np.abs(value) <= size).all(), (key, value)
            assert np.isfinite(result.in_p[key]).all(), key
            assert np.isfinite(result.in_q[key]).all(), key
        for key in noise:
            assert (np.abs(result.in_q[key]) <= 1e3 * eps).all()


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_the_order(name):
    p, q = natural(name, 0), natural(name, 1)
    there, back = pairs(name, p, q, 1.0), pairs(name, q, p, 0.0)
    # Order 1 is KL(p || q), order 0 of the swapped pair too; so are the gradients.
    for one, key in ((there, "alpha_divergence"), (there, "renyi"), (back, "alpha_divergence")):
        np.testing.assert_allclose(one.value[key], there.value["kl"], rtol=1e-13)
        slope = one.in_q if one is there else one.in_p
        np.testing.assert_allclose(slope[key], there.in_q["kl"], rtol=1e-10, atol=1e-12)
    assert (np.abs(pairs(name, p, q, 0.0).value["renyi"]) <= 1e-14).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["alpha_divergence", "renyi"])
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_continuity_across_the_ends(name, key, end):
    p, q = natural(name, 0), natural(name, 1)
    at = pairs(name, p, q, end)
    # Two-sided differences of values a small step apart, and gradients just beside.
    step = 1e-5
    below, above = pairs(name, p, q, end - step), pairs(name, p, q, end + step)
    middle = (below.value[key] + above.value[key]) / 2
    size = 1 + np.abs(at.value[key]) ** 3
    assert (np.abs(middle - at.value[key]) <= 1e-8 * size).all()
    slope = (above.value[key] - below.value[key]) / (2 * step)
    beside = pairs(name, p, q, end + 1e-7)
    assert (np.abs(beside.in_order[key] - slope) <= 1e-4 * size).all()
    for mine, near in ((at.in_p, beside.in_p), (at.in_q, beside.in_q)):
        scale = 1 + np.abs(near[key]).max()
        np.testing.assert_allclose(mine[key], near[key], atol=1e-4 * scale * size.max())


@pytest.mark.parametrize("name", NAMES)
def test_renyi_does_not_decrease_in_the_order(name):
    p, q = grid(name)
    values = [pairs(name, p, q, order).value["renyi"] for order in ORDERS]
    for low, high in itertools.pairwise(values):
        assert (low <= high + 1e-12 * (1 + np.abs(high))).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_kl_in_closed_form(name):
    """In the second argument `eta_q - eta_p`, in the first `F_p (theta_p - theta_q)`."""
    family = FAMILIES[name].family
    p, q = natural(name, 0), natural(name, 1)
    slopes, found = pairs(name, p, q, 0.5), quantities(name)
    vector = lambda point: np.asarray(geometry.ravel(family, point))
    gap = vector(family.mean_from_natural(q)) - vector(family.mean_from_natural(p))
    np.testing.assert_allclose(slopes.in_q["kl"], gap, rtol=1e-10, atol=1e-11)
    push = np.einsum("bij,bj->bi", found["fisher"], vector(p) - vector(q))
    np.testing.assert_allclose(slopes.in_p["kl"], push, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_pythagoras_for_a_moment_projection(name):
    """With q the m-projection of p on the e-flat line through r and s, KL adds up."""
    family = FAMILIES[name].family
    p, r, s = (natural(name, seed) for seed in (2, 3, 4))
    step = jax.tree.map(lambda a, b: 0.2 * (a - b), s, r)
    target = family.pairing(step, family.mean_from_natural(p))
    at = lambda t: jax.tree.map(
        lambda a, d: a + d * t.reshape(t.shape + (1,) * (d.ndim - 1)), r, step
    )

    # Newton on <step, eta(r + t step)> = <step, eta_p>, whose derivative is the Fisher form.
    @jax.jit
    def newton(t):
        gap = family.pairing(step, family.mean_from_natural(at(t))) - target
        curve = family.pairing(step, family.fisher_matvec(at(t), step))
        return t - gap / curve

    t = np.zeros(3)
    for _ in range(200):
        move = np.asarray(newton(t)) - t
        limit = 0.2
        t = t + np.clip(move, -limit, limit)
        inside = family.in_natural_domain(at(t))
        t = np.where(inside, t, t - np.clip(move, -limit, limit) / 2)
    q = at(t)
    assert family.in_natural_domain(q).all()
    total = pairs(name, p, r, 0.5).value["kl"]
    legs = pairs(name, p, q, 0.5).value["kl"] + pairs(name, q, r, 0.5).value["kl"]
    np.testing.assert_allclose(total, legs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_kl_is_convex_in_the_second_argument(name):
    p, q, r = (natural(name, seed) for seed in (0, 1, 2))
    middle = jax.tree.map(lambda a, b: (a + b) / 2, q, r)
    ends = pairs(name, p, q, 0.5).value["kl"] + pairs(name, p, r, 0.5).value["kl"]
    assert (pairs(name, p, middle, 0.5).value["kl"] <= ends / 2 + 1e-12).all()


@pytest.mark.parametrize("name", NAMES)
def test_source_and_natural_arguments_agree(name):
    family = FAMILIES[name].family
    p, q = natural(name, 0), natural(name, 1)
    source = stacked(name, 0)
    params = family.Params(**{key: source[key] for key in family.Params._fields})
    value = exponential.kl(family, params, q)
    np.testing.assert_allclose(value, pairs(name, p, q, 0.5).value["kl"], rtol=1e-12)
