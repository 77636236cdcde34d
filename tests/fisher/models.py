"""Tiny models for tests: two inputs, two tanh units, and a head for each output family.

Every case carries its density and exact expectations *without* igeojax: densities from
`jax.scipy.stats` in terms of the raw columns of the net, labels by enumeration or by Gauss-Hermite
nodes, which integrate the square of a Gaussian score (degree 4) exactly.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.scipy.stats as stats
import numpy as np

from igeojax import families
from igeojax.families.base import ExponentialFamily

HIDDEN, NUM_INPUTS, NUM_EXAMPLES = 2, 2, 5


def columns_of(params: dict[str, Any], inputs: jax.Array) -> jax.Array:
    """Raw outputs of the net, one more axis than the examples."""
    bias = params["bias"].reshape((1,) * (inputs.ndim - 1) + (-1,))
    return jnp.tanh(inputs @ params["inner"]) @ params["outer"] + bias


def draw_params(num_columns: int, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    shapes = {
        "inner": (NUM_INPUTS, HIDDEN),
        "outer": (HIDDEN, num_columns),
        "bias": (num_columns,),
    }
    return {name: jnp.asarray(generator.normal(size=shape)) for name, shape in shapes.items()}


def draw_inputs(*shape: int, seed: int = 1) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(*shape, NUM_INPUTS)))


@dataclasses.dataclass(frozen=True)
class Case:
    """An output family on the net.

    Args:
      family: the family.
      num_columns: raw outputs of the net for each example.
      point: raw outputs to natural parameters.
      log_density: raw outputs of one example and a label to a log-density, without igeojax.
      labels: raw outputs of one example to labels and their probabilities, likewise.
    """

    family: ExponentialFamily
    num_columns: int
    point: Callable[[jax.Array], Any]
    log_density: Callable[[jax.Array, Any], jax.Array]
    labels: Callable[[jax.Array], tuple[Any, jax.Array]]

    @property
    def params(self) -> dict[str, Any]:
        return draw_params(self.num_columns)

    def predict(self, params: Any, inputs: jax.Array) -> Any:
        return self.point(columns_of(params, inputs))

    def fisher_matrix(self, params: Any, inputs: jax.Array, weights: Any = None) -> jax.Array:
        """Sum over examples and labels of p(y|x) times the squared score."""
        vector, unravel = jax.flatten_util.ravel_pytree(params)

        def of_example(example):
            raw = lambda v: columns_of(unravel(v), example[None])[0]
            labels, probabilities = self.labels(raw(vector))
            score = jax.grad(lambda v, label: self.log_density(raw(v), label))
            scores = jax.vmap(score, (None, 0))(vector, labels)
            return (scores * probabilities[:, None]).T @ scores

        if weights is None:
            weights = jnp.full(inputs.shape[0], 1 / inputs.shape[0])
        return jnp.tensordot(weights, jax.vmap(of_example)(inputs), 1)


def _nodes(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes of the standard normal, exact to degree 9 in each coordinate."""
    node, weight = np.polynomial.hermite_e.hermegauss(5)
    weight = weight / weight.sum()
    grid = np.stack(np.meshgrid(*[node] * dim, indexing="ij"), -1).reshape(-1, dim)
    return grid, functools.reduce(np.multiply.outer, [weight] * dim).ravel()


def _normal_labels(loc: jax.Array, scale: Any) -> tuple[jax.Array, jax.Array]:
    grid, weight = _nodes(1)
    return loc + scale * jnp.asarray(grid[:, 0]), jnp.asarray(weight)


def _vector_labels(loc: jax.Array, scale_tril: jax.Array) -> tuple[jax.Array, jax.Array]:
    grid, weight = _nodes(2)
    return loc[None] + jnp.asarray(grid) @ scale_tril.T, jnp.asarray(weight)


def _tril(raw: jax.Array) -> jax.Array:
    zero = jnp.zeros_like(raw[..., 0])
    rows = [
        jnp.stack([jnp.exp(raw[..., 0]), zero], -1),
        jnp.stack([raw[..., 1], jnp.exp(raw[..., 2])], -1),
    ]
    return jnp.stack(rows, -2)


def _cases() -> dict[str, Case]:
    bernoulli, categorical = families.Bernoulli(), families.Categorical(3)
    poisson, known = families.Poisson(), families.NormalKnownScale(scale=1.5)
    normal, diagonal = families.Normal(), families.DiagonalNormal(2)
    multivariate = families.MultivariateNormal(2)
    counts = jnp.arange(120)
    return {
        "Bernoulli": Case(
            bernoulli,
            1,
            lambda raw: bernoulli.natural_from_params(logits=raw[..., 0]),
            lambda raw, y: jnp.where(y == 1, raw[0], 0.0) - jnp.logaddexp(raw[0], 0.0),
            lambda raw: (jnp.arange(2), jax.nn.softmax(jnp.append(0.0, raw))),
        ),
        "Categorical": Case(
            categorical,
            3,
            lambda raw: categorical.natural_from_params(logits=raw),
            lambda raw, y: jax.nn.log_softmax(raw)[y],
            lambda raw: (jnp.arange(3), jax.nn.softmax(raw)),
        ),
        "Poisson": Case(
            poisson,
            1,
            lambda raw: poisson.natural_from_params(rate=jnp.exp(raw[..., 0])),
            lambda raw, y: y * raw[0] - jnp.exp(raw[0]),
            lambda raw: (counts, stats.poisson.pmf(counts, jnp.exp(raw[0]))),
        ),
        "NormalKnownScale": Case(
            known,
            1,
            lambda raw: known.natural_from_params(loc=raw[..., 0]),
            lambda raw, y: stats.norm.logpdf(y, raw[0], 1.5),
            lambda raw: _normal_labels(raw[0], 1.5),
        ),
        "Normal": Case(
            normal,
            2,
            lambda raw: normal.natural_from_params(raw[..., 0], jnp.exp(raw[..., 1])),
            lambda raw, y: stats.norm.logpdf(y, raw[0], jnp.exp(raw[1])),
            lambda raw: _normal_labels(raw[0], jnp.exp(raw[1])),
        ),
        "DiagonalNormal": Case(
            diagonal,
            4,
            lambda raw: diagonal.natural_from_params(raw[..., :2], jnp.exp(raw[..., 2:])),
            lambda raw, y: stats.norm.logpdf(y, raw[:2], jnp.exp(raw[2:])).sum(),
            lambda raw: _vector_labels(raw[:2], jnp.diag(jnp.exp(raw[2:]))),
        ),
        "MultivariateNormal": Case(
            multivariate,
            5,
            lambda raw: multivariate.natural_from_params(
                raw[..., :2], scale_tril=_tril(raw[..., 2:])
            ),
            lambda raw, y: (
                -0.5 * jnp.sum(jnp.linalg.solve(_tril(raw[2:]), y - raw[:2]) ** 2) - raw[2] - raw[4]
            ),
            lambda raw: _vector_labels(raw[:2], _tril(raw[2:])),
        ),
    }


CASES = _cases()
