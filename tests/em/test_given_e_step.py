"""A fit with an E-step that is given: the same steps, by the caller's own function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families


def e_step(z, log_weights, loc, inverse_scale, weights):
    """What the sums are, by their definition: all responsibilities at once."""
    full = inverse_scale.ndim == 3
    difference = z[:, None] - loc[None]
    if full:
        y = jnp.einsum("kij,nkj->nki", inverse_scale, difference)
        volume = jnp.log(jnp.diagonal(inverse_scale, axis1=1, axis2=2)).sum(1)
    else:
        y = difference * inverse_scale[None]
        volume = jnp.log(inverse_scale).sum(1)
    constants = log_weights + volume - 0.5 * z.shape[1] * math.log(2 * math.pi)
    joint = constants[None] - 0.5 * (y**2).sum(2)
    values = jax.scipy.special.logsumexp(joint, axis=1)
    r = weights[:, None] * jnp.exp(joint - values[:, None])
    squares = jnp.einsum("nk,nki,nkj->kij" if full else "nk,nki,nki->ki", r, y, y)
    return (weights * values).sum(), r.sum(0), jnp.einsum("nk,nki->ki", r, y), squares


def draw(dtype=float):
    generator = np.random.default_rng(0)
    means = np.array([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0], [-3.0, 2.0, 4.0]])
    turned = generator.normal(size=(240, 3)) @ generator.normal(size=(3, 3))
    return (means[np.arange(240) % 3] + 0.5 * turned).astype(dtype)


FAMILIES = (families.MultivariateNormal(3), families.DiagonalNormal(3))
WEIGHTS = np.linspace(0, 2, 240)


def recording(calls):
    """The function, which notes the rows that it is traced for."""

    def noted(z, *parameters):
        calls.append(z.shape)
        return e_step(z, *parameters)

    return noted


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_same_fit(family):
    mixture, x, calls = em.Mixture(family, 3), draw(), []
    options = {"key": jax.random.key(0), "tolerance": 1e-8, "weights": WEIGHTS}
    found = mixture.fit(x, e_step=recording(calls), **options)
    expected = mixture.fit(x, **options)
    assert set(calls) == {(240, 3)}
    assert int(found.num_iterations) == int(expected.num_iterations)
    assert float(found.log_likelihood) == pytest.approx(
        float(expected.log_likelihood), rel=1e-11, abs=0
    )
    pairs = zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-8)


def test_tied_components_restarts_noise_and_acceleration():
    mixture, x = em.Mixture(FAMILIES[1], 3, tied=True), draw()
    options = {
        "key": jax.random.key(1),
        "num_restarts": 2,
        "covariance_regularization": 1e-3,
        "acceleration": "squarem",
    }
    found, expected = mixture.fit(x, e_step=e_step, **options), mixture.fit(x, **options)
    assert float(found.log_likelihood) == pytest.approx(
        float(expected.log_likelihood), rel=1e-10, abs=0
    )


def test_chunks():
    mixture, x, calls = em.Mixture(FAMILIES[1], 3), draw(), []
    pieces = em.Chunks([x[:80], x[80:160], x[160:]])
    found = mixture.fit(pieces, key=jax.random.key(1), e_step=recording(calls))
    assert set(calls) == {(80, 3)}
    expected = mixture.fit(pieces, key=jax.random.key(1))
    assert float(found.log_likelihood) == pytest.approx(
        float(expected.log_likelihood), rel=1e-10, abs=0
    )


def test_float32_far_from_the_origin():
    """The frames of a fit are those of the E-step: offsets cost no digits."""
    mixture, calls = em.Mixture(FAMILIES[1], 3), []
    x = draw(np.float32) + np.float32(1000)
    found = mixture.fit(x, key=jax.random.key(0), e_step=recording(calls))
    expected = mixture.fit(x, key=jax.random.key(0))
    assert found.log_likelihood.dtype == jnp.float32
    assert float(found.log_likelihood) == pytest.approx(
        float(expected.log_likelihood), rel=1e-5, abs=0
    )


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"e_step": 3}, TypeError, "e_step must be a function; got int"),
        ({"e_step": e_step, "assignment": "hard"}, ValueError, "where assignment is"),
        (
            {"e_step": lambda *given: e_step(*given)[:3]},
            ValueError,
            r"e_step must return arrays of shapes log_likelihood \(\), counts \(3,\)",
        ),
        (
            {"e_step": lambda *given: jax.tree.map(lambda a: a.astype("float32"), e_step(*given))},
            TypeError,
            "e_step must return float64, as it is given; got float32",
        ),
    ],
    ids=["no function", "hard", "shapes", "dtype"],
)
def test_bad_input(changes, exception, message):
    with pytest.raises(exception, match=message):
        em.Mixture(FAMILIES[1], 3).fit(draw(), key=jax.random.key(0), **changes)


@pytest.mark.parametrize(
    ("mixture", "what"),
    [
        (em.Mixture(families.Normal(), 2), "got Normal"),
        (em.Mixture(families.IsotropicNormal(3), 2), "got IsotropicNormal"),
        (em.Mixture(FAMILIES[0], 2, missing=True), "got missing entries"),
    ],
    ids=["normal", "isotropic", "missing"],
)
def test_families_without_it(mixture, what):
    with pytest.raises(ValueError, match=what):
        mixture.fit(draw()[:, 0], key=jax.random.key(0), e_step=e_step)
