"""Entropies of counts against sums at 40 digits: rare, near-certain, heavy-tailed and large."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import families

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

F = families
BOUNDS = {"float64": 2e-14, "float32": 5e-6}


def rounded(value):
    return float(np.float32(value))


def sum_of_terms(first, ratio, last):
    """`-sum f log f` from the ratios of neighbours, until what is left is nothing."""
    log_f, total, missing = first, mpmath.mpf(0), mpmath.mpf(1)
    for x in range(last + 1):
        f = mpmath.exp(log_f)
        total, missing = total - f * log_f, missing - f
        if abs(missing) < 1e-20 * total:
            return total
        log_f += mpmath.log(ratio(x)) if x < last else 0
    return total


@functools.cache
@mpmath.workdps(90)
def entropy_of(family, value):
    value = mpmath.mpf(value)
    if isinstance(family, F.Poisson):
        return sum_of_terms(-value, lambda x: value / (x + 1), 2000)
    fail = 1 - value
    if isinstance(family, F.Binomial):
        n = family.trials
        start = n * mpmath.log(fail)
        return sum_of_terms(start, lambda x: (n - x) * value / (fail * (x + 1)), n)
    r = mpmath.mpf(family.successes)
    return sum_of_terms(r * mpmath.log(value), lambda x: (x + r) * fail / (x + 1), 6000)


CASES = [
    *((F.Poisson(), rate) for rate in (1e-30, 1e-8, 0.5, 3.0, 39.9, 40.1, 150.0, 700.0)),
    *((F.Binomial(n), p) for n in (1, 60, 400) for p in (1e-10, 1e-3, 0.3, 0.5, 1 - 2**-20)),
    *((F.NegativeBinomial(r), p) for r in (1e-10, 1e-3, 2.5, 40.0) for p in (0.1, 0.5, 0.999)),
    *((F.NegativeBinomial(r), p) for r in (40.5, 300.0, 1e6) for p in (0.4, 0.7, 1 - 2**-20)),
]


@pytest.mark.parametrize("dtype", BOUNDS)
def test_against_sums(dtype):
    for family, value in CASES:
        if getattr(family, "successes", 0) * (1 - value) > 2000:
            continue
        value = rounded(value)
        true = float(entropy_of(family, value))
        found = family.entropy(family.Params(np.asarray(value, dtype)))
        assert found.dtype == dtype
        assert float(found) == pytest.approx(true, rel=BOUNDS[dtype], abs=0), (family, value)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(
    ("family", "value"),
    [
        (F.Poisson(), 1e10),
        (F.Binomial(10**9), 0.3),
        (F.Binomial(10**9), 1 - 2.0**-10),
        (F.NegativeBinomial(1e8), 0.5),
        (F.NegativeBinomial(1e10), 2.0**-10),
    ],
)
def test_a_large_count_is_normal(dtype, family, value):
    theta = family.natural_from_params(np.asarray(value, dtype))
    normal = 0.5 * math.log(2 * math.pi * math.e * float(family.variance(theta)))
    assert float(family.entropy(theta)) == pytest.approx(
        normal, abs=1e-5 if dtype == "float32" else 1e-7
    )


def test_a_heavy_tail_is_a_gamma_law():
    # Of few successes and a large mean: the count over the mean is Gamma(r) / r.
    for r in (0.3, 2.5, 40.0):
        family = F.NegativeBinomial(r)
        theta = family.natural_from_params(1e-12)
        gamma = float(F.Gamma().entropy(F.Gamma().Params(r, 1e-12)))
        assert float(family.entropy(theta)) == pytest.approx(
            gamma, rel=1e-3 if r < 1 else 1e-9, abs=0
        )


@pytest.mark.slow
def test_multinomial_near_certain():
    def entropy(n, p):
        total = mpmath.mpf(0)
        for a in range(n + 1):
            for b in range(n + 1 - a):
                counts = (n - a - b, a, b)
                f = mpmath.factorial(n)
                for x, share in zip(counts, p, strict=True):
                    f *= share**x / mpmath.factorial(x)
                total -= f * mpmath.log(f) if f > 0 else 0
        return total

    family = F.Multinomial(12, 3)
    for logits in ((0.0, -23.0, -24.0), (0.0, -14.0, -60.0), (-9.5, 1.0, -16.0), (0, 1, 0.5)):
        with mpmath.workdps(40):
            raw = [mpmath.exp(mpmath.mpf(v)) for v in logits]
            true = float(entropy(12, [v / sum(raw) for v in raw]))
        for dtype, bound in BOUNDS.items():
            theta = family.natural_from_params(logits=np.asarray(logits, dtype))
            assert float(family.entropy(theta)) == pytest.approx(true, rel=bound, abs=0)


@pytest.mark.parametrize(
    ("family", "thetas"),
    [
        (F.Poisson(), (-3.0, 2.0, 5.0, 9.0)),
        (F.Binomial(7), (-6.0, 0.0, 2.0)),
        (F.Binomial(900), (-6.0, 0.0, 2.0)),
        (F.NegativeBinomial(0.01), (-5.0, -0.3, -0.02)),
        (F.NegativeBinomial(90.0), (-5.0, -0.3, -0.02)),
    ],
)
def test_derivatives(family, thetas):
    # The nodes of the sums stay, whatever the parameter does; differences of values do not know.
    entropy = lambda v: family.entropy(family.Point(v))
    both = lambda v: jnp.stack([entropy(v), jax.grad(entropy)(v)])
    step = 1e-3 * np.minimum(1.0, np.abs(thetas) + (np.array(thetas) == 0))
    around = np.asarray(thetas)[:, None] + step[:, None] * np.arange(-2, 3)
    values = np.asarray(jax.jit(jax.vmap(jax.vmap(both)))(jnp.asarray(around)))
    expected = values[:, [0, 1, 3, 4]].transpose(0, 2, 1) @ [1, -8, 8, -1] / 12 / step[:, None]
    found = jax.jit(jax.vmap(jax.jacfwd(both)))(jnp.asarray(thetas))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


def test_log_density_near_a_certain_count():
    coin, three = F.Binomial(5), F.Multinomial(5, 3)
    rest = 2.0**-40
    log_p = float(coin.log_density(coin.natural_from_params(rest), 0))
    assert log_p == pytest.approx(5 * math.log1p(-rest), rel=1e-15, abs=0)
    theta = three.natural_from_params(logits=np.array([0.0, -28.0, -29.0]))
    log_p = float(three.log_density(theta, np.array([5, 0, 0])))
    assert log_p == pytest.approx(-5 * math.log1p(math.exp(-28) + math.exp(-29)), rel=1e-14, abs=0)
