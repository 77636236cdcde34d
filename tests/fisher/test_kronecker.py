"""Kronecker-factored blocks against the dense Fisher matrix, where they are exact and where not."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher
from tests.fisher.layers import KEY, ROWS, model

HEAD = jnp.asarray([[1.0, -1.0, 0.5], [0.2, 0.3, -2.0]])
LINEAR, CLASSES = families.NormalKnownScale(), families.Categorical(3)


def assembled(layout: Any, factors: Any) -> tuple[np.ndarray, np.ndarray]:
    """The block-diagonal matrix of the factors, and where its blocks are."""
    size = sum(leaf.size for leaf in jax.tree.leaves(layout.shapes))
    matrix, inside = np.zeros((size, size)), np.zeros((size, size), bool)
    for block, factor in zip(layout.blocks, factors, strict=True):
        if block.kind == "kronecker":
            numbers = np.concatenate([piece.numbers for piece in block.pieces], axis=1)
            square = [
                x if x.ndim == 3 else jax.vmap(jnp.diag)(x) for x in (factor.rows, factor.columns)
            ]
            parts = [np.kron(*pair) for pair in zip(*square, strict=True)]
            places = [matrix_numbers.ravel() for matrix_numbers in numbers]
        else:
            (piece,) = block.pieces
            dense = isinstance(factor, fisher.DenseFactor)
            parts = [factor.matrix if dense else np.diag(factor.diagonal)]
            places = [piece.numbers]
        for part, place in zip(parts, places, strict=True):
            matrix[np.ix_(place, place)] = part
            inside[np.ix_(place, place)] = True
    return matrix, inside


def logits(name: str) -> tuple[Any, Any, Any]:
    """A model of `layers` with a classifier of three classes on the mean of its outputs."""
    found = model(name)
    width = jax.eval_shape(found.predict, found.params, found.inputs).shape[-1]
    head = jax.random.normal(jax.random.key(3), (width, 3))

    def predict(params: Any, inputs: Any) -> Any:
        outputs = found.predict(params, inputs)
        mean = jnp.mean(outputs.reshape((outputs.shape[0], -1, width)), axis=1)
        return CLASSES.natural_from_params(logits=jnp.tanh(mean) @ head)

    return predict, found.params, found.inputs


def first_example(inputs: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[:1], inputs)


@functools.cache
def of_one_example(name: str) -> tuple[Any, ...]:
    predict, params, inputs = logits(name)
    inputs = first_example(inputs)
    layout = fisher.kronecker_layout(predict, params, inputs)
    factors = jax.jit(lambda p, x: fisher.kronecker_factors(layout, predict, CLASSES, p, x))(
        params, inputs
    )
    dense = jax.jit(lambda p, x: fisher.fisher_matrix(predict, CLASSES, p, x))(params, inputs)
    return layout, factors, np.asarray(dense)


@pytest.mark.parametrize(
    "name",
    ["linen.Dense", "nnx.Linear, LayerNorm", "equinox style", "jnp, scaled outputs",
     "jnp, product used again", "jnp, product with two shifts", "jnp, subtracted from a shift",
     "jnp, scalar in a loop", "jnp, stacked and scanned"],
)  # fmt: skip
def test_exact_for_one_example_without_sharing(name):
    layout, factors, dense = of_one_example(name)
    matrix, inside = assembled(layout, factors)
    np.testing.assert_allclose(matrix[inside], dense[inside], rtol=1e-9, atol=1e-12)
    assert np.max(np.abs(dense[inside])) > 1e-3


@pytest.mark.parametrize("name", ["linen.LayerNorm", "jnp, overlapping", "jnp, nonlinear",
                                  "low-rank adaptation", "linen.BatchNorm, evaluated"])  # fmt: skip
def test_blocks_without_factors_are_exact(name):
    predict, params, inputs = logits(name)
    dense = np.asarray(jax.jit(functools.partial(fisher.fisher_matrix, predict, CLASSES))(
        params, inputs))  # fmt: skip
    for limit in (256, 0):
        layout = fisher.kronecker_layout(predict, params, inputs, dense_limit=limit)
        call = functools.partial(fisher.kronecker_factors, layout, predict, CLASSES)
        factors = jax.jit(call)(params, inputs)
        checked = 0
        for block, factor in zip(layout.blocks, factors, strict=True):
            if block.kind == "kronecker":
                continue
            (piece,) = block.pieces
            own = dense[np.ix_(piece.numbers, piece.numbers)]
            found = factor.matrix if limit else factor.diagonal
            expected = own if limit else np.diagonal(own)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)
            checked += 1
        assert checked


def deep_linear(params: Any, inputs: jax.Array) -> Any:
    hidden = inputs
    for weight in params:
        hidden = hidden @ weight
    return LINEAR.natural_from_params(loc=hidden)


def test_exact_for_deep_linear_networks():
    keys = jax.random.split(KEY, 3)
    shapes = (5, 4), (4, 3), (3, 2)
    params = [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]
    predict = lambda p, x: deep_linear(p, x)
    family = families.Product((LINEAR, LINEAR))
    both = lambda p, x: family.Point(*(LINEAR.Point(predict(p, x).x[:, k]) for k in range(2)))
    layout = fisher.kronecker_layout(both, params, ROWS)
    factors = fisher.kronecker_factors(layout, both, family, params, ROWS)
    matrix, inside = assembled(layout, factors)
    dense = np.asarray(fisher.fisher_matrix(both, family, params, ROWS))
    np.testing.assert_allclose(matrix[inside], dense[inside], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_sharing_rules(sharing):
    """Two tokens through one matrix: moments written out."""
    predict = lambda w, x: CLASSES.natural_from_params(logits=jnp.sum(jnp.tanh(x @ w), axis=1))
    weight = jax.random.normal(KEY, (4, 3))
    x = jax.random.normal(jax.random.key(8), (5, 2, 4))
    layout = fisher.kronecker_layout(predict, weight, x)
    (factor,) = fisher.kronecker_factors(layout, predict, CLASSES, weight, x, sharing=sharing)
    features, gates = np.asarray(x), np.asarray(1 - jnp.tanh(x @ weight) ** 2)
    probs = np.asarray(jax.nn.softmax(jnp.sum(jnp.tanh(x @ weight), axis=1)))
    rows, columns = np.zeros((4, 4)), np.zeros((3, 3))
    for n in range(5):
        output = np.diag(probs[n]) - np.outer(probs[n], probs[n])
        slopes = [np.diag(gates[n, r]) for r in range(2)]
        if sharing == "expand":
            rows += sum(np.outer(a, a) for a in features[n]) / 2 / 5
            columns += sum(s @ output @ s for s in slopes) / 5
        else:
            mean = np.mean(features[n], axis=0)
            rows += np.outer(mean, mean) / 5
            columns += sum(slopes) @ output @ sum(slopes) / 5
    np.testing.assert_allclose(factor.rows[0], rows, rtol=1e-10)
    np.testing.assert_allclose(factor.columns[0], columns, rtol=1e-9, atol=1e-13)


def test_reduce_is_exact_where_positions_see_the_same():
    predict = lambda w, x: CLASSES.natural_from_params(logits=jnp.sum(x @ w, axis=1))
    weight = jax.random.normal(KEY, (4, 3))
    x = jnp.repeat(jax.random.normal(jax.random.key(8), (1, 1, 4)), 3, axis=1)
    layout = fisher.kronecker_layout(predict, weight, x)
    factors = fisher.kronecker_factors(layout, predict, CLASSES, weight, x, sharing="reduce")
    matrix, _ = assembled(layout, factors)
    dense = fisher.fisher_matrix(predict, CLASSES, weight, x)
    # The features are averaged and the cotangents summed, three positions each.
    np.testing.assert_allclose(matrix, dense, rtol=1e-9, atol=1e-12)


def test_tied_matrices_have_the_partial_traces_of_the_sum():
    predict, params, inputs = logits("jnp, used twice")
    layout = fisher.kronecker_layout(predict, params, inputs)
    assert [use.swapped for use in layout.blocks[0].uses] == [False, True]
    (tied,) = fisher.kronecker_factors(layout, predict, CLASSES, params, inputs)
    found = model("jnp, used twice")
    head = jax.random.normal(jax.random.key(3), (5, 3))

    def untied(pair: Any, x: jax.Array) -> Any:
        outputs = jnp.tanh(x @ pair[0]) @ pair[1].T
        return CLASSES.natural_from_params(logits=jnp.tanh(outputs) @ head)

    pair = (found.params, found.params)
    apart = fisher.kronecker_layout(untied, pair, inputs)
    first, second = fisher.kronecker_factors(apart, untied, CLASSES, pair, inputs)
    if apart.blocks[1].shape != (1, 5, 3):
        second = fisher.KroneckerFactor(second.columns, second.rows)
    total = sum(np.kron(f.rows[0], f.columns[0]) for f in (first, second)).reshape((5, 3, 5, 3))
    product = np.kron(tied.rows[0], tied.columns[0]).reshape((5, 3, 5, 3))
    for pattern in ("iaja->ij", "iaib->ab"):
        np.testing.assert_allclose(
            np.einsum(pattern, product), np.einsum(pattern, total), rtol=1e-9
        )


@pytest.mark.parametrize("name", ["linen.Dense", "linen.Conv, grouped", "linen tied, remat",
                                  "linen scan over layers, remat"])  # fmt: skip
def test_eigenbasis_moments_are_the_diagonal_of_the_dense_matrix(name):
    predict, params, inputs = logits(name)
    layout = fisher.kronecker_layout(predict, params, inputs, factor_limit=100)
    rotation = lambda key, size, count: jnp.linalg.qr(jax.random.normal(key, (count, size, size)))[
        0
    ]
    bases = tuple(
        None
        if block.kind != "kronecker"
        else tuple(rotation(KEY, size, block.shape[0]) for size in block.shape[1:])
        for block in layout.blocks
    )
    moments = jax.jit(
        lambda p, x: fisher.eigenbasis_moments(layout, predict, CLASSES, p, x, bases)
    )(params, inputs)
    dense = np.asarray(fisher.fisher_matrix(predict, CLASSES, params, inputs))
    for block, pair, moment in zip(layout.blocks, bases, moments, strict=True):
        if pair is None:
            continue
        numbers = np.concatenate([piece.numbers for piece in block.pieces], axis=1)
        for group in range(block.shape[0]):
            place = numbers[group].ravel()
            basis = np.kron(pair[0][group], pair[1][group])
            own = dense[np.ix_(place, place)]
            np.testing.assert_allclose(
                moment[group].ravel(), np.diagonal(basis.T @ own @ basis), rtol=1e-8, atol=1e-13
            )


def test_samples_weights_and_chunks():
    predict, params, inputs = logits("linen.Dense")
    layout = fisher.kronecker_layout(predict, params, inputs)
    call = functools.partial(fisher.kronecker_factors, layout, predict, CLASSES, params, inputs)
    close = functools.partial(
        jax.tree.map, functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-14)
    )
    close(call(chunk_size=2), call())
    close(call(key=KEY, chunk_size=2), call(key=KEY))
    close(call(weights=jnp.full(3, 1 / 3)), call())
    masked = call(weights=jnp.asarray([0.5, 0.5, 0.0]))
    close(masked, fisher.kronecker_factors(layout, predict, CLASSES, params, inputs[:2]))
    draws = jax.vmap(lambda key: call(key=key))(jax.random.split(KEY, 4000))
    jax.tree.map(
        lambda found, exact: np.testing.assert_allclose(
            np.mean(found, axis=0), exact, atol=5 * np.max(np.std(found, axis=0)) / 4000**0.5
        ),
        draws,
        call(),
    )


def test_rows_outside_of_a_table_count_for_none():
    """Numbers below zero are not counted from the end, as they are for arrays."""
    table, words = jax.random.normal(KEY, (5, 2)), jnp.asarray([[-7, 0, 9, 3]])
    predict = lambda w, i: CLASSES.natural_from_params(
        logits=jnp.sum(jnp.take(w, i, axis=0, mode="fill", fill_value=0.0), axis=1) @ HEAD
    )
    layout = fisher.kronecker_layout(predict, table, words)
    (factor,) = fisher.kronecker_factors(layout, predict, CLASSES, table, words)
    np.testing.assert_allclose(factor.rows[0], [0.25, 0.0, 0.0, 0.25, 0.0])


def test_a_user_s_loss_and_float32():
    metric = fisher.OutputMetric.from_loss(lambda y: jnp.sum(y**2) / 2)
    found = model("linen.Dense")
    layout = fisher.kronecker_layout(found.predict, found.params, found.inputs)
    factors = fisher.kronecker_factors(
        layout, found.predict, metric, found.params, found.inputs[:1]
    )
    matrix, inside = assembled(layout, factors)
    dense = fisher.fisher_matrix(found.predict, metric, found.params, found.inputs[:1])
    np.testing.assert_allclose(matrix[inside], np.asarray(dense)[inside], rtol=1e-9, atol=1e-12)
    predict = lambda w, x: LINEAR.natural_from_params(loc=x @ w)
    single = jnp.ones(3, jnp.float32), jnp.ones((2, 3), jnp.float32)
    layout = fisher.kronecker_layout(predict, *single)
    factors = fisher.kronecker_factors(layout, predict, LINEAR, *single)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(factors))


def test_errors():
    predict = lambda w, x: LINEAR.natural_from_params(loc=x @ w)
    params, x = jnp.ones(3), jnp.ones((2, 3))
    layout = fisher.kronecker_layout(predict, params, x)
    call = functools.partial(fisher.kronecker_factors, layout, predict, LINEAR)
    with pytest.raises(ValueError, match="params must be those that the layout was made for"):
        call(jnp.ones(4), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match='sharing must be "expand" or "reduce"'):
        call(params, x, sharing="both")
    with pytest.raises(TypeError, match="family"):
        fisher.kronecker_factors(layout, predict, "normal", params, x)
