"""Classification EM against plain loops of numpy, and its limit: k-means on the sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from igeojax import em, families

STEPS = 5
DRAWS = np.random.default_rng(0)
GROUPS = DRAWS.integers(0, 3, 90)
WEIGHTS = DRAWS.uniform(0.5, 2.0, 90)
START = np.array([0.5, 0.3, 0.2])


def _loop(log_density, step, params, x, weights):
    """Mean classification log-likelihood before each step and after the last."""
    shares, history = START, []
    for _ in range(STEPS + 1):
        joint = np.log(shares) + log_density(params, x)
        history.append(np.average(joint.max(axis=1), weights=weights))
        mass = np.eye(3)[joint.argmax(axis=1)] * weights[:, None]
        shares = mass.sum(axis=0) / mass.sum()
        params = step(params, x, mass / mass.sum(axis=0))
    return np.array(history)


def _moments(x, mass):
    loc = mass.T @ x
    return loc, np.sqrt(mass.T @ x**2 - loc**2)


def _missing_moments(params, x, mass):
    """What is missing has the moments of the component that it is given to."""
    loc, scale = (np.broadcast_to(part, (len(x), 3)) for part in params)
    gone = np.isnan(x)[:, None]
    first = np.where(gone, loc, x[:, None])
    second = np.where(gone, loc**2 + scale**2, x[:, None] ** 2)
    loc = (mass * first).sum(axis=0)
    return loc, np.sqrt((mass * second).sum(axis=0) - loc**2)


COUNTS = DRAWS.poisson(np.array([2.0, 6.0, 15.0])[GROUPS]).astype(float)
VALUES = np.array([-2.0, 0.0, 3.0])[GROUPS] + DRAWS.normal(size=90)
HOLES = np.where(DRAWS.random(90) < 0.2, np.nan, VALUES)
NORMAL_START = (np.array([-1.0, 0.5, 2.0]), np.array([1.0, 1.5, 1.0]))
NORMAL_DENSITY = lambda p, x: stats.norm.logpdf(x[:, None], *p)
CASES = {
    "products": (
        families.Normal(),
        VALUES,
        NORMAL_START,
        NORMAL_DENSITY,
        lambda _, *a: _moments(*a),
    ),
    "missing": (
        *(families.Normal(), HOLES, NORMAL_START),
        lambda p, x: np.where(np.isnan(x)[:, None], 0.0, NORMAL_DENSITY(p, np.nan_to_num(x))),
        _missing_moments,
    ),
    "densities": (
        *(families.Poisson(), COUNTS, (np.array([1.0, 5.0, 9.0]),)),
        lambda p, x: stats.poisson.logpmf(x[:, None], *p),
        lambda _, x, mass: (mass.T @ x,),
    ),
}


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_objective_is_that_of_a_plain_loop(name, chunks):
    family, x, start, log_density, step = CASES[name]
    expected = _loop(log_density, step, start, x, WEIGHTS)
    assert expected[3] > expected[1] + 1e-3
    mixture = em.Mixture(family, 3, missing=name == "missing")
    data = em.Chunks([(x[:50], WEIGHTS[:50]), (x[50:], WEIGHTS[50:])], weighted=True)
    options = {"weights": None if chunks else WEIGHTS, "chunk_size": 32}
    result = mixture.fit(
        data if chunks else x,
        initialization=mixture.point(START, family.natural_from_params(*start)),
        assignment="hard",
        tolerance=0.0,
        max_iterations=STEPS,
        **options,
    )
    np.testing.assert_allclose(result.log_likelihoods, expected, rtol=1e-12)
    assert (np.diff(result.log_likelihoods) >= -1e-14).all()
    np.testing.assert_allclose(result.log_likelihood, WEIGHTS.sum() * expected[-1], rtol=1e-12)


def test_icl_of_hard_assignments_is_the_bic_of_the_fit():
    # Where no observation is shared, the entropy of the responsibilities is nothing.
    x = jnp.concatenate([VALUES - 40, VALUES, VALUES + 40])
    mixture = em.Mixture(families.Normal(), 3)
    start = mixture.point(START, families.Normal().natural_from_params([-40.0, 0.0, 40.0], 3.0))
    result = mixture.fit(x, initialization=start, assignment="hard")
    assert result.converged
    np.testing.assert_allclose(mixture.icl(result.params, x), result.bic, rtol=1e-12)


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


DIRECTIONS = _unit(DRAWS.normal(size=(90, 4)))
CENTERS = [DIRECTIONS[:3]]
for _ in range(8):
    CHOICE = (DIRECTIONS @ CENTERS[-1].T).argmax(axis=1)
    CENTERS.append(_unit(np.eye(3)[CHOICE].T @ DIRECTIONS))
SPHERE = families.VonMisesFisher(4)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_hard_directions_of_one_concentration_are_spherical_k_means(steps):
    assert np.abs(CENTERS[4] - CENTERS[3]).max() > 1e-3
    mixture = em.Mixture(SPHERE, 3, tied=True)
    start = mixture.point(np.full(3, 1 / 3), SPHERE.natural_from_params(CENTERS[0], 2.0))
    result = mixture.fit(
        em.Chunks([DIRECTIONS]),
        initialization=start,
        fixed=("weights",),
        assignment="hard",
        tolerance=0.0,
        max_iterations=steps,
    )
    found = SPHERE.params_from_natural(result.params.components)
    np.testing.assert_allclose(found.mean_direction, CENTERS[steps], rtol=1e-12)
    labels = (DIRECTIONS @ CENTERS[steps].T).argmax(axis=1)
    np.testing.assert_array_equal(mixture.predict(result.params, DIRECTIONS), labels)


def test_soft_directions_of_a_high_concentration_are_spherical_k_means():
    mixture = em.Mixture(SPHERE, 3)
    point = lambda axes: mixture.point(
        np.full(3, 1 / 3), SPHERE.natural_from_params(axes, 1e6 * jnp.ones(3))
    )
    step = jax.jit(lambda params: mixture.maximized(mixture.expectations(params, DIRECTIONS)))
    axes = CENTERS[0]
    for centers in CENTERS[1:]:
        components = step(point(axes)).components
        axes = _unit(np.asarray(components.x))
        np.testing.assert_allclose(axes, centers, rtol=1e-12)


def test_accelerated_and_born_the_objective_never_falls():
    mixture = em.Mixture(families.Poisson(), 3)
    far = mixture.family.natural_from_params([3.0, 8.0, 1e6])
    start = mixture.point([0.5, 0.4, 0.1], far)
    options = {"initialization": start, "assignment": "hard", "tolerance": 1e-9}
    for more in ({"acceleration": "squarem"}, {"births": 2}):
        found = mixture.fit(COUNTS, **options, **more)
        values = found.log_likelihoods[: int(found.num_iterations) + 1]
        assert (np.diff(values) >= -1e-13).all()
        likeliest = mixture.joint_log_density(found.params, COUNTS).max(axis=1)
        np.testing.assert_allclose(found.log_likelihood, likeliest.sum(), rtol=1e-12)
    assert np.exp(found.params.log_weights).min() > 0.05


def test_unknown_assignments_are_refused():
    mixture = em.Mixture(families.Poisson(), 2)
    words = r"assignment must be one of 'soft', 'hard'; got 'firm'"
    with pytest.raises(ValueError, match=words):
        mixture.fit(COUNTS, key=jax.random.key(0), assignment="firm")
    start = mixture.point([0.5, 0.5], families.Poisson().natural_from_params([1.0, 2.0]))
    with pytest.raises(ValueError, match=words):
        mixture.expectations(start, COUNTS, assignment="firm")
