"""Bessel ratios of the von Mises-Fisher law, each quantity by formulas that do not cancel.

With `nu = dim/2 - 1` the log-partition is `psi(kappa) = (dim/2) log(2 pi) - nu log(kappa) +
log I_nu(kappa)`. Debye's uniform expansion of `log I_nu` holds for every `kappa >= 0` once the
order is large; it is differentiated term by term, and a lower order is reached by recurrences in
which all that is subtracted is of the size of the result.
"""

import fractions
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Smallest order that is expanded, and terms of the expansion: what they leave out is below
# rounding, of the derivatives too.
_ORDER = {"float64": 20, "float32": 7}
_TERMS = {"float64": 16, "float32": 8}


def log_sphere(dim: int) -> float:
    """Log of the surface of the unit sphere in `dim` dimensions, the log-partition at 0.

    Args:
      dim: dimension of the space.

    Returns:
      `log(2 pi^(dim/2) / Gamma(dim/2))`.

    Examples:
      >>> round(log_sphere(2), 6)
      1.837877
    """
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


class RadialLaw(NamedTuple):
    """What the length `kappa` of a natural parameter determines, each to a few eps.

    With `A = psi'` the mean resultant length and `s = kappa^2`: `excess` is `psi - psi(0)`,
    `offset` is `psi - psi(0) - kappa`, `ratio` is `A / kappa`, `gap` is `1 - A`, `slope` is `A'`,
    `bend` is `-A'' / kappa`, `drop` is `-2 d(A/kappa)/ds` and `drop_rate` the derivative of its log
    in s.
    """

    excess: Float[Array, "*shape"]
    offset: Float[Array, "*shape"]
    ratio: Float[Array, "*shape"]
    gap: Float[Array, "*shape"]
    slope: Float[Array, "*shape"]
    bend: Float[Array, "*shape"]
    drop: Float[Array, "*shape"]
    drop_rate: Float[Array, "*shape"]


@functools.partial(jax.jit, static_argnums=0)
def radial_law(
    dim: int, kappa: Float[Array, "*shape"], square: Float[Array, "*shape"]
) -> RadialLaw:
    """The radial quantities of a von Mises-Fisher law in `dim` dimensions.

    Costs one expansion and, below dimension 42 in float64 (14 in float32), a loop of at most 20
    (6) short steps. Computed in the dtype of its arguments.

    Args:
      dim: dimension of the space, at least 2.
      kappa: non-negative concentrations.
      square: `kappa**2`, from which all but `offset` and `gap` are made: they are smooth in it.

    Returns:
      A `RadialLaw` of arrays of the shape of `kappa`.

    References:
      [DLMF2024] 10.41.3 (the expansion), 10.29.1 (the recurrence).

    Examples:
      >>> law = radial_law(3, jnp.asarray(2.0), jnp.asarray(4.0))
      >>> round(float(2 * law.ratio), 6)
      0.537315
    """
    dtype = jnp.result_type(square).name
    least = _ORDER.get(dtype, _ORDER["float32"])
    steps = max(1, least - (dim // 2 - 1))
    start = _expanded(dim / 2 - 1 + steps, kappa, square)

    def lower(law: _Recurred, size: Array) -> tuple[_Recurred, None]:
        share = size * (ratio := 1 / (size + square * law.ratio))
        both = 1 + law.relative_slope
        rest = ratio * law.ratio
        drop = rest * both
        return _Recurred(
            excess=law.excess + (gained := jnp.log1p(square * law.ratio / size)),
            offset=law.offset + gained,
            ratio=ratio,
            gap=(size - kappa * law.gap) * ratio,
            relative_slope=share * both - law.relative_slope,
            relative_drop=drop,
            third=share * drop * both - square * rest * law.third,
            previous=law.ratio * law.relative_drop,
        ), None

    sizes = jnp.arange(dim + 2 * steps - 2, dim - 1, -2, dtype=square.dtype)
    law, _ = jax.lax.scan(lower, start, sizes)
    ratio, drop = law.ratio, law.ratio * law.relative_drop
    bend = ratio * (law.third + law.relative_slope * law.relative_drop)
    # Derivative of `drop`: by the order above where kappa is small, by A'' elsewhere.
    small = square < 2 * dim
    offset, gap, slope = law.offset, law.gap, ratio * law.relative_slope
    # Where kappa is small the expansion is a difference from its value at 0.
    near = square < dim
    series = _near(dim, jnp.where(near, square, 0.0))
    excess = jnp.where(near, series, law.excess)
    offset = jnp.where(near, series - kappa, offset)
    if steps > 1:
        far, *at_far = _far(dim, kappa)
        pairs = zip(at_far, (offset, gap, slope, bend), strict=True)
        offset, gap, slope, bend = (jnp.where(far, new, old) for new, old in pairs)
    low = -0.5 * (law.relative_drop + (drop - law.previous) / law.relative_drop)
    high = 0.5 * (bend / drop - 3) / jnp.where(small, 1.0, square)
    return RadialLaw(
        excess,
        offset,
        ratio,
        gap,
        slope,
        bend,
        drop,
        jnp.where(small, low, high),
    )


class _Recurred(NamedTuple):
    """One dimension of the recurrence, from `dim + 2` to `dim`.

    `relative_slope` is `kappa A' / A`, `relative_drop` is `(1 - relative_slope) / kappa^2`, the
    difference of `ratio` to that two dimensions up; `third` is minus the derivative of
    `relative_slope` in `log kappa`, over `kappa^2`; `previous` is `drop` two dimensions up.
    """

    excess: Array
    offset: Array
    ratio: Array
    gap: Array
    relative_slope: Array
    relative_drop: Array
    third: Array
    previous: Array


def _expanded(order: float, kappa: Array, square: Array) -> _Recurred:
    """Debye's expansion in `1/R`, `R = sqrt(order^2 + kappa^2)`, with `tau = (order/R)^2`."""
    radius = jnp.sqrt(order * order + square)
    w = 1 / radius
    tau = order * order * w * w
    total = order + radius
    tables = _tables(_TERMS.get(square.dtype.name, _TERMS["float32"]))
    log_sum, ratio_sum, slope_sum, drop_sum, bend_sum = jnp.moveaxis(_series(tables, tau, w), -1, 0)
    at_zero = sum(float(tables[:, k, 0].sum()) / order ** (k + 1) for k in range(tables.shape[1]))
    rise = square / total
    common = (
        -order * jnp.log1p(0.5 * rise / order)
        - 0.25 * jnp.log1p(square / (order * order))
        + (log_sum - at_zero)
    )
    w2 = w * w
    ratio = 1 / total - 0.5 * w2 + w2 * ratio_sum
    slope = order * w / total + w2 * (0.5 - tau + slope_sum)
    drop = w / (total * total) + w2 * w2 * (drop_sum - 1)
    bend = order * (total + radius) * w * w2 / (total * total) + w2 * w2 * (1 - 4 * tau + bend_sum)
    short = order * order / (radius + kappa)
    relative_drop, relative_slope = drop / ratio, slope / ratio
    return _Recurred(
        excess=rise + common,
        offset=short - order + common,
        ratio=ratio,
        gap=(order + short) / total + kappa * w2 * (0.5 - ratio_sum),
        relative_slope=relative_slope,
        relative_drop=relative_drop,
        third=bend / ratio - relative_slope * relative_drop,
        previous=drop,
    )


def _near(dim: int, square: Array) -> Array:
    """The power series of `excess`, of positive terms, for `kappa^2 <= dim`."""
    # log 0F1(; d/2; s/4): the next term is below 0.5^15 / 15!.
    x = square / (2 * dim)
    total = jnp.ones_like(x)
    for k in range(14, 1, -1):
        total = 1 + total * x / (k * (1 + 2 * (k - 1) / dim))
    return jnp.log1p(x * total)


def _far(dim: int, kappa: Array) -> tuple[Array, ...]:
    """Where `A = 1 + sum a_k / kappa^k` (Hankel) holds; `offset`, `gap`, `slope`, `bend` there.

    The recurrences magnify rounding by up to `dim + 2 steps` over `dim - 1` here.
    """
    coefficients, least = _far_coefficients(dim, kappa.dtype.name)
    far = kappa > least
    z = 1 / jnp.where(far, kappa, least)
    potential = gap = slope = bend = jnp.zeros_like(z)
    for k in range(len(coefficients), 0, -1):
        value = -coefficients[k - 1]
        potential = (potential + value / max(k - 1, 1) * (k > 1)) * z
        gap = (gap + value) * z
        slope = (slope + k * value) * z
        bend = (bend + k * (k + 1) * value) * z
    potential = potential / z + 0.5 * (dim - 1) * jnp.log(2 * math.pi * z)
    return far, potential - log_sphere(dim), gap, slope * z, bend * z**3


@functools.cache
def _far_coefficients(dim: int, dtype: str) -> tuple[list[float], float]:
    """The `a_k`, from `A' = 1 - A^2 - (dim-1) A / kappa`, and the least `kappa` that they serve."""
    a = [1.0]
    for k in range(1, 17):
        a.append(0.5 * ((k - dim) * a[-1] - sum(a[i] * a[k - i] for i in range(1, k))))
    terms, eps, least = (14, 2.0**-53, 25.0) if dtype == "float64" else (8, 2.0**-24, 12.0)
    for k in (terms + 1, terms + 2):
        least = max(least, (4 * k * k * abs(a[k] / a[1]) / eps) ** (1 / (k - 1)))
    return a[1 : terms + 1], least


def _series(tables: np.ndarray, tau: Array, w: Array) -> Array:
    """`sum_k w^k sum_j tables[j, k - 1] tau^j`, for each entry of the last axis of `tables`."""
    rows, terms, _ = tables.shape
    powers = tau[..., None] ** np.arange(rows, dtype=tau.dtype).reshape((1,) * tau.ndim + (rows,))
    inner = jnp.tensordot(powers, jnp.asarray(tables, tau.dtype), 1, precision="highest")
    exponents = np.arange(1, terms + 1, dtype=tau.dtype).reshape((1,) * tau.ndim + (terms,))
    return jnp.sum(inner * (w[..., None] ** exponents)[..., None], axis=-2)


@functools.cache
def _tables(terms: int) -> np.ndarray:
    """Coefficients of `tau^j w^k`, shape `(terms + 2, terms, 5)`, of the series and four others.

    `log sum_k u_k(p) / nu^k` is `sum_k w^k q_k(tau)`. The others are the sums of the expansions of
    `A/kappa`, `A'`, `drop` and `bend`, from `d/ds (w^k q) = -w^(k+2) (k q + 2 tau q') / 2`.
    """
    tables = np.zeros((terms + 2, terms, 5))
    for k, log_term in enumerate(_log_terms(terms), start=1):
        ratio = _derived(log_term, k, -1)
        drop = _derived(ratio, k + 2, 1)
        # A' = ratio - s drop and s w^2 = 1 - tau.
        slope = [r - f + g for r, f, g in zip(ratio, drop, [0, *drop], strict=False)] + [drop[-1]]
        bend = _derived(slope, k + 2, 1)
        for column, row in enumerate((log_term, ratio, slope, drop, bend)):
            for j, value in enumerate(row):
                if value:
                    tables[j, k - 1, column] = float(value)
    return tables


def _derived(row: list, power: int, sign: int) -> list:
    return [sign * (power + 2 * j) * value for j, value in enumerate(row)]


def _log_terms(terms: int) -> list[list]:
    """Polynomials `q_k` with `log sum u_k(p) / nu^k = sum (p/nu)^k q_k(p^2)`.

    `D_k = p^k q_k` obeys
    `D_(k+1)' = p^2 (1-p^2) (D_k'' + sum D_i' D_(k-i)') / 2 + (p - 2 p^3) D_k'`, which is the
    recurrence of the `u_k` for the logarithm.
    """
    slopes: list[list] = []
    result = []
    slope = [fractions.Fraction(1, 8), fractions.Fraction(0), fractions.Fraction(-5, 8)]
    for k in range(1, terms + 1):
        slopes.append(slope)
        result.append([slope[k - 1 + 2 * j] / (k + 2 * j) for j in range(k + 1)])
        second = [i * c for i, c in enumerate(slope)][1:]
        for i in range(len(slopes) - 1):
            product = np.convolve(np.array(slopes[i], object), np.array(slopes[-2 - i], object))
            second += [fractions.Fraction(0)] * (len(product) - len(second))
            second = [a + b for a, b in zip(second, [*product] + [0] * len(second), strict=False)]
        following = [fractions.Fraction(0)] * (max(len(second), len(slope)) + 4)
        for i, c in enumerate(second):
            following[i + 2] += c / 2
            following[i + 4] -= c / 2
        for i, c in enumerate(slope):
            following[i + 1] += c
            following[i + 3] -= 2 * c
        slope = following
    return result
