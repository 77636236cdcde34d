"""Laws of conjugate updates over the registry, and values against scipy, quadrature and sums."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from igeojax import bayes, families

LIKELIHOODS = {
    name: entry for name, entry in families.FAMILIES.items() if entry.family.conjugate_prior
} | {"Product": families.FAMILIES["Product"]}
DIMENSIONS = {"MultivariateNormal": 3, "DiagonalNormal": 2, "Product": 2}
EPS = float(jnp.finfo(float).eps)


def source_of(name):
    """Source parameters of a prior: those of the registry, of the sizes that the family needs."""
    prior = bayes.conjugate_prior(LIKELIHOODS[name].family)

    def drawn(prior, key):
        if isinstance(prior, families.Product):
            keys = jax.random.split(key, len(prior.families))
            return families.Product.Params(
                *(drawn(part, k) for part, k in zip(prior.families, keys, strict=True))
            )
        if isinstance(prior, families.Dirichlet):
            return prior.Params(1.0 + jnp.arange(prior.num_classes))
        if isinstance(prior, families.NormalInverseWishart):
            root = jnp.tril(jnp.ones((prior.dim, prior.dim)))
            return prior.Params(jnp.arange(prior.dim) * 0.5, 1.5, prior.dim + 3.5, root @ root.T)
        return prior.Params(**families.FAMILIES[type(prior).__name__].params(key, ()))

    return prior, drawn(prior, jax.random.key(1))


@functools.cache
def case(name):
    """A likelihood, its prior in both charts, and observations."""
    entry = LIKELIHOODS[name]
    prior, params = source_of(name)
    theta = prior.natural_from_params(*params)
    x = entry.family.sample(jax.random.key(2), entry.point(jax.random.key(3)), (7,))
    return entry.family, prior, params, theta, x


def rows(x, index):
    return jax.tree.map(lambda part: part[index], x)


def close(got, expected, factor=64.0):
    """Leaf by leaf, to a multiple of eps of the largest entry."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        size = max(1.0, float(jnp.max(jnp.abs(b))))
        np.testing.assert_allclose(a, b, rtol=0, atol=factor * EPS * size)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_prior_is_the_one_that_the_family_names(name):
    family, prior, *_ = case(name)
    if name == "Product":
        assert prior == families.Product(
            tuple(bayes.conjugate_prior(part) for part in family.families)
        )
    elif name == "DiagonalNormal":
        assert prior == families.Product((families.NormalInverseGamma(),) * family.dim)
    else:
        assert type(prior).__name__ == family.conjugate_prior


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_bayes_theorem(name):
    """Prior times likelihood over the posterior is the evidence, whatever the member."""
    family, prior, params, theta, x = case(name)
    weights = jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 1.0, 3.0])
    draws = prior.sample(jax.random.key(4), theta, (5,))
    members = bayes.natural_from_draw(family, draws)
    each = jax.vmap(lambda member: family.log_density(member, x))(members)
    after = bayes.posterior(family, theta, x, weights)
    evidence = prior.log_density(theta, draws) + each @ weights - prior.log_density(after, draws)
    expected = jnp.full(5, bayes.log_evidence(family, theta, x, weights))
    size = float(jnp.max(jnp.abs(each))) * 20
    np.testing.assert_allclose(evidence, expected, rtol=0, atol=64 * EPS * size)
    by_source = bayes.log_evidence(family, params, x, weights)
    np.testing.assert_allclose(by_source, expected[0], rtol=0, atol=64 * EPS * size)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_batch_sequence_and_stream_agree(name):
    family, prior, params, theta, x = case(name)
    whole = bayes.posterior(family, theta, x)
    close(prior.natural_from_params(*bayes.posterior(family, params, x)), whole, 512.0)
    step = lambda carried, row: (bayes.posterior(family, carried, row), None)
    one_by_one = jax.tree.map(lambda part: part[:, None], x)
    close(jax.jit(lambda t, rows: jax.lax.scan(step, t, rows)[0])(theta, one_by_one), whole)
    by_source = jax.jit(lambda t, rows: jax.lax.scan(step, t, rows)[0])(
        jax.tree.map(jnp.asarray, params), one_by_one
    )
    close(prior.natural_from_params(*by_source), whole, 512.0)
    sums = jax.tree.map(lambda leaf: leaf.sum(axis=0), family.statistics(x))
    increment = bayes.conjugate_increment(family, sums, 7)
    close(jax.tree.map(jnp.add, theta, increment), whole)
    nothing = bayes.posterior(family, theta, rows(x, slice(0, 0)))
    close(nothing, theta, 0.0)
    assert bayes.log_evidence(family, theta, rows(x, slice(0, 0))) == 0.0


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_evidence_is_the_product_of_the_predictive_densities(name):
    family, _, params, theta, x = case(name)
    for law in (theta, params):
        total, carried = 0.0, law
        for i in range(3):
            total += float(bayes.log_predictive(family, carried, rows(x, i)))
            carried = bayes.posterior(family, carried, rows(x, slice(i, i + 1)))
        expected = float(bayes.log_evidence(family, law, rows(x, slice(0, 3))))
        assert total == pytest.approx(expected, rel=0, abs=1024 * EPS * max(1, abs(expected)))


def test_predictive_laws_of_scipy():
    theta = families.Beta().natural_from_params(2.0, 3.0)
    x = jnp.arange(7)
    got = bayes.log_predictive(families.Binomial(6), theta, x)
    np.testing.assert_allclose(got, scipy.stats.betabinom(6, 2, 3).logpmf(x), rtol=1e-13)
    gamma = families.Gamma().natural_from_params(2.5, 1.5)
    got = bayes.log_predictive(families.Poisson(), gamma, x)
    np.testing.assert_allclose(got, scipy.stats.nbinom(2.5, 1.5 / 2.5).logpmf(x), rtol=1e-13)
    got = bayes.log_predictive(families.Exponential(), gamma, x + 0.5)
    lomax = scipy.stats.lomax(2.5, scale=1.5)
    np.testing.assert_allclose(got, lomax.logpdf(np.asarray(x) + 0.5), rtol=1e-13)
    prior = families.NormalInverseGamma()
    params = prior.Params(*map(jnp.asarray, (1.0, 2.0, 3.0, 4.0)))
    t = scipy.stats.t(6, 1.0, np.sqrt(4 * 3 / (3 * 2)))
    np.testing.assert_allclose(
        bayes.log_predictive(families.Normal(), params, x), t.logpdf(x), rtol=1e-13
    )
    scale = np.array([[2.0, 0.5], [0.5, 1.0]])
    niw = families.NormalInverseWishart(2).Params(jnp.array([1.0, -1.0]), 2.0, 5.0, scale)
    points = np.random.default_rng(0).normal(size=(4, 2))
    t = scipy.stats.multivariate_t([1.0, -1.0], scale * 3 / (2 * 4), 4)
    got = bayes.log_predictive(families.MultivariateNormal(2), niw, jnp.asarray(points))
    np.testing.assert_allclose(got, t.logpdf(points), rtol=1e-13)
    normal = families.Normal().Params(jnp.asarray(1.0), jnp.asarray(2.0))
    got = bayes.log_predictive(families.NormalKnownScale(1.5), normal, x)
    np.testing.assert_allclose(got, scipy.stats.norm(1, 2.5).logpdf(x), rtol=1e-13)


def test_evidence_by_quadrature():
    data = np.array([0.7, 1.9, 0.2, 2.2])
    theta = families.Gamma().natural_from_params(2.5, 1.5)
    density = lambda r: (
        scipy.stats.gamma(2.5, scale=1 / 1.5).pdf(r)
        * np.prod(scipy.stats.rayleigh(scale=(2 * r) ** -0.5).pdf(data))
    )
    area = scipy.integrate.quad(density, 0, 40, epsrel=1e-12)[0]
    got = bayes.log_evidence(families.Rayleigh(), theta, jnp.asarray(data))
    assert float(got) == pytest.approx(np.log(area), abs=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_source_parameters_keep_the_digits_of_far_data(dtype, far):
    """With a vague prior at 0 the sums of squares are 1e8 times the variance."""
    z = np.random.default_rng(0).normal(size=50).astype(np.float32).astype(float)
    x = (z + far).astype(dtype)
    z = x.astype(float) - far
    prior = families.NormalInverseGamma()
    params = prior.Params(*(jnp.asarray(v, dtype) for v in (0.0, 1e-8, 2.0, 1.0)))
    after = bayes.posterior(families.Normal(), params, x)
    whole = 1e-8 + 50
    mean = x.astype(float).mean()
    scale = 1 + 0.5 * ((z - z.mean()) ** 2).sum() + 0.5 * 1e-8 * 50 / whole * mean**2
    eps = float(jnp.finfo(dtype).eps)
    assert after.scale.dtype == dtype
    assert float(after.scale) == pytest.approx(scale, rel=64 * eps * (1 + far * 1e-3))
    assert float(after.loc) == pytest.approx(50 * mean / whole, rel=8 * eps, abs=8 * eps)
    t = scipy.stats.t(2 * 27, mean, np.sqrt(scale / 27 * (1 + 1 / whole)))
    got = bayes.log_predictive(families.Normal(), after, x[:5])
    np.testing.assert_allclose(got, t.logpdf(x[:5].astype(float)), rtol=64 * eps * (1 + far * 0.1))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("count", [1e-6, 1.0, 1e6])
def test_neither_much_nor_little_prior_costs_digits(dtype, count):
    eps = float(jnp.finfo(dtype).eps)
    theta = families.Beta().natural_from_params(*jnp.asarray([count, 3 * count], dtype))
    got = bayes.log_predictive(families.Bernoulli(), theta, jnp.asarray([1, 0]))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, np.log([0.25, 0.75]), rtol=32 * eps)
    x = jnp.asarray([1, 0, 0, 1, 0])
    got = bayes.log_evidence(families.Bernoulli(), theta, x)
    ups = np.concatenate([count + np.arange(2), 3 * count + np.arange(3)])
    expected = np.log(ups).sum() - np.log(4 * count + np.arange(5)).sum()
    assert float(got) == pytest.approx(expected, rel=64 * eps)


def test_batches_broadcast_and_transform():
    family, prior = families.Poisson(), families.Gamma()
    theta = prior.natural_from_params(jnp.array([1.0, 2.0, 3.0]), 1.0)
    x = jnp.arange(12).reshape(4, 3)
    after = bayes.posterior(family, theta, x)
    each = jax.vmap(lambda t, column: bayes.posterior(family, t, column), (0, 1))(theta, x)
    close(after, each, 4.0)
    shared = bayes.posterior(family, theta, x[:, 0])
    one = jax.vmap(lambda t: bayes.posterior(family, t, x[:, 0]))(theta)
    close(shared, one, 4.0)
    table = bayes.log_predictive(family, theta, x)
    assert table.shape == (4, 3)
    evidence = jax.jit(lambda t: bayes.log_evidence(family, t, x).sum())
    gradient = jax.grad(evidence)(theta)
    for i in range(3):
        for leaf, name in enumerate(prior.Point._fields):
            move = lambda h, i=i, name=name: theta._replace(
                **{name: getattr(theta, name).at[i].add(h)}
            )
            slope = (evidence(move(1e-5)) - evidence(move(-1e-5))) / 2e-5
            assert float(gradient[leaf][i]) == pytest.approx(float(slope), rel=1e-7)


def test_off_the_support_and_missing():
    theta = families.Gamma().natural_from_params(2.0, 1.0)
    got = bayes.log_predictive(families.Poisson(), theta, jnp.array([-1.0, 0.5, jnp.nan, 1.0]))
    assert got[:2].tolist() == [-jnp.inf, -jnp.inf]
    assert jnp.isnan(got[2])
    assert jnp.isfinite(got[3])
    slope = jax.grad(
        lambda t: jnp.where(
            jnp.isfinite(v := bayes.log_predictive(families.Poisson(), t, jnp.array([-1.0, 1.0]))),
            v,
            0.0,
        ).sum()
    )(theta)
    assert all(bool(jnp.isfinite(leaf)) for leaf in slope)


def test_improper_priors():
    nothing = families.Beta().Point(jnp.asarray(0.0), jnp.asarray(0.0))
    family = families.Bernoulli()
    after = bayes.posterior(family, nothing, jnp.array([1, 0, 1, 1]))
    assert tuple(map(float, after)) == (3.0, 1.0)
    # The mean under Haldane's prior is the estimate of maximum likelihood.
    assert float(families.Beta().mean(after)) == 0.75
    assert jnp.isnan(bayes.log_evidence(family, nothing, jnp.array([1, 0])))


def test_bayes_factors():
    family, prior = families.Poisson(), families.Gamma()
    one, two = prior.natural_from_params(2.0, 1.0), prior.natural_from_params(30.0, 3.0)
    x = jnp.array([9, 12, 10])
    got = bayes.log_bayes_factor(family, one, two, x)
    expected = bayes.log_evidence(family, one, x) - bayes.log_evidence(family, two, x)
    assert float(got) == pytest.approx(float(expected), abs=1e-12)
    assert float(got) < -1


def test_map_mean_and_maximum_likelihood():
    """A rate: the mode of a flat prior is the estimate of maximum likelihood; the mean is above."""
    family, prior = families.Poisson(), families.Gamma()
    x = jnp.array([2, 3, 1, 6])
    flat = prior.Point(jnp.asarray(1.0), jnp.asarray(0.0))
    after = bayes.posterior(family, flat, x)
    mle = float(family.params_from_natural(family.fit(x)).rate)
    assert float(prior.mode(after)) == pytest.approx(mle, rel=1e-14)
    assert float(prior.mean(after)) == pytest.approx(mle + 1 / 4, rel=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_members(dtype):
    theta = families.Beta().natural_from_params(*jnp.asarray([2.0, 3.0], dtype))
    gamma = families.Gamma().natural_from_params(*jnp.asarray([2.5, 1.5], dtype))
    normal = families.Normal().natural_from_params(*jnp.asarray([1.0, 2.0], dtype))
    shares = families.Dirichlet(3).natural_from_params(jnp.asarray([1.0, 2.0, 4.0], dtype))
    cases = [
        (families.Bernoulli(), theta, jnp.array([0, 1])),
        (families.Categorical(3), shares, jnp.array([0, 1, 2])),
        (families.Poisson(), gamma, jnp.arange(6)),
        (families.NormalKnownScale(1.5), normal, jnp.asarray([-3.0, 0.0, 2.0], dtype)),
    ]
    eps = float(jnp.finfo(dtype).eps)
    for family, law, x in cases:
        member, point = bayes.predictive_member(family, law)
        got = member.log_density(point, x)
        assert got.dtype == dtype
        expected = bayes.log_predictive(family, law, x)
        np.testing.assert_allclose(got, expected, rtol=64 * eps, atol=8 * eps)


def test_samples_of_the_predictive_law():
    """A Kolmogorov-Smirnov test at level 1e-4 with a fixed key."""
    prior = families.NormalInverseGamma().natural_from_params(1.0, 2.0, 3.0, 4.0)
    draws = bayes.sample_predictive(jax.random.key(0), families.Normal(), prior, (4000,))
    law = scipy.stats.t(6, 1.0, np.sqrt(4 * 3 / (3 * 2)))
    assert scipy.stats.kstest(np.asarray(draws), law.cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: bayes.conjugate_prior(families.Gamma()), ValueError, "has none"),
        (lambda: bayes.conjugate_prior(families.Poisson), TypeError, "instance of a family"),
        (
            lambda: bayes.posterior(
                families.Poisson(), families.Beta().natural_from_params(1.0, 1.0), jnp.array([1])
            ),
            TypeError,
            "Point or Params of Gamma",
        ),
        (
            lambda: bayes.posterior(
                families.Poisson(), families.Gamma().natural_from_params(1.0, 1.0), 1
            ),
            ValueError,
            "along axis 0",
        ),
        (
            lambda: bayes.posterior(
                families.Poisson(), families.Gamma().natural_from_params(1.0, 1.0), jnp.array([-1])
            ),
            ValueError,
            "support",
        ),
        (
            lambda: bayes.log_evidence(
                families.Poisson(),
                families.Gamma().natural_from_params(1.0, 1.0),
                jnp.array([1]),
                jnp.array([-1.0]),
            ),
            ValueError,
            "non-negative",
        ),
        (
            lambda: bayes.log_predictive(
                families.Poisson(), families.Gamma().natural_from_params([1.0] * 3, 1.0), [1, 2]
            ),
            ValueError,
            "broadcast",
        ),
        (
            lambda: bayes.predictive_member(
                families.Poisson(), families.Gamma().natural_from_params([1.0] * 3, 1.0)
            ),
            ValueError,
            "one concrete number",
        ),
        (
            lambda: bayes.predictive_member(
                families.Exponential(), families.Gamma().natural_from_params(1.0, 1.0)
            ),
            ValueError,
            "no member",
        ),
    ],
)
def test_bad_input_is_told(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
