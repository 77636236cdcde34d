"""Mirror maps at the edges: zeros, huge and tiny numbers, singular matrices, and their errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import optim

NORMALIZED = optim.LogBarrier(normalized=True)
EPS32 = np.finfo(np.float32).eps


@functools.cache
def displacement(mirror):
    return jax.jit(mirror.displacement)


def moved(mirror, point, step):
    return np.asarray(point + displacement(mirror)(jnp.asarray(point), jnp.asarray(step)))


# p-norm.


@pytest.mark.parametrize("p", [1.01, 1.1, 1.5, 1.9])
def test_links_at_zero_and_of_one_entry(p):
    step = jnp.asarray([0.5, 0.0, -2.0])
    # From 0 the dual point is the step: the link of the dual exponent, in numpy.
    q = p / (p - 1)
    unit = np.abs(step) / 2.0
    size = np.sum(unit**q) ** (1 / q)
    expected = 2.0 * size * np.sign(step) * (unit / size) ** (q - 1)
    np.testing.assert_allclose(moved(optim.PNorm(p), jnp.zeros(3), step), expected, rtol=1e-11)
    alone = moved(optim.PNorm(p), jnp.asarray([0.0, 3.0, 0.0]), jnp.asarray([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(alone, [0, 4, 0], rtol=1e-12)
    np.testing.assert_allclose(moved(optim.PNorm(p), jnp.asarray(-2.0), jnp.asarray(0.5)), -1.5)


@pytest.mark.parametrize("size", [1e-30, 1e30])
@pytest.mark.parametrize("p", [1.05, 1.7])
def test_links_are_homogeneous_where_powers_would_overflow(size, p):
    point, step = np.float32([0.3, -1.0, 0.0]), np.float32([1.0, 0.2, -0.7])
    small = moved(optim.PNorm(p), point, step)
    scaled = moved(optim.PNorm(p), np.float32(size) * point, np.float32(size) * step)
    np.testing.assert_allclose(scaled / np.float32(size), small, rtol=3e-4, atol=1e-6)


def test_a_zero_step_of_the_p_norm_is_exactly_none():
    point = jnp.asarray([[0.3, -1.0, 0.0], [1e-8, 4.0, 2.0]], jnp.float32)
    assert not displacement(optim.PNorm(1.1))(point, jnp.zeros_like(point)).any()


def test_derivatives_of_the_p_norm_are_finite_at_zeros():
    pulled = jax.grad(lambda x: displacement(optim.PNorm(1.2))(x, jnp.ones(3)).sum())
    for point in (jnp.zeros(3), jnp.asarray([0.0, 1.0, -2.0]), jnp.asarray([1e-300, 1e300, 1.0])):
        assert np.isfinite(pulled(point)).all()


# Log-barrier.


def test_barrier_outside_its_domain_is_nan_by_entry():
    found = moved(optim.LogBarrier(), jnp.asarray([0.5, 0.5, 0.5]), jnp.asarray([2.0, 1.0, 3.0]))
    np.testing.assert_array_equal(np.isnan(found), [True, False, True])
    assert found[1] == 1.0


def test_barrier_of_huge_and_tiny_numbers_in_float32():
    point = np.float32([1e30, 1e-30, 1e-30, 3.0, 0.0])
    step = np.float32([-1e30, -1e30, 1e25, -1e-20, 1.0])
    found = displacement(optim.LogBarrier())(jnp.asarray(point), jnp.asarray(step))
    wide = point.astype(float)
    expected = wide * (wide * step) / (1 - wide * step)
    np.testing.assert_allclose(found, expected, rtol=3e-7)
    assert (point + found)[0] > 0  # a little stays of what would round to 0


@pytest.mark.parametrize("n", [2, 7, 1000])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e3, 1e9])
def test_normalized_barrier_meets_its_conditions(n, size):
    rng = np.random.default_rng(n)
    point = rng.dirichlet(np.full(n, 0.5))
    step = size * rng.normal(size=n)
    found = moved(NORMALIZED, point, step)
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-13)
    # One multiplier for all: 1 / p' - 1 / p + step.
    multiplier = 1 / found - 1 / point + step
    scale = np.abs(1 / found) + 1 / point + np.abs(step)
    # And the rounding of p + change, which is of eps of p.
    scale += point / found**2
    middle = multiplier[np.argmin(scale)]
    limit = 32 * np.finfo(float).eps * (scale + scale.min())
    np.testing.assert_array_less(np.abs(multiplier - middle), limit)


def test_normalized_barrier_in_float32_and_at_zeros():
    rng = np.random.default_rng(0)
    point = np.append(rng.dirichlet(np.ones(500)), 0.0)
    point[:3] = [1e-30, 1e-12, point[0] + point[1] + point[2] - 1e-12]
    step = 100 * rng.normal(size=501)
    narrow = moved(NORMALIZED, np.float32(point), np.float32(step))
    np.testing.assert_allclose(narrow, moved(NORMALIZED, point, step), rtol=1e-3)
    assert narrow[-1] == 0
    pulled = jax.grad(lambda p: (displacement(NORMALIZED)(p, jnp.asarray(step)) ** 2).sum())
    assert np.isfinite(pulled(jnp.asarray(point))).all()


def test_free_entropy_leaves_a_little():
    point = jnp.asarray([2.0, 0.0])
    found = moved(optim.NegativeEntropy(normalized=False), point, jnp.asarray([-1e4, 5.0]))
    np.testing.assert_array_equal(found, [2 * np.finfo(float).eps, 0])


# Matrices.


def test_log_det_outside_its_domain_is_nan():
    point = jnp.stack([jnp.eye(2), jnp.eye(2)])
    step = jnp.stack([jnp.diag(jnp.asarray([1.5, 0.0])), jnp.diag(jnp.asarray([0.5, 0.0]))])
    found = moved(optim.LogDet(), point, step)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], np.diag([2.0, 1.0]), rtol=1e-13)


@pytest.mark.parametrize("mirror", [optim.LogDet(), optim.VonNeumannEntropy()], ids=str)
def test_huge_steps_down_leave_a_definite_matrix(mirror):
    point = jnp.asarray(np.float32([[2.0, 0.5], [0.5, 1.0]]))
    step = jnp.asarray(np.float32([[-1e6, 1e6], [1e6, -1e6]]))
    for _ in range(4):
        point = point + displacement(mirror)(point, step)
        values = np.linalg.eigvalsh(np.asarray(point, float))
        assert values[0] > 0
        # Along (1, 1) the step is 0, and that eigenvalue stays of the order of one.
        assert 0.1 < values[1] < 10


def test_log_det_is_affine_invariant():
    rng = np.random.default_rng(1)
    a, root, turn = rng.normal(size=(3, 9, 9))  # LAPACK's sizes
    point, step = root @ root.T, -turn @ turn.T
    inverse = np.linalg.inv(a)
    found = moved(optim.LogDet(), a @ point @ a.T, inverse.T @ step @ inverse)
    expected = a @ moved(optim.LogDet(), point, step) @ a.T
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1.0, 1e3, 1e30])
def test_density_matrices_on_the_diagonal_are_probability_vectors(size):
    point, step = jnp.asarray([0.5, 0.3, 0.2]), size * jnp.asarray([0.1, -1.0, 0.7])
    matrix = moved(optim.VonNeumannEntropy(normalized=True), jnp.diag(point), jnp.diag(step))
    vector = moved(optim.NegativeEntropy(), point, step)
    np.testing.assert_allclose(matrix, np.diag(vector), atol=1e-15 * 4)
    np.testing.assert_allclose(np.trace(matrix), 1, rtol=1e-15)


def test_free_von_neumann_scales_beyond_the_range_of_exponentials_of_its_parts():
    # A little stays of what would round to 0 beside the point.
    found = moved(optim.VonNeumannEntropy(), 1e200 * jnp.eye(2), -400 * jnp.eye(2))
    np.testing.assert_allclose(np.diag(found), 8 * np.finfo(float).eps * 1e200, rtol=0.2)
    # exp(900) is out of range, its product with the point is not.
    found = moved(optim.VonNeumannEntropy(), 1e-200 * jnp.eye(2), 900 * jnp.eye(2))
    expected = np.exp(900 - 200 * np.log(10))
    np.testing.assert_allclose(np.diag(found), expected, rtol=1e-12)


def test_nearly_pure_states_go_on():
    mirror = optim.VonNeumannEntropy(normalized=True)
    cost = jnp.asarray([[1.0, 0.3], [0.3, -1.0]], jnp.float32)

    def advance(x, _):
        x = x + mirror.displacement(x, -cost)
        return x, x

    _, path = jax.jit(lambda x: jax.lax.scan(advance, x, length=200))(
        0.5 * jnp.eye(2, dtype=jnp.float32)
    )
    ground = np.linalg.eigh(np.asarray(cost, float))[1][:, 0]
    np.testing.assert_allclose(path[-1], np.outer(ground, ground), atol=1e-5)
    np.testing.assert_allclose(np.trace(path, axis1=-2, axis2=-1), 1, atol=4 * EPS32)
    # And back, in as many steps as dual coordinates of eps ask for.
    _, back = jax.jit(lambda x: jax.lax.scan(lambda x, _: (raised(x),) * 2, x, length=60))(path[-1])
    other = np.linalg.eigh(np.asarray(cost, float))[1][:, 1]
    np.testing.assert_allclose(back[-1], np.outer(other, other), atol=1e-5)


def raised(x):
    cost = jnp.asarray([[1.0, 0.3], [0.3, -1.0]], jnp.float32)
    return x + optim.VonNeumannEntropy(normalized=True).displacement(x, cost)


def test_small_steps_of_the_log_determinant_keep_their_digits():
    rng = np.random.default_rng(5)
    root, turn = rng.normal(size=(2, 3, 3))
    point, step = root @ root.T, 1e-14 * (turn + turn.T)
    found = displacement(optim.LogDet())(jnp.asarray(point), jnp.asarray(step))
    expected = point @ step @ point
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
    # The skew part of a step does not count at any order.
    step = jnp.asarray([[0.1, 0.3], [-0.1, 0.2]])
    found, other = (displacement(optim.LogDet())(jnp.eye(2), s) for s in (step, step.T))
    np.testing.assert_allclose(found, other, rtol=1e-14)
    exact = np.linalg.inv(np.eye(2) - np.asarray(step + step.T) / 2) - np.eye(2)
    np.testing.assert_allclose(found, exact, rtol=1e-13)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-3, 1.9e-3, 2.1e-3, 0.5])
def test_derivatives_of_von_neumann_at_near_eigenvalues(gap):
    # On the diagonal the off-diagonal derivative is a product of two divided differences.
    point, step = np.array([1.0, 1.0 + gap]), np.array([0.3, -0.2])
    dual = np.log1p([0.0, gap]) + step
    slope = 1.0 if gap == 0 else np.log1p(gap) / gap
    expected = slope * (np.exp(dual[0]) - np.exp(dual[1])) / (dual[0] - dual[1]) - 1
    turn = jnp.asarray([[0.0, 1.0], [1.0, 0.0]])
    run = lambda x: displacement(optim.VonNeumannEntropy())(x, jnp.diag(jnp.asarray(step)))
    _, found = jax.jvp(run, (jnp.diag(jnp.asarray(point)),), (turn,))
    np.testing.assert_allclose(found, expected * turn, rtol=1e-12, atol=1e-14)


def test_only_the_symmetric_part_of_a_step_counts():
    rng = np.random.default_rng(3)
    step = -np.eye(3) + 0.1 * rng.normal(size=(3, 3))
    for mirror in (optim.LogDet(), optim.VonNeumannEntropy()):
        found = moved(mirror, 2 * jnp.eye(3), step)
        np.testing.assert_allclose(found, moved(mirror, 2 * jnp.eye(3), (step + step.T) / 2))
        np.testing.assert_array_equal(found, found.T)


def test_indefinite_matrices_are_nan_when_compiled():
    for mirror in (optim.LogDet(), optim.VonNeumannEntropy()):
        point = jnp.diag(jnp.asarray([1.0, -0.5]))
        assert np.isnan(displacement(mirror)(point, -jnp.eye(2))).any()


# Errors and composition.


@pytest.mark.parametrize(
    ("mirror", "point", "message"),
    [
        (optim.LogBarrier(), jnp.asarray([1.0, -1.0]), "params of LogBarrier must be non-neg"),
        (NORMALIZED, jnp.asarray([0.5, 0.7]), "params of LogBarrier must sum to one"),
        (NORMALIZED, jnp.asarray(1.0), r"got a scalar leaf\. Use LogBarrier\(\)"),
        (optim.LogDet(), jnp.diag(jnp.asarray([1.0, -1.0])), "must be positive definite"),
        (optim.LogDet(), jnp.ones(3), r"needs square matrices.*got a leaf of shape \(3,\)"),
        (optim.VonNeumannEntropy(), jnp.ones((2, 3)), r"needs square.*\(2, 3\)"),
        (optim.VonNeumannEntropy(), jnp.diag(jnp.asarray([1.0, -1.0])), "positive definite"),
        (optim.VonNeumannEntropy(), jnp.asarray([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (optim.VonNeumannEntropy(normalized=True), jnp.eye(2), "trace of params .* must be one"),
    ],
)
def test_points_off_the_domain_are_refused(mirror, point, message):
    tx = optim.mirror_descent(0.1, mirror)
    with pytest.raises(ValueError, match=message):
        tx.update(jnp.ones_like(point), tx.init(point), point)


@pytest.mark.parametrize("p", [1.0, 0.5, 2.5, float("nan")])
def test_exponents_out_of_range(p):
    with pytest.raises(ValueError, match="p of PNorm must satisfy 1 < p <= 2; got"):
        optim.PNorm(p)


def test_an_exponent_is_a_number():
    with pytest.raises(TypeError, match="p of PNorm must be a Python number; got ArrayImpl"):
        optim.PNorm(jnp.asarray(1.5))


def test_leaves_may_have_several_maps():
    params = {"cov": 2 * jnp.eye(2), "mix": jnp.asarray([0.2, 0.8]), "w": jnp.asarray([1.0, -1.0])}
    grads = {"cov": jnp.eye(2), "mix": jnp.asarray([1.0, 0.0]), "w": jnp.asarray([0.5, 0.5])}
    maps = {"cov": optim.LogDet(), "mix": NORMALIZED, "w": optim.PNorm(1.5)}
    tx = optax.multi_transform(
        {name: optim.mirror_descent(0.1, mirror) for name, mirror in maps.items()},
        {name: name for name in params},
    )
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    for name, mirror in maps.items():
        alone = displacement(mirror)(params[name], -0.1 * grads[name])
        np.testing.assert_allclose(updates[name], alone, rtol=1e-12)
    masked = optax.masked(
        optim.mirror_descent(0.1, optim.LogDet()), {n: n == "cov" for n in params}
    )
    updates, _ = jax.jit(masked.update)(grads, masked.init(params), params)
    np.testing.assert_allclose(
        updates["cov"], displacement(optim.LogDet())(params["cov"], -0.1 * grads["cov"])
    )
    np.testing.assert_array_equal(updates["w"], grads["w"])
