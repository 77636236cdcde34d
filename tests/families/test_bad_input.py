"""Bad input of every family: an error that says what was required, what came and what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.divergences import simplex
from igeojax.em import Mixture
from igeojax.families import (
    FAMILIES,
    Bernoulli,
    Categorical,
    DiagonalNormal,
    Exponential,
    Gamma,
    InverseGaussian,
    IsotropicNormal,
    Laplace,
    MultivariateNormal,
    Normal,
    NormalKnownScale,
    Poisson,
)
from tests.laws.examples import EXAMPLES
from tests.laws.programs import natural

NAMES = tuple(FAMILIES)
NAN = float("nan")


def raises(call, error, message) -> None:
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


# Source parameters: required; got; remedy.
PARAMETERS = [
    (lambda: Bernoulli().natural_from_params(), TypeError, "exactly one of.*pass one"),
    (lambda: Bernoulli().natural_from_params(0.5, logits=0.0), TypeError, "exactly one of.*pass"),
    (lambda: Bernoulli().natural_from_params(1.2), ValueError, r"in \[0, 1\]; got 1\.2.*logits="),
    (lambda: Bernoulli().natural_from_params(NAN), ValueError, r"in \[0, 1\]; got nan.*logits="),
    (lambda: Bernoulli().natural_from_params("x"), TypeError, "number.*got str.*asarray"),
    (lambda: Bernoulli().natural_from_params(True), TypeError, "number.*got bool.*asarray"),
    (lambda: Bernoulli().natural_from_params(logits=NAN), ValueError, "numbers; got nan.*upstream"),
    (
        lambda: Categorical(3).natural_from_params(logits=[0.0, NAN, 1.0]),
        ValueError,
        r"logits must be finite, or -inf.*got nan at index \(1,\).*upstream",
    ),
    (
        lambda: Categorical(3).natural_from_params(logits=[0.0, np.inf, 1.0]),
        ValueError,
        r"logits must be finite, or -inf.*got inf at index \(1,\).*upstream",
    ),
    (
        lambda: Laplace(0.0).natural_from_params(np.float32(2e-39)),
        ValueError,
        "within the range of float32; got.*unit",
    ),
    (
        lambda: InverseGaussian().natural_from_params(np.float32(1e30), np.float32(1.0)),
        ValueError,
        "within the range of float32; got.*unit",
    ),
    (
        lambda: IsotropicNormal(2).natural_from_params(np.zeros(2, "f"), np.float32(1e-30)),
        ValueError,
        "within the range of float32; got.*unit",
    ),
    (
        lambda: MultivariateNormal(2).natural_from_params(
            np.zeros(2), scale_tril=np.array([[1.0, 0.0], [NAN, 1.0]])
        ),
        ValueError,
        r"scale_tril must be finite; got nan at index \(1, 0\)",
    ),
    (
        lambda: MultivariateNormal(2).natural_from_params(
            np.zeros(2), scale_tril=np.array([[1.0, 0.5], [0.0, 1.0]])
        ),
        ValueError,
        r"above the diagonal must be zero; got 0\.5 at index \(0, 1\).*Transpose",
    ),
    (lambda: Categorical(3).natural_from_params(), TypeError, "exactly one of.*pass one"),
    (
        lambda: Categorical(3).natural_from_params([0.5, 0.5]),
        ValueError,
        r"trailing axes \(3,\); got shape \(2,\).*axes",
    ),
    (
        lambda: Categorical(3).natural_from_params([0.5, 0.6, 0.2]),
        ValueError,
        r"sum to one.*got a sum of 1\.3.*softmax",
    ),
    (
        lambda: Categorical(3).natural_from_params([1.2, -0.4, 0.2]),
        ValueError,
        r"non-negative; got -0\.4 at index \(1,\).*\[0, 1\]",
    ),
    (
        lambda: Categorical(2).natural_from_params([1.0, 0.0]),
        ValueError,
        r"last class must be positive.*got 0\.0.*Reorder",
    ),
    (
        lambda: Categorical(3).natural_from_params(logits=[0.0, 1.0]),
        ValueError,
        r"logits must have trailing axes \(3,\); got shape \(2,\)",
    ),
    (lambda: Categorical(1), ValueError, "num_classes must be at least 2; got 1.*larger"),
    (
        lambda: Categorical(2.0),
        TypeError,
        "num_classes must be a Python integer; got float.*traced",
    ),
    (lambda: Poisson().natural_from_params(-1.0), ValueError, r"non-negative; got -1\.0.*sign"),
    (lambda: Poisson().natural_from_params(np.inf), ValueError, "rate must be.*got inf"),
    (lambda: Exponential().natural_from_params(0.0), ValueError, r"positive.*got 0\.0.*inverse"),
    (
        lambda: Exponential().natural_from_params([1.0, -2.0]),
        ValueError,
        r"got -2\.0 at index \(1,\)",
    ),
    (lambda: Gamma().natural_from_params(-1.0, 1.0), ValueError, r"shape must be positive.*got -1"),
    (lambda: Gamma().natural_from_params(1.0, 0.0), ValueError, r"rate must be positive.*got 0\.0"),
    (lambda: Gamma().natural_from_params(1.0), TypeError, "rate"),
    (lambda: Normal().natural_from_params(0.0, -1.0), ValueError, r"scale.*got -1\.0.*deviation"),
    (lambda: Normal().natural_from_params(np.inf, 1.0), ValueError, "loc must be finite; got inf"),
    (lambda: Normal().natural_from_params(0.0, std=1.0), TypeError, "unexpected keyword"),
    (
        lambda: Normal().natural_from_params(np.ones(2), 1j),
        TypeError,
        "number.*got complex.*asarray",
    ),
    (lambda: NormalKnownScale(-1.0), ValueError, r"scale must be positive.*got -1\.0.*deviation"),
    (lambda: NormalKnownScale(jnp.ones(())), TypeError, "Python number; got.*use Normal"),
    (
        lambda: NormalKnownScale().natural_from_params(NAN),
        ValueError,
        "loc must be finite; got nan",
    ),
    (
        lambda: DiagonalNormal(3).natural_from_params(np.zeros(2), 1.0),
        ValueError,
        r"loc must have trailing axes \(3,\); got shape \(2,\)",
    ),
    (
        lambda: DiagonalNormal(2).natural_from_params(np.zeros(2), np.ones(3)),
        ValueError,
        r"scale must have trailing axes \(2,\); got shape \(3,\)",
    ),
    (lambda: DiagonalNormal(0), ValueError, "dim must be at least 1; got 0"),
    (lambda: MultivariateNormal(True), TypeError, "dim must be a Python integer; got bool"),
]


@pytest.mark.parametrize(("call", "error", "message"), PARAMETERS)
def test_source_parameters(call, error, message):
    raises(call, error, message)


@pytest.mark.parametrize("name", NAMES)
def test_points(name):
    family, theta = FAMILIES[name].family, natural(name, 0)
    needs = f"needs a {name}.Point; got tuple.*natural_from_params"
    raises(lambda: family.mean_from_natural(tuple(theta)), TypeError, needs)
    other = natural("Gamma" if name != "Gamma" else "Normal", 0)
    raises(lambda: family.log_density(other, 1), TypeError, f"needs a {name}.Point; got \\w+Point")
    raises(lambda: family.sample(None, theta[0]), TypeError, "needs a.*got ")
    x, leaves = rows(EXAMPLES[name].valid, 0), jax.tree.leaves(theta)
    integers = family.from_leaves([np.ones(np.shape(leaf), int) for leaf in leaves])
    raises(lambda: family.log_density(integers, x), TypeError, "floating; got int64. Cast")
    scalars = family.from_leaves([jnp.ones(()) for _ in leaves])
    if family.point_shape[-1]:
        raises(lambda: family.batch_shape(scalars), ValueError, r"trailing axes.*got shape \(\)")
    if len(leaves) > 1:
        uneven = family.from_leaves([leaves[0][:2], *leaves[1:]])
        raises(
            lambda: family.log_density(uneven, x), ValueError, "share their batch.*got.*Broadcast"
        )


def rows(data, index):
    """Some rows of an observation's arrays."""
    return jax.tree.map(lambda leaf: leaf[index], data)


@pytest.mark.parametrize("name", NAMES)
def test_data_of_a_fit(name):
    family, example = FAMILIES[name].family, EXAMPLES[name]
    x = example.valid
    assert family.in_natural_domain(family.fit(x))
    for bad in range(len(jax.tree.leaves(example.outside)[0])):
        mixed = jax.tree.map(
            lambda good, out, row=bad: np.concatenate([good[:1], out[row : row + 1], good[1:]]),
            x,
            example.outside,
        )
        raises(lambda m=mixed: family.fit(m), ValueError, r"lie in its support; got .* at index.*")
    raises(lambda: family.fit(rows(x, slice(0, 0))), ValueError, r"along axis 0; got shape.*N >= 1")
    raises(lambda: family.fit(rows(x, 0)), ValueError, "got shape")
    raises(lambda: family.fit("abc"), TypeError, "")


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_fit(name):
    family, x = FAMILIES[name].family, EXAMPLES[name].valid
    ones = np.ones(len(jax.tree.leaves(x)[0]))
    raises(
        lambda: family.fit(x, ones[:-1]),
        ValueError,
        r"shape \(\d,\), one for each.*got \(\d,\).*None",
    )
    raises(lambda: family.fit(x, ones[:, None]), ValueError, r"shape \(\d,\).*got \(\d, 1\)")
    raises(
        lambda: family.fit(x, -ones), ValueError, r"non-negative; got -1\.0 at index \(0,\).*Drop"
    )
    raises(lambda: family.fit(x, ones * NAN), ValueError, "finite and non-negative; got nan")
    raises(
        lambda: family.fit(x, 0 * ones), ValueError, "sum of weights must be positive.*got 0.*one"
    )
    raises(lambda: family.fit(x, weight=ones), TypeError, "unexpected keyword")


@pytest.mark.parametrize("name", NAMES)
def test_constant_data(name):
    family, example = FAMILIES[name].family, EXAMPLES[name]
    if example.constant is None:
        # A likelihood with a maximum, at the end of the domain for some.
        x = jax.tree.map(lambda leaf: np.stack([leaf[1]] * 4), example.valid)
        assert family.in_natural_domain(family.fit(x))
        return
    x = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * 4), example.constant)
    raises(lambda: family.fit(x), ValueError, "natural domain; got.*")


def test_the_class_of_reference_alone():
    family = Categorical(4)
    theta = family.fit(np.full(4, 3))
    np.testing.assert_array_equal(family.params_from_natural(theta).probs, [0, 0, 0, 1])


@pytest.mark.parametrize("name", NAMES)
def test_data_of_a_density(name):
    family, theta = FAMILIES[name].family, natural(name, 0)
    if name == "Product":
        raises(lambda: family.log_density(theta, 1.0), TypeError, "tuple of 2 arrays.*Split")
        return
    if family.event_shape:
        raises(lambda: family.log_density(theta, 1.0), ValueError, r"trailing axes.*got shape \(\)")
    if name == "Categorical":
        raises(
            lambda: family.log_density(theta, 0.0),
            TypeError,
            "integer labels.*got dtype float.*Cast",
        )
    else:
        raises(lambda: family.log_density(theta, 1j), TypeError, "real|number")


def test_scalar_data_have_nothing_to_average():
    raises(lambda: Normal().fit(1.0), ValueError, r"axis 0; got shape \(\).*\(N,\)")


def test_nothing_is_narrowed_in_silence():
    """Where x64 is off JAX makes float32 of float64 without a word."""
    wide = np.array([0.25, 0.75])
    calls = {
        "p": lambda: simplex.kl(wide, np.float32(wide)),
        "data of Normal": lambda: Normal().fit(wide),
        "loc": lambda: Normal().natural_from_params(wide, 1.0),
        "a point of Poisson": lambda: Poisson().log_density(Poisson.Point(wide), 1),
        "data has": lambda: Mixture(Normal(), 1).fit(wide, key=jax.random.key(0)),
    }
    with jax.enable_x64(False):
        for name, call in calls.items():
            with pytest.warns(UserWarning, match=f"{name}.*float64.*float32.*enable_x64 is off"):
                call()
        # What loses nothing passes: numbers, 32 bits, integers that fit.
        Normal().fit(wide.astype(np.float32))
        Normal().natural_from_params(0.25, np.float64(1.0))
        Poisson().fit(np.array([1, 2, 3]))
        raises(lambda: Poisson().fit(np.array([1, 2**40])), ValueError, f"int32; got {2**40}")
        raises(lambda: simplex.kl(1j * wide, wide), TypeError, "real numbers; got dtype complex64")
        # Compiled too, where what JAX makes of the data cannot be read.
        theta = Poisson().natural_from_params(2.0)
        value = jax.jit(lambda theta: Poisson().log_density(theta, np.array([1, 2])))(theta)
        np.testing.assert_allclose(value, [np.log(2) - 2] * 2, rtol=1e-6)
