"""The multivariate normal family: marginals, conditionals, conditioning, no explicit inverse."""

import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.covariance import LedoitWolf, ShrunkCovariance

from igeojax import families
from igeojax.divergences import exponential
from igeojax.families import MultivariateNormal

FAMILY = families.MultivariateNormal(5)
PAIR = families.MultivariateNormal(2)


def laws(seed: int, batch: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Random means and covariances."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(*batch, 5, 5))
    return random.normal(size=(*batch, 5)), root @ root.swapaxes(-1, -2) + 0.3 * np.eye(5)


def dense_conditional(mean, covariance, seen, values):
    """Textbook Schur complement of one law."""
    free = ~seen
    gain = covariance[np.ix_(free, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    location = mean[free] + gain @ (values[seen] - mean[seen])
    return location, covariance[np.ix_(free, free)] - gain @ covariance[np.ix_(seen, free)]


def test_check_values_of_the_conditional():
    theta = PAIR.natural_from_params(
        mean=jnp.array([1.0, -2.0]), covariance=jnp.array([[2.0, 0.8], [0.8, 1.0]])
    )
    rest = PAIR.conditional(theta, [False, True], jnp.array([np.nan, -1.0]))
    mean, variance = families.MultivariateNormal(1).params_from_natural(rest)
    assert mean.item() == pytest.approx(1.8, rel=1e-14, abs=0)
    assert variance.item() == pytest.approx(1.36, rel=1e-14, abs=0)


MASKS = [
    [True, False, True, False, False],
    [False, False, False, False, True],
    [True, True, True, True, False],
]


@pytest.mark.parametrize("mask", MASKS)
def test_conditional_and_marginal_against_dense_algebra(mask):
    mask = np.array(mask)
    mean, covariance = laws(0, (4,))
    values = np.random.default_rng(1).normal(size=(4, 5))
    theta = FAMILY.natural_from_params(mean, covariance)
    rest = families.MultivariateNormal(int((~mask).sum()))
    conditional = rest.params_from_natural(FAMILY.conditional(theta, mask, values))
    part = families.MultivariateNormal(int(mask.sum()))
    marginal = part.params_from_natural(FAMILY.marginal(theta, mask))
    for i in range(4):
        location, spread = dense_conditional(mean[i], covariance[i], mask, values[i])
        np.testing.assert_allclose(conditional.mean[i], location, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(conditional.covariance[i], spread, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(marginal.mean[i], mean[i][mask], rtol=1e-10, atol=1e-11)
        block = covariance[i][np.ix_(mask, mask)]
        np.testing.assert_allclose(marginal.covariance[i], block, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
def test_marginal_times_conditional_is_the_joint_density():
    mask = np.array([True, False, True, False, False])
    mean, covariance = laws(2, ())
    theta = FAMILY.natural_from_params(mean, covariance)
    x = np.random.default_rng(3).normal(size=(6, 5))
    part, rest = families.MultivariateNormal(2), families.MultivariateNormal(3)
    first = part.log_density(FAMILY.marginal(theta, mask), x[:, mask])
    second = rest.log_density(FAMILY.conditional(theta, mask, x), x[:, ~mask])
    np.testing.assert_allclose(FAMILY.log_density(theta, x), first + second, rtol=1e-11)


def test_everything_kept_and_nothing_observed():
    mean, covariance = laws(4, ())
    theta = FAMILY.natural_from_params(mean, covariance)
    for same in (
        FAMILY.marginal(theta, [True] * 5),
        FAMILY.conditional(theta, [False] * 5, np.zeros(5)),
    ):
        np.testing.assert_allclose(same.x, theta.x, rtol=1e-12)
        np.testing.assert_allclose(same.xx, theta.xx, rtol=1e-12)


def test_float32_conditional():
    mask = np.array([True, True, False, False, True])
    mean, covariance = (v.astype("float32") for v in laws(5, ()))
    values = np.ones(5, "float32")
    rest = FAMILY.conditional(FAMILY.natural_from_params(mean, covariance), mask, values)
    assert rest.x.dtype == rest.xx.dtype == jnp.float32
    found = families.MultivariateNormal(2).params_from_natural(rest)
    location, spread = dense_conditional(mean.astype(float), covariance.astype(float), mask, values)
    np.testing.assert_allclose(found.mean, location, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.covariance, spread, rtol=1e-4, atol=1e-4)


def test_conditional_under_jit_and_its_gradient():
    mask = np.array([False, True])
    mean, covariance = jnp.array([1.0, -2.0]), jnp.array([[2.0, 0.8], [0.8, 1.0]])
    theta = PAIR.natural_from_params(mean, covariance)

    @jax.jit
    def location(values):
        rest = PAIR.conditional(theta, mask, values)
        return families.MultivariateNormal(1).params_from_natural(rest).mean[0]

    # The gain S12 / S22, and nothing of the entry that is not observed.
    np.testing.assert_allclose(jax.grad(location)(jnp.array([3.0, -1.0])), [0, 0.8], atol=1e-14)


def test_all_three_matrices_name_one_law():
    mean, covariance = laws(6, (2,))
    one = FAMILY.natural_from_params(mean, covariance)
    two = FAMILY.natural_from_params(mean, scale_tril=np.linalg.cholesky(covariance))
    inverse = np.linalg.inv(covariance)
    three = FAMILY.natural_from_params(mean, precision=0.5 * (inverse + inverse.swapaxes(-1, -2)))
    for other in (two, three):
        np.testing.assert_allclose(other.x, one.x, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(other.xx, one.xx, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(one.xx, one.xx.swapaxes(-1, -2))


def test_ill_conditioned_log_density():
    """Condition 1e8: the quadratic form is right to `eps * condition`, not to its square."""
    random = np.random.default_rng(7)
    rotation = np.linalg.qr(random.normal(size=(5, 5)))[0]
    spectrum = np.geomspace(1e-8, 1.0, 5)
    covariance = (rotation * spectrum) @ rotation.T
    covariance = 0.5 * (covariance + covariance.T)
    mean = random.normal(size=5)
    x = mean + random.normal(size=(20, 5)) @ np.diag(np.sqrt(spectrum)) @ rotation.T
    # Exact formula in the eigenbasis of the matrix as it was rounded.
    values, vectors = np.linalg.eigh(covariance)
    white = (x - mean) @ vectors / np.sqrt(values)
    expected = -0.5 * (white**2).sum(-1) - 0.5 * np.log(values).sum() - 2.5 * np.log(2 * np.pi)
    found = FAMILY.log_density(FAMILY.natural_from_params(mean, covariance), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def solves_against_identity(jaxpr) -> int:
    """Triangular solves with as many right-hand sides as dimensions: an inverse in disguise."""
    count = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "triangular_solve":
            count += equation.invars[1].aval.shape[-1] > 1
        if equation.primitive.name in {"lu", "eigh", "svd"}:
            count += 1
        for value in jax.tree.leaves(tuple(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                count += solves_against_identity(inner)
    return count


def test_the_log_density_forms_no_inverse():
    # Of nine dimensions, where it is LAPACK that factorizes and solves; the code is the same.
    family = families.MultivariateNormal(9)
    theta = family.natural_from_params(np.zeros(9), np.eye(9))
    x = np.zeros((7, 9))
    density = jax.make_jaxpr(family.log_density)(theta, x)
    assert "cholesky" in str(density)
    assert solves_against_identity(density.jaxpr) == 0
    # The detector sees one where it is: the covariance is an inverse of the precision.
    assert solves_against_identity(jax.make_jaxpr(family.params_from_natural)(theta).jaxpr) == 1


@pytest.mark.slow
def test_batches_of_points_and_data():
    mean, covariance = laws(9, (3,))
    theta = FAMILY.natural_from_params(mean, covariance)
    x = np.random.default_rng(10).normal(size=(4, 1, 5))
    found = FAMILY.log_density(theta, x)
    assert found.shape == (4, 3)
    for i in range(3):
        law = scipy.stats.multivariate_normal(mean[i], covariance[i])
        np.testing.assert_allclose(found[:, i], law.logpdf(x[:, 0]), rtol=1e-11)


def test_regularized_fit_of_few_observations():
    x = np.random.default_rng(11).normal(size=(3, 5))
    found = FAMILY.params_from_natural(FAMILY.fit(x, covariance_regularization=0.1))
    expected = np.cov(x.T, bias=True) + 0.1 * np.eye(5)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-10)


THETA = PAIR.natural_from_params(jnp.zeros(2), jnp.eye(2))
BAD = [
    (lambda: PAIR.marginal(THETA, [1, 0]), TypeError, "boolean mask; got dtype int64.*booleans"),
    (lambda: PAIR.marginal(THETA, [True]), ValueError, r"shape \(2,\).*got shape \(1,\).*Mark"),
    (lambda: PAIR.marginal(THETA, [False, False]), ValueError, "keep at least one.*got.*0 True"),
    (
        lambda: PAIR.conditional(THETA, [True, True], jnp.zeros(2)),
        ValueError,
        "leave at least one.*got.*2 True.*Mark",
    ),
    (
        lambda: PAIR.conditional(THETA, [True, False], jnp.zeros(1)),
        ValueError,
        r"values must have trailing axes \(2,\); got shape \(1,\).*batch",
    ),
    (
        lambda: jax.jit(lambda mask: PAIR.marginal(THETA, mask))(jnp.array([True, False])),
        TypeError,
        "static boolean mask; got a traced array.*list",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2)),
        TypeError,
        "exactly one of covariance, precision and scale_tril; got none. Pass",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2), jnp.eye(2), precision=jnp.eye(2)),
        TypeError,
        r"exactly one.*got \['covariance', 'precision'\]. Pass",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2), jnp.array([[1.0, 2.0], [2.0, 1.0]])),
        ValueError,
        "positive definite; got smallest eigenvalue -1 and largest 3 in float64.*Add",
    ),
    (  # Positive definite in float64 alone.
        lambda: PAIR.natural_from_params(
            jnp.zeros(2, "float32"), jnp.array([[1.0, 1.0], [1.0, 1.0 + 1e-9]], "float32")
        ),
        ValueError,
        "positive definite; got smallest eigenvalue 0 and largest 2 in float32.*Add",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2), jnp.array([[1.0, 0.5], [0.0, 1.0]])),
        ValueError,
        r"symmetric; got entries that differ by 0\.5.*0\.5 \* \(A \+ A\.T\)",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2), jnp.full((2, 2), jnp.nan)),
        ValueError,
        "covariance must be finite; got nan.*Drop",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2), scale_tril=-jnp.eye(2)),
        ValueError,
        "diagonal of scale_tril must be positive.*got -1",
    ),
    (
        lambda: PAIR.natural_from_params(jnp.zeros(2), jnp.ones(2)),
        ValueError,
        r"trailing axes \(2, 2\); got shape \(2,\)",
    ),
    (
        lambda: PAIR.fit(np.zeros((2, 2))),
        ValueError,
        "more than 2 observations.*; got 2. Pass covariance_regularization",
    ),
    (
        lambda: PAIR.fit(np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])),
        ValueError,
        "inside the natural domain; got.*degenerate.*Add observations",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def law(seed, dim=3):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dim, dim))
    return rng.normal(size=dim), root @ root.T + 0.3 * np.eye(dim)


def test_affine_image():
    family, (mean, covariance) = MultivariateNormal(3), law(1)
    matrix, offset = np.random.default_rng(2).normal(size=(2, 3)), np.array([1.0, -2.0])
    theta = family.natural_from_params(mean, covariance)
    found = MultivariateNormal(2).params_from_natural(family.affine(theta, matrix, offset))
    np.testing.assert_allclose(found.mean, matrix @ mean + offset, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, matrix @ covariance @ matrix.T, rtol=1e-12)
    with pytest.raises(ValueError, match=r"\(rows, 3\).*got \(4, 3\).*no density"):
        family.affine(theta, np.ones((4, 3)))
    with pytest.raises(ValueError, match="diagonal of scale_tril must be positive"):
        family.affine(theta, np.zeros((2, 3)))


def test_convolution_and_product():
    family, (m, s), (n, t) = MultivariateNormal(3), law(1), law(2)
    p, q = family.natural_from_params(m, s), family.natural_from_params(n, t)
    total = family.params_from_natural(family.convolution(p, q))
    np.testing.assert_allclose(total.mean, m + n, rtol=1e-12)
    np.testing.assert_allclose(total.covariance, s + t, rtol=1e-12)
    both = family.product(p, q)
    x = np.random.default_rng(3).normal(size=(5, 3))
    normaliser = [family.log_partition(theta) for theta in (both, p, q)]
    expected = family.log_density(p, x) + family.log_density(q, x)
    found = family.log_density(both, x) + normaliser[0] - normaliser[1] - normaliser[2]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # And that normaliser is the density of one mean under the sum of the covariances.
    density = scipy.stats.multivariate_normal(n, s + t).logpdf(m)
    np.testing.assert_allclose(normaliser[0] - normaliser[1] - normaliser[2], density, rtol=1e-11)


def test_mahalanobis():
    family, (mean, covariance) = MultivariateNormal(3), law(1)
    theta = family.natural_from_params(mean, covariance)
    x = np.random.default_rng(3).normal(size=(5, 3))
    expected = [np.sqrt((row - mean) @ np.linalg.solve(covariance, row - mean)) for row in x]
    np.testing.assert_allclose(family.mahalanobis(theta, x), expected, rtol=1e-12)
    standard = family.natural_from_params(np.zeros(3), np.eye(3))
    slope = jax.grad(lambda x: family.mahalanobis(standard, x))(jnp.zeros(3))
    assert slope.tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [4, 40])
def test_ledoit_wolf_is_that_of_scikit_learn(count):
    family = MultivariateNormal(6)
    x = np.random.default_rng(5).normal(size=(count, 6)) * [1, 2, 3, 1, 1, 5] + 7
    expected = LedoitWolf().fit(x)
    found = family.params_from_natural(family.fit(x, shrinkage="ledoit-wolf"))
    np.testing.assert_allclose(found.mean, expected.location_, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, expected.covariance_, rtol=1e-9, atol=1e-9)
    fixed = family.params_from_natural(family.fit(x, shrinkage=0.25))
    expected = ShrunkCovariance(shrinkage=0.25).fit(x)
    np.testing.assert_allclose(fixed.covariance, expected.covariance_, rtol=1e-9, atol=1e-9)


def test_bad_shrinkage():
    family, x = MultivariateNormal(2), np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(ValueError, match=r"shrinkage must be in \[0, 1\]; got 2"):
        family.fit(x, shrinkage=2.0)
    with pytest.raises(ValueError, match="one of 'ledoit-wolf'; got 'oas'"):
        family.fit(x, shrinkage="oas")
    with pytest.raises(ValueError, match="unweighted data of shape"):
        family.fit(x, np.ones(5), shrinkage="ledoit-wolf")


@pytest.mark.slow
def test_a_thousand_dimensions():
    family = MultivariateNormal(1000)
    scales = np.linspace(0.5, 2.0, 1000)
    p = family.Params(np.zeros(1000), np.diag(scales**2))
    q = family.Params(np.ones(1000), np.eye(1000))
    expected = 0.5 * np.sum(scales**2 - 1 - np.log(scales**2) + 1)
    np.testing.assert_allclose(exponential.kl(family, p, q), expected, rtol=1e-12)
    x = np.random.default_rng(0).normal(size=(2, 1000))
    theta = family.natural_from_params(*p)
    expected = scipy.stats.norm(0, scales).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(family.log_density(theta, x), expected, rtol=1e-12)


def test_a_covariance_without_a_factor_is_reported():
    family = MultivariateNormal(2)
    singular = family.Params(np.zeros(2), np.ones((2, 2)))
    proper = family.Params(np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="positive definite; got smallest eigenvalue"):
        exponential.kl(family, proper, singular)
    for order in (0.3, 1.0):
        traced = jax.jit(lambda q, a=order: exponential.renyi(family, proper, q, order=a))
        assert np.isnan(traced(singular))


def test_a_covariance_is_refused_only_where_it_has_no_factor():
    # Of condition 8e15: its smallest eigenvalue comes out as -3e-16, but it has a Cholesky factor.
    law = families.MultivariateNormal(3)
    b, c, d = 1.0000000000009095, 0.5000002384185791, 0.3125000596046448
    covariance = jnp.array([[1.0, 1.0, 0.5], [1.0, b, c], [0.5, c, d]])
    entropy = law.entropy(law.Params(jnp.zeros(3), covariance))
    # By the determinant in rational numbers.
    exact = [[Fraction(float(v)) for v in row] for row in np.asarray(covariance)]
    (u, v, w), (_, x, y), (*_, z) = exact
    determinant = u * (x * z - y * y) - v * (v * z - y * w) + w * (v * y - x * w)
    expected = 0.5 * np.log(float(determinant)) + 1.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(entropy, expected, rtol=0.1)
