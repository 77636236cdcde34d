"""Laplace approximations against ridge regression, dense algebra and exact posteriors."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax import bayes, families

GENERATOR = np.random.default_rng(0)
X = jnp.asarray(GENERATOR.normal(size=(20, 3)))
Y = jnp.asarray(np.asarray(X) @ [1.0, -2.0, 0.5] + 0.7 * GENERATOR.normal(size=20))
NOISE, TAU = 0.7, 3.0
REGRESSION = families.NormalKnownScale(NOISE)
BERNOULLI = families.Bernoulli()


def linear(w, x):
    return REGRESSION.natural_from_params(loc=x @ w)


def ridge():
    """Mode and precision of the posterior of a linear regression, by the normal equations."""
    precision = np.asarray(X.T @ X) / NOISE**2 + TAU * np.eye(3)
    return jnp.asarray(np.linalg.solve(precision, np.asarray(X.T @ Y) / NOISE**2)), precision


def exact_evidence():
    covariance = np.asarray(X @ X.T) / TAU + NOISE**2 * np.eye(20)
    return scipy.stats.multivariate_normal(np.zeros(20), covariance).logpdf(np.asarray(Y))


def log_joint(w):
    prior = jax.scipy.stats.norm.logpdf(w, 0.0, TAU**-0.5).sum()
    return prior + REGRESSION.log_density(linear(w, X), Y).sum()


def test_of_a_normal_posterior_it_is_exact():
    mode, precision = ridge()
    law = bayes.laplace_approximation(log_joint, mode)
    family = families.MultivariateNormal(3)
    np.testing.assert_allclose(family.mean(law.theta), mode, rtol=1e-12)
    covariance = family.params_from_natural(law.theta).covariance
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=1e-11, atol=1e-14)
    assert float(law.log_evidence) == pytest.approx(exact_evidence(), abs=1e-10)


def test_l2_regularization_is_a_gaussian_prior():
    """The minimum of the penalized sum of squares is the mode, and the conjugate mean as well."""
    mode, _ = ridge()
    penalized = lambda w: jnp.sum((Y - X @ w) ** 2) / (2 * NOISE**2) + TAU / 2 * jnp.sum(w**2)
    np.testing.assert_allclose(jax.grad(penalized)(mode), np.zeros(3), atol=1e-11)
    gap = [float(penalized(w) + log_joint(w)) for w in (mode, mode + 1.0, jnp.zeros(3))]
    np.testing.assert_allclose(gap, gap[0], rtol=1e-12)
    # One feature that is 1: the penalized mean is the posterior mean of a normal prior.
    prior = families.Normal().Params(jnp.asarray(0.0), jnp.asarray(TAU**-0.5))
    after = bayes.posterior(REGRESSION, prior, Y)
    penalized_mean = Y.sum() / (20 + TAU * NOISE**2)
    assert float(after.loc) == pytest.approx(float(penalized_mean), rel=1e-14, abs=0)


@pytest.mark.parametrize("structure", ["dense", "kronecker"])
def test_of_a_linear_model_the_fisher_is_the_hessian(structure):
    mode, precision = ridge()
    law = bayes.model_laplace(
        linear, REGRESSION, mode, X, Y, prior_precision=TAU, structure=structure
    )
    inverse = np.linalg.inv(precision)
    for k in range(3):
        np.testing.assert_allclose(law.covariance_matvec(jnp.eye(3)[k]), inverse[k], atol=1e-13)
    assert float(law.log_evidence) == pytest.approx(exact_evidence(), abs=1e-10)
    outputs = bayes.linearized_outputs(law, linear, X[:4], chunk_size=3)
    np.testing.assert_allclose(
        outputs.covariance[:, 0, 0] * NOISE**4,
        np.einsum("ni,ij,nj->n", X[:4], inverse, X[:4]),
        rtol=1e-12,
    )
    share = np.trace(np.eye(3) - TAU * inverse)
    assert float(law.effective_dimension) == pytest.approx(share, rel=1e-12, abs=0)


def test_the_evidence_finds_the_prior_precision():
    """Its slope in tau, of the same curvature, is that of the exact evidence at fixed mean."""
    mode, _ = ridge()
    law = bayes.model_laplace(
        linear, REGRESSION, mode, X, Y, prior_precision=TAU, structure="dense"
    )
    curve = lambda tau: law.with_prior_precision(tau).log_evidence
    assert jnp.isnan(jax.jit(curve)(-1.0))
    values = np.linalg.eigvalsh(np.asarray(X.T @ X) / NOISE**2)
    for tau in (0.5, TAU, 20.0):
        slope = 0.5 * (3 / tau - float(mode @ mode) - np.sum(1 / (values + tau)))
        assert float(jax.grad(curve)(tau)) == pytest.approx(slope, rel=1e-11, abs=0)


def network(params, x):
    hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"][None])
    return families.Categorical(3).natural_from_params(
        logits=hidden @ params["last"]["kernel"] + params["last"]["bias"][None]
    )


def network_case():
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "first": {"kernel": jax.random.normal(keys[0], (3, 4)), "bias": jnp.full(4, 0.1)},
        "last": {"kernel": jax.random.normal(keys[1], (4, 3)), "bias": jnp.zeros(3)},
    }
    return params, jax.random.randint(keys[2], (20,), 0, 3)


def dense_covariance(law):
    vector, unravel = jax.flatten_util.ravel_pytree(law.mean)
    row = lambda v: jax.flatten_util.ravel_pytree(law.covariance_matvec(unravel(v)))[0]
    return np.asarray(jax.jit(jax.vmap(row))(jnp.eye(vector.size)))


def jacobian_of(predict, params, x):
    vector, unravel = jax.flatten_util.ravel_pytree(params)
    rows = lambda v: jax.flatten_util.ravel_pytree(predict(unravel(v), x))[0]
    return jax.jacfwd(rows)(vector)


def test_structures_of_a_network_against_dense_algebra():
    params, labels = network_case()
    family = families.Categorical(3)
    tau = 0.8
    jacobian = np.asarray(jacobian_of(network, params, X)).reshape(20, 2, -1)
    probs = np.asarray(family.params_from_natural(network(params, X)).probs)[:, :2]
    metric = np.einsum("ni,ij->nij", probs, np.eye(2)) - probs[:, :, None] * probs[:, None, :]
    fisher = np.einsum("nip,nij,njq->pq", jacobian, metric, jacobian)
    size = fisher.shape[0]
    square = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(params))
    likelihood = float(family.log_density(network(params, X), labels).sum())

    def evidence(matrix):
        log_det = np.linalg.slogdet(matrix)[1]
        return likelihood - 0.5 * tau * square + 0.5 * size * np.log(tau) - 0.5 * log_det

    def made(structure):
        return bayes.model_laplace(
            network, family, params, X, labels, prior_precision=tau, structure=structure
        )

    dense = made("dense")
    np.testing.assert_allclose(
        dense_covariance(dense), np.linalg.inv(fisher + tau * np.eye(size)), atol=1e-11
    )
    assert float(dense.log_evidence) == pytest.approx(evidence(fisher + tau * np.eye(size)))
    diagonal = made("diagonal")
    expected = np.diag(1 / (np.diag(fisher) + tau))
    np.testing.assert_allclose(dense_covariance(diagonal), expected, atol=1e-12)
    kronecker = made("kronecker")
    covariance = dense_covariance(kronecker)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
    precision = np.linalg.inv(covariance)
    assert float(kronecker.log_evidence) == pytest.approx(evidence(precision), rel=1e-9, abs=0)
    # Blocks of layers, whose product is not of rank one: entries (bias, kernel) of "first" first.
    layers = np.array([0] * 16 + [1] * 15)
    assert np.abs(precision[layers[:, None] != layers[None, :]]).max() < 1e-10
    # The trace of a Kronecker product of second moments and that of the Fisher agree to a factor.
    first = precision[:16, :16] - tau * np.eye(16)
    assert 0.5 < np.trace(first) / np.trace(fisher[:16, :16]) < 2
    for law in (dense, diagonal, kronecker):
        outputs = bayes.linearized_outputs(law, network, X[:5])
        rows = jacobian[:5]
        expected = np.einsum("nip,pq,njq->nij", rows, dense_covariance(law), rows)
        np.testing.assert_allclose(outputs.covariance, expected, atol=1e-11)
        close_to = network(params, X[:5])
        np.testing.assert_allclose(outputs.mean.one_hot, close_to.one_hot, rtol=1e-14)


def test_the_last_layer_alone():
    """Its features are constants: a generalized linear model with dense algebra."""
    params, labels = network_case()
    family = families.Categorical(3)
    model, some = bayes.restricted(network, params, lambda path: path.startswith("last/"))
    assert sorted(some) == ["last/bias", "last/kernel"]
    law = bayes.model_laplace(
        model, family, some, X, labels, prior_precision=2.0, structure="dense"
    )
    hidden = np.tanh(np.asarray(X) @ params["first"]["kernel"] + 0.1)
    features = np.concatenate([hidden, np.ones((20, 1))], axis=1)
    probs = np.asarray(family.params_from_natural(network(params, X)).probs)
    metric = np.einsum("ni,ij->nij", probs, np.eye(3)) - probs[:, :, None] * probs[:, None, :]
    fisher = np.einsum("na,nb,nij->aibj", features, features, metric).reshape(15, 15)
    log_det = np.linalg.slogdet(fisher + 2.0 * np.eye(15))[1]
    square = sum(float(jnp.sum(leaf**2)) for leaf in some.values())
    likelihood = float(family.log_density(network(params, X), labels).sum())
    expected = likelihood - square + 0.5 * 15 * np.log(2.0) - 0.5 * log_det
    assert float(law.log_evidence) == pytest.approx(expected, rel=1e-11, abs=0)


def test_draws_have_the_covariance():
    """4000 draws; entries of the covariance within 6 standard errors, of parameters and outputs."""
    params, labels = network_case()
    family = families.Categorical(3)
    law = bayes.model_laplace(network, family, params, X, labels, prior_precision=2.0)
    draws = law.sample(jax.random.key(1), (4000,))
    flat = jax.vmap(lambda one: jax.flatten_util.ravel_pytree(one)[0])(draws)
    expected = dense_covariance(law)
    found = np.cov(np.asarray(flat).T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) + expected**2)
    assert np.abs((found - expected) / scale).max() < 6 / np.sqrt(4000)
    outputs = bayes.linearized_outputs(law, network, X[:3])
    draws = outputs.sample(jax.random.key(2), (4000,)).one_hot
    assert draws.shape == (4000, 3, 2)
    for n in range(3):
        expected = np.asarray(outputs.covariance[n])
        found = np.cov(np.asarray(draws[:, n]).T)
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) + expected**2)
        assert np.abs((found - expected) / scale).max() < 6 / np.sqrt(4000)


def test_logistic_evidence_against_a_grid():
    """Two weights: the Fisher is the Hessian, and the error of the evidence small."""
    x = X[:, :2]
    y = (Y > 0).astype(float)
    predict = lambda w, x: BERNOULLI.Point(x @ w)
    joint = lambda w: (
        jax.scipy.stats.norm.logpdf(w, 0.0, 1.0).sum()
        + BERNOULLI.log_density(predict(w, x), y).sum()
    )
    newton = jax.jit(lambda w: w - jnp.linalg.solve(jax.hessian(joint)(w), jax.grad(joint)(w)))
    mode = jnp.zeros(2)
    for _ in range(20):
        mode = newton(mode)
    law = bayes.laplace_approximation(joint, mode)
    model = bayes.model_laplace(
        predict, BERNOULLI, mode, x, y, prior_precision=1.0, structure="dense"
    )
    assert float(model.log_evidence) == pytest.approx(float(law.log_evidence), abs=1e-10)
    axis = jnp.linspace(-5.0, 6.0, 121)
    grid = bayes.grid_posterior(lambda a, b: joint(jnp.stack([a, b])), [axis, axis - 1])
    assert float(law.log_evidence) == pytest.approx(float(grid.log_evidence), abs=0.1)
    np.testing.assert_allclose(grid.mean(), mode, atol=0.35)


def test_float32_jit_and_weights():
    mode, precision = ridge()
    narrow = [leaf.astype(jnp.float32) for leaf in (mode, X, Y)]
    law = jax.jit(
        lambda w, x, y: bayes.model_laplace(
            linear, REGRESSION, w, x, y, prior_precision=TAU, structure="dense"
        )
    )(*narrow)
    product = law.covariance_matvec(narrow[0])
    assert product.dtype == jnp.float32
    assert law.log_evidence.dtype == jnp.float32
    np.testing.assert_allclose(product, np.linalg.solve(precision, mode), rtol=1e-4)
    twice = bayes.model_laplace(
        linear, REGRESSION, mode, X, Y, prior_precision=TAU, weights=jnp.full(20, 2.0)
    )
    doubled = np.linalg.inv(2 * precision - TAU * np.eye(3))
    np.testing.assert_allclose(dense_covariance(twice), doubled, atol=1e-13)
    likelihood = REGRESSION.log_density(linear(mode, X), Y).sum()
    assert float(twice.log_likelihood) == pytest.approx(2 * float(likelihood), rel=1e-13, abs=0)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda w: bayes.laplace_approximation(log_joint, w + 1.0), ValueError, "distance"),
        (
            lambda w: bayes.laplace_approximation(lambda v: jnp.sum(v**2), jnp.zeros(2)),
            ValueError,
            "positive definite",
        ),
        (
            lambda w: bayes.model_laplace(
                linear, REGRESSION, w, X, Y, prior_precision=1.0, structure="full"
            ),
            ValueError,
            "one of 'dense'",
        ),
        (
            lambda w: bayes.model_laplace(linear, REGRESSION, w, X, Y, prior_precision=0.0),
            ValueError,
            "L2 penalty",
        ),
        (
            lambda w: bayes.model_laplace(linear, REGRESSION, w, X, Y, prior_precision=[1.0, 2.0]),
            ValueError,
            "must be a number",
        ),
        (
            lambda w: bayes.model_laplace(linear, REGRESSION, w, X, Y[:5], prior_precision=1.0),
            ValueError,
            "one observation for each output",
        ),
        (
            lambda w: bayes.model_laplace(linear, "normal", w, X, Y, prior_precision=1.0),
            TypeError,
            "instance of a family",
        ),
        (
            lambda w: bayes.linearized_outputs(w, linear, X),
            TypeError,
            "must be a ModelLaplace",
        ),
        (
            lambda w: bayes.restricted(linear, {"a": w}, lambda path: path == "b"),
            ValueError,
            "none of a",
        ),
        (
            lambda w: bayes.restricted(lambda p, x: p["a"], {"a": w}, lambda path: True)[0](
                {"b": w}, X
            ),
            ValueError,
            "chosen parameters are a; got b",
        ),
    ],
)
def test_bad_input_is_told(call, kind, words):
    with pytest.raises(kind, match=words):
        call(ridge()[0])
