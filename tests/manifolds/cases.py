"""Every manifold, in small sizes, and one compiled program that measures its laws."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
    "ProductManifold": ProductManifold((Sphere(3), PoincareBall(2))),
}
COUNT = 8


def condition(manifold: Manifold, x: Any) -> Any:
    """By how much the numbers of a point round more than distances do: 1 where they round alike."""
    match manifold:
        case PoincareBall():
            return manifold.conformal_factor(x)
        case Lorentz():
            return x[..., 0] * jnp.sqrt(-manifold.curvature)
        case Simplex():
            return 1 / jnp.sqrt(jnp.min(x, axis=-1))
        case SymmetricPositiveDefinite():
            values = jnp.linalg.eigvalsh(x)
            return values[..., -1] / values[..., 0]
        case ProductManifold():
            parts = zip(manifold.manifolds, x, strict=True)
            return functools.reduce(jnp.maximum, [condition(m, part) for m, part in parts])
        case _:
            return jnp.ones(COUNT)


def scaled(tree: Any, factor: Any) -> Any:
    """Batches of tangents, each times a number."""
    return jax.tree.map(lambda leaf: jax.vmap(jnp.multiply)(factor, leaf), tree)


def difference(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.subtract, a, b)


def pairing(a: Any, b: Any) -> Any:
    """Euclidean inner product of batches."""
    products = jax.tree.map(lambda u, v: jnp.sum((u * v).reshape(COUNT, -1), axis=-1), a, b)
    return sum(jax.tree.leaves(products))


class Laws(NamedTuple):
    """Errors in units of `eps`, each what should be 0; `triangle` may be below 0."""

    exp_of_log: Any
    log_of_exp: Any
    norm_of_log: Any
    symmetry: Any
    triangle: Any
    isometry: Any
    tangency: Any
    velocity: Any
    definition: Any
    slope: Any
    exp_slope: Any
    log_slope: Any
    retract_slope: Any
    retract_order: Any
    projection: Any
    middle: Any
    outside: Any
    at_equal: Any
    slope_at_equal: Any


@functools.partial(jax.jit, static_argnames=("manifold", "dtype"))
def laws(manifold: Manifold, key: Any, size: Any, dtype: Any) -> Laws:
    """Errors of all laws at random points, for pairs a distance of `size` apart."""
    m, eps = manifold, jnp.finfo(dtype).eps
    keys = jax.random.split(key, 6)
    x = m.random_point(keys[0], (COUNT,), dtype)
    u, v, far = (m.random_tangent(key, x) for key in keys[1:4])
    ambient = jax.tree.map(lambda leaf: jax.random.normal(keys[4], leaf.shape, dtype), x)
    u = scaled(u, size.astype(dtype) / m.norm(x, u))
    y, z = m.exp(x, u), m.exp(x, scaled(far, 0.3 * jnp.ones(COUNT, dtype)))
    unit = eps * (condition(m, x) + condition(m, y) + condition(m, z))
    # A tangent, and so a relative error of one, is as long as the way; a point errs by a length.
    way, length = m.distance(x, y), m.norm(x, u)
    to, back = m.log(x, y), m.log(y, x)
    moved, other = m.transport(x, y, u), m.transport(x, y, v)
    along = lambda f, at, by: jax.jvp(f, (at,), (by,))[1]
    still = jax.tree.map(jnp.zeros_like, x)
    gradient = m.riemannian_gradient(x, ambient)
    total = lambda a: jnp.sum(m.distance(a, y))
    slope = m.riemannian_gradient(x, jax.grad(total)(x))
    equal = jax.grad(lambda a: jnp.sum(m.distance(a, x)))(x)
    relative = lambda value, size: jnp.abs(value) / (unit * size)
    gap = lambda a, b, at: m.norm(at, difference(a, b))
    step = scaled(v, 1e-3 / m.norm(x, v))
    dot = m.norm(x, v)
    return Laws(
        exp_of_log=relative(m.distance(m.exp(x, to), y), 1.0),
        log_of_exp=relative(gap(m.log(x, m.exp(x, u)), u, x), 1.0),
        norm_of_log=relative(m.norm(x, to) - way, way),
        symmetry=relative(m.distance(y, x) - way, way),
        triangle=(m.distance(x, z) - way - m.distance(y, z)) / unit,
        isometry=relative(m.inner(y, moved, other) - m.inner(x, u, v), length * dot),
        tangency=relative(gap(m.project_tangent(y, moved), moved, y), length),
        velocity=relative(m.norm(y, jax.tree.map(jnp.add, m.transport(x, y, to), back)), 1.0),
        definition=relative(
            m.inner(x, gradient, v) - pairing(ambient, v),
            m.norm(x, gradient) * dot + jnp.sqrt(pairing(ambient, ambient) * pairing(v, v)),
        ),
        slope=relative(m.norm(x, jax.tree.map(jnp.add, slope, scaled(to, 1 / way))) * way, 1.0),
        exp_slope=relative(gap(along(lambda a: m.exp(x, a), still, u), u, x), length),
        log_slope=relative(gap(along(lambda a: m.log(x, a), x, u), u, x), length),
        retract_slope=relative(gap(along(lambda a: m.retract(x, a), still, u), u, x), length),
        retract_order=m.distance(m.retract(x, step), m.exp(x, step)) / 1e-6 / condition(m, x) ** 2,
        projection=relative(m.distance(m.project_point(y), y), 1.0),
        middle=relative(m.distance(m.geodesic(x, y, 0.5), x) - 0.5 * way, 1.0),
        outside=~(m.contains(x) & m.contains(y)),
        at_equal=m.distance(x, x),
        slope_at_equal=jnp.sqrt(pairing(equal, equal)),
    )
