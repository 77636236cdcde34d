"""Every manifold, in small sizes, with one compiled program for each of its operations."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.manifolds import (
    Euclidean,
    Lorentz,
    Manifold,
    Oblique,
    PoincareBall,
    ProductManifold,
    Simplex,
    Sphere,
    SymmetricPositiveDefinite,
)

MANIFOLDS = {
    "Sphere": Sphere(3, radius=2.0),
    "Oblique": Oblique(2, 2),
    "ObliqueColumns": Oblique(3, 2, axis=-2),
    "PoincareBall": PoincareBall(2, curvature=-0.5),
    "Lorentz": Lorentz(2, curvature=-2.0),
    "Simplex": Simplex(3),
    "SymmetricPositiveDefinite": SymmetricPositiveDefinite(2),
    "Euclidean": Euclidean(2),
    "ProductManifold": ProductManifold((Sphere(3), PoincareBall(1))),
}
COUNT = 8


def second(curve: Callable[[Any], Any]) -> Any:
    """Second derivative of a curve at 0."""
    first = lambda t: jax.jvp(curve, (t,), (1.0,))[1]
    return jax.jvp(first, (0.0,), (1.0,))[1]


def along(x: Any, t: Any, u: Any) -> Any:
    """Ambient straight lines."""
    return jax.tree.map(lambda a, b: a + t * b, x, u)


DERIVATIVES = {
    # Of the distance in its first point; of the others along a tangent, where they start.
    "distance_gradient": lambda m, x, y: jax.grad(lambda a: jnp.sum(m.distance(a, y)))(x),
    "squared_distance_hessian": lambda m, x, u, v: second(
        lambda t: m.squared_distance(along(x, t, u), along(x, t, v))
    ),
    "exp_derivative": lambda m, x, u: jax.jvp(lambda a: m.exp(x, a), (zeros(x),), (u,))[1],
    "log_derivative": lambda m, x, u: jax.jvp(lambda a: m.log(x, a), (x,), (u,))[1],
    "retract_derivative": lambda m, x, u: jax.jvp(lambda a: m.retract(x, a), (zeros(x),), (u,))[1],
}


@functools.cache
def compiled(manifold: Manifold, name: str) -> Callable[..., Any]:
    """A method, or a derivative, as one program for all tests; call it with `COUNT` points."""
    if name in DERIVATIVES:
        return jax.jit(functools.partial(DERIVATIVES[name], manifold))
    if name == "random_point":
        return jax.jit(lambda key: manifold.random_point(key, (COUNT,)))
    return jax.jit(getattr(manifold, name))


class Operations:
    """The compiled operations of a manifold, by attribute; results are numpy."""

    def __init__(self, manifold: Manifold):
        self.manifold = manifold

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args: jax.tree.map(np.asarray, compiled(self.manifold, name)(*args))


def zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def scaled(factor: Any, tree: Any) -> Any:
    """Batches of tangents, each times a number."""
    factor = np.broadcast_to(factor, COUNT)
    return jax.tree.map(lambda leaf: factor.reshape((-1,) + (1,) * (leaf.ndim - 1)) * leaf, tree)


def plus(a: Any, b: Any) -> Any:
    return jax.tree.map(np.add, a, b)


def minus(a: Any, b: Any) -> Any:
    return jax.tree.map(np.subtract, a, b)


def pairing(a: Any, b: Any) -> np.ndarray:
    """Euclidean inner products of batches."""
    products = jax.tree.map(lambda u, v: (u * v).reshape(COUNT, -1).sum(-1), a, b)
    return sum(jax.tree.leaves(products))  # type: ignore[return-value]


def condition(manifold: Manifold, x: Any) -> np.ndarray:
    """By how much the numbers of points round more than distances do: 1 where they round alike."""
    match manifold:
        case PoincareBall():
            return 2 / (1 + manifold.curvature * (x**2).sum(-1))
        case Lorentz():
            return x[..., 0] * (-manifold.curvature) ** 0.5
        case Simplex():
            return x.min(-1) ** -0.5
        case SymmetricPositiveDefinite():
            return np.linalg.cond(x)
        case ProductManifold():
            parts = zip(manifold.manifolds, x, strict=True)
            return functools.reduce(np.maximum, [condition(m, part) for m, part in parts])
        case _:
            return np.ones(COUNT)


def reach(manifold: Manifold, x: Any) -> np.ndarray:
    """How far geodesics are shortest, or stay inside."""
    match manifold:
        case Sphere():
            return np.full(COUNT, np.pi * manifold.radius)
        case Oblique():
            return np.full(COUNT, np.pi)
        case Simplex():
            return 2 * np.arcsin(x.min(-1) ** 0.5)
        case ProductManifold():
            parts = zip(manifold.manifolds, x, strict=True)
            return functools.reduce(np.minimum, [reach(m, part) for m, part in parts])
        case _:
            return np.full(COUNT, np.inf)
