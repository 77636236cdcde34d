"""Entropy, derived names, Chernoff information and the lower bound of KL, on the simplex."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.spatial.distance
import scipy.special
import scipy.stats

from igeojax.divergences import simplex
from tests.divergences.programs import vectors

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

INF = np.inf
LOG2 = float(np.log(2.0))
P, Q = vectors(0, 40), vectors(1, 40)
ONE_HOT, HALF, OTHER = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]


def test_entropy_and_cross_entropy():
    p, q = P.copy(), Q.copy()
    p[::3, 1] = 0
    p /= p.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(simplex.entropy(p), scipy.stats.entropy(p, axis=-1), rtol=1e-13)
    crossed = -scipy.special.xlogy(p, q).sum(axis=-1)
    np.testing.assert_allclose(simplex.cross_entropy(p, q), crossed, rtol=1e-13)
    total = simplex.entropy(p) + simplex.kl(p, q)
    np.testing.assert_allclose(simplex.cross_entropy(p, q), total, rtol=1e-12)
    assert simplex.cross_entropy(HALF, ONE_HOT) == INF
    assert simplex.cross_entropy(ONE_HOT, HALF) == pytest.approx(LOG2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_derivatives_of_entropies_at_zeros(dtype):
    for row in (ONE_HOT, HALF):
        p, q = jnp.asarray(row, dtype), jnp.asarray(HALF, dtype)
        for transform in (jax.grad, jax.jacfwd):
            for slope in (
                transform(simplex.entropy)(p),
                *transform(simplex.cross_entropy, (0, 1))(p, q),
            ):
                assert jnp.isfinite(slope).all()
        assert jax.grad(simplex.entropy)(p)[2] == 0
        push = jnp.asarray([0.5, 0.25, -0.75], dtype)
        product = jax.jvp(jax.grad(simplex.entropy), (p,), (push,))[1]
        assert jnp.isfinite(product).all()
        near = jax.jvp(jax.grad(simplex.kl, (0, 1)), (p, q), (push, push))[1]
        assert all(jnp.isfinite(leaf).all() for leaf in near)


def test_derived_names():
    np.testing.assert_array_equal(simplex.reverse_kl(P, Q), simplex.kl(Q, P))
    np.testing.assert_array_equal(simplex.neyman_chi_square(P, Q), simplex.chi_square(Q, P))
    expected = scipy.spatial.distance.jensenshannon(P, Q, axis=-1)
    np.testing.assert_allclose(simplex.jensen_shannon_distance(P, Q), expected, rtol=1e-10)
    for alpha in (-1.0, -0.4, 0.0, 1.0, 3.0):
        found = simplex.amari_alpha_divergence(P, Q, alpha=alpha)
        if abs(alpha) == 1:
            value = simplex.kl(P, Q) if alpha == -1 else simplex.kl(Q, P)
        else:
            power = np.sum(P ** ((1 - alpha) / 2) * Q ** ((1 + alpha) / 2), axis=-1)
            value = 4 / (1 - alpha**2) * (1 - power)
        np.testing.assert_allclose(found, value, rtol=1e-11)


def test_jensen_shannon_distance_is_a_metric_with_gradient_zero_at_coincidence():
    r = vectors(2, 40)
    direct = simplex.jensen_shannon_distance(P, r)
    around = simplex.jensen_shannon_distance(P, Q) + simplex.jensen_shannon_distance(Q, r)
    assert (direct <= around + 1e-12).all()
    slope = jax.grad(simplex.jensen_shannon_distance)(jnp.asarray(P[0]), jnp.asarray(P[0]))
    np.testing.assert_array_equal(slope, np.zeros(4))


def test_renyi_of_negative_order_without_absolute_continuity():
    # sum p^a q^(1-a) has an infinite term; its log over a - 1 is -inf.
    assert simplex.renyi(ONE_HOT, HALF, order=-0.5) == -INF
    assert simplex.renyi(HALF, ONE_HOT, order=-0.5) == pytest.approx(np.log(0.5**-0.5) / -1.5)


CHERNOFF = jax.jit(simplex.chernoff_information)
CHERNOFF_LOGITS = jax.jit(lambda z, w: simplex.chernoff_information(z, w, logits=True))
ORDER = jax.jit(simplex.chernoff_order)


def exponent(order, p, q):
    return -np.log(np.sum(p**order * q ** (1 - order)))


def test_chernoff_by_brute_force():
    found, order = CHERNOFF(P, Q), ORDER(P, Q)
    for i, (p, q) in enumerate(zip(P, Q, strict=True)):
        best = scipy.optimize.minimize_scalar(
            lambda a, p=p, q=q: -exponent(a, p, q),
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-11},
        )
        assert float(found[i]) == pytest.approx(-best.fun, rel=1e-11, abs=0)
        assert float(order[i]) == pytest.approx(best.x, abs=1e-6)
    np.testing.assert_allclose(CHERNOFF(Q, P), found, rtol=1e-13)
    np.testing.assert_allclose(CHERNOFF_LOGITS(np.log(P) + 3, np.log(Q)), found, rtol=1e-12)
    assert (found >= np.asarray(simplex.bhattacharyya(P, Q)) * (1 - 1e-14)).all()


def test_chernoff_at_boundaries():
    four = lambda v: np.array([*v, 0.0])
    rows = [(ONE_HOT, OTHER), (ONE_HOT, HALF), (HALF, ONE_HOT), (HALF, HALF)]
    p, q = (np.resize([four(pair[i]) for pair in rows], (40, 4)) for i in (0, 1))
    # Against a part of its own support the best order is an end: minus the log of the part.
    np.testing.assert_allclose(CHERNOFF(p, q)[:4], [INF, LOG2, LOG2, 0.0], rtol=1e-14)
    np.testing.assert_allclose(ORDER(p, q)[:4], [0.5, 0.0, 1.0, 0.5])
    slope = jax.jit(jax.grad(simplex.chernoff_information, (0, 1)))(*map(jnp.asarray, rows[1]))
    assert all(jnp.isfinite(leaf).all() for leaf in slope)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_chernoff_of_near_laws_keeps_its_digits(dtype):
    tiny = 2.0**-20
    p = np.array([[0.25, 0.25, 0.5, 0.0]] * 40, dtype)
    q = p + np.array([tiny, -tiny, 0, 0], dtype)
    expected = float(np.sum((p[0, :3] - q[0, :3]) ** 2 / q[0, :3])) / 8
    np.testing.assert_allclose(CHERNOFF(p, q)[0], expected, rtol=2e-5)
    assert float(ORDER(p, q)[0]) == pytest.approx(0.5, abs=1e-3)
    far = np.array([[500.0, 0.0, -500.0, 0.0]] * 40, dtype)
    # At order 1/2 the four classes tie.
    assert float(CHERNOFF_LOGITS(far, -far)[0]) == pytest.approx(500.0 - np.log(4), rel=1e-5, abs=0)


def test_chernoff_derivatives_are_implicit():
    p, q = jnp.asarray(P[3]), jnp.asarray(Q[3])
    z, w = jnp.log(p), jnp.log(q)
    value = jax.jit(lambda z, w: simplex.chernoff_information(z, w, logits=True))
    slopes = jax.jit(jax.grad(value, (0, 1)))
    # At the best order the derivative of the exponent: m - p weighted by a, m - q by 1 - a.
    a = float(simplex.chernoff_order(p, q))
    middle = p**a * q ** (1 - a)
    middle = middle / middle.sum()
    np.testing.assert_allclose(slopes(z, w)[0], a * (p - middle), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(slopes(z, w)[1], (1 - a) * (q - middle), rtol=1e-10, atol=1e-14)
    push = jnp.array([0.3, -0.5, 0.2, 0.1])
    product = jax.jvp(lambda z: slopes(z, w), (z,), (push,))[1]
    step = 1e-5
    for leaf, high, low in zip(
        product, slopes(z + step * push, w), slopes(z - step * push, w), strict=True
    ):
        np.testing.assert_allclose(leaf, (high - low) / (2 * step), rtol=1e-6, atol=1e-10)


BOUND = jax.jit(simplex.kl_lower_bound_from_jensen_shannon)


def test_lower_bound_of_kl_holds_for_all_binary_laws_and_is_attained():
    grid = np.linspace(0, 1, 401)
    u, v = np.meshgrid(grid, grid)
    p, q = (np.stack([x.ravel(), 1 - x.ravel()], axis=-1) for x in (u, v))
    kl = scipy.special.rel_entr(p, q).sum(axis=-1)
    middle = (p + q) / 2
    js = (scipy.special.rel_entr(p, middle) + scipy.special.rel_entr(q, middle)).sum(axis=-1) / 2
    js = np.minimum(js, LOG2)
    least = np.asarray(BOUND(js))
    gap = np.where(np.isinf(kl), INF, kl) - np.where(np.isinf(least), LOG2 * 1e3, least)
    assert (gap[js < LOG2] >= -1e-12).all()
    attained = (p[:, 0] == 1) & (js < LOG2 * 0.999)
    np.testing.assert_allclose(least[attained], kl[attained], rtol=1e-10, atol=1e-14)
    # For many outcomes too.
    more = vectors(5, 200, 4), vectors(6, 200, 4)
    bound = simplex.kl_lower_bound_from_jensen_shannon(simplex.jensen_shannon(*more))
    assert (np.asarray(simplex.kl(*more)) >= bound).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lower_bound_at_its_ends_and_its_derivative(dtype):
    eps = np.finfo(dtype).eps
    for value in (1e-12, 1e-6, 0.1, 0.29, 0.31, 0.6):
        k = float(BOUND(jnp.asarray(value, dtype)))
        s = np.exp(-k)
        back = LOG2 - ((1 + s) * np.log1p(s) + s * k) / 2 if value > 0.01 else None
        expected = value if back is not None else 2 / LOG2 * value
        assert (back if back is not None else k) == pytest.approx(
            expected, rel=max(float(40 * eps), 2e-6), abs=0
        )
    zero = jnp.asarray(0.0, dtype)
    assert BOUND(zero) == 0
    assert float(jax.grad(BOUND)(zero)) == pytest.approx(2 / LOG2, rel=8 * float(eps), abs=0)
    assert jnp.isfinite(jax.grad(jax.grad(BOUND))(zero))
    assert BOUND(jnp.asarray(0.7, dtype)) == INF
    assert jnp.isnan(BOUND(jnp.asarray(-0.1, dtype)))
    step = 1e-6
    change = (float(BOUND(0.4 + step)) - float(BOUND(0.4 - step))) / (2 * step)
    assert float(jax.grad(BOUND)(0.4)) == pytest.approx(change, rel=1e-7, abs=0)


BAD = [
    (lambda: simplex.entropy([0.5, 0.6]), "p must sum to one"),
    (lambda: simplex.entropy([-INF, -INF], logits=True), "largest logit of p"),
    (lambda: simplex.cross_entropy([0.5, 0.5], [1.0]), "same number"),
    (lambda: simplex.chernoff_information([0.5, 0.5], [0.2, 0.2]), "q must sum to one"),
    (lambda: simplex.kl_lower_bound_from_jensen_shannon(0.7), r"in \[0, log 2\]; got 0.7.*in bits"),
    (lambda: simplex.kl_lower_bound_from_jensen_shannon([-0.1]), r"got -0.1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        call()
