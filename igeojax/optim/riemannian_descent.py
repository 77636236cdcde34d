"""Riemannian gradient descent, with momentum and as Adam: the chains with a learning rate."""

from typing import Any

import optax
from jaxtyping import ArrayLike

from igeojax.optim.riemannian import (
    geodesic_updates,
    riemannian_gradient,
    riemannian_trace,
    scale_by_riemannian_adam,
)


def riemannian_sgd(
    learning_rate: optax.ScalarOrSchedule, manifolds: Any, *, additive: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent along geodesics, `exp_x(-learning_rate grad f(x))`.

    Args:
      learning_rate: a scalar or an optax schedule.
      manifolds: tree of manifolds and None; under `optax.inject_hyperparams` one of the
        `static_args`.
      additive: whether the updates are for `optax.apply_updates`; if not, they are tangents for
        `apply_riemannian_updates`.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else than manifolds and None, or no manifold.

    References:
      [Bonnabel2013] section 2.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = riemannian_sgd(0.5, Sphere(2)), jnp.array([0.6, 0.8])
      >>> for _ in range(50):
      ...     updates, state = tx.update(jax.grad(lambda x: x[0])(x), tx.init(x), x)
      ...     x = optax.apply_updates(x, updates)
      >>> x.round(4).tolist()
      [-1.0, 0.0]
    """
    return _descent(learning_rate, manifolds, additive, riemannian_gradient(manifolds))


def riemannian_momentum(
    learning_rate: optax.ScalarOrSchedule,
    manifolds: Any,
    decay: ArrayLike = 0.9,
    *,
    nesterov: bool = False,
    additive: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent along geodesics with momentum that is transported.

    Args:
      learning_rate: a scalar or an optax schedule.
      manifolds: tree of manifolds and None.
      decay: what is kept of the momentum.
      nesterov: look one step ahead.
      additive: as in `riemannian_sgd`.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else than manifolds and None, or no manifold.

    References:
      [BecigneulGanea2019] section 2.2.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = riemannian_momentum(0.1, Sphere(2)), jnp.array([0.6, 0.8])
      >>> updates, _ = tx.update(jnp.array([0.6, 0.8]), tx.init(x), x)
      >>> bool(jnp.abs(updates).max() < 1e-6)
      True
    """
    trace = riemannian_trace(manifolds, decay, nesterov=nesterov)
    return _descent(learning_rate, manifolds, additive, riemannian_gradient(manifolds), trace)


def riemannian_adam(
    learning_rate: optax.ScalarOrSchedule,
    manifolds: Any,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    additive: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Adam along geodesics; on leaves without a manifold it is `optax.adam`.

    Args:
      learning_rate: a scalar or an optax schedule: about the angle of a step, in radians.
      manifolds: tree of manifolds and None.
      b1: what is kept of the mean of the gradients.
      b2: what is kept of the mean of their squared norms.
      eps: added to the root of the latter.
      additive: as in `riemannian_sgd`.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: `manifolds` holds something else than manifolds and None, or no manifold.

    References:
      [BecigneulGanea2019] section 4.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax.manifolds import Sphere
      >>> tx, x = riemannian_adam(0.1, Sphere(2)), jnp.array([1.0, 0.0])
      >>> updates, _ = tx.update(jnp.array([0.0, -7.0]), tx.init(x), x)
      >>> round(float(jnp.arctan2(*(x + updates)[::-1])), 5)
      0.1
    """
    adam = scale_by_riemannian_adam(manifolds, b1, b2, eps)
    return _descent(learning_rate, manifolds, additive, riemannian_gradient(manifolds), adam)


def _descent(
    learning_rate: optax.ScalarOrSchedule,
    manifolds: Any,
    additive: bool,
    *directions: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """A chain that ends with the learning rate, and the geodesic where updates are added."""
    last = (geodesic_updates(manifolds),) if additive else ()
    return optax.chain(*directions, optax.scale_by_learning_rate(learning_rate), *last)
