"""The list of families with samplers of valid points, for laws, docs and examples."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.beta import Beta
from igeojax.families.binomial import Binomial
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.dirichlet import Dirichlet
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma
from igeojax.families.geometric import Geometric
from igeojax.families.inverse_gamma import InverseGamma
from igeojax.families.inverse_gaussian import InverseGaussian
from igeojax.families.inverse_wishart import InverseWishart
from igeojax.families.isotropic_normal import IsotropicNormal
from igeojax.families.laplace import Laplace
from igeojax.families.log_normal import LogNormal
from igeojax.families.multinomial import Multinomial
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.negative_binomial import NegativeBinomial
from igeojax.families.normal import Normal
from igeojax.families.normal_inverse_gamma import NormalInverseGamma
from igeojax.families.normal_inverse_wishart import NormalInverseWishart
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.pareto import Pareto
from igeojax.families.poisson import Poisson
from igeojax.families.product import Product
from igeojax.families.rayleigh import Rayleigh
from igeojax.families.von_mises import VonMises
from igeojax.families.von_mises_fisher import VonMisesFisher
from igeojax.families.weibull import Weibull
from igeojax.families.wishart import Wishart


@dataclasses.dataclass(frozen=True)
class Entry:
    """A family, how to draw valid source parameters, and how to integrate over its support.

    Args:
      family: the description.
      params: `params(key, shape)` draws source parameters with batch shape `shape`: arguments of
        `natural_from_params` by keyword, or in order.
      support: the kind of support, which decides how to integrate over it: `finite` (integers
        `0..size-1`), `counts`, `positive`, `real`, `vector` and others.
      size: the number of observations of a finite support.

    Examples:
      >>> FAMILIES["Categorical"].support, FAMILIES["Categorical"].size
      ('finite', 4)
    """

    family: ExponentialFamily
    params: Callable[[Key[Array, ""], tuple[int, ...]], dict[str, Any] | tuple[Any, ...]]
    support: str
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
        return self.natural(self.params(key, shape))

    def natural(self, source: dict[str, Any] | tuple[Any, ...]) -> Any:
        """Natural parameters of what `params` draws.

        Args:
          source: arguments of `natural_from_params` by keyword, or in order.

        Returns:
          A point of the family.

        Examples:
          >>> float(FAMILIES["Poisson"].natural({"rate": 1.0}).x)
          0.0
        """
        if isinstance(source, dict):
            return self.family.natural_from_params(**source)
        return self.family.natural_from_params(*source)


def _between(key, shape, low, high):
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _two(key, shape, first, second):
    one, two = jax.random.split(key)
    return _between(one, shape, *first), _between(two, shape, *second)


def _loc_scale(key, shape) -> dict[str, Any]:
    loc, scale = _two(key, shape, (-2, 2), (0.5, 2))
    return {"loc": loc, "scale": scale}


def _shape_scale(key, shape) -> dict[str, Any]:
    first, second = _two(key, shape, (3, 7), (0.5, 3))
    return {"shape": first, "scale": second}


def _dof_scale(key, shape, dim: int = 2) -> dict[str, Any]:
    one, two = jax.random.split(key)
    scale = _mean_covariance(two, shape, dim)["covariance"]
    return {"dof": _between(one, shape, 6, 9), "scale": scale}


def _normal_inverse_gamma(key, shape) -> dict[str, Any]:
    one, two = jax.random.split(key)
    loc, concentration = _two(one, shape, (-0.5, 0.5), (1, 3))
    shapes, scale = _two(two, shape, (3, 5), (1, 2))
    return {"loc": loc, "concentration": concentration, "shape": shapes, "scale": scale}


def _normal_inverse_wishart(key, shape) -> dict[str, Any]:
    one, two = jax.random.split(key)
    mean, concentration = _two(one, shape, (-0.5, 0.5), (1, 3))
    normal = {"mean": mean[..., None], "concentration": concentration}
    return normal | _dof_scale(two, shape, 1)


def _two_concentrations(key, shape) -> dict[str, Any]:
    first, second = _two(key, shape, (1.5, 6), (2.5, 6))
    return {"a": first, "b": second}


def _shape_rate(key, shape) -> dict[str, Any]:
    first, second = _two(key, shape, (0.7, 6), (0.5, 3))
    return {"shape": first, "rate": second}


def _label_and_normal(key, shape):
    one, two = jax.random.split(key)
    probs = jax.random.dirichlet(one, jnp.full(3, 3.0), shape)
    return Categorical.Params(probs), Normal.Params(**_loc_scale(two, shape))


def _isotropic(key, shape) -> dict[str, Any]:
    loc, scale = _two(key, (*shape, 2), (-2, 2), (0.5, 2))
    return {"loc": loc, "scale": scale[..., 0]}


def _mean_shape(key, shape) -> dict[str, Any]:
    mean, size = _two(key, shape, (0.5, 3), (0.7, 5))
    return {"mean": mean, "shape": size}


def _scale(key, shape) -> dict[str, Any]:
    return {"scale": _between(key, shape, 0.5, 2)}


def _probs(key, shape) -> dict[str, Any]:
    return {"probs": _between(key, shape, 0.15, 0.85)}


def _mean_covariance(key, shape, dim):
    one, two = jax.random.split(key)
    root = 0.4 * jax.random.normal(one, (*shape, dim, dim))
    ridge = jnp.broadcast_to(0.5 * jnp.eye(dim), root.shape)
    covariance = root @ jnp.swapaxes(root, -1, -2) + ridge
    return {
        "mean": jax.random.normal(two, (*shape, dim)),
        "covariance": 0.5 * (covariance + jnp.swapaxes(covariance, -1, -2)),
    }


def _direction(key, shape) -> dict[str, Any]:
    one, two = jax.random.split(key)
    direction = jax.random.normal(one, (*shape, 3))
    length = jnp.sqrt(jnp.sum(direction**2, axis=-1, keepdims=True))
    return {"mean_direction": direction / length, "concentration": _between(two, shape, 0.5, 8)}


def _angle(key, shape) -> dict[str, Any]:
    loc, concentration = _two(key, shape, (-3, 3), (0.5, 8))
    return {"loc": loc, "concentration": concentration}


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
    Entry(InverseGamma(), _shape_scale, "heavy positive"),
    Entry(NormalInverseGamma(), _normal_inverse_gamma, "mean and variance"),
    Entry(Wishart(2), _dof_scale, "positive definite"),
    Entry(InverseWishart(2), _dof_scale, "inverse positive definite"),
    Entry(NormalInverseWishart(1), _normal_inverse_wishart, "mean and covariance"),
    Entry(Beta(), _two_concentrations, "unit"),
    Entry(
        Dirichlet(3),
        lambda key, shape: {"concentration": _between(key, (*shape, 3), 1.5, 5)},
        "simplex",
    ),
    Entry(Normal(), _loc_scale, "real"),
    Entry(
        NormalKnownScale(scale=1.5),
        lambda key, shape: {"loc": _between(key, shape, -2, 2)},
        "real",
    ),
    Entry(DiagonalNormal(2), lambda key, shape: _loc_scale(key, (*shape, 2)), "vector"),
    Entry(IsotropicNormal(2), _isotropic, "vector"),
    Entry(Binomial(6), _probs, "finite", 7),
    Entry(
        Multinomial(4, 3),
        lambda key, shape: {"probs": jax.random.dirichlet(key, jnp.full(3, 3.0), shape)},
        "count vector",
    ),
    Entry(Geometric(), _probs, "counts"),
    Entry(NegativeBinomial(2.5), _probs, "counts"),
    Entry(LogNormal(), _loc_scale, "positive"),
    Entry(InverseGaussian(), _mean_shape, "positive"),
    Entry(Weibull(1.7), _scale, "positive"),
    Entry(Rayleigh(), _scale, "positive"),
    Entry(Pareto(0.8), lambda key, shape: {"shape": _between(key, shape, 2.5, 5)}, "above scale"),
    Entry(Laplace(0.3), _scale, "around loc"),
    Entry(Product((Categorical(3), Normal())), _label_and_normal, "labelled real"),
    Entry(VonMises(), _angle, "circle"),
    Entry(VonMisesFisher(3), _direction, "sphere"),
    Entry(MultivariateNormal(3), lambda key, shape: _mean_covariance(key, shape, 3), "vector"),
)

FAMILIES: dict[str, Entry] = {type(entry.family).__name__: entry for entry in _ENTRIES}
"""Every family by name: `FAMILIES["Gamma"].family`, `FAMILIES["Gamma"].point(key)`."""
