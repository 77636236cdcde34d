"""Gradient steps on manifolds: along geodesics, with momentum that is carried along.

A tree of manifolds says where the parameters live: a manifold for a leaf (leading axes are a batch
of points), for a tuple of leaves of a product, or None for what is Euclidean. Steps are tangents
until the last transform of the chain, which follows the geodesic.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Int

from igeojax.manifolds.base import Manifold, lifted
from igeojax.optim._manifold_tree import (
    map_parts,
    require_arguments,
    require_manifolds,
    unchanged,
)


class RiemannianTraceState(NamedTuple):
    """State of `riemannian_trace`: the momentum, and the points at which it is tangent."""

    params: Any
    trace: Any


class RiemannianAdamState(NamedTuple):
    """State of `scale_by_riemannian_adam`.

    `step`: steps taken. `params`: the points at which `mu` is tangent. `mu`: mean of the
    gradients. `nu`: mean of their squared norms, a number for each point of a manifold.
    """

    step: Int[Array, ""]
    params: Any
    mu: Any
    nu: Any


def riemannian_gradient(manifolds: Any) -> optax.GradientTransformationExtraArgs:
    """Turn ambient gradients into Riemannian ones: tangents, raised by the metric.

    Args:
      manifolds: tree of manifolds and None, down to the leaves of `params` or above them.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else, or no manifold.
      ValueError: `update` is called without `params`, or with trees that do not match.

    References:
      [AbsilMahonySepulchre2008] section 3.6.

    Examples:
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = riemannian_gradient(Sphere(2)), jnp.array([1.0, 0.0])
      >>> tx.update(jnp.array([5.0, 3.0]), tx.init(x), x)[0].tolist()
      [0.0, 3.0]
    """
    require_manifolds(manifolds)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_arguments("riemannian_gradient", updates, params)
        on = lambda manifold, x, g: manifold.riemannian_gradient(x, g)
        return map_parts(manifolds, on, unchanged, params, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def riemannian_trace(
    manifolds: Any, decay: ArrayLike = 0.9, *, nesterov: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Momentum that follows the parameters: transported to where they are before it is added to.

    `m <- decay transport(m) + u`. The state holds the last parameters, so that whatever moved them
    since is followed.

    Args:
      manifolds: tree of manifolds and None.
      decay: what is kept of the momentum.
      nesterov: look one step ahead, `u + decay m`.

    Returns:
      An optax transform of tangents; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else, or no manifold.
      ValueError: `update` is called without `params`, or with trees that do not match.

    References:
      [BecigneulGanea2019] section 2.2.

    Examples:
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = riemannian_trace(Sphere(2), 0.5), jnp.array([1.0, 0.0])
      >>> _, state = tx.update(jnp.array([0.0, 2.0]), tx.init(x), x)
      >>> tx.update(jnp.zeros(2), state, jnp.array([0.0, 1.0]))[0].round(6).tolist()
      [-1.0, 0.0]
    """
    require_manifolds(manifolds)

    def init(params: Any) -> RiemannianTraceState:
        # A copy: a step may be given both the parameters and the state to reuse.
        here = jax.tree.map(jnp.copy, params)
        return RiemannianTraceState(here, jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_arguments("riemannian_trace", updates, params)
        carried = _carried(manifolds, state.params, params, state.trace)
        ahead = lambda m, u: decay * m + u
        trace = jax.tree.map(ahead, carried, updates)
        updates = jax.tree.map(ahead, trace, updates) if nesterov else trace
        return updates, RiemannianTraceState(params, trace)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_riemannian_adam(
    manifolds: Any, b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """Adam on manifolds: momentum is transported, and each point has one scale.

    `mu <- b1 transport(mu) + (1 - b1) u`, `nu <- b2 nu + (1 - b2) |u|^2` with the Riemannian norm,
    the step `mu' / (sqrt(nu') + eps)` with both corrected for their start at 0. A matrix under
    `Sphere` has a scale for each row, under `Oblique` one for all. Leaves without a manifold have
    the entries' own scales, as `optax.scale_by_adam`.

    Args:
      manifolds: tree of manifolds and None.
      b1: what is kept of `mu`.
      b2: what is kept of `nu`.
      eps: added to the root.

    Returns:
      An optax transform of tangents; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else, or no manifold.
      ValueError: `update` is called without `params`, or with trees that do not match.

    References:
      [BecigneulGanea2019] section 4 (without the maximum of AMSGrad).

    Examples:
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = scale_by_riemannian_adam(Sphere(2)), jnp.array([1.0, 0.0])
      >>> tx.update(jnp.array([0.0, 5.0]), tx.init(x), x)[0].round(5).tolist()
      [0.0, 1.0]
    """
    require_manifolds(manifolds)

    def square(manifold: Manifold, x: Any, u: Any) -> Any:
        return manifold.inner(x, u, u)

    def init(params: Any) -> RiemannianAdamState:
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)
        nu = map_parts(manifolds, square, unchanged, params, zeros())
        here = jax.tree.map(jnp.copy, params)
        return RiemannianAdamState(jnp.zeros((), jnp.int32), here, zeros(), nu)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_arguments("scale_by_riemannian_adam", updates, params)
        count = jnp.asarray(optax.safe_increment(state.step))
        carried = _carried(manifolds, state.params, params, state.mu)
        squares = map_parts(manifolds, square, lambda _, u: u * u, params, updates)
        mu = optax.update_moment(updates, carried, b1, 1)
        nu = optax.update_moment(squares, state.nu, b2, 1)
        size = jax.tree.map(lambda v: jnp.sqrt(v) + eps, optax.bias_correction(nu, b2, count))
        # A size for each point, of all leaves of a product.
        on = lambda _, mean, size: jax.tree.map(
            lambda leaf: leaf / lifted(size, leaf.ndim - size.ndim), mean
        )
        mean = optax.bias_correction(mu, b1, count)
        updates = map_parts(manifolds, on, lambda mean, size: mean / size, mean, size)
        return updates, RiemannianAdamState(count, params, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def geodesic_updates(manifolds: Any) -> optax.GradientTransformationExtraArgs:
    """Turn a step, a tangent, into what `optax.apply_updates` adds: `exp_x(u) - x`.

    It goes last in a chain, after the learning rate. The sum lies on a sphere, an oblique manifold
    or a simplex to rounding, whatever the number of steps. Near the rim of the ball and for
    ill-conditioned matrices the sum may leave the manifold in float32: leave this out there and use
    `apply_riemannian_updates`.

    Args:
      manifolds: tree of manifolds and None.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else, or no manifold.
      ValueError: `update` is called without `params`, or with trees that do not match.

    References:
      [AbsilMahonySepulchre2008] section 4.1.

    Examples:
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = geodesic_updates(Sphere(2)), jnp.array([1.0, 0.0])
      >>> updates, _ = tx.update(jnp.array([0.0, jnp.pi / 2]), tx.init(x), x)
      >>> (x + updates).round(6).tolist()
      [0.0, 1.0]
    """
    # Without the projection, rounding would take the points away like a random walk.
    arrived = lambda manifold, x, u: manifold.project_point(manifold.exp(x, u))
    return _landing("geodesic_updates", manifolds, arrived)


def project_onto(manifolds: Any) -> optax.GradientTransformationExtraArgs:
    """Turn a step in the ambient space into one that ends on the manifold, at the nearest point.

    `project_point(x + u) - x`: step, then normalize. It goes last in a chain, after the learning
    rate, and any optimizer may stand before it. It is no gradient descent on the manifold: the part
    of the step along the normal counts, and a long step is cut short: on the unit sphere a tangent
    of length s turns by `arctan s = s - s^3 / 3 + ...`, not by s (measured in
    `benchmarks/results/riemannian_steps.md`).

    Args:
      manifolds: tree of manifolds and None.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else, or no manifold.
      ValueError: `update` is called without `params`, or with trees that do not match.

    References:
      [LoshchilovNgpt2024] section 2.6 (the normalization of weights after each step).

    Examples:
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = project_onto(Sphere(2)), jnp.array([1.0, 0.0])
      >>> updates, _ = tx.update(jnp.array([2.0, 4.0]), tx.init(x), x)
      >>> [round(float(value), 6) for value in x + updates]
      [0.6, 0.8]
    """
    nearest = lambda manifold, x, u: manifold.project_point(jax.tree.map(jnp.add, x, u))
    return _landing("project_onto", manifolds, nearest)


def apply_riemannian_updates(params: Any, updates: Any, manifolds: Any) -> Any:
    """Follow the geodesics: `exp_x(u)` where there is a manifold, `x + u` elsewhere.

    In the place of `optax.apply_updates`, for chains without `geodesic_updates`.

    Args:
      params: the parameters.
      updates: steps, tangents at `params`.
      manifolds: tree of manifolds and None.

    Returns:
      The new parameters.

    Raises:
      TypeError: `manifolds` holds something else, or no manifold; a leaf is not floating.
      ValueError: trees that do not match.

    References:
      [AbsilMahonySepulchre2008] section 4.1.

    Examples:
      >>> from igeojax.manifolds import Sphere
      >>> x, step = jnp.array([1.0, 0.0]), jnp.array([0.0, jnp.pi / 2])
      >>> apply_riemannian_updates(x, step, Sphere(2)).round(6).tolist()
      [0.0, 1.0]
    """
    require_manifolds(manifolds)
    require_arguments("apply_riemannian_updates", updates, params)
    on = lambda manifold, x, u: manifold.exp(x, u)
    return map_parts(manifolds, on, jnp.add, params, updates)


def _landing(name: str, manifolds: Any, arrived: Any) -> optax.GradientTransformationExtraArgs:
    """The transform `u -> arrived(x, u) - x`."""
    require_manifolds(manifolds)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_arguments(name, updates, params)
        on = lambda manifold, x, u: jax.tree.map(jnp.subtract, arrived(manifold, x, u), x)
        return map_parts(manifolds, on, unchanged, params, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _carried(manifolds: Any, before: Any, params: Any, tangents: Any) -> Any:
    """Tangents at the last parameters, transported to the present ones."""
    on = lambda manifold, x, y, u: manifold.transport(x, y, u)
    return map_parts(manifolds, on, unchanged, before, params, tangents)
