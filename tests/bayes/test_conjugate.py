"""Laws of conjugate updates over the registry, and values against scipy, quadrature and sums."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from igeojax import bayes, families

LIKELIHOODS = {
    name: entry for name, entry in families.FAMILIES.items() if entry.family.conjugate_prior
} | {"Product": families.FAMILIES["Product"]}
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


WEIGHTS = jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 1.0, 3.0])
# Each costs seconds of compilation: the others run in the slow lane.
NAMES = [
    name if name in {"Poisson", "Normal"} else pytest.param(name, marks=pytest.mark.slow)
    for name in LIKELIHOODS
]


@functools.cache
def found(name):
    """All that the laws compare, of one compiled function: compile time is the cost."""
    entry = LIKELIHOODS[name]
    family = entry.family
    prior, params = source_of(name)

    def everything(theta, params):
        x = family.sample(jax.random.key(2), entry.point(jax.random.key(3)), (7,))
        draws = prior.sample(jax.random.key(4), theta, (5,))
        members = bayes.natural_from_draw(family, draws)
        each = jax.vmap(lambda member: family.log_density(member, x))(members)
        after = bayes.posterior(family, theta, x, WEIGHTS)
        quotient = prior.log_density(theta, draws) - prior.log_density(after, draws)

        def stream(law):
            def step(carried, row):
                alone = jax.tree.map(lambda part: part[None], row)
                log_density = bayes.log_predictive(family, carried, row)
                return bayes.posterior(family, carried, alone), log_density

            return jax.lax.scan(step, law, x)

        sums = jax.tree.map(lambda leaf: leaf.sum(axis=0), family.statistics(x))
        increment = bayes.conjugate_increment(family, sums, 7)
        nothing = jax.tree.map(lambda part: part[:0], x)
        return {
            "each": each,
            "quotient": each @ WEIGHTS + quotient,
            "weighted": [bayes.log_evidence(family, law, x, WEIGHTS) for law in (theta, params)],
            "evidence": [bayes.log_evidence(family, law, x) for law in (theta, params)],
            "whole": bayes.posterior(family, theta, x),
            "summed": jax.tree.map(jnp.add, theta, increment),
            "by_source": prior.natural_from_params(*bayes.posterior(family, params, x)),
            "stream": stream(theta),
            "stream_by_source": stream(params),
            "nothing": bayes.posterior(family, theta, nothing),
            "no_evidence": bayes.log_evidence(family, theta, nothing),
        }

    params = jax.tree.map(jnp.asarray, params)
    theta = prior.natural_from_params(*params)
    return prior, theta, jax.jit(everything)(theta, params)


def close(got, expected, factor=64.0):
    """Leaf by leaf, to a multiple of eps of the largest entry."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        size = max(1.0, float(jnp.max(jnp.abs(b))))
        np.testing.assert_allclose(a, b, rtol=0, atol=factor * EPS * size)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_prior_is_the_one_that_the_family_names(name):
    family = LIKELIHOODS[name].family
    prior = bayes.conjugate_prior(family)
    if name == "Product":
        assert prior == families.Product(
            tuple(bayes.conjugate_prior(part) for part in family.families)
        )
    elif name == "DiagonalNormal":
        assert prior == families.Product((families.NormalInverseGamma(),) * family.dim)
    else:
        assert type(prior).__name__ == family.conjugate_prior


@pytest.mark.parametrize("name", NAMES)
def test_bayes_theorem(name):
    """Prior times likelihood over the posterior is the evidence, whatever the member."""
    _, _, values = found(name)
    size = 20 * float(jnp.max(jnp.abs(values["each"])))
    for evidence in values["weighted"]:
        np.testing.assert_allclose(values["quotient"], evidence, rtol=0, atol=64 * EPS * size)


@pytest.mark.parametrize("name", NAMES)
def test_batch_sequence_and_stream_agree(name):
    prior, theta, values = found(name)
    close(values["stream"][0], values["whole"])
    close(values["summed"], values["whole"])
    close(values["by_source"], values["whole"], 512.0)
    close(prior.natural_from_params(*values["stream_by_source"][0]), values["whole"], 512.0)
    close(values["nothing"], theta, 0.0)
    assert values["no_evidence"] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_the_evidence_is_the_product_of_the_predictive_densities(name):
    _, _, values = found(name)
    for kind, evidence in zip(("stream", "stream_by_source"), values["evidence"], strict=True):
        total = float(values[kind][1].sum())
        assert abs(total - float(evidence)) < 1024 * EPS * max(1.0, abs(float(evidence)))


def test_predictive_laws_of_scipy():
    x = jnp.arange(7)
    got = bayes.log_predictive(families.Binomial(6), families.Beta().Params(2, 3), x)
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
    """With a vague prior at 0 the squares are 1e8 times the variance; against 50 digits."""
    x = (np.random.default_rng(0).normal(size=50).astype(np.float32) + far).astype(dtype)
    source = [np.asarray(v, dtype) for v in (0.0, 1e-8, 2.0, 1.0)]
    params = families.NormalInverseGamma().Params(*map(jnp.asarray, source))
    after = bayes.posterior(families.Normal(), params, jnp.asarray(x))
    got = bayes.log_predictive(families.Normal(), after, jnp.asarray(x[:5]))
    with mpmath.workdps(50):
        exact = [mpmath.mpf(float(value)) for value in x]
        _, k, a, b = (mpmath.mpf(float(value)) for value in source)
        mean = sum(exact) / 50
        whole, loc, shape = k + 50, 50 * mean / (k + 50), a + 25
        square = sum((value - mean) ** 2 for value in exact)
        scale = b + square / 2 + k * 50 / (k + 50) * mean**2 / 2
        unit = scale * (whole + 1) / (whole * shape)

        def student(value):
            power = (shape + mpmath.mpf(1) / 2) * mpmath.log1p((value - loc) ** 2 / (2 * a_unit))
            constant = mpmath.loggamma(shape + 0.5) - mpmath.loggamma(shape)
            return constant - mpmath.log(2 * mpmath.pi * a_unit) / 2 - power

        a_unit = shape * unit
        densities = [float(student(value)) for value in exact[:5]]
        slopes = [float(abs(value - loc) / unit) for value in exact[:5]]
        scale, loc = float(scale), float(loc)
    eps = float(jnp.finfo(dtype).eps)
    assert after.scale.dtype == got.dtype == dtype
    # The rounding of the mean: eps / 2 of itself.
    assert float(after.loc) == pytest.approx(loc, rel=0, abs=2 * eps * (1 + far))
    assert float(after.scale) == pytest.approx(scale, rel=32 * eps, abs=0)
    for value, expected, slope in zip(got, densities, slopes, strict=True):
        assert abs(float(value) - expected) < 64 * eps * abs(expected) + 2 * eps * (1 + far) * slope


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("count", [1e-6, 1.0, 1e6])
def test_neither_much_nor_little_prior_costs_digits(dtype, count):
    eps = float(jnp.finfo(dtype).eps)
    theta = families.Beta().natural_from_params(*jnp.asarray([count, 3 * count], dtype))
    got = bayes.log_predictive(families.Bernoulli(), theta, jnp.asarray([1, 0]))
    assert got.dtype == dtype
    # The log-partition of a vague prior is minus the log of its count: so many digits go.
    atol = 4 * eps * max(1.0, -np.log(count))
    np.testing.assert_allclose(got, np.log([0.25, 0.75]), rtol=0, atol=atol)
    x = jnp.asarray([1, 0, 0, 1, 0])
    got = bayes.log_evidence(families.Bernoulli(), theta, x)
    ups = np.concatenate([count + np.arange(2), 3 * count + np.arange(3)])
    expected = np.log(ups).sum() - np.log(4 * count + np.arange(5)).sum()
    assert float(got) == pytest.approx(expected, rel=64 * eps, abs=0)


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
            assert float(gradient[leaf][i]) == pytest.approx(float(slope), rel=1e-7, abs=0)


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
    evidence = jax.jit(lambda x: bayes.log_evidence(families.Exponential(), theta, x))
    assert float(evidence(jnp.array([-0.5, 1.0]))) == -jnp.inf
    factor = jax.jit(lambda x: bayes.log_bayes_factor(families.Exponential(), theta, theta, x))
    assert jnp.isnan(factor(jnp.array([-0.5, 1.0])))
    assert float(factor(jnp.array([0.5, 1.0]))) == 0


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
    assert float(prior.mode(after)) == pytest.approx(mle, rel=1e-14, abs=0)
    assert float(prior.mean(after)) == pytest.approx(mle + 1 / 4, rel=1e-14, abs=0)


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
