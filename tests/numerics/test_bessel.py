"""The von Mises-Fisher law's radial functions against 60-digit values, derivatives included."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import numerics
from igeojax.numerics.bessel import _far_coefficients

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

VALUES = json.loads((Path(__file__).parent / "bessel_values.json").read_text(encoding="utf-8"))
COLUMNS = ("psi", "length", "gap", "slope", "bend", "ratio", "drop", "drop_slope", "entropy")
DIMENSIONS = sorted({row[0] for row in VALUES["radial"]})
DTYPES = ("float64", "float32")

# Worst errors allowed, in float64 and float32: about twice what was measured.
BOUNDS = {
    "length": (2e-15, 6e-7),
    "gap": (2e-14, 3e-6),
    "slope": (2e-14, 3e-6),
    "bend": (2e-14, 6e-6),
    "ratio": (2e-15, 6e-7),
    "drop": (4e-15, 4e-6),
}


def radial(dim):
    """Concentrations and the true values there by name, from small to large."""
    rows = np.array([row[1:] for row in VALUES["radial"] if row[0] == dim])
    return rows[:, 0], dict(zip(COLUMNS, rows[:, 1:].T, strict=True))


@functools.cache
def computed(dim, dtype):
    """All functions and derivatives of one dimension, compiled once."""
    psi = functools.partial(numerics.vmf_log_partition, dim)
    ratio = functools.partial(numerics.vmf_mean_ratio, dim)
    entropy = functools.partial(numerics.vmf_entropy, dim)

    def single(kappa):
        return {
            "psi": psi(kappa),
            "length": numerics.vmf_mean_length(dim, kappa),
            "gap": numerics.vmf_mean_gap(dim, kappa),
            "slope": numerics.vmf_mean_slope(dim, kappa),
            "ratio": ratio(kappa),
            "entropy": entropy(kappa),
            "length by derivative": jax.grad(psi)(kappa),
            "slope by derivative": jax.grad(jax.grad(psi))(kappa),
            "bend by derivative": jax.grad(jax.grad(jax.grad(psi)))(kappa),
            "minus slope by derivative": jax.grad(lambda k: numerics.vmf_mean_gap(dim, k))(kappa),
            "minus gap by derivative": jax.grad(
                lambda k: numerics.vmf_log_partition_offset(dim, k)
            )(kappa),
            "ratio slope": jax.grad(ratio)(kappa),
            "entropy slope": jax.grad(entropy)(kappa),
            "ratio curvature": jax.grad(jax.grad(ratio))(kappa),
            "offset": numerics.vmf_log_partition_offset(dim, kappa),
        }

    kappa = radial(dim)[0].astype(dtype)
    result = jax.jit(jax.vmap(single))(kappa)
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype(dtype)}
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(float), result)


def worst(found, true):
    error = np.abs(found - true)
    return np.max(error / np.where(true == 0, 1, np.abs(true)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMENSIONS)
def test_values_and_derivatives(dim, dtype):
    kappa, true = radial(dim)
    found, column = computed(dim, dtype), DTYPES.index(dtype)
    # The entropy and psi pass through 0.
    for name in ("psi", "entropy"):
        error = np.abs(found[name] - true[name]) / np.maximum(np.abs(true[name]), 1)
        assert error.max() <= (2e-14, 2e-6)[column], name
    for name, bounds in BOUNDS.items():
        if name in found:
            assert worst(found[name], true[name]) <= bounds[column], name
        if f"{name} by derivative" in found:
            assert worst(found[f"{name} by derivative"], true[name]) <= bounds[column], name
        if f"minus {name} by derivative" in found:
            error = worst(-found[f"minus {name} by derivative"], true[name])
            assert error <= bounds[column], name
    assert worst(found["ratio slope"], -kappa * true["drop"]) <= BOUNDS["drop"][column]
    assert worst(found["entropy slope"], -kappa * true["slope"]) <= BOUNDS["slope"][column]
    curvature = -true["drop"] - 2 * kappa**2 * true["drop_slope"]
    size = true["drop"] + 2 * kappa**2 * np.abs(true["drop_slope"])
    error = np.abs(found["ratio curvature"] - curvature) / size
    assert error[size > 1e-36].max() <= (2e-14, 5e-6)[column]


@pytest.mark.parametrize("dim", DIMENSIONS)
def test_offset_keeps_its_digits_where_the_concentration_is_large(dim):
    kappa, true = radial(dim)
    large = kappa > dim
    # From the entropy, psi - kappa A: no digits of kappa in it.
    expected = true["entropy"] - numerics.log_sphere(dim) - kappa * true["gap"]
    found = computed(dim, "float64")["offset"]
    np.testing.assert_allclose(found[large], expected[large], rtol=2e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMENSIONS)
def test_concentration_inverts_the_mean_length(dim, dtype):
    kappa, true = radial(dim)
    length, gap = true["length"].astype(dtype), true["gap"].astype(dtype)
    inverse = jax.jit(jax.vmap(lambda r, g: numerics.vmf_concentration(dim, r, g)))
    found = inverse(length, gap)
    assert found.dtype == dtype
    assert worst(np.asarray(found, float), kappa) <= (2e-14, 4e-6)[DTYPES.index(dtype)]
    assert found[0] == 0


def test_derivatives_of_the_inverse():
    dim, kappa = 5, 7.0
    length = float(numerics.vmf_mean_length(dim, jnp.asarray(kappa)))
    slope = float(numerics.vmf_mean_slope(dim, jnp.asarray(kappa)))
    third = float(jax.grad(lambda k: numerics.vmf_mean_slope(dim, k))(kappa))
    inverse = lambda r: numerics.vmf_concentration(dim, r)
    np.testing.assert_allclose(jax.grad(inverse)(length), 1 / slope, rtol=1e-13)
    np.testing.assert_allclose(jax.grad(jax.grad(inverse))(length), -third / slope**3, rtol=1e-12)
    near = float(numerics.vmf_mean_gap(3, jnp.asarray(1e12)))
    sharp = numerics.vmf_concentration(3, jnp.asarray(1.0), jnp.asarray(near))
    np.testing.assert_allclose(sharp, 1e12, rtol=1e-14)


def test_outside_the_domain():
    for function in (numerics.vmf_log_partition, numerics.vmf_mean_slope, numerics.vmf_entropy):
        assert np.isnan(function(3, jnp.asarray(-1.0)))
        assert np.isnan(function(3, jnp.asarray(np.nan)))
    found = numerics.vmf_concentration(3, jnp.asarray([1.0, 1.1, -0.1, np.nan]))
    assert found[0] == np.inf
    assert np.isnan(found[1:]).all()
    # A nan stays in its row.
    row = numerics.vmf_mean_length(3, jnp.asarray([np.nan, 2.0]))
    assert np.isnan(row[0])
    np.testing.assert_allclose(row[1], 1 / np.tanh(2) - 0.5, rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 3, 9])
def test_the_branches_meet(dim, dtype):
    """Values on both sides of the switch to Hankel's series differ as the derivative says."""
    least = _far_coefficients(dim, dtype)[1]
    kappa = np.asarray(least, dtype) * (1 + np.asarray([-1, 1], dtype) * np.finfo(dtype).eps * 4)
    for function, power in (
        (numerics.vmf_mean_gap, 1),
        (numerics.vmf_mean_slope, 2),
        (jax.vmap(jax.grad(lambda k: numerics.vmf_mean_slope(dim, k))), 3),
    ):
        pair = function(kappa) if power == 3 else function(dim, jnp.asarray(kappa))
        low, high = map(float, pair)
        assert abs(high / low - 1) <= (100 if dim > 2 else 250) * np.finfo(dtype).eps


def test_float32_is_computed_in_float32():
    kappa, theta = jnp.ones(2, jnp.float32), jnp.ones((2, 3), jnp.float32)
    programs = (
        jax.make_jaxpr(lambda k: numerics.vmf_concentration(3, k / 2))(kappa),
        jax.make_jaxpr(jax.grad(lambda k: numerics.vmf_log_partition(3, k).sum()))(kappa),
        jax.make_jaxpr(jax.grad(lambda t: numerics.vmf_bregman(t, 2 * t, -t).sum()))(theta),
    )
    for program in programs:
        assert "f64[2" not in str(program)
        assert "f64[3" not in str(program)


# The log-partition as a function of a vector.


def tensors(dim, kappa, true, row):
    """Gradient, Hessian and third derivative at `kappa` times the diagonal direction."""
    mu = np.ones(dim) / np.sqrt(dim)
    theta = kappa[row] * mu
    ratio, drop, drop_slope = (true[name][row] for name in ("ratio", "drop", "drop_slope"))
    eye = np.eye(dim)
    hessian = ratio * eye - drop * np.outer(theta, theta)
    cross = np.einsum("i,jk->ijk", theta, eye)
    cross = cross + cross.transpose(1, 0, 2) + cross.transpose(1, 2, 0)
    cube = np.einsum("i,j,k->ijk", theta, theta, theta)
    return theta, ratio * theta, hessian, -drop * cross - 2 * drop_slope * cube


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 3, 8])
def test_derivatives_in_the_natural_parameter(dim, dtype):
    kappa, true = radial(dim)
    rows = [tensors(dim, kappa, true, row) for row in range(len(kappa))]
    theta = np.stack([row[0] for row in rows]).astype(dtype)
    hessian = jax.hessian(numerics.vmf_potential)
    single = lambda t: (jax.grad(numerics.vmf_potential)(t), hessian(t), jax.jacfwd(hessian)(t))
    for found, part in zip(jax.jit(jax.vmap(single))(theta), (1, 2, 3), strict=True):
        assert np.isfinite(found).all()
        for got, row in zip(np.asarray(found, float), rows, strict=True):
            size = np.abs(row[part]).max()
            bound = (1e-14, 4e-6)[DTYPES.index(dtype)] * size
            assert np.abs(got - row[part]).max() <= max(bound, 1e-37)


def test_the_vector_forms_at_zero():
    zero = jnp.zeros(4)
    np.testing.assert_allclose(jax.hessian(numerics.vmf_potential)(zero), np.eye(4) / 4, rtol=1e-15)
    np.testing.assert_array_equal(
        jax.jacfwd(jax.hessian(numerics.vmf_potential))(zero), np.zeros((4, 4, 4))
    )
    inverse = numerics.vmf_natural_from_mean
    np.testing.assert_allclose(jax.jacfwd(inverse)(zero), 4 * np.eye(4), rtol=1e-14)
    assert np.isfinite(jax.jacfwd(jax.jacrev(inverse))(zero)).all()
    np.testing.assert_allclose(
        jax.hessian(numerics.vmf_dual_excess)(zero), np.eye(4) / 4, rtol=1e-14
    )


# The Bregman remainder.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", sorted({row[0] for row in VALUES["bregman"]}))
def test_bregman_divergence(dim, dtype):
    rows = np.array([row[1:] for row in VALUES["bregman"] if row[0] == dim])
    theta, other = np.zeros((2, len(rows), dim), dtype)
    theta[:, :2], other[:, 0] = rows[:, :2], rows[:, 2]
    found = jax.jit(numerics.vmf_bregman)(theta, other, theta - other)
    assert found.dtype == dtype
    assert (found >= 0).all()
    assert worst(np.asarray(found, float), rows[:, 3]) <= (5e-14, 1e-5)[DTYPES.index(dtype)]


def test_the_radial_remainder_is_the_one_of_parallel_vectors():
    kappa, other = jnp.asarray([1.0, 2.5, 1e6, 3.0]), jnp.asarray([1.0, 2.0, 1e3, 0.0])
    axis = jnp.asarray([0.0, 1.0, 0.0])
    theta, base = jnp.outer(kappa, axis), jnp.outer(other, axis)
    expected = numerics.vmf_bregman(theta, base, theta - base)
    found = numerics.vmf_radial_bregman(3, kappa, other)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert found[0] == 0
    slope = jax.grad(lambda k: numerics.vmf_radial_bregman(3, k, 2.0))(2.5)
    lengths = [float(numerics.vmf_mean_length(3, jnp.asarray(k))) for k in (2.5, 2.0)]
    np.testing.assert_allclose(slope, lengths[0] - lengths[1], rtol=1e-13)


PAIRS = {
    "both zero": ([0, 0, 0], [0, 0, 0]),
    "from zero": ([0.3, 0.2, 0], [0, 0, 0]),
    "to zero": ([0, 0, 0], [0.3, -4.0, 2.0]),
    "far to zero": ([0, 0, 0], [3e3, -4e3, 2e3]),
    "near": ([1.0, 2.0, 0.5], [1.0, 2.0, 0.5001]),
    "near and large": ([3e3, 2e3, 1e3], [3e3, 2e3, 1001.0]),
    "equal": ([5.0, 2.0, 0.5], [5.0, 2.0, 0.5]),
    "equal and large": ([3e3, 2e3, 1e3], [3e3, 2e3, 1e3]),
    "far": ([3e3, 2e3, 1e3], [30.0, 200.0, 100.0]),
    "opposite": ([3e3, 2e3, 1e3], [-3e3, -2e3, -1e3]),
    "small to large": ([0.1, 0.0, 0.0], [0.0, 1e4, 0.0]),
}


def test_derivatives_of_the_bregman_divergence():
    """Gradients: difference of means, `F (other - theta)`; the Hessian in theta is F."""
    theta, other = np.array(list(PAIRS.values())).swapaxes(0, 1).astype(float)
    value = lambda a, b: numerics.vmf_bregman(a, b, a - b)
    single = lambda a, b: (
        jax.grad(value, (0, 1))(a, b),
        jax.hessian(value, (0, 1))(a, b),
        jax.grad(numerics.vmf_potential)(a) - jax.grad(numerics.vmf_potential)(b),
        jax.hessian(numerics.vmf_potential)(a),
        jax.hessian(numerics.vmf_potential)(b),
    )
    slopes, hessians, gap, fisher, base = jax.jit(jax.vmap(single))(theta, other)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((slopes, hessians)))
    np.testing.assert_allclose(slopes[0], gap, rtol=1e-10, atol=1e-14)
    push = np.einsum("bij,bj->bi", base, other - theta)
    np.testing.assert_allclose(slopes[1], push, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(hessians[0][0], fisher, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(hessians[0][1], -base, rtol=1e-8, atol=1e-12)
    same = [i for i, name in enumerate(PAIRS) if name.startswith(("equal", "both"))]
    np.testing.assert_allclose(hessians[1][1][np.array(same)], base[np.array(same)], rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 3, 33, 768])
def test_small_concentrations_keep_their_digits(dim, dtype):
    # psi - psi(0) is of second order, far below rounding of psi(0); so is the loss of entropy.
    kappa = np.logspace(-6, 1, 15).astype(dtype)
    with mpmath.workdps(40):
        half = mpmath.mpf(dim) / 2
        squares = [mpmath.mpf(float(k)) ** 2 / 4 for k in kappa]
        potential = [mpmath.log(mpmath.hyp0f1(half, s)) for s in squares]
        slope = [
            2 * s / half * mpmath.hyp0f1(half + 1, s) / mpmath.hyp0f1(half, s) for s in squares
        ]
        offset = [float(v - mpmath.mpf(float(k))) for v, k in zip(potential, kappa, strict=True)]
        lost = [float(s - v) for s, v in zip(slope, potential, strict=True)]
    found = numerics.vmf_log_partition_offset(dim, jnp.asarray(kappa))
    np.testing.assert_allclose(found, offset, rtol=20 * np.finfo(dtype).eps)
    vectors = jnp.zeros((15, dim), dtype).at[:, 0].set(kappa)
    found = numerics.vmf_dual_excess(vectors)
    np.testing.assert_allclose(found, lost, rtol=20 * np.finfo(dtype).eps)
