"""The Gram matrix of the Fisher root, layer by layer, against gradients of the examples."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher
from igeojax.fisher import _layer_gram
from tests.fisher.layers import model

CATEGORICAL = families.Categorical(3)
NAMES = [
    "jnp, indexed in a loop",  # the same matrices in each step
    "jnp, overlapping",  # no matrix of a block
    "jnp, scaled outputs",
    "jnp, slices of one array",
    "jnp, used twice",  # also transposed
    "linen tied, remat",
    "linen.Conv, grouped",
    "linen.Dense",
    "linen.Dense, shared",
    "linen.Embed",
    "linen.RMSNorm",
]
LAYERS = {"jnp, indexed in a loop", "linen.Conv, grouped", "linen.Dense", "linen.Embed"}
WEIGHTS = jnp.asarray([0.5, 0.0, 2.0])


@functools.cache
def problem(name):
    """A model with three classes, from mixtures of the outputs of the layers."""
    layers = model(name)
    shape = jax.eval_shape(layers.predict, layers.params, layers.inputs).shape[1:]
    mixing = jax.random.normal(jax.random.key(3), (int(np.prod(shape)), 2))

    def predict(params, inputs):
        outputs = layers.predict(params, inputs)
        mixed = jnp.tanh(outputs.reshape((outputs.shape[0], -1)) @ mixing)
        return CATEGORICAL.natural_from_params(logits=jnp.pad(mixed, ((0, 0), (0, 1))))

    return predict, layers.params, layers.inputs


@functools.cache
def dense_gram(name):
    predict, params, inputs = problem(name)
    weights = WEIGHTS[: len(jax.tree.leaves(inputs)[0])]
    root = jax.jit(lambda p: fisher.fisher_root(predict, CATEGORICAL, p, inputs, weights=weights))(
        params
    )
    return np.asarray(root @ root.T)


@pytest.mark.parametrize(
    ("name", "cost"),
    [(name, -1e9) for name in NAMES] + [(name, 1e9) for name in NAMES if name in LAYERS],
)
def test_the_gram_matrix_is_that_of_the_gradients(name, cost, monkeypatch):
    # Small layers take one way or the other by their shapes: here each goes both.
    monkeypatch.setattr(_layer_gram, "ENTRY_COST", cost)
    predict, params, inputs = problem(name)
    weights = WEIGHTS[: len(jax.tree.leaves(inputs)[0])]
    gram = jax.jit(
        lambda p: fisher.sample_space_gram(predict, CATEGORICAL, p, inputs, weights=weights)
    )(params)
    expected = dense_gram(name)
    assert np.max(expected) > 0
    np.testing.assert_allclose(gram, expected, rtol=1e-10, atol=1e-13 * np.max(expected))


def lowered_rows(predict, params, inputs):
    """Longest array of the program of the Gram matrix, in entries."""
    gram = lambda p: fisher.sample_space_gram(predict, families.NormalKnownScale(), p, inputs)
    sizes = []

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            sizes.extend(int(np.prod(v.aval.shape)) for v in eqn.outvars)
            for value in eqn.params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    walk(inner)

    walk(jax.make_jaxpr(gram)(params).jaxpr)
    return max(sizes)


def test_no_jacobian_is_formed_for_wide_layers_and_large_vocabularies():
    family = families.NormalKnownScale()
    params = {"table": jnp.ones((500, 40)), "kernel": jnp.ones((40, 60)), "out": jnp.ones((60, 1))}

    def predict(params, words):
        hidden = jnp.tanh(params["table"][words] @ params["kernel"])
        return family.natural_from_params(loc=(hidden @ params["out"])[:, 0])

    words = jnp.arange(16)
    assert lowered_rows(predict, params, words) <= 500 * 40  # a Jacobian has 16 times that


def test_rows_of_a_table_that_do_not_exist_have_no_gradient():
    family = families.NormalKnownScale()
    predict = lambda table, words: family.natural_from_params(
        loc=table.at[words].get(mode="fill", fill_value=0.0).sum(-1)
    )
    words = jnp.asarray([1, 9, 9, 1, 2])
    gram = fisher.sample_space_gram(predict, family, jnp.ones((4, 30)), words)
    np.testing.assert_allclose(5 * gram, 30 * np.array([
        [1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 1],
    ]), rtol=1e-12)  # fmt: skip


def test_products_with_the_root_are_those_of_the_matrix():
    predict, params, inputs = problem("linen.Dense")
    arguments = predict, CATEGORICAL, params, inputs
    vector, unravel = jax.flatten_util.ravel_pytree(params)
    tangent = jnp.sin(jnp.arange(vector.size, dtype=vector.dtype))
    root = np.asarray(fisher.fisher_root(*arguments, weights=WEIGHTS))
    rows = jnp.cos(jnp.arange(root.shape[0], dtype=vector.dtype))
    operator = fisher.fisher_root_operator(*arguments, weights=WEIGHTS)
    np.testing.assert_allclose(operator.matvec(unravel(tangent)), root @ tangent, rtol=1e-10)
    back = jax.flatten_util.ravel_pytree(operator.transposed_matvec(rows))[0]
    np.testing.assert_allclose(back, root.T @ rows, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"rows must have shape \(9,\).*got \(4,\)"):
        operator.transposed_matvec(jnp.ones(4))


def test_the_gram_matrix_has_the_basis_of_the_products():
    # Of a multiple of the identity any basis is one of eigenvectors.
    metric = fisher.OutputMetric(lambda outputs, v: jnp.cosh(outputs[0]) * v)
    predict = lambda w, x: jnp.tanh(x @ w)
    x, w = (jax.random.normal(jax.random.key(k), s) for k, s in enumerate(((3, 6), (6, 4))))
    operator = fisher.fisher_root_operator(predict, metric, w, x)
    columns = jax.vmap(lambda e: operator.matvec(operator.transposed_matvec(e)))(jnp.eye(12))
    np.testing.assert_allclose(operator.gram(), columns, rtol=1e-10, atol=1e-12)


def test_several_outputs_an_example_and_two_heads():
    family = families.Product((families.Normal(), families.Poisson()))
    w = jax.random.normal(jax.random.key(0), (5, 4, 3))
    x = jax.random.normal(jax.random.key(1), (4, 2, 5))

    def predict(w, x):
        a, b, c = (jnp.tanh(x @ w[..., k]) for k in range(3))
        parts = families.Normal().Params(a, 1 + b**2), families.Poisson().Params(jnp.exp(c))
        return family.natural_from_params(*parts)

    root = jax.jit(lambda w: fisher.fisher_root(predict, family, w, x))(w)
    gram = jax.jit(lambda w: fisher.sample_space_gram(predict, family, w, x))(w)
    np.testing.assert_allclose(gram, root @ root.T, rtol=1e-9, atol=1e-10)


def test_single_precision_stays():
    predict = lambda w, x: families.NormalKnownScale().natural_from_params(loc=(x @ w)[:, 0])
    w, x = jnp.ones((3, 1), jnp.float32), jnp.ones((2, 3), jnp.float32)
    gram = fisher.sample_space_gram(predict, families.NormalKnownScale(), w, x)
    assert gram.dtype == jnp.float32
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)
    gram = fisher.sample_space_gram(predict, families.NormalKnownScale(), half(w), half(x))
    assert gram.dtype == jnp.float32


def test_parameters_without_a_use():
    family = families.NormalKnownScale()
    predict = lambda w, x: family.natural_from_params(loc=x)
    np.testing.assert_array_equal(
        fisher.sample_space_gram(predict, family, jnp.ones(2), jnp.ones(3)), np.zeros((3, 3))
    )
