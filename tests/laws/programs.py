"""Everything the laws need of a family, in one compiled program each, and its integration rules.

A law test reads results that are computed once in a process; integrals are sums over nodes that
numpy makes from source parameters, weighted by the library's own log-densities.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from igeojax import geometry
from igeojax.divergences import exponential
from igeojax.families import FAMILIES, ExponentialFamily

NAMES = tuple(FAMILIES)
POINTS = 3
ORDERS = (-0.05, 0.0, 0.3, 0.5, 0.8, 1.0, 1.05)


def stacked(name: str, seed: int, points: int = POINTS) -> dict[str, np.ndarray]:
    """Source parameters of a batch of points."""
    drawn = FAMILIES[name].params(jax.random.key(seed), (points,))
    return {key: np.asarray(value) for key, value in drawn.items()}


def natural(name: str, seed: int, points: int = POINTS) -> Any:
    """Natural parameters of a batch of points."""
    return FAMILIES[name].family.natural_from_params(**stacked(name, seed, points))


def nodes(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Nodes `(points, M, *event)` and weights `(points, M)` of an integral over the support.

    The trapezoidal rule on the whole line converges geometrically for these densities.
    """
    entry, params = FAMILIES[name], stacked(name, 0)
    if entry.support in {"finite", "counts"}:
        x = np.arange(entry.size or 200)
        weights = np.ones(x.size)
    elif entry.support == "positive":
        x = np.exp(np.arange(-60, 6, 0.03))
        weights = 0.03 * x
    elif entry.support == "real":
        x = np.arange(-30, 30, 0.08)
        weights = np.full(x.size, 0.08)
    else:
        return _vector_nodes(params)
    return np.tile(x, (POINTS, 1)), np.tile(weights, (POINTS, 1))


def _vector_nodes(params: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if "covariance" in params:
        mean, factor = params["mean"], np.linalg.cholesky(params["covariance"])
    else:
        mean, factor = params["loc"], params["scale"][..., None] * np.eye(params["loc"].shape[-1])
    dim = mean.shape[-1]
    half, width = (16, 0.25) if dim == 2 else (12, 0.75)
    axis = np.arange(-half, half + 0.1, width)
    white = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    x = mean[:, None] + np.einsum("bij,mj->bmi", factor, white)
    volume = np.abs(np.linalg.det(factor))[:, None] * width**dim
    return x, np.broadcast_to(volume, x.shape[:2])


def single(family: ExponentialFamily, theta: Any, other: Any, x: Any) -> dict[str, Any]:
    """All quantities of one point, a second one, and observations of the first axis."""
    eta = family.mean_from_natural(theta)
    vector = geometry.ravel(family, theta)
    potential = lambda v: family.log_partition(geometry.unravel(family, v))
    density = jax.vmap(family.log_density, (None, 0))
    base = ExponentialFamily
    return {
        "eta": eta,
        "eta_derived": base.mean_from_natural(family, theta),
        "eta_gradient": jax.grad(family.log_partition)(theta),
        "round_trip": family.natural_from_mean(eta),
        "source": family.params_from_natural(theta),
        "source_trip": family.natural_from_params(*family.params_from_natural(theta)),
        "potential": family.log_partition(theta),
        "dual_potential": family.dual_potential(eta),
        "pairing": family.pairing(theta, eta),
        "mean_log_base_measure": family.mean_log_base_measure(theta),
        "entropy": family.entropy(theta),
        "entropy_derived": base.entropy(family, theta),
        "fisher": geometry.fisher_matrix(family, theta),
        "hessian": jax.hessian(potential)(vector),
        "vector": vector,
        "kl": exponential.kl(family, theta, other),
        "jeffreys": exponential.jeffreys(family, theta, other),
        "cross_entropy": exponential.cross_entropy(family, theta, other),
        "hellinger": exponential.hellinger(family, theta, other),
        "bhattacharyya": exponential.bhattacharyya(family, theta, other),
        "kl_to_itself": exponential.kl(family, theta, theta),
        "hellinger_to_itself": exponential.hellinger(family, theta, theta),
        "bregman": family.bregman(other, theta),
        "bregman_derived": base.bregman(family, other, theta),
        "log_density": density(theta, x),
        "log_density_derived": jax.vmap(base._log_density, (None, None, 0))(
            family, theta, _event(family, x)
        ),
        "other_log_density": density(other, x),
        "log_base_measure": family.log_base_measure(x),
        "statistics": geometry.ravel(family, family.statistics(x)),
        "in_domain": family.in_natural_domain(theta),
        "in_support": family.in_support(x),
    }


def _event(family: ExponentialFamily, x: Any) -> Any:
    return family._data(x)


class Pairs(NamedTuple):
    """Divergences by name, and their derivatives along a tangent."""

    value: dict[str, np.ndarray]
    along: dict[str, np.ndarray]


@functools.cache
def pair_program(name: str) -> Any:
    """`program(p, q, order, tangents)` over rows, in forward mode."""
    family = FAMILIES[name].family

    def divergences(p, q, order):
        return {
            "alpha_divergence": exponential.alpha_divergence(family, p, q, order=order),
            "renyi": exponential.renyi(family, p, q, order=order),
        }

    return jax.jit(jax.vmap(lambda primals, tangents: jax.jvp(divergences, primals, tangents)))


ROWS = 9


def pairs(
    name: str, p: Any, q: Any, order: Any, along: tuple[Any, Any, Any] | None = None
) -> Pairs:
    """Results of up to `ROWS` pairs, all of one shape so that a family compiles once.

    `along` holds tangents of `p`, `q` and the order; None stands for zeros.
    """
    rows = jax.tree.leaves(p)[0].shape[0]
    primals = (p, q, np.full(rows, float(order)))
    zeros = jax.tree.map(np.zeros_like, primals)
    if along is None:
        along = (None, None, None)
    tangents = tuple(z if t is None else t for t, z in zip(along, zeros, strict=True))
    full = lambda leaf: np.concatenate([leaf] + [leaf[-1:]] * (ROWS - rows))
    results = pair_program(name)(*jax.tree.map(full, (primals, tangents)))
    return Pairs(*jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], results))


def tangent(name: str, seed: int) -> Any:
    """A direction for each point: the difference to another one, small enough to stay inside."""
    return jax.tree.map(lambda a, b: 0.1 * (a - b), natural(name, seed), natural(name, seed + 1))


@functools.cache
def program(name: str) -> Any:
    """`single` over a batch of points; compiled once for each dtype."""
    return jax.jit(jax.vmap(functools.partial(single, FAMILIES[name].family)))


def arguments(name: str, dtype: str = "float64") -> tuple[Any, Any, np.ndarray]:
    """Two batches of points and the integration nodes; counts and labels stay integers."""
    x, _ = nodes(name)
    x = x if x.dtype.kind == "i" else x.astype(dtype)
    cast = lambda point: jax.tree.map(lambda leaf: np.asarray(leaf, dtype), point)
    return cast(natural(name, 0)), cast(natural(name, 1)), x


@functools.cache
def quantities(name: str) -> dict[str, Any]:
    """Float64 results of `single` at the integration nodes, as numpy."""
    return jax.tree.map(np.asarray, program(name)(*arguments(name)))


@functools.cache
def observations(name: str) -> np.ndarray:
    """Two likely observations."""
    entry, params = FAMILIES[name], stacked(name, 0)
    if entry.support in {"finite", "counts"}:
        return np.array([1, 0])
    if entry.support == "positive":
        return np.array([0.3, 2.5])
    if entry.support == "real":
        return np.array([-0.7, 2.5])
    center = params["mean" if "mean" in params else "loc"][0]
    return center + np.array([[0.5], [-1.5]])


def flat(name: str, point: Any) -> np.ndarray:
    """Vectors of the minimal chart."""
    return np.asarray(geometry.ravel(FAMILIES[name].family, jax.tree.map(jnp.asarray, point)))
