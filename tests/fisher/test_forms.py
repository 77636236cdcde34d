"""Every form of the Fisher information of a model, whole and in chunks, against dense algebra."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher
from tests.fisher.models import CASES, Case, columns_of, draw_inputs, draw_params
from tests.fisher.test_output import HEADS, LOSS, heads_of

N, CHUNK, DAMPING = 5, 2, 0.3  # the last chunk is filled up
WEIGHTS = jnp.asarray([0.5, 0.0, 2.0, 1.0, 0.25])


def head(name, *columns):
    """A head of the product as a case of its own: other columns carry no labels."""
    case, part = CASES[name], jnp.asarray(columns)
    return Case(
        case.family,
        6,
        lambda raw: case.point(raw[..., part]),
        lambda raw, y: case.log_density(raw[part], y),
        lambda raw: case.labels(raw[part]),
    )


def loss_matrix(params, inputs, weights):
    """`sum_n w_n J_n^T H_n J_n` of the loss of tests.fisher.test_output."""
    vector, unravel = jax.flatten_util.ravel_pytree(params)
    outputs = lambda v: columns_of(unravel(v), inputs)
    jacobian, raw = jax.jacfwd(outputs)(vector), outputs(vector)
    hessian = jax.vmap(jnp.diag)(raw**2) + jnp.ones((1, 3, 3))
    return jnp.einsum("n,nip,nij,njq->pq", weights, jacobian, hessian, jacobian)


def product_matrix(params, inputs, weights):
    parts = head("Categorical", 0, 1, 2), head("Normal", 3, 4), head("Bernoulli", 5)
    return sum(part.fisher_matrix(params, inputs, weights) for part in parts)


# family, predict, params, reference(params, inputs, weights)
MODELS = {name: (c.family, c.predict, c.params, c.fisher_matrix) for name, c in CASES.items()}
MODELS["Loss"] = LOSS, columns_of, draw_params(3), loss_matrix
MODELS["Product"] = (
    HEADS,
    lambda params, x: heads_of(columns_of(params, x)),
    draw_params(6),
    product_matrix,
)
each_model = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "MultivariateNormal" else [])
        for name in sorted(MODELS)
    ],
)


def forms(family, predict, params, tangent, inputs, weights, chunk_size):
    arguments, options = (
        (predict, family, params),
        {"weights": weights, "chunk_size": chunk_size},
    )
    return {
        "matvec": fisher.fisher_matvec(*arguments, tangent, inputs, **options),
        "matrix": fisher.fisher_matrix(*arguments, inputs, **options),
        "diagonal": fisher.fisher_diagonal(*arguments, inputs, **options),
        "blocks": fisher.fisher_block_diagonal(*arguments, inputs, **options),
        "trace": fisher.fisher_trace(*arguments, inputs, **options),
        "sampled": fisher.sampled_fisher_matrix(
            jax.random.key(2), *arguments, inputs, num_samples=3, **options
        ),
        "sampled diagonal": fisher.fisher_diagonal_from_samples(
            jax.random.key(2), *arguments, inputs, num_samples=3, **options
        ),
    }


@functools.cache
def evaluated(name):
    """All forms of a model, compiled once."""
    family, predict, params, reference = MODELS[name]
    vector, unravel = jax.flatten_util.ravel_pytree(params)
    tangent = unravel(jnp.asarray(np.random.default_rng(6).normal(size=vector.size)))

    @jax.jit
    def quantities(params, inputs):
        parts = (forms(family, predict, params, tangent, inputs, WEIGHTS, k) for k in (None, CHUNK))
        rest = (predict, family, params, inputs)
        root = fisher.fisher_root(*rest, weights=WEIGHTS)
        return {
            "whole": next(parts),
            "chunked": next(parts),
            "root": root,
            "gram": fisher.sample_space_gram(*rest, weights=WEIGHTS),
            "log_det": fisher.fisher_log_det(*rest, damping=DAMPING, weights=WEIGHTS),
            "eigenvalues": fisher.fisher_eigenvalues(*rest, weights=WEIGHTS),
            "expected": reference(params, inputs, WEIGHTS),
        }

    return flat(tangent), params, quantities(params, draw_inputs(N))


def flat(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)


@each_model
def test_forms_are_dense_algebra(name):
    tangent, params, results = evaluated(name)
    found, matrix = results["whole"], np.asarray(results["expected"])
    assert np.abs(matrix).max() > 0.1
    close(found["matrix"], matrix)
    close(flat(found["matvec"]), matrix @ tangent)
    close(flat(found["diagonal"]), np.diag(matrix))
    close(found["trace"], np.trace(matrix))
    assert jax.tree.structure(found["blocks"]) == jax.tree.structure(params)
    start = 0
    for block, leaf in zip(jax.tree.leaves(found["blocks"]), jax.tree.leaves(params), strict=True):
        stop = start + leaf.size
        close(block, matrix[start:stop, start:stop])
        start = stop


@each_model
def test_the_root_is_that_of_the_matrix(name):
    _, _, results = evaluated(name)
    root, matrix = np.asarray(results["root"]), np.asarray(results["expected"])
    close(root.T @ root, matrix)
    close(results["gram"], root @ root.T)
    damped = matrix + DAMPING * np.eye(len(matrix))
    close(results["log_det"], np.linalg.slogdet(damped)[1])
    values = np.linalg.eigvalsh(matrix)[::-1]
    assert len(results["eigenvalues"]) == min(root.shape)
    close(results["eigenvalues"], values[: min(root.shape)])
    close(values[min(root.shape) :], 0)


@each_model
def test_chunks_change_nothing(name):
    _, _, results = evaluated(name)
    for key, expected in results["whole"].items():
        np.testing.assert_allclose(
            flat(results["chunked"][key]), flat(expected), rtol=1e-12, atol=1e-13, err_msg=key
        )


@each_model
def test_samples_have_the_rank_of_labels_and_their_diagonal(name):
    _, _, results = evaluated(name)
    matrix = np.asarray(results["whole"]["sampled"])
    close(flat(results["whole"]["sampled diagonal"]), np.diag(matrix))
    # Four examples have a weight, with three samples each.
    assert np.linalg.matrix_rank(matrix, tol=1e-9) <= 12


@pytest.mark.parametrize("name", ["Categorical", "Loss", "Product"])
def test_samples_are_unbiased(name):
    family, predict, params, _ = MODELS[name]
    draw = lambda key: fisher.sampled_fisher_matrix(
        key, predict, family, params, draw_inputs(N), num_samples=400, weights=WEIGHTS
    )
    keys = jax.random.split(jax.random.key(3), 30)
    draws = np.asarray(jax.jit(lambda keys: jax.lax.map(draw, keys))(keys))
    error = draws.mean(0) - np.asarray(evaluated(name)[2]["expected"])
    assert (np.abs(error) <= 6 * draws.std(0) / np.sqrt(30) + 1e-12).all()


# Sequences with masks.


@functools.cache
def sequences():
    case, tokens = CASES["Categorical"], draw_inputs(N, 3)
    mask = jnp.asarray(np.random.default_rng(3).integers(0, 2, (N, 3)), float) / 7
    vector, unravel = jax.flatten_util.ravel_pytree(case.params)
    tangent = unravel(jnp.ones(vector.size))

    @jax.jit
    def quantities(params):
        rest = (case.predict, case.family, params, tokens)
        results = [
            forms(case.family, case.predict, params, tangent, tokens, mask, k)
            for k in (None, CHUNK, 1)
        ]
        root = fisher.fisher_root(*rest, weights=mask)
        return results, root, case.fisher_matrix(params, tokens.reshape(-1, 2), mask.ravel())

    return quantities(case.params)


def test_sequences_and_masks():
    (whole, *chunked), root, expected = sequences()
    close(whole["matrix"], expected)
    close(np.asarray(root).T @ root, expected)
    assert root.shape == (N * 3 * 3, expected.shape[0])
    for other in chunked:
        for key, value in whole.items():
            close(flat(other[key]), flat(value), err_msg=key)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 9])
def test_chunks_of_the_empirical_fisher(chunk_size):
    case, labels = CASES["Categorical"], jnp.asarray([0, 2, 1, 1, 0])
    arguments = case.predict, case.family, case.params, draw_inputs(N), labels
    for weights in (None, WEIGHTS):
        whole = fisher.empirical_fisher_matrix(*arguments, weights=weights)
        found = fisher.empirical_fisher_matrix(*arguments, weights=weights, chunk_size=chunk_size)
        np.testing.assert_allclose(found, whole, rtol=1e-12, atol=1e-14)


def test_chunks_under_vmap_and_grad():
    case, inputs = CASES["Bernoulli"], draw_inputs(N)

    def trace(chunk_size, params):
        return fisher.fisher_trace(case.predict, case.family, params, inputs, chunk_size=chunk_size)

    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), case.params)
    whole, chunked = (
        jax.jit(jax.vmap(jax.value_and_grad(functools.partial(trace, k))))(stacked)
        for k in (None, CHUNK)
    )
    np.testing.assert_allclose(flat(chunked), flat(whole), rtol=1e-11, atol=1e-13)


def test_without_64_bits():
    case = CASES["Categorical"]
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), (case.params, draw_inputs(N)))
    with jax.enable_x64(False):
        params, inputs = jax.tree.map(jnp.asarray, single)
        arguments = case.predict, case.family, params, inputs

        @jax.jit
        def quantities(key):
            rest = {"chunk_size": 2}
            return {
                "matrix": fisher.fisher_matrix(*arguments, **rest),
                "root": fisher.fisher_root(*arguments),
                "eigen": fisher.fisher_eigenpairs(key, *arguments, rank=2, **rest),
                "density": fisher.fisher_spectral_density(key, *arguments, num_matvecs=5),
                "log_det": fisher.fisher_log_det(*arguments, damping=0.1),
                "sampled": fisher.sampled_fisher_matrix(key, *arguments, **rest),
            }

        found = quantities(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    expected = np.asarray(case.fisher_matrix(case.params, draw_inputs(N), jnp.full(N, 0.2)))
    np.testing.assert_allclose(found["matrix"], expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["root"].T @ found["root"], expected, rtol=0, atol=1e-6)
    values = np.linalg.eigvalsh(expected)[::-1]
    np.testing.assert_allclose(found["eigen"].values, values[:2], rtol=1e-5)


@pytest.mark.parametrize(("chunk_size", "error"), [(0, ValueError), (2.0, TypeError)])
def test_a_chunk_is_a_positive_integer(chunk_size, error):
    case, inputs = CASES["Bernoulli"], draw_inputs(N)
    for form in ("matrix", "diagonal", "block_diagonal", "trace"):
        with pytest.raises(error, match="chunk_size must be a"):
            getattr(fisher, f"fisher_{form}")(
                case.predict, case.family, case.params, inputs, chunk_size=chunk_size
            )
    with pytest.raises(error, match="chunk_size must be a"):
        fisher.fisher_matvec(
            case.predict, case.family, case.params, case.params, inputs, chunk_size=chunk_size
        )
    with pytest.raises(error, match="chunk_size must be a"):
        fisher.empirical_fisher_matrix(
            case.predict, case.family, case.params, inputs, jnp.ones(N, int), chunk_size=chunk_size
        )


def test_chunks_need_examples_on_axis_0_of_all_inputs():
    family = families.Poisson()
    predict = lambda w, x: family.Point(w * x[0] * x[1])
    with pytest.raises(ValueError, match="share the examples on axis 0"):
        fisher.fisher_matvec(predict, family, 1.0, 1.0, (jnp.ones(3), 2.0), chunk_size=1)


def test_memory_is_bounded_by_the_chunk():
    # Temporaries of the compiled program: those of one chunk, not of all examples.
    family = families.Categorical(10)
    predict = lambda w, x: family.natural_from_params(logits=jnp.tanh(x @ w["a"]) @ w["b"])
    shape = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)
    params = {"a": shape(20, 64), "b": shape(64, 10)}

    def temporaries(chunk_size):
        form = lambda w, x: fisher.fisher_diagonal(predict, family, w, x, chunk_size=chunk_size)
        lowered = jax.jit(form).lower(params, shape(2048, 20))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporaries(64) < temporaries(None) / 8
