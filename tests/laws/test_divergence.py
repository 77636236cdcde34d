"""Divergences of each family against quadrature, and the laws that they obey."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.divergences import exponential
from igeojax.families import FAMILIES
from tests.laws.programs import (
    ORDERS,
    family_params,
    flat,
    natural,
    nodes,
    pairs,
    quantities,
    tangent,
)


def grid(name: str):
    """Nine pairs of three points."""
    p, q = natural(name, 0), natural(name, 1)
    first = jax.tree.map(lambda leaf: np.repeat(leaf, 3, axis=0), p)
    second = jax.tree.map(lambda leaf: np.concatenate([leaf] * 3), q)
    return first, second


def kl(name: str, p, q) -> np.ndarray:
    """KL(p || q) by rows: the alpha-divergence of order 1 is the same Bregman divergence."""
    return pairs(name, p, q, 1.0).value["alpha_divergence"]


def test_against_quadrature(name):
    found, weights = quantities(name), nodes(name)[1]
    log_p, log_q = found["log_density"], found["other_log_density"]
    gap = np.where(log_p > -690, log_p - log_q, 0)
    kl = np.sum(weights * np.exp(log_p) * gap, axis=1)
    affinity = lambda a: np.sum(weights * np.exp(a * log_p + (1 - a) * log_q), axis=1)
    tight = {"rtol": 1e-8, "atol": 1e-12}
    np.testing.assert_allclose(found["kl"], kl, **tight)
    np.testing.assert_allclose(found["cross_entropy"], found["entropy"] + kl, **tight)
    np.testing.assert_allclose(found["bhattacharyya"], -np.log(affinity(0.5)), **tight)
    np.testing.assert_allclose(found["hellinger"], np.sqrt(1 - affinity(0.5)), **tight)
    third = pairs(name, natural(name, 0), natural(name, 1), 0.3).value
    expected = (affinity(0.3) - 1) / (0.3 * -0.7)
    np.testing.assert_allclose(third["alpha_divergence"], expected, **tight)
    np.testing.assert_allclose(third["renyi"], np.log(affinity(0.3)) / -0.7, **tight)


def test_symmetries_and_signs(name):
    p, q = grid(name)
    there, back = pairs(name, p, q, 0.3).value, pairs(name, q, p, 0.7).value
    for value in (there["alpha_divergence"], there["renyi"], back["renyi"]):
        assert (value > 0).all()
    # D_a(p || q) = D_{1-a}(q || p).
    np.testing.assert_allclose(there["alpha_divergence"], back["alpha_divergence"], rtol=1e-10)
    found, reverse = quantities(name), kl(name, natural(name, 1), natural(name, 0))
    np.testing.assert_allclose(found["jeffreys"], found["kl"] + reverse, rtol=1e-12)


def test_one_half(name):
    found = quantities(name)
    half = pairs(name, natural(name, 0), natural(name, 1), 0.5).value
    np.testing.assert_allclose(half["renyi"], 2 * found["bhattacharyya"], rtol=1e-12)
    np.testing.assert_allclose(half["alpha_divergence"], 4 * found["hellinger"] ** 2, rtol=1e-12)
    assert (found["hellinger"] <= 1).all()


def test_kl_is_the_bregman_divergence_with_swapped_arguments(name):
    found = quantities(name)
    # The same formula; two programs may round it in two ways.
    np.testing.assert_allclose(found["kl"], found["bregman"], rtol=1e-15)
    np.testing.assert_allclose(found["kl"], found["bregman_derived"], rtol=1e-10, atol=1e-13)


def test_equal_points_are_at_zero(name):
    found = quantities(name)
    assert (found["kl_to_itself"] == 0).all()
    assert (found["hellinger_to_itself"] <= 1e-7).all()
    p, v = natural(name, 0), tangent(name, 0)
    for order in (0.0, 0.3, 1.0):
        for along in ((v, None, None), (None, v, None), (v, v, None)):
            result = pairs(name, p, p, order, along)
            for key in ("alpha_divergence", "renyi"):
                # Exact at the ends; between them the mixture of the two points rounds.
                assert (np.abs(result.value[key]) <= (1e-14 if order == 0.3 else 0)).all(), key
                assert (np.abs(result.along[key]) <= 1e-12).all(), key


def test_limits_of_the_order(name):
    p, q, v, w = natural(name, 0), natural(name, 1), tangent(name, 0), tangent(name, 1)
    there, back = pairs(name, p, q, 1.0, (v, w, None)), pairs(name, q, p, 0.0, (w, v, None))
    # Order 1 is KL(p || q), order 0 of the swapped pair too; so are the gradients.
    for one, key in ((there, "alpha_divergence"), (there, "renyi"), (back, "alpha_divergence")):
        np.testing.assert_allclose(one.value[key], quantities(name)["kl"], rtol=1e-12)
        np.testing.assert_allclose(one.along[key], there.along["renyi"], rtol=1e-10, atol=1e-12)
    at_zero = pairs(name, p, q, 0.0, (v, w, None))
    assert (np.abs(at_zero.value["renyi"]) <= 1e-14).all()
    assert (np.abs(at_zero.along["renyi"]) <= 1e-12).all()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_continuity_across_the_ends(name, end):
    p, q, v, w = natural(name, 0), natural(name, 1), tangent(name, 0), tangent(name, 1)
    step = 1e-4
    orders = [pairs(name, p, q, end + s * step, (None, None, np.ones(3))) for s in (-1, 1)]
    points = [pairs(name, p, q, end + s * step, (v, w, None)) for s in (-1, 0, 1)]
    for key in ("alpha_divergence", "renyi"):
        below, middle, above = (result.value[key] for result in points)
        # The value at the end is the mean of its neighbors, and so is its gradient.
        size = 1 + np.abs(middle) ** 3
        assert (np.abs((below + above) / 2 - middle) <= 1e-6 * size).all(), key
        before, at, after = (result.along[key] for result in points)
        scale = size * (1 + np.abs(at))
        assert (np.abs((before + after) / 2 - at) <= 1e-5 * scale).all(), key
        # The derivative in the order is the slope across the end.
        slope = (orders[0].along[key] + orders[1].along[key]) / 2
        assert (np.abs((above - below) / (2 * step) - slope) <= 1e-5 * size).all(), key


def test_renyi_does_not_decrease_in_the_order(name):
    p, q = grid(name)
    values = [pairs(name, p, q, order).value["renyi"] for order in ORDERS]
    for low, high in itertools.pairwise(values):
        assert (low <= high + 1e-12 * (1 + np.abs(high))).all()


def test_gradients_of_kl_in_closed_form(name):
    """In the second argument `eta_q - eta_p`, in the first `F_p (theta_p - theta_q)`."""
    family, found = FAMILIES[name].family, quantities(name)
    p, q, v = natural(name, 0), natural(name, 1), tangent(name, 0)
    gap = jax.tree.map(np.subtract, family.mean_from_natural(q), found["eta"])
    in_q = pairs(name, p, q, 1.0, (None, v, None)).along["alpha_divergence"]
    np.testing.assert_allclose(in_q, family.pairing(v, gap), rtol=1e-9, atol=1e-10)
    step = flat(name, p) - flat(name, q)
    push = np.einsum("bi,bij,bj->b", flat(name, v), found["fisher"], step)
    in_p = pairs(name, p, q, 1.0, (v, None, None)).along["alpha_divergence"]
    np.testing.assert_allclose(in_p, push, rtol=1e-9, atol=1e-10)


def test_pythagoras_for_a_moment_projection(name):
    """With q the m-projection of p on the e-flat line through r and s, KL adds up."""
    family = FAMILIES[name].family
    p, r, s = (natural(name, seed) for seed in (2, 3, 4))
    direction = jax.tree.map(np.subtract, s, r)
    at = lambda t: jax.tree.map(
        lambda a, d: a + d * t.reshape(t.shape + (1,) * (d.ndim - 1)), r, direction
    )
    target = family.pairing(direction, family.mean_from_natural(p))

    @jax.jit
    def excess(t):
        # Increasing in t: its derivative is the Fisher form of the direction.
        slope = family.pairing(direction, family.mean_from_natural(at(t))) - target
        return jnp.where(
            family.in_natural_domain(at(t)), slope, jnp.where(t > 0.5, jnp.inf, -jnp.inf)
        )

    low, high = np.full(3, -60.0), np.full(3, 60.0)
    for _ in range(80):
        t = (low + high) / 2
        above = np.asarray(excess(t)) > 0
        low, high = np.where(above, low, t), np.where(above, t, high)
    t = low
    q = at(t)
    assert family.in_natural_domain(q).all()
    total, legs = kl(name, p, r), kl(name, p, q) + kl(name, q, r)
    np.testing.assert_allclose(total, legs, rtol=1e-9, atol=1e-11)


def test_kl_is_convex_in_the_second_argument(name):
    p, q, r = (natural(name, seed) for seed in (0, 1, 2))
    middle = jax.tree.map(lambda a, b: (a + b) / 2, q, r)
    assert (kl(name, p, middle) <= (kl(name, p, q) + kl(name, p, r)) / 2 + 1e-12).all()


def test_source_and_natural_arguments_agree(name):
    family = FAMILIES[name].family
    found, q, source = quantities(name), natural(name, 1), family_params(name)
    value = jax.jit(lambda p, q: exponential.kl(family, p, q))
    np.testing.assert_allclose(value(source, q), found["kl"], rtol=1e-10)
    # Two source parameters may go another way, which loses fewer digits.
    both = source, family_params(name, 1)
    np.testing.assert_allclose(value(*both), found["kl"], rtol=1e-10)
    bhattacharyya = jax.jit(lambda p, q: exponential.bhattacharyya(family, p, q))(*both)
    np.testing.assert_allclose(bhattacharyya, found["bhattacharyya"], rtol=1e-10)
    np.testing.assert_allclose(family.entropy(source), found["entropy"], rtol=1e-12)


def test_second_order_is_the_fisher_metric(name):
    """KL(p || p + e v) = e^2 v^T F v / 2 + O(e^3): the relative gap halves with e."""
    p, v, found = natural(name, 0), tangent(name, 0), quantities(name)
    form = np.einsum("bi,bij,bj->b", flat(name, v), found["fisher"], flat(name, v))

    def gap(e: float) -> np.ndarray:
        q = jax.tree.map(lambda a, b: a + e * b, p, v)
        return kl(name, p, q) / (0.5 * e**2 * form) - 1

    coarse, fine, finest = gap(0.1), gap(0.01), gap(0.001)
    assert (np.abs(fine) <= 0.2 * np.abs(coarse) + 1e-7).all()
    assert (np.abs(finest) <= 0.2 * np.abs(fine) + 1e-7).all()
    assert (np.abs(finest) <= 2e-3 * (1 + np.abs(coarse) / 0.1)).all()
