"""Data that break mixtures elsewhere: a sound fit, one that did not converge, or an error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igeojax import em, families
from igeojax.families import FAMILIES
from tests.laws.programs import each_family

KEY = jax.random.key(0)
GENERATOR = np.random.default_rng(0)
PLANE = em.Mixture(families.MultivariateNormal(2), 2)
LINE = em.Mixture(families.Normal(), 2)
COUNTS = em.Mixture(families.Poisson(), 2)
REFUSALS = ("degenerate", "needs more than")
"""Words of the errors that say that no member can be fitted."""
LOSS = {"float64": 1e-9, "float32": 1e-5}
"""Rounding of a mean log-likelihood, as a share of one and its size."""


def require_sound(result, dtype="float64"):
    """Finite parameters and log-likelihoods, which never fall by more than rounding."""
    values = np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1], float)
    assert np.isfinite(values).all()
    assert (np.diff(values) >= -LOSS[dtype] * (1 + np.abs(values[1:]))).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params.components))
    np.testing.assert_allclose(np.exp(result.params.log_weights).sum(), 1, rtol=1e-5)


def fitted(mixture, *data, **options):
    """A sound fit, or the error that says that no component could be fitted."""
    try:
        require_sound(mixture.fit(*data, **options), str(jnp.asarray(data[0]).dtype))
    except ValueError as error:
        assert any(word in str(error) for word in REFUSALS)  # noqa: PT017


RANDOM = {
    "seed": st.integers(0, 10**6),
    "distinct": st.integers(1, 24),
    "scale": st.sampled_from([1e-6, 1.0, 1e6]),
    "offset": st.sampled_from([0.0, 1e3, -1e6]),
    "zeros": st.integers(0, 20),
}
"""Data of 24 rows, of which few are distinct and the first have no weight."""


def _random(seed, distinct, scale, offset, zeros, dim):
    generator = np.random.default_rng(seed)
    x = generator.standard_t(2, size=(distinct, dim))[generator.integers(0, distinct, 24)]
    return scale * (x + offset), generator.integers(1, 4, 24) * (np.arange(24) >= zeros)


@given(**RANDOM)
@settings(max_examples=40)
def test_duplicates_scales_offsets_and_weights(**drawn):
    x, weights = _random(**drawn, dim=1)
    fitted(LINE, x[:, 0], key=jax.random.key(drawn["seed"]), weights=weights, max_iterations=40)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(**RANDOM)
@settings(max_examples=60)
def test_duplicates_scales_offsets_and_weights_in_a_plane(dtype, **drawn):
    x, weights = (part.astype(dtype) for part in _random(**drawn, dim=2))
    options = {"key": jax.random.key(drawn["seed"]), "weights": weights, "max_iterations": 40}
    fitted(PLANE, x, **options)
    try:
        # The weak prior is the guard: then there is a fit of all that is not one point.
        prior = em.data_prior(PLANE, x, weights, shrinkage=0.1)
    except ValueError as error:
        assert "degenerate" in str(error)  # noqa: PT017
        return
    require_sound(PLANE.fit(x, prior=prior, **options), x.dtype.name)


def test_degenerate_data_are_centred_and_scaled_in_float32():
    # Two distinct points have no covariance, but a prior; all of these are exact in float32.
    near = np.repeat(np.float32([[0, 0], [1, 2]]), 12, axis=0)
    results = []
    for x in (near, near * 2.0**-20, near + 2.0**10):
        x = x.astype(np.float32)
        results.append(PLANE.fit(x, key=KEY, prior=em.data_prior(PLANE, x, shrinkage=0.1)))
        assert results[-1].converged
        require_sound(results[-1], "float32")
    one, small, far = (float(result.log_likelihood) for result in results)
    np.testing.assert_allclose(small - 24 * 2 * 20 * np.log(2), one, rtol=1e-4)
    np.testing.assert_allclose(far, one, rtol=1e-3)


@pytest.mark.slow
@each_family
def test_the_likelihood_never_falls(name):
    entry, mixture = FAMILIES[name], em.Mixture(FAMILIES[name].family, 3)
    draw = jax.jit(
        lambda key, truth: mixture.sample(key, mixture.point([0.1, 0.3, 0.6], truth), (30,))
    )

    @given(seed=st.integers(0, 10**6), few=st.booleans(), zeros=st.integers(0, 10))
    @settings(max_examples=12)
    def check(seed, few, zeros):
        key, other = jax.random.split(jax.random.key(seed))
        x = draw(key, entry.point(key, (3,)))
        # Few: each observation ten times.
        rows = np.arange(30) % (3 if few else 30)
        x = jax.tree.map(lambda leaf: leaf[rows], x)
        start = mixture.point([0.3, 0.3, 0.4], entry.point(other, (3,)))
        weights = np.where(np.arange(30) < zeros, 0.0, 1.0 + np.arange(30) % 2)
        options = {"weights": weights, "max_iterations": 25, "tolerance": 0.0}
        try:
            result = mixture.fit(x, initialization=start, **options)
        except ValueError as error:
            assert any(word in str(error) for word in REFUSALS)  # noqa: PT017
            return
        values = np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1])
        assert np.isfinite(values).all()
        assert (np.diff(values) >= -1e-10 * (1 + np.abs(values[1:]))).all()

    check()


def test_fewer_observations_than_a_covariance_has_dimensions():
    mixture = em.Mixture(families.MultivariateNormal(12), 2)
    x = GENERATOR.normal(size=(10, 12))
    with pytest.raises(ValueError, match=r"needs more than 12 observations.*got 10"):
        mixture.fit(x, key=KEY)
    with pytest.raises(ValueError, match="needs more than 12"):
        em.data_prior(mixture, x)


@pytest.mark.slow
def test_few_observations_are_fitted_under_a_prior_alone():
    mixture = em.Mixture(families.MultivariateNormal(12), 2)
    x = GENERATOR.normal(size=(10, 12))
    result = mixture.fit(x, key=KEY, prior=em.data_prior(mixture, x, shrinkage=0.1))
    assert result.converged
    require_sound(result)
    # Just enough for one component and too few for two: it says that it did not converge.
    result = mixture.fit(GENERATOR.normal(size=(14, 12)), key=KEY)
    assert not result.converged
    require_sound(result)


def test_a_component_on_two_points_collapses_without_a_fall():
    # In the plane two points have no covariance: its variances end where digits do.
    x = np.repeat(np.array([[0.1, -0.1], [0.6, 0.1], [-0.5, 0.4]]), 10, axis=0)
    result = PLANE.fit(x, key=KEY)
    assert not result.converged
    require_sound(result)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LINE.fit(np.ones(5), key=KEY), "degenerate"),
        (lambda: PLANE.fit(np.repeat(np.eye(2), 5, axis=0), key=KEY), "degenerate"),
        (lambda: em.Mixture(families.Normal(), 1).fit(np.ones(1), key=KEY), "degenerate"),
        (lambda: LINE.fit(np.arange(3.0), key=KEY, weights=[0.0, 1.0, 0.0]), "degenerate"),
        (lambda: LINE.fit(np.zeros(0), key=KEY), "must have observations; got none"),
        (lambda: LINE.fit(np.ones(1), key=KEY), "N >= 2 components"),
        (lambda: LINE.fit(np.ones(3), key=KEY, weights=np.zeros(3)), "sum of weights must be pos"),
        (lambda: LINE.fit(np.ones(2), key=KEY, weights=[1.0, np.nan]), "weights must be finite"),
        (lambda: LINE.fit(np.array([1.0, np.inf]), key=KEY), "support; got inf"),
        (lambda: COUNTS.fit(np.array([1.0, np.inf]), key=KEY), "support; got inf"),
        (lambda: COUNTS.fit(np.array([1.0, 1.5]), key=KEY), "support; got 1.5"),
        (
            lambda: em.Mixture(families.Normal(), 2, missing=True).fit(
                np.array([1.0, np.inf, np.nan]), key=KEY
            ),
            "support; got inf",
        ),
        (
            lambda: em.Mixture(PLANE.family, 2, missing=True).fit(np.full((4, 2), np.nan), key=KEY),
            "observed entries of each column must be one or more; got 0",
        ),
    ],
)
def test_what_has_no_fit_says_so(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.array(["a", "b"]), "data must be an array of numbers; got ndarray of <U1"),
        ([1.0, None], "data must be an array of numbers; got list.*nan for what is missing"),
        (np.array([1j, 2]), "must hold real numbers; got dtype complex128"),
    ],
)
def test_what_is_no_number_says_so(data, words):
    with pytest.raises(TypeError, match=words):
        LINE.fit(data, key=KEY)


def test_counts_on_the_boundary_have_their_maximum_there():
    result = COUNTS.fit(np.zeros(5, int), key=KEY)
    assert result.converged
    np.testing.assert_allclose(result.log_likelihood, 0, atol=1e-14)
    np.testing.assert_array_equal(COUNTS.family.mean(result.params.components), [0, 0])
    result = em.Mixture(COUNTS.family, 1).fit(np.array([3]), key=KEY)
    np.testing.assert_allclose(COUNTS.family.mean(result.params.components), [3], rtol=1e-12)


def test_a_dirichlet_prior_below_one_prunes_in_a_fit():
    x = np.concatenate([GENERATOR.normal(size=40), 8 + GENERATOR.normal(size=40)])
    mixture = em.Mixture(families.Normal(), 6)
    prior = em.mixture_prior(mixture, concentration=-1.0)
    result = mixture.fit(x, key=KEY, prior=prior, max_iterations=500)
    weights = np.sort(np.exp(result.params.log_weights))
    assert result.converged
    np.testing.assert_array_equal(weights[:4], 0)
    np.testing.assert_allclose(weights[4:], 0.5, atol=0.01)


def test_chunks_without_rows_are_passed_over():
    x = np.concatenate([GENERATOR.normal(size=20), 8 + GENERATOR.normal(size=20)])
    whole = LINE.fit(x, key=KEY, max_iterations=3)
    parts = LINE.fit(em.Chunks([x[:0], x[:15], x[:0], x[15:]]), key=KEY, max_iterations=3)
    np.testing.assert_allclose(parts.log_likelihoods, whole.log_likelihoods, rtol=1e-12)
    with pytest.raises(ValueError, match="must have observations"):
        LINE.fit(em.Chunks([x[:0]]), key=KEY)


def test_rows_that_are_missing_whole_are_rows_that_are_not_there():
    mixture = em.Mixture(PLANE.family, 2, missing=True)
    x = GENERATOR.normal(size=(40, 2)) + 6 * (np.arange(40) % 2)[:, None]
    holes = np.where((np.arange(40) % 5 == 0)[:, None], np.nan, x)
    start = mixture.point(
        [0.5, 0.5], PLANE.family.natural_from_params([[0.0, 0.0], [6.0, 6.0]], np.eye(2))
    )
    options = {"initialization": start, "tolerance": 1e-14}
    one = mixture.fit(holes, **options)
    two = mixture.fit(x[np.arange(40) % 5 > 0], **options)
    # They only slow the steps down.
    np.testing.assert_allclose(one.log_likelihood, two.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(
        *(PLANE.family.mean(found.params.components) for found in (one, two)), rtol=1e-5
    )
    require_sound(one)
