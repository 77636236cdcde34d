"""CDF and quantile of each family on the line: inverses, ends, density, and sums over counts."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.families import FAMILIES
from tests.laws.programs import EACH, natural, nodes
from tests.laws.test_density import mass

# Neither on the line, or (an angle) without a first point, or of several variables.
WITHOUT = {
    *("VonMises", "VonMisesFisher", "Dirichlet", "Multinomial", "Product"),
    *("DiagonalNormal", "IsotropicNormal", "MultivariateNormal"),
    *("Wishart", "InverseWishart", "NormalInverseGamma", "NormalInverseWishart"),
}
LEVELS = np.array([1e-12, 1e-6, 0.01, 0.2, 0.5, 0.7, 0.99, 1 - 1e-6, 1 - 1e-9])


def discrete(name: str) -> bool:
    return FAMILIES[name].support in ("finite", "counts")


COUNTS = [each for each in EACH if each.values[0] not in WITHOUT and discrete(each.values[0])]


@pytest.fixture(scope="session", params=[each for each in EACH if each.values[0] not in WITHOUT])
def line(request) -> str:
    """Name of a family that has both."""
    return request.param


@functools.cache
def results(name: str) -> dict[str, np.ndarray]:
    """Quantiles of the levels, their CDF and density, and their derivative in the level."""
    family = FAMILIES[name].family

    def everything(theta, level):
        quantile = functools.partial(family.quantile, theta)
        x, slope = jax.jvp(quantile, (level,), (jnp.ones_like(level),))
        data = x.astype(int) if discrete(name) else x
        return {
            "x": x,
            "slope": slope,
            "cdf": family.cdf(theta, data),
            "before": family.cdf(theta, data - 1 if discrete(name) else x),
            "log_density": family.log_density(theta, data),
            "ends": quantile(jnp.array([0.0, 1.0])),
            "outside": quantile(jnp.array([-0.1, 1.1, jnp.nan])),
        }

    theta = jax.tree.map(lambda leaf: leaf[:, None], natural(name, 0))
    return jax.tree.map(np.asarray, jax.jit(everything)(theta, LEVELS))


@pytest.mark.parametrize("name", [each for each in EACH if each.values[0] in WITHOUT])
def test_families_without(name):
    family, theta = FAMILIES[name].family, natural(name, 0)
    event = jax.tree.map(lambda leaf: leaf[0, 0], nodes(name)[0])
    with pytest.raises(NotImplementedError, match=r"no CDF.*Integrate"):
        family.cdf(theta, event)
    with pytest.raises(NotImplementedError, match=r"no quantile.*Sort samples"):
        family.quantile(theta, 0.5)


def test_quantile_inverts_the_cdf(line):
    found = results(line)
    assert (np.diff(found["x"], axis=1) >= 0).all()
    if discrete(line):
        # The least count that reaches the level, up to the last digits of the CDF.
        assert (found["cdf"] >= LEVELS * (1 - 1e-13)).all()
        assert (found["before"] < LEVELS).all()
        return
    # A quantile is a float: its rounding moves the smaller tail by `x density eps`.
    tail = np.minimum(LEVELS, 1 - LEVELS)
    moved = np.abs(found["x"]) * np.exp(found["log_density"])
    bound = 1e-12 * tail + 1e-15 + 1e-15 * moved
    assert (np.abs(found["cdf"] - LEVELS) <= bound).all()


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_the_sums(name):
    reached = np.cumsum(mass(name), axis=1)
    expected = np.argmax(reached[:, None] >= LEVELS[:, None] * (1 - 1e-13), axis=2)
    np.testing.assert_array_equal(results(name)["x"], expected)


@pytest.mark.parametrize("name", COUNTS)
def test_quantile_of_the_cdf_of_a_count_is_that_count(name):
    family, theta = FAMILIES[name].family, jax.tree.map(lambda v: v[:, None], natural(name, 0))
    count = np.arange(FAMILIES[name].size or 40)
    reached = np.asarray(family.cdf(theta, count))
    distinct = (np.diff(reached, axis=1, prepend=0) > 4e-16) & (reached < 1)
    for quantile in (family.quantile, jax.jit(family.quantile)):
        back = np.asarray(quantile(theta, reached))
        assert (back == count)[distinct].all()


def test_ends_and_levels_outside(line):
    family, found = FAMILIES[line].family, results(line)
    low = family.support.low if family.support else 0
    high = family.support.high if family.support else FAMILIES[line].size - 1
    np.testing.assert_array_equal(found["ends"], np.tile([low, high], (3, 1)))
    assert np.isnan(found["outside"]).all()


def test_slopes_are_those_of_the_density(line):
    found = results(line)
    if discrete(line):
        assert (found["slope"] == 0).all()
        return
    np.testing.assert_allclose(found["slope"] * np.exp(found["log_density"]), 1, rtol=1e-9)
    family, theta = FAMILIES[line].family, natural(line, 0)
    middle = slice(1, 7)  # where the CDF has digits
    cdf = lambda t, x: jax.jvp(lambda x: family.cdf(t, x), (x,), (jnp.ones_like(x),))[1]
    slope = jax.jit(jax.vmap(cdf))(theta, found["x"][:, middle])
    np.testing.assert_allclose(slope, np.exp(found["log_density"])[:, middle], rtol=1e-8)


def test_float32_stays(line):
    family = FAMILIES[line].family
    theta = jax.tree.map(lambda leaf: leaf[0].astype("float32"), natural(line, 0))
    shape = jax.eval_shape(family.quantile, theta, np.float32(0.3))
    assert shape.dtype == np.float32
    assert math.prod(shape.shape) == 1
