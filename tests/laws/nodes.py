"""Integration rules over the supports: nodes and weights from source parameters, by numpy alone.

Smooth densities on a whole line are summed by the trapezoidal rule, which converges geometrically;
other supports are mapped to one first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Params = dict[str, Any]
Rule = Callable[[Any, Params, int], tuple[Any, np.ndarray]]


def _every(nodes: Any, weights: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The same nodes for each point."""
    nodes = np.asarray(nodes)
    return np.tile(nodes, (points,) + (1,) * nodes.ndim), np.tile(weights, (points, 1))


def finite(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    return _every(np.arange(entry.size), np.ones(entry.size), points)


def counts(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    size = 400
    return _every(np.arange(size), np.ones(size), points)


def count_vector(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    trials, classes = entry.family.trials, entry.family.num_classes
    grid = np.stack(np.meshgrid(*[np.arange(trials + 1)] * (classes - 1), indexing="ij"), -1)
    grid = grid.reshape(-1, classes - 1)
    grid = grid[grid.sum(axis=1) <= trials]
    x = np.concatenate([grid, trials - grid.sum(axis=1, keepdims=True)], axis=1)
    return _every(x, np.ones(len(x)), points)


def positive(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.exp(np.arange(-60, 25, 0.03))
    return _every(x, 0.03 * x, points)


def heavy_positive(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The reciprocals of the nodes of `positive`, for tails of a power."""
    x = np.exp(np.arange(-6, 60, 0.03))
    return _every(x, 0.03 * x, points)


def unit(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Logistic functions of a line, which stops before 1 - x is 0 in float32."""
    x = 1 / (1 + np.exp(-np.arange(-24, 16, 0.1)))
    return _every(x, 0.1 * x * (1 - x), points)


def simplex(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Three shares, broken off a stick by logistic functions of two lines."""
    y = np.arange(-22, 22, 0.25)
    low, high = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(y.size), np.arange(y.size)))
    rest = high[first]
    x = np.stack([low[first], rest * low[second], rest * high[second]], axis=-1)
    return _every(x, 0.25**2 * x[:, 0] * rest**2 * low[second] * high[second], points)


def _mean_and_spread(
    params: Params, location: np.ndarray, scale: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs `(x, v)`: v on a log grid from `scale`, x on a line in units of its deviation."""
    y, z = (
        grid.ravel()
        for grid in np.meshgrid(np.arange(-6, 14, 0.2), np.arange(-10, 10.1, 0.625), indexing="ij")
    )
    v = scale[:, None] * np.exp(y)
    deviation = np.sqrt(v / params["concentration"][:, None])
    x = np.stack([location[:, None] + deviation * z, v], axis=-1)
    return x, 0.2 * 0.625 * v * deviation


def mean_and_variance(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    return _mean_and_spread(params, params["loc"], params["scale"], points)


def mean_and_covariance(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    location, scale = params["mean"][:, 0], params["scale"][:, 0, 0] / 2
    x, weights = _mean_and_spread(params, location, scale, points)
    return x[:, :, None, :], weights


def _unit_wishart() -> tuple[np.ndarray, np.ndarray]:
    """Matrices `L L^T` of size two: the diagonal of L is `log(1 + exp(u))` on a grid of u.

    `d(L L^T) = 4 l_11^2 l_22 d l_11 d l_22 d l_21`.
    """
    u, line = np.arange(-7, 9.7, 0.4), np.arange(-9, 9.1, 0.75)
    i, j, below = (grid.ravel() for grid in np.meshgrid(u, u, line, indexing="ij"))
    first, second = np.log1p(np.exp(i)), np.log1p(np.exp(j))
    factor = np.stack([first, 0 * first, below, second], axis=-1).reshape(-1, 2, 2)
    slopes = 1 / (1 + np.exp(-i)) / (1 + np.exp(-j))
    return factor, 0.4**2 * 0.75 * 4 * first**2 * second * slopes


def positive_definite(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    factor, weights = _unit_wishart()
    outer = np.linalg.cholesky(params["scale"])
    root = np.einsum("bij,mjk->bmik", outer, factor)
    volume = np.linalg.det(outer) ** 3
    return root @ root.swapaxes(-1, -2), volume[:, None] * weights


def inverse_positive_definite(
    entry: Any, params: Params, points: int
) -> tuple[np.ndarray, np.ndarray]:
    """The inverses of Wishart matrices: `d inverse(y) = det(y)^-3 dy` in size two."""
    factor, weights = _unit_wishart()
    outer = np.linalg.cholesky(params["scale"])
    root = np.einsum("bij,mkj->bmik", outer, np.linalg.inv(factor))
    shrink = np.linalg.det(factor) ** -6
    return root @ root.swapaxes(-1, -2), np.linalg.det(outer)[:, None] ** 3 * shrink * weights


def above_scale(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    """From the scale of the family upwards: `x = scale exp(y)`, y on a log grid."""
    y = np.exp(np.arange(-45, 4.3, 0.03))
    x = entry.family.scale * np.exp(y)
    keep = np.isfinite(x) & (x > entry.family.scale)
    return _every(x[keep], (0.03 * y * x)[keep], points)


def real(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(-30, 30, 0.08)
    return _every(x, np.full(x.size, 0.08), points)


def around_loc(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The real line on both sides of a kink at the location of the family."""
    y = np.exp(np.arange(-40, 5, 0.03))
    x = np.concatenate([entry.family.loc - y, entry.family.loc + y])
    return _every(x, np.tile(0.03 * y, 2), points)


def vector(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    if "covariance" in params:
        mean, factor = params["mean"], np.linalg.cholesky(params["covariance"])
    else:
        mean = params["loc"]
        scale = np.broadcast_to(params["scale"].reshape(points, -1), mean.shape)
        factor = scale[..., None] * np.eye(mean.shape[-1])
    dim = mean.shape[-1]
    half, width = (16, 0.25) if dim == 2 else (12, 0.75)
    axis = np.arange(-half, half + 0.1, width)
    white = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    x = mean[:, None] + np.einsum("bij,mj->bmi", factor, white)
    volume = np.abs(np.linalg.det(factor))[:, None] * width**dim
    return x, np.broadcast_to(volume, x.shape[:2])


def labelled_real(entry: Any, params: Params, points: int) -> tuple[Any, np.ndarray]:
    """Pairs of a label of the first factor and a real number."""
    labels = np.arange(entry.family.families[0].num_classes)
    line = np.arange(-30, 30, 0.08)
    label, x = (grid.ravel() for grid in np.meshgrid(labels, line, indexing="ij"))
    weights = np.full((points, x.size), 0.08)
    return (np.tile(label, (points, 1)), np.tile(x, (points, 1))), weights


def circle(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    size = 96
    return _every(
        2 * np.pi * (np.arange(size) + 0.5) / size - np.pi, np.full(size, 2 * np.pi / size), points
    )


def sphere(entry: Any, params: Params, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit sphere in three dimensions: Gauss-Legendre in height, equal angles around."""
    height, weight = np.polynomial.legendre.leggauss(40)
    angle = 2 * np.pi * np.arange(64) / 64
    z, phi = (grid.ravel() for grid in np.meshgrid(height, angle, indexing="ij"))
    radius = np.sqrt(1 - z * z)
    x = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=-1)
    return _every(x, np.repeat(weight, 64) * (2 * np.pi / 64), points)


RULES: dict[str, Rule] = {
    "finite": finite,
    "counts": counts,
    "count vector": count_vector,
    "positive": positive,
    "heavy positive": heavy_positive,
    "unit": unit,
    "simplex": simplex,
    "mean and variance": mean_and_variance,
    "mean and covariance": mean_and_covariance,
    "positive definite": positive_definite,
    "inverse positive definite": inverse_positive_definite,
    "above scale": above_scale,
    "real": real,
    "around loc": around_loc,
    "vector": vector,
    "circle": circle,
    "sphere": sphere,
    "labelled real": labelled_real,
}
"""By the kind of support that an entry of the registry names."""
