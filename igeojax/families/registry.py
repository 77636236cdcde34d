"""The list of families with samplers of valid points, for laws, docs and examples."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.normal import Normal
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.poisson import Poisson


@dataclasses.dataclass(frozen=True)
class Entry:
    """A family, how to draw valid source parameters, and how to integrate over its support.

    Args:
      family: the description.
      params: `params(key, shape)` draws source parameters as keyword arguments of
        `natural_from_params`, with batch shape `shape`.
      support: the kind of support: `finite` (labels `0..n-1`), `counts`, `positive`, `real` or
        `vector`.
      size: the number of labels of a finite support.

    Examples:
      >>> FAMILIES["Categorical"].support, FAMILIES["Categorical"].size
      ('finite', 4)
    """

    family: ExponentialFamily
    params: Callable[[Key[Array, ""], tuple[int, ...]], dict[str, Any]]
    support: Literal["finite", "counts", "positive", "real", "vector"]
    size: int = 0

    def point(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Any:
        """Draw valid natural parameters.

        Args:
          key: a PRNG key.
          shape: batch shape.

        Returns:
          A point of the family.

        Examples:
          >>> import jax
          >>> FAMILIES["Normal"].point(jax.random.key(0), (3,)).x.shape
          (3,)
        """
        return self.family.natural_from_params(**self.params(key, shape))


def _between(key, shape, low, high):
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _two(key, shape, first, second):
    one, two = jax.random.split(key)
    return _between(one, shape, *first), _between(two, shape, *second)


def _loc_scale(key, shape) -> dict[str, Any]:
    loc, scale = _two(key, shape, (-2, 2), (0.5, 2))
    return {"loc": loc, "scale": scale}


def _shape_rate(key, shape) -> dict[str, Any]:
    first, second = _two(key, shape, (0.7, 6), (0.5, 3))
    return {"shape": first, "rate": second}


def _mean_covariance(key, shape, dim):
    one, two = jax.random.split(key)
    root = 0.4 * jax.random.normal(one, (*shape, dim, dim))
    ridge = jnp.broadcast_to(0.5 * jnp.eye(dim), root.shape)
    covariance = root @ jnp.swapaxes(root, -1, -2) + ridge
    return {
        "mean": jax.random.normal(two, (*shape, dim)),
        "covariance": 0.5 * (covariance + jnp.swapaxes(covariance, -1, -2)),
    }


_ENTRIES = (
    Entry(Bernoulli(), lambda key, shape: {"probs": _between(key, shape, 0.1, 0.9)}, "finite", 2),
    Entry(
        Categorical(4),
        lambda key, shape: {"probs": jax.random.dirichlet(key, jnp.full(4, 3.0), shape)},
        "finite",
        4,
    ),
    Entry(Poisson(), lambda key, shape: {"rate": _between(key, shape, 0.3, 8)}, "counts"),
    Entry(Exponential(), lambda key, shape: {"rate": _between(key, shape, 0.3, 3)}, "positive"),
    Entry(Gamma(), _shape_rate, "positive"),
    Entry(Normal(), _loc_scale, "real"),
    Entry(
        NormalKnownScale(scale=1.5),
        lambda key, shape: {"loc": _between(key, shape, -2, 2)},
        "real",
    ),
    Entry(DiagonalNormal(2), lambda key, shape: _loc_scale(key, (*shape, 2)), "vector"),
    Entry(MultivariateNormal(3), lambda key, shape: _mean_covariance(key, shape, 3), "vector"),
)

FAMILIES: dict[str, Entry] = {type(entry.family).__name__: entry for entry in _ENTRIES}
"""Every family by name: `FAMILIES["Gamma"].family`, `FAMILIES["Gamma"].point(key)`."""
