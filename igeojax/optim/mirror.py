"""Mirror descent: gradient steps taken in the dual coordinates of a convex potential.

`grad Phi(params') = grad Phi(params) - lr g`, then the Bregman projection onto a convex set if one
is given. With the potential of an exponential family it is natural-gradient descent in the dual
chart: the metric is the Hessian of the potential.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from igeojax.optim._arguments import require_alike, require_params
from igeojax.optim.mirror_maps import Euclidean, MirrorMap


def scale_by_mirror_descent(
    mirror_map: MirrorMap | None = None,
    projection: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Read updates as a step in dual coordinates and return the step of the parameters.

    A mirror step is not linear in its length, so this goes *last* in a chain, after the learning
    rate: `optax.chain(optax.scale_by_learning_rate(lr), scale_by_mirror_descent(mirror_map))`.

    Args:
      mirror_map: the potential; None is `Euclidean()`.
      projection: the Bregman projection of that potential onto a convex set, from a point to a
        point of the structure of `params`; None for none. For `Euclidean` those of
        `optax.projections`; for `NegativeEntropy` `entropy_projection`; onto a box, for every map
        that acts entry by entry, `optax.projections.projection_box`. It sees the whole tree:
        for several leaves pass `lambda point: jax.tree.map(entropy_projection, point)`. Another
        projection than that of the potential gives feasible points, yet not mirror descent.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `mirror_map` is not a `MirrorMap`, or `projection` is not callable.
      ValueError: `update` is called without `params`, with updates of other shapes, or with
        concrete params outside the domain of the map.

    References:
      [BeckTeboulle2003] equation (3.11).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax.optim.mirror_maps import NegativeEntropy
      >>> tx = scale_by_mirror_descent(NegativeEntropy(normalized=False))
      >>> params = jnp.array(2.0)
      >>> updates, _ = tx.update(jnp.log(jnp.array(3.0)), tx.init(params), params)
      >>> round(float(params + updates), 6)
      6.0
    """
    mirror = Euclidean() if mirror_map is None else mirror_map
    if not isinstance(mirror, MirrorMap):
        raise TypeError(
            f"mirror_map must be an instance of a MirrorMap; got {mirror!r}. Use Euclidean(), "
            "NegativeEntropy() or FamilyPotential(family)."
        )
    if projection is not None and not callable(projection):
        raise TypeError(
            f"projection must map a point to a point; got {projection!r}. Pass a function such as "
            "optax.projections.projection_simplex or entropy_projection."
        )

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_params("scale_by_mirror_descent", params)
        require_alike(updates, params)
        change = mirror.displacement(params, updates)
        if projection is not None:
            moved = jax.tree.map(lambda p, c: p + c, params, change)
            projected = projection(moved)
            remedy = "A projection maps a point to a point alike."
            require_alike(projected, params, name="projected points", remedy=remedy)
            # Where the projection does nothing, the digits of the change stay.
            change = jax.tree.map(lambda c, q, m: c + (q - m), change, projected, moved)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), change, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def mirror_descent(
    learning_rate: optax.ScalarOrSchedule,
    mirror_map: MirrorMap | None = None,
    projection: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Mirror descent `grad Phi(params') = grad Phi(params) - learning_rate g`.

    Args:
      learning_rate: a scalar or an optax schedule.
      mirror_map: the potential `Phi`; None is `Euclidean()`, plain gradient descent.
      projection: the Bregman projection of `Phi` onto a convex set, as in
        `scale_by_mirror_descent`; under `optax.inject_hyperparams` it is one of the `static_args`.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: as `scale_by_mirror_descent`.

    References:
      [BeckTeboulle2003] equation (3.11).

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from igeojax.optim.mirror_maps import NegativeEntropy
      >>> tx = mirror_descent(1.0, NegativeEntropy())
      >>> params = jnp.array([0.5, 0.5])
      >>> updates, _ = tx.update(jnp.array([0.0, jnp.log(3.0)]), tx.init(params), params)
      >>> optax.apply_updates(params, updates).tolist()
      [0.75, 0.25]
    """
    return optax.chain(
        optax.scale_by_learning_rate(learning_rate),
        scale_by_mirror_descent(mirror_map, projection),
    )
