"""Laws over all mirror maps, with the gradients of their potentials in numpy as the reference."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from igeojax import optim

P = 1.3


def free(dual):
    return dual


def centered(dual):
    """Dual coordinates of probability vectors are free up to a constant."""
    return dual - dual.mean(-1, keepdims=True)


def traceless(dual):
    n = dual.shape[-1]
    return dual - np.trace(dual, axis1=-2, axis2=-1)[..., None, None] * np.eye(n) / n


def logm(x):
    return np.stack([scipy.linalg.logm(one).real for one in x])


def p_dual(x):
    size = np.sum(np.abs(x) ** P, axis=-1, keepdims=True)
    return np.sign(x) * np.abs(x) ** (P - 1) * size ** (2 / P - 1)


def p_hessian(x, step):
    """`Hess^{-1} step`, by differences of the gradient."""
    width, n = 1e-6, x.shape[-1]
    columns = [(p_dual(x + width * e) - p_dual(x - width * e)) / (2 * width) for e in np.eye(n)]
    return np.linalg.solve(np.stack(columns, axis=-1), step[..., None])[..., 0]


def log_barrier_simplex(x, step):
    return x**2 * (step - np.sum(x**2 * step, -1, keepdims=True) / np.sum(x**2, -1, keepdims=True))


def frechet(x, step):
    """Derivative of the exponential at `log x`."""
    return np.stack(
        [scipy.linalg.expm_frechet(a, s)[1] for a, s in zip(logm(x), step, strict=True)]
    )


def frechet_of_trace_one(x, step):
    change = frechet(x, step)
    return change - x * np.trace(change, axis1=-2, axis2=-1)[:, None, None]


def log_det(x):
    return np.linalg.slogdet(x)[1]


@dataclasses.dataclass(frozen=True)
class Case:
    """A map, points and steps, and what numpy knows of its potential.

    Args:
      mirror: the map.
      points: three valid points.
      steps: steps that stay inside, also when two are taken.
      dual: gradient of the potential.
      potential: the potential, summed over the event.
      first_order: `Hess^{-1} step` along the domain.
      gauge: removes what the dual coordinates do not determine.
    """

    mirror: Any
    points: np.ndarray
    steps: np.ndarray
    dual: Callable
    potential: Callable
    first_order: Callable
    gauge: Callable = free


rng = np.random.default_rng(0)
POSITIVE = rng.gamma(2.0, size=(3, 4)) + 0.1
SIMPLEX = POSITIVE / POSITIVE.sum(-1, keepdims=True)
SIGNED = rng.normal(size=(3, 4))
STEPS = rng.normal(size=(3, 4))
SHORT = -np.abs(STEPS) * np.array([1, 1, 1, -0.02])
ROOTS = rng.normal(size=(3, 3, 5))
MATRICES = ROOTS @ ROOTS.swapaxes(-1, -2)
MATRICES[2] = 2 * np.eye(3)  # all eigenvalues equal
DENSITIES = MATRICES / np.trace(MATRICES, axis1=-2, axis2=-1)[:, None, None]
TURNS = rng.normal(size=(3, 3, 3))
TURNS = TURNS + TURNS.swapaxes(-1, -2)
INSIDE = -TURNS @ TURNS + 0.01 * np.eye(3)

entropy = lambda x: np.sum(x * np.log(x) - x, -1)
barrier = lambda x: -np.sum(np.log(x), -1)
neumann = lambda x: np.sum(entropy(np.linalg.eigvalsh(x))[..., None], -1)
inverse = lambda x: -1 / x
CASES = {
    "Euclidean": Case(
        optim.Euclidean(), SIGNED, STEPS, free, lambda x: np.sum(x**2, -1) / 2, lambda x, s: s
    ),
    "NegativeEntropy": Case(
        optim.NegativeEntropy(), SIMPLEX, STEPS, np.log, entropy,
        lambda x, s: x * (s - np.sum(x * s, -1, keepdims=True)), centered,
    ),
    "NegativeEntropy-free": Case(
        optim.NegativeEntropy(normalized=False), POSITIVE, STEPS, np.log, entropy,
        lambda x, s: x * s,
    ),
    "LogBarrier": Case(
        optim.LogBarrier(), POSITIVE, SHORT, inverse, barrier, lambda x, s: x**2 * s
    ),
    "LogBarrier-normalized": Case(
        optim.LogBarrier(normalized=True), SIMPLEX, 9 * STEPS, inverse, barrier,
        log_barrier_simplex, centered,
    ),
    "PNorm": Case(
        optim.PNorm(P), SIGNED, STEPS, p_dual,
        lambda x: np.sum(np.abs(x) ** P, -1) ** (2 / P) / 2, p_hessian,
    ),
    "PNorm-2": Case(
        optim.PNorm(2.0), SIGNED, STEPS, free, lambda x: np.sum(x**2, -1) / 2, lambda x, s: s
    ),
    "VonNeumannEntropy": Case(
        optim.VonNeumannEntropy(), MATRICES, TURNS / 3, logm, neumann, frechet
    ),
    "VonNeumannEntropy-normalized": Case(
        optim.VonNeumannEntropy(normalized=True), DENSITIES, TURNS / 3, logm, neumann,
        frechet_of_trace_one, traceless,
    ),
    "LogDet": Case(
        optim.LogDet(), MATRICES, INSIDE, lambda x: -np.linalg.inv(x), lambda x: -log_det(x),
        lambda x, s: x @ s @ x,
    ),
}  # fmt: skip
each_map = pytest.mark.parametrize("name", sorted(CASES))


@functools.cache
def displacement(name):
    return jax.jit(CASES[name].mirror.displacement)


def moved(name, points, steps):
    return np.asarray(points + displacement(name)(jnp.asarray(points), jnp.asarray(steps)))


def close(found, expected, rtol=1e-9, atol=0.0):
    """Within `rtol` of the largest entry."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale + atol)


def test_every_map_is_here():
    types = [k for k in vars(optim).values() if isinstance(k, type)]
    maps = {k.__name__ for k in types if issubclass(k, optim.MirrorMap)}
    # Potentials of families have laws of their own, in test_mirror.
    assert maps - {"MirrorMap", "FamilyPotential"} == {name.split("-")[0] for name in CASES}


@each_map
def test_the_dual_point_moves_by_the_step(name):
    case = CASES[name]
    found = case.gauge(case.dual(moved(name, case.points, case.steps)))
    close(found, case.gauge(case.dual(case.points) + case.steps), 1e-10)


@each_map
def test_normalized_points_stay_such(name):
    case = CASES[name]
    if case.gauge is free:
        pytest.skip("free")
    after = moved(name, case.points, case.steps)
    mass = np.trace(after, axis1=-2, axis2=-1) if case.gauge is traceless else after.sum(-1)
    np.testing.assert_allclose(mass, 1, rtol=1e-14)


@each_map
def test_a_zero_step_is_no_displacement(name):
    case = CASES[name]
    still = displacement(name)(jnp.asarray(case.points), jnp.zeros(case.steps.shape))
    np.testing.assert_allclose(still, 0, atol=32 * np.finfo(float).eps * np.abs(case.points).max())


@each_map
def test_two_steps_are_their_sum(name):
    case = CASES[name]
    twice = moved(name, moved(name, case.points, case.steps), 0.3 * case.steps)
    close(twice, moved(name, case.points, 1.3 * case.steps), 1e-10)


@each_map
def test_first_order_is_the_inverse_hessian(name):
    case, width = CASES[name], 1e-5
    points = jnp.asarray(case.points)
    ahead, back = (displacement(name)(points, h * case.steps) for h in (width, -width))
    close((ahead - back) / (2 * width), case.first_order(case.points, np.asarray(case.steps)), 1e-6)


@each_map
def test_three_point_identity(name):
    # D(z, x) - D(z, x') - D(x', x) = <step, z - x'>.
    case = CASES[name]
    axes = tuple(range(1, case.points.ndim))

    def bregman(a, b):
        return case.potential(a) - case.potential(b) - np.sum(case.dual(b) * (a - b), axis=axes)

    x, z = case.points, case.points[::-1]
    after = moved(name, x, case.steps)
    found = bregman(z, x) - bregman(z, after) - bregman(after, x)
    close(found, np.sum(case.steps * (z - after), axis=axes), 1e-9)


@each_map
def test_descent_halves_the_dual_distance_of_a_relatively_convex_loss(name):
    # f(x) = Phi(x) - <theta*, x>: smooth and convex relative to Phi with constant one.
    case = CASES[name]
    x, target = case.points, case.points[::-1]
    gap = case.gauge(case.dual(target) - case.dual(x))
    for count in range(1, 4):
        x = moved(name, x, 0.5 * (case.dual(target) - case.dual(x)))
        close(case.gauge(case.dual(target) - case.dual(x)), gap * 0.5**count, 1e-8)


@each_map
def test_programs_agree(name):
    case = CASES[name]
    points, steps = jnp.asarray(case.points), jnp.asarray(case.steps)
    whole = displacement(name)(points, steps)
    close(case.mirror.displacement(points, steps), whole, 1e-12)
    close(jax.vmap(displacement(name))(points, steps), whole, 1e-12)
    close(displacement(name)(points[1], steps[1]), whole[1], 1e-12)
    scanned = jax.lax.scan(lambda c, s: (c + displacement(name)(c, s),) * 2, points, steps[None])
    close(scanned[0] - points, whole, 1e-12)


@each_map
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_narrow_dtypes_stay(name, dtype):
    case = CASES[name]
    found = displacement(name)(jnp.asarray(case.points, dtype), jnp.asarray(case.steps, dtype))
    assert found.dtype == dtype
    if dtype == jnp.float32:
        close(found, displacement(name)(case.points, case.steps), 3e-5)


@each_map
def test_derivatives_are_those_of_differences(name):
    case = CASES[name]
    points, steps = jnp.asarray(case.points), jnp.asarray(case.steps)
    # Tangents within the domain: along other points, which keep sums, traces and symmetry.
    tangents = points[::-1] - points, steps[::-1]
    forward = jax.jit(lambda p, s, t: jax.jvp(case.mirror.displacement, (p, s), t))
    _, found = forward(points, steps, tangents)
    width = 1e-6
    ahead, back = (
        displacement(name)(points + h * tangents[0], steps + h * tangents[1])
        for h in (width, -width)
    )
    expected = np.asarray(ahead - back) / (2 * width)
    close(found, expected, 1e-6)
    backward = jax.jit(lambda p, s, u: jax.vjp(case.mirror.displacement, p, s)[1](u))
    weights = jnp.arange(1.0, 1 + points.size).reshape(points.shape)
    pulled = backward(points, steps, weights)
    total = sum(jnp.sum(a * b) for a, b in zip(pulled, tangents, strict=True))
    np.testing.assert_allclose(total, np.sum(weights * expected), rtol=1e-5)
