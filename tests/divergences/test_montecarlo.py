"""Divergences from samples: against closed forms and quadrature, and how small their errors are."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential, montecarlo, quadrature

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

SIZE = 20_000
NORMAL, GAMMA = families.Normal(), families.Gamma()
PAIRS = {
    "Normal": (NORMAL, NORMAL.Params(0.0, 1.0), NORMAL.Params(0.4, 0.9)),
    "Gamma": (GAMMA, GAMMA.Params(3.0, 1.0), GAMMA.Params(4.0, 2.0)),
}


def generator(t):
    return t * jnp.log(t)  # not of least value 1 at 1: the control variate makes it so


@functools.cache
def samples(name: str):
    """Log-densities, and samples of each law."""
    family, p, q = PAIRS[name]
    thetas = family.natural_from_params(*p), family.natural_from_params(*q)
    keys = jax.random.split(jax.random.key(7))
    draws = [family.sample(k, theta, (SIZE,)) for k, theta in zip(keys, thetas, strict=True)]
    return [functools.partial(family.log_density, theta) for theta in thetas], *draws


@functools.cache
def estimates(name: str):
    """Estimates by name of divergence, each with the exact value."""
    family, p, q = PAIRS[name]
    laws, x, y = samples(name)

    @jax.jit
    def found(x, y):
        kl = exponential.kl(family, p, q)
        return {
            "kl": (montecarlo.kl(*laws, x), kl),
            "jensen_shannon": (
                montecarlo.jensen_shannon(*laws, x, y),
                quadrature.jensen_shannon(family, p, q),
            ),
            "total_variation": (
                montecarlo.total_variation(*laws, x, y),
                quadrature.total_variation(family, p, q),
            ),
            "f_divergence": (montecarlo.f_divergence(*laws, generator, x, y), kl),
        }

    return found(x, y)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("divergence", ["kl", "jensen_shannon", "total_variation", "f_divergence"])
def test_against_closed_forms_and_quadrature(name, divergence):
    estimate, exact = estimates(name)[divergence]
    assert 0 < estimate.standard_error < 0.03 * exact
    assert abs(estimate.value - exact) < 5 * estimate.standard_error


def test_control_variate_reduces_the_variance():
    (log_p, log_q), x, _ = samples("Normal")
    plain = np.asarray(log_p(x) - log_q(x))
    found, _ = estimates("Normal")["kl"]
    assert found.standard_error < 0.5 * plain.std() / np.sqrt(SIZE)
    # So does the average over both laws, which bounds its terms.
    both = estimates("Normal")["f_divergence"][0]
    assert both.standard_error < 0.5 * plain.std() / np.sqrt(SIZE)


# The ratio q/p of heavy laws has no variance, that of far ones is 0 in all samples.
@pytest.mark.parametrize(("dtype", "size"), [("float64", 200), ("float32", 1000)])
def test_intervals_cover(dtype, size):
    locs, scales = np.array([0, 0, 12, 0.2, 0.4, 0, 1]), np.array([2, 1.6, 1, 1, 0.9, 1.2, 2])
    q = NORMAL.natural_from_params(locs.astype(dtype), scales.astype(dtype))
    p = NORMAL.natural_from_params(*np.array([0.0, 1.0], dtype))

    @jax.jit
    @jax.vmap
    def repeats(key):
        x = NORMAL.sample(key, p, (size,))
        return montecarlo.kl(
            lambda x: NORMAL.log_density(p, x[:, None]),
            lambda x: NORMAL.log_density(q, x[:, None]),
            x,
        )

    value, error = map(np.asarray, repeats(jax.random.split(jax.random.key(3), 500)))
    exact = np.log(scales) + (1 + locs**2) / (2 * scales**2) - 0.5
    covered = np.mean(np.abs(value - exact) < 1.96 * error, axis=0)
    assert ((covered > 0.9) & (covered < 0.98)).all(), covered


def test_impossible_samples_have_infinite_errors():
    nowhere = lambda x: jnp.where(x > 0, 0.0, -jnp.inf)
    both = montecarlo.kl(jnp.zeros_like, nowhere, jnp.arange(4.0))
    assert both == (np.inf, np.inf)
    both = montecarlo.f_divergence(jnp.zeros_like, nowhere, generator, jnp.zeros(4), jnp.ones(4))
    assert both == (np.inf, np.inf)


def test_near_laws_have_small_errors():
    # log p - log q has a standard deviation d, the estimate one of order d^2.
    p, q = NORMAL.natural_from_params(0.0, 1.0), NORMAL.natural_from_params(1e-4, 1.0)
    laws = [functools.partial(NORMAL.log_density, theta) for theta in (p, q)]
    x = NORMAL.sample(jax.random.key(1), p, (SIZE,))
    y = NORMAL.sample(jax.random.key(2), q, (SIZE,))
    found = montecarlo.kl(*laws, x)
    assert abs(found.value / 5e-9 - 1) < 0.05
    assert found.standard_error < 0.02 * 5e-9
    both = montecarlo.jensen_shannon(*laws, x, y)
    assert abs(both.value - 1e-8 / 8) < 5 * both.standard_error < 5 * 0.02 * 1e-8 / 8
    assert montecarlo.kl(laws[0], laws[0], x) == (0, 0)


@functools.cache
def mixtures():
    """Log-densities and samples of two mixtures of two normal laws."""

    def law(seed, weights, locs, scales):
        theta = NORMAL.natural_from_params(np.array(locs), np.array(scales))

        def log_density(x):
            parts = NORMAL.log_density(theta, x[..., None]) + jnp.log(jnp.array([weights]))
            return jax.scipy.special.logsumexp(parts, axis=-1)

        pick, draw = jax.random.split(jax.random.key(seed))
        choice = jax.random.choice(pick, 2, (SIZE,), p=jnp.array(weights))
        samples = NORMAL.sample(draw, theta, (SIZE,))
        return log_density, jnp.take_along_axis(samples, choice[:, None], axis=1)[:, 0]

    return law(0, (0.3, 0.7), (-2.0, 1.0), (0.5, 1.0)), law(1, (0.6, 0.4), (-1.0, 2.0), (1.0, 0.8))


def test_mixtures_against_quadrature():
    (log_p, x), (log_q, y) = mixtures()
    line = np.arange(-14, 14, 0.002)
    p, q = (np.exp(np.asarray(law(jnp.asarray(line)))) for law in (log_p, log_q))
    middle = (p + q) / 2
    integral = lambda v: 0.002 * np.sum(v)
    expected = {
        "kl": (montecarlo.kl(log_p, log_q, x), integral(p * np.log(p / q))),
        "jensen_shannon": (
            montecarlo.jensen_shannon(log_p, log_q, x, y),
            integral(p * np.log(p / middle) + q * np.log(q / middle)) / 2,
        ),
        "total_variation": (
            montecarlo.total_variation(log_p, log_q, x, y),
            integral(np.abs(p - q)) / 2,
        ),
    }
    for name, (estimate, value) in expected.items():
        assert abs(estimate.value - value) < 5 * estimate.standard_error, name
        assert estimate.standard_error < 0.03 * value, name


def test_gradient_in_the_second_law():
    # d KL(p || q) / d loc_q = (loc_q - loc_p) / scale_q^2, at fixed samples of p.
    (log_p, _), x, _ = samples("Normal")
    loss = lambda loc: montecarlo.kl(
        log_p, lambda v: NORMAL.log_density(NORMAL.natural_from_params(loc, 0.9), v), x
    )
    slope = jax.jit(jax.grad(lambda loc: loss(loc).value))(0.4)
    assert abs(slope - 0.4 / 0.9**2) < 0.02


def test_batches_trees_and_unequal_numbers():
    (law, _), x, y = samples("Normal")
    both = lambda pair: law(pair[0]) + law(pair[1])
    few = (x[:50], y[:50]), (x[:20], y[:20])
    assert montecarlo.jensen_shannon(both, both, *few) == (0, 0)
    locs = jnp.arange(3.0)
    batch = lambda v: NORMAL.log_density(NORMAL.natural_from_params(locs, jnp.ones(3)), v[:, None])
    single = lambda v: NORMAL.log_density(NORMAL.natural_from_params(0.0, 1.0), v[:, None])
    found = montecarlo.kl(single, batch, x)
    assert found.value.shape == found.standard_error.shape == (3,)
    assert found.value[0] == 0


LAW, X = functools.partial(NORMAL.log_density, NORMAL.natural_from_params(0.0, 1.0)), np.zeros(4)
BAD = [
    (lambda: montecarlo.kl(X, LAW, X), TypeError, "log_p must be a function; got ndarray.*lambda"),
    (lambda: montecarlo.kl(LAW, LAW, X[:1]), ValueError, r"at least 2 draws; got.*\(1,\)"),
    (lambda: montecarlo.kl(LAW, LAW, (X, X[:2])), ValueError, "one leading axis"),
    (lambda: montecarlo.kl(LAW, LAW, 0.5), ValueError, "one leading axis"),
    (
        lambda: montecarlo.total_variation(LAW, lambda x: LAW(x).sum(), X, X),
        ValueError,
        r"log_q must return one log-density.*got shape \(\).*jax.vmap",
    ),
    (
        lambda: montecarlo.f_divergence(LAW, LAW, None, X, X),
        TypeError,
        "generator must be a function; got NoneType",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
