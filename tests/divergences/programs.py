"""All simplex divergences in one compiled program of one shape, so that a test costs no compile."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from igeojax.divergences import simplex

ROWS, CLASSES = 128, 4
ORDERS = (-0.5, 0.0, 0.3, 0.5, 1.0, 1.7, 2.0)
PLAIN = (
    *("kl", "jeffreys", "jensen_shannon", "hellinger", "bhattacharyya"),
    *("total_variation", "chi_square"),
)
ORDERED = ("alpha_divergence", "renyi")


def everything(p: Any, q: Any, order: Any) -> dict[str, Any]:
    """Every divergence of one pair, the ordered ones at one traced order."""
    plain = {name: getattr(simplex, name)(p, q) for name in PLAIN}
    return plain | {name: getattr(simplex, name)(p, q, order=order) for name in ORDERED}


def _gradients(p: Any, q: Any, order: Any) -> dict[str, Any]:
    # One by one: jacrev of all would bring 0 * inf from divergences that are infinite here.
    return {
        name: jax.grad(lambda *pair, name=name: everything(*pair)[name], (0, 1, 2))(p, q, order)
        for name in PLAIN + ORDERED
    }


_VALUES = jax.jit(jax.vmap(everything))
_FORWARD = jax.jit(jax.vmap(jax.jacfwd(everything, (0, 1, 2))))
_REVERSE = jax.jit(jax.vmap(_gradients))


def _run(program: Callable[..., Any], p: Any, q: Any, order: Any, dtype: str) -> Any:
    p, q = np.broadcast_arrays(np.asarray(p, float), np.asarray(q, float))
    rows, classes = p.shape
    order = np.broadcast_to(np.asarray(order, float), (rows,))
    # Impossible classes and repeated pairs fill the shape; neither changes a value.
    full = lambda v: np.pad(
        np.pad(v, ((0, 0), (0, CLASSES - classes))), ((0, ROWS - rows), (0, 0)), "edge"
    )
    orders = np.pad(order, (0, ROWS - rows), "edge")
    results = program(full(p).astype(dtype), full(q).astype(dtype), orders.astype(dtype))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], results)


def values(p: Any, q: Any, order: Any = 0.5, dtype: str = "float64") -> dict[str, np.ndarray]:
    """Divergences of rows of pairs by name, shape `(rows,)`."""
    return _run(_VALUES, p, q, order, dtype)


def forward(p: Any, q: Any, order: Any = 0.5, dtype: str = "float64") -> dict[str, Any]:
    """Derivatives in `p`, `q` and the order by name, in forward mode."""
    return _run(_FORWARD, p, q, order, dtype)


def reverse(p: Any, q: Any, order: Any = 0.5, dtype: str = "float64") -> dict[str, Any]:
    """Derivatives in `p`, `q` and the order by name, in reverse mode."""
    return _run(_REVERSE, p, q, order, dtype)


def vectors(seed: int, rows: int, classes: int = CLASSES) -> np.ndarray:
    """Random positive probability vectors, some entries small."""
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.7), rows)


def by_definition(name: str, p: np.ndarray, q: np.ndarray, order: float = 0.5) -> np.ndarray:
    """Textbook sums, for positive vectors."""
    kl = lambda a, b: np.sum(a * np.log(a / b), axis=-1)
    power = np.sum(p**order * q ** (1 - order), axis=-1)
    ends = {0.0: kl(q, p), 1.0: kl(p, q)}
    middle = (p + q) / 2
    affinity = np.sum(np.sqrt(p * q), axis=-1)
    sums = {
        "kl": lambda: kl(p, q),
        "jeffreys": lambda: kl(p, q) + kl(q, p),
        "jensen_shannon": lambda: (kl(p, middle) + kl(q, middle)) / 2,
        "hellinger": lambda: np.sqrt(1 - affinity),
        "bhattacharyya": lambda: -np.log(affinity),
        "total_variation": lambda: np.abs(p - q).sum(axis=-1) / 2,
        "chi_square": lambda: np.sum((p - q) ** 2 / q, axis=-1),
        "alpha_divergence": lambda: (
            ends[order] if order in ends else (power - 1) / (order * (order - 1))
        ),
        "renyi": lambda: ends[1.0] if order == 1 else np.log(power) / (order - 1),
    }
    return sums[name]()
