"""Everything the laws need of a family, in one compiled program each, and its integration rules.

A law test reads results that are computed once in a process; integrals are sums over nodes that
numpy makes from source parameters, weighted by the library's own log-densities.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import geometry
from igeojax.divergences import exponential
from igeojax.families import FAMILIES, ExponentialFamily
from tests.laws.examples import EXAMPLES
from tests.laws.nodes import RULES

NAMES = tuple(FAMILIES)
# The default lane stays under ten minutes on two cores: the other families, built of the same code,
# run in the slow one.
CORE = {"Bernoulli", "Categorical", "Poisson", "Exponential", "Normal"}
EACH = tuple(pytest.param(name, marks=[] if name in CORE else [pytest.mark.slow]) for name in NAMES)
each_family = pytest.mark.parametrize("name", EACH)
"""Runs a test on every family, outside of the laws."""
FEW = {"Normal"}
each_family_few_by_default = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in NAMES],
)
"""The same for programs that take long to compile: one family in the default lane."""
POINTS = 3
ORDERS = (-0.05, 0.0, 0.3, 0.5, 0.8, 1.0, 1.05)


@functools.cache
def stacked(name: str, seed: int, points: int = POINTS) -> Any:
    """Source parameters of a batch of points."""
    drawn = FAMILIES[name].params(jax.random.key(seed), (points,))
    return jax.tree.map(np.asarray, drawn)


def family_params(name: str, seed: int = 0) -> Any:
    """The same as `Params` of the family."""
    source, family = stacked(name, seed), FAMILIES[name].family
    return family.Params(**source) if isinstance(source, dict) else family.Params(*source)


@functools.cache
def natural(name: str, seed: int, points: int = POINTS) -> Any:
    """Natural parameters of a batch of points."""
    return FAMILIES[name].natural(stacked(name, seed, points))


@functools.cache
def nodes(name: str) -> tuple[Any, np.ndarray]:
    """Nodes `(points, M, *event)` and weights `(points, M)` of an integral over the support."""
    entry = FAMILIES[name]
    return RULES[entry.support](entry, stacked(name, 0), POINTS)


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
        "entropy_derived": base._entropy(family, theta),
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
        "bregman_derived": base._bregman(
            family, other, theta, jax.tree.map(jnp.subtract, other, theta)
        ),
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


def cast(tree: Any, dtype: str) -> Any:
    """Floating leaves in another dtype; counts and labels stay integers."""
    leaf = lambda x: np.asarray(x) if np.asarray(x).dtype.kind == "i" else np.asarray(x, dtype)
    return jax.tree.map(leaf, tree)


def arguments(name: str, dtype: str = "float64") -> tuple[Any, Any, Any]:
    """Two batches of points and the integration nodes; counts and labels stay integers."""
    x, _ = nodes(name)
    return cast(natural(name, 0), dtype), cast(natural(name, 1), dtype), cast(x, dtype)


@functools.cache
def quantities(name: str) -> dict[str, Any]:
    """Float64 results of `single` at the integration nodes, as numpy."""
    return jax.tree.map(np.asarray, program(name)(*arguments(name)))


def observations(name: str) -> Any:
    """Two likely observations."""
    return jax.tree.map(lambda rows: rows[:2], EXAMPLES[name].valid)


def flat(name: str, point: Any) -> np.ndarray:
    """Vectors of the minimal chart."""
    return np.asarray(geometry.ravel(FAMILIES[name].family, jax.tree.map(jnp.asarray, point)))
