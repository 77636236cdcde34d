"""Squared extrapolation of a fixed-point iteration."""

from typing import Any

import jax
import jax.numpy as jnp

from igeojax.discrete.softmax import log_softmax
from igeojax.em._maximization import framed


def squarem(mixture: Any, params: Any, first: Any, second: Any) -> Any:
    """Parameters beyond two EM steps, `p - 2 a r + a^2 v` with `r = p1 - p`, `v = p2 - 2 p1 + p`.

    The step length is `a = -max(|r| / |v|, 1)`; 1 gives the second step itself. In natural
    coordinates and log-weights; `iterate` keeps it only where the likelihood does not fall.

    Args:
      mixture: the `Mixture`.
      params: where the two steps began, `Framed` as all are.
      first: after one step.
      second: after two.

    Returns:
      The extrapolated parameters; the second step where those are it or leave the natural domain.

    References:
      [VaradhanRoland2008] section 3, steplength 3.

    Examples:
      >>> from igeojax import em, families
      >>> from igeojax.em._maximization import framed
      >>> family = families.Poisson()
      >>> mixture = em.Mixture(family, 1)
      >>> points = [family.Point(jnp.array([value])) for value in (0.0, 1.0, 1.5)]
      >>> steps = [framed(family, mixture.point([1.0], point)) for point in points]
      >>> float(squarem(mixture, *steps).components.x[0])
      2.0
    """
    # Weights of empty components stay -inf: their difference is none.
    gap = lambda one, two: jnp.where(one == two, 0.0, one - two)
    start, one, two = (mixture.Point(*point[:2]) for point in (params, first, second))
    change = jax.tree.map(gap, one, start)
    bend = jax.tree.map(lambda p2, p1, r: gap(p2, p1) - r, two, one, change)
    norm = lambda tree: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)) ** 0.5
    length = norm(change) / norm(bend)
    far = jax.tree.map(lambda p, r, v: p + 2 * length * r + length**2 * v, start, change, bend)
    far = framed(mixture.family, far._replace(log_weights=log_softmax(far.log_weights)))
    taken = (length > 1) & mixture.family.in_natural_domain(far.components).all()
    return jax.tree.map(lambda new, old: jnp.where(taken, new, old), far, second)
