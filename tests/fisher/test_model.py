"""Fisher information of a model against labels enumerated or integrated exactly."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher
from tests.fisher.models import CASES, NUM_EXAMPLES, columns_of, draw_inputs, draw_params

# Compile time: the default lane stays under ten minutes on two cores.
each_case = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "MultivariateNormal" else [])
        for name in sorted(CASES)
    ],
)
WEIGHTS = jnp.asarray([0.5, 0.0, 2.0, 1.0, 0.25])


@functools.cache
def evaluated(name):
    """All forms of the Fisher information of a case, with and without weights, compiled once."""
    case, inputs = CASES[name], draw_inputs(NUM_EXAMPLES)
    vector, unravel = jax.flatten_util.ravel_pytree(case.params)

    @jax.jit
    def quantities(params, inputs, weights, tangent):
        arguments = case.predict, case.family, params
        return {
            "matrix": fisher.fisher_matrix(*arguments, inputs, weights=weights),
            "diagonal": fisher.fisher_diagonal(*arguments, inputs, weights=weights),
            "matvec": fisher.fisher_matvec(*arguments, tangent, inputs, weights=weights),
            "enumerated": case.fisher_matrix(params, inputs, weights),
        }

    tangent = unravel(jax.random.normal(jax.random.key(5), vector.shape))
    mean = jnp.full(NUM_EXAMPLES, 1 / NUM_EXAMPLES)
    results = {w: quantities(case.params, inputs, v, tangent) for w, v in
               {"mean": mean, "weights": WEIGHTS}.items()}  # fmt: skip
    return tangent, results


@functools.cache
def matrix_and_matvec(case):
    """Both forms without weights, compiled once."""
    return jax.jit(
        lambda params, tangent, inputs: (
            fisher.fisher_matrix(case.predict, case.family, params, inputs),
            fisher.fisher_matvec(case.predict, case.family, params, tangent, inputs),
        )
    )


def flat(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


@each_case
@pytest.mark.parametrize("weighting", ["mean", "weights"])
def test_all_forms_agree_with_enumerated_labels(name, weighting):
    tangent, results = evaluated(name)
    found = results[weighting]
    matrix = np.asarray(found["enumerated"])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
    close(found["matrix"], matrix)
    close(flat(found["diagonal"]), np.diag(matrix))
    close(flat(found["matvec"]), matrix @ flat(tangent))
    np.testing.assert_array_equal(found["matrix"], found["matrix"].T)
    assert jax.tree.structure(found["diagonal"]) == jax.tree.structure(CASES[name].params)


def test_no_weights_are_the_mean():
    case, (tangent, results) = CASES["Categorical"], evaluated("Categorical")
    matrix, image = matrix_and_matvec(case)(case.params, tangent, draw_inputs(NUM_EXAMPLES))
    np.testing.assert_allclose(matrix, results["mean"]["matrix"], rtol=1e-13)
    np.testing.assert_allclose(flat(image), flat(results["mean"]["matvec"]), rtol=1e-13)


def test_further_output_axes_are_summed():
    case, tokens = CASES["Categorical"], draw_inputs(3, 4)
    arguments = case.predict, case.family, case.params
    weights = jnp.asarray(np.random.default_rng(3).integers(0, 2, (3, 4)), float)
    flattened = tokens.reshape(12, 2)

    @jax.jit
    def matrices(tokens, flattened):
        vector, unravel = jax.flatten_util.ravel_pytree(case.params)
        column = lambda e: jax.flatten_util.ravel_pytree(
            fisher.fisher_matvec(*arguments, unravel(e), tokens, weights=weights)
        )[0]
        return {
            "plain": fisher.fisher_matrix(*arguments, tokens),
            "expected": case.fisher_matrix(case.params, flattened, jnp.full(12, 1 / 3)),
            "masked": fisher.fisher_matrix(*arguments, tokens, weights=weights),
            "products": jax.vmap(column)(jnp.eye(vector.size)),
            "expected masked": case.fisher_matrix(case.params, flattened, weights.ravel()),
        }

    found = matrices(tokens, flattened)
    np.testing.assert_allclose(found["plain"], found["expected"], rtol=1e-9, atol=1e-11)
    for name in ("masked", "products"):
        np.testing.assert_allclose(found[name], found["expected masked"], rtol=1e-9, atol=1e-11)


def test_it_is_the_hessian_for_a_model_linear_in_natural_parameters():
    # There the second derivative of the output vanishes and Gauss-Newton is Newton.
    family, inputs = families.Categorical(3), draw_inputs(6)
    labels = jnp.asarray([0, 1, 2, 2, 1, 0])
    params = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3)))
    predict = lambda w, x: family.natural_from_params(logits=x @ w)

    def loss(vector):
        log_probabilities = jax.nn.log_softmax(inputs @ vector.reshape(2, 3))
        return -jnp.mean(log_probabilities[jnp.arange(6), labels])

    hessian = jax.jit(jax.hessian(loss))(params.ravel())
    matrix = jax.jit(lambda w: fisher.fisher_matrix(predict, family, w, inputs))(params)
    np.testing.assert_allclose(matrix, hessian, rtol=1e-10, atol=1e-13)


def test_forward_and_reverse_mode_agree():
    # Fewer parameters than outputs takes the forward mode; a wide layer the reverse one.
    family = families.MultivariateNormal(2)
    point = CASES["MultivariateNormal"].point
    narrow = lambda v, x: point(jnp.tile(x @ v, (1, 5)))
    wide = lambda v, x: point(jnp.tile(x @ v.reshape(2, 10) @ jnp.ones((10, 1)) / 10, (1, 5)))
    inputs, v = draw_inputs(3), jnp.asarray([[0.3], [-0.2]])
    matrix = jax.jit(
        lambda predict, v: fisher.fisher_matrix(predict, family, v, inputs), static_argnums=0
    )
    few, many = matrix(narrow, v), matrix(wide, jnp.repeat(v, 10))
    expected = np.kron(np.asarray(few), np.full((10, 10), 0.01))
    np.testing.assert_allclose(many, expected, rtol=1e-9, atol=1e-12)


def test_vmap_over_parameters_is_a_loop():
    case, inputs = CASES["Normal"], draw_inputs(NUM_EXAMPLES)
    ensemble = [draw_params(2, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ensemble)

    quantities = lambda params: matrix_and_matvec(case)(params, params, inputs)
    mapped = jax.vmap(quantities)(stacked)
    for index, params in enumerate(ensemble):
        for found, expected in zip(
            jax.tree.leaves(mapped), jax.tree.leaves(quantities(params)), strict=True
        ):
            np.testing.assert_allclose(found[index], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["Categorical", "MultivariateNormal"])
def test_float32_stays(name):
    case, inputs = CASES[name], draw_inputs(NUM_EXAMPLES).astype(jnp.float32)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), case.params)
    matrix, image = matrix_and_matvec(case)(params, params, inputs)
    assert matrix.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(image)} == {matrix.dtype}
    expected = np.asarray(evaluated(name)[1]["mean"]["matrix"])
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_leaves_may_have_several_dtypes():
    case, inputs = CASES["Categorical"], draw_inputs(NUM_EXAMPLES)
    mixed = case.params | {"inner": case.params["inner"].astype(jnp.float32)}
    matrix, image = matrix_and_matvec(case)(mixed, mixed, inputs)
    assert {n: leaf.dtype for n, leaf in image.items()} == {
        n: leaf.dtype for n, leaf in mixed.items()
    }
    np.testing.assert_allclose(flat(image), np.asarray(matrix) @ flat(mixed), rtol=2e-6, atol=1e-7)


@functools.cache
def direct_logits():
    family = families.Categorical(3)
    predict = lambda w, x: family.natural_from_params(logits=x @ w[None])
    return jax.jit(
        lambda params, inputs: (
            fisher.fisher_matrix(predict, family, params, inputs),
            fisher.fisher_matvec(predict, family, params, jnp.ones(3), inputs),
        )
    )


@pytest.mark.parametrize("logit", [40.0, 1e4, 1e300])
def test_saturated_outputs_are_finite(logit):
    params = jnp.asarray([logit, 0.0, -logit])
    matrix, image = direct_logits()(params, jnp.ones((2, 1)))
    p = np.asarray(jax.nn.softmax(params))
    np.testing.assert_allclose(matrix, np.diag(p) - np.outer(p, p), rtol=0, atol=1e-16)
    np.testing.assert_allclose(image, np.zeros(3), atol=1e-16)


def test_redundant_logits_leave_a_singular_matrix_without_nan():
    case, (_, results) = CASES["Categorical"], evaluated("Categorical")
    matrix = np.asarray(results["mean"]["matrix"])
    gauge = flat(jax.tree.map(jnp.zeros_like, case.params) | {"bias": jnp.ones(3)})
    np.testing.assert_allclose(matrix @ gauge, 0, atol=1e-15)
    values = np.linalg.eigvalsh(matrix)
    assert values[0] > -1e-15


def test_empirical_fisher_of_all_labels_is_the_fisher_matrix():
    # Weighted by p(y|x), the labels of the model; with one label of the data it is another object.
    case, inputs = CASES["Categorical"], draw_inputs(4)
    probabilities = jax.nn.softmax(columns_of(case.params, inputs))
    labels = jnp.tile(jnp.arange(3), 4)

    @jax.jit
    def matrices(params):
        arguments = case.predict, case.family, params
        return (
            fisher.fisher_matrix(*arguments, inputs),
            fisher.empirical_fisher_matrix(
                *arguments, jnp.repeat(inputs, 3, 0), labels, weights=probabilities.ravel() / 4
            ),
            fisher.empirical_fisher_matrix(*arguments, inputs, labels[:4]),
        )

    exact, enumerated, empirical = matrices(case.params)
    np.testing.assert_allclose(enumerated, exact, rtol=1e-10, atol=1e-13)
    assert np.abs(empirical - exact).max() > 0.1 * np.abs(exact).max()

    def loss(vector, n):
        unravel = jax.flatten_util.ravel_pytree(case.params)[1]
        return jax.nn.log_softmax(columns_of(unravel(vector), inputs[n][None])[0])[labels[n]]

    vector = jax.flatten_util.ravel_pytree(case.params)[0]
    gradient = jax.jit(jax.grad(loss))
    gradients = np.stack([gradient(vector, n) for n in range(4)])
    np.testing.assert_allclose(empirical, gradients.T @ gradients / 4, rtol=1e-10, atol=1e-13)


def test_empirical_fisher_of_a_product_is_that_of_its_factors():
    coin, rate = families.Bernoulli(), families.Poisson()
    family = families.Product((coin, rate))
    logits = lambda w, x: coin.Point(w[0] * x)
    rates = lambda w, x: rate.Point(w[1] * x)
    inputs, at = jnp.array([0.5, -1.0, 2.0]), jnp.array([0.3, -0.2])
    targets = np.array([1, 0, 1]), np.array([3, 0, 1])
    both = lambda w, x: family.Point(logits(w, x), rates(w, x))
    found = fisher.empirical_fisher_matrix(both, family, at, inputs, targets)
    for k, (part, predict) in enumerate(((coin, logits), (rate, rates))):
        alone = fisher.empirical_fisher_matrix(predict, part, at, inputs, targets[k])
        assert alone[k, k] > 0
        np.testing.assert_allclose(found[k, k], alone[k, k], rtol=1e-12)
