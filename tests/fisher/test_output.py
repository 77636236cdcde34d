"""Cotangents whose outer products are the metric of the outputs, and metrics of losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher, optim
from igeojax.fisher.output import score_factors, score_of, score_samples
from igeojax.fisher.output_metric import OutputMetric
from tests.fisher.models import CASES, NUM_EXAMPLES, columns_of, draw_inputs

HEADS = families.Product((families.Categorical(3), families.Normal(), families.Bernoulli()))


def heads_of(raw):
    categorical, normal, bernoulli = HEADS.families
    return HEADS.Point(
        categorical.natural_from_params(logits=raw[..., :3]),
        normal.natural_from_params(raw[..., 3], jnp.exp(raw[..., 4])),
        bernoulli.natural_from_params(logits=raw[..., 5]),
    )


def quartic(outputs):
    """A convex loss whose Hessian is neither diagonal nor constant."""
    return jnp.sum(outputs**4) / 12 + 0.5 * jnp.sum(outputs) ** 2


LOSS = OutputMetric.from_loss(quartic)
OUTPUTS = {name: (case.family, case.point, case.num_columns) for name, case in CASES.items()}
OUTPUTS |= {
    "Product": (HEADS, heads_of, 6),
    "Loss": (LOSS, lambda raw: raw, 3),
    "Multinomial": (
        families.Multinomial(4, 3),
        lambda raw: families.Multinomial(4, 3).Point(raw),
        2,
    ),
}
each_output = pytest.mark.parametrize("name", sorted(OUTPUTS))


def draw_theta(name, *batch):
    _, point, columns = OUTPUTS[name]
    return point(jnp.asarray(np.random.default_rng(4).normal(size=(*batch, columns))))


def rows(tree, axes):
    """Event axes flattened to one, after `axes` others."""
    leaves = [leaf.reshape((*leaf.shape[:axes], -1)) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves, axis=-1)


def dense_metric(family, theta, axes):
    """The metric of each output by products with tangents: those that points can take."""
    structure = jax.tree.structure(theta)
    leaves = jax.tree.leaves(theta)

    def image(e):
        parts, start = [], 0
        for leaf in leaves:
            shape = leaf.shape[axes:]
            size = int(np.prod(shape))
            part = e[start : start + size].reshape(shape)
            part = 0.5 * (part + part.T) if len(shape) == 2 else part
            parts.append(jnp.broadcast_to(part, leaf.shape))
            start += size
        return rows(family.fisher_matvec(theta, jax.tree.unflatten(structure, parts)), axes)

    size = rows(theta, axes).shape[-1]
    return jax.vmap(image, out_axes=-1)(jnp.eye(size))


@each_output
def test_factors_of_one_output_an_example_sum_to_the_metric(name):
    family, theta = OUTPUTS[name][0], draw_theta(name, 4)

    @jax.jit
    def both(theta):
        factors = rows(score_factors(family, theta), 2)
        return jnp.einsum("kni,knj->nij", factors, factors), dense_metric(family, theta, 1)

    found, expected = both(theta)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["Categorical", "Product", "Loss"])
def test_factors_of_several_outputs_touch_one_output_each(name):
    family, theta = OUTPUTS[name][0], draw_theta(name, 3, 2, 2)
    factors = rows(jax.jit(functools.partial(score_factors, family))(theta), 4)
    assert ((np.abs(factors).max(-1) > 0).sum((2, 3)) <= 1).all()
    found = np.einsum("kntui,knvwj->ntuivwj", factors, factors)
    expected = np.einsum(
        "ntuij,tv,uw->ntuivwj", dense_metric(family, theta, 3), np.eye(2), np.eye(2)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@each_output
def test_samples_have_mean_zero_and_the_metric_as_covariance(name):
    family, theta = OUTPUTS[name][0], draw_theta(name, 2)
    repeated = jax.tree.map(lambda x: jnp.repeat(x[None], 40_000, 0), theta)

    @jax.jit
    def moments(theta):
        scores = rows(score_samples(jax.random.key(0), family, theta), 2)
        return jnp.mean(scores, 0), jnp.einsum("sni,snj->nij", scores, scores) / scores.shape[0]

    mean, covariance = moments(repeated)
    expected = np.asarray(dense_metric(family, theta, 1))
    spread = np.sqrt(np.einsum("nii->ni", expected))
    assert (np.abs(mean) < 6 * spread / 200).all()
    # Squares of Gaussian statistics have heavy tails: ten standard errors of the normal ones.
    outer = spread[:, :, None] * spread[:, None]
    assert (np.abs(covariance - expected) < 0.1 * outer + 1e-12).all()


def test_scores_are_gradients_of_the_log_density():
    for name, targets in (
        ("Categorical", [0, 2]),
        ("Bernoulli", [1, 0]),
        ("Poisson", [3, 0]),
        ("Normal", [0.3, -2.0]),
        ("Product", ([2, 0], [0.5, 1.0], [0, 1])),
    ):
        family, theta = OUTPUTS[name][0], draw_theta(name, 2)
        targets = jax.tree.map(jnp.asarray, targets, is_leaf=lambda x: isinstance(x, list))
        log_likelihood = lambda theta, y, f=family: jnp.sum(f.log_density(theta, y))
        expected = jax.grad(log_likelihood)(theta, targets)
        found = score_of(family, theta, targets)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("logit", [20.0, 60.0])
def test_saturated_classes_keep_their_digits(dtype, logit):
    family = families.Categorical(3)
    # One class is nearly sure: 1 - p rounds to 0 in float32.
    theta = family.Point(jnp.asarray([[logit, 1.0], [-logit, -logit], [0.0, logit]], dtype))
    factors = score_factors(family, theta)
    assert factors.one_hot.dtype == theta.one_hot.dtype
    logits = np.append(np.asarray(theta.one_hot, float), np.zeros((3, 1)), axis=1)
    others = lambda k: np.log(np.exp(np.delete(logits, k, 1)).sum(1))
    total = np.log(np.exp(logits).sum(1))
    expected = np.empty((3, 3, 2))
    for k in range(3):
        for i in range(2):
            sign = 1 if i == k else -1
            tail = others(k) if i == k else logits[:, i]
            expected[k, :, i] = sign * np.exp(0.5 * (logits[:, k] - total) + tail - total)
    # Worked on in float32, where numbers below the least normal one are flushed, and rounded once.
    rtol = 100 * float(jnp.finfo(jnp.float32).eps) + float(jnp.finfo(dtype).eps)
    tiny = max(float(jnp.finfo(kind).smallest_normal) for kind in ("float32", dtype))
    np.testing.assert_allclose(np.asarray(factors.one_hot, float), expected, rtol=rtol, atol=tiny)


def test_singular_metrics_are_zero_and_not_nan():
    family = families.Categorical(3)
    certain = family.Point(jnp.asarray([[-jnp.inf, -jnp.inf], [-1e5, 1e5]]))
    assert not np.asarray(score_factors(family, certain).one_hot).any()
    rank_one = OutputMetric.from_loss(lambda outputs: 0.5 * jnp.sum(outputs) ** 2)
    factors = score_factors(rank_one, jnp.zeros((2, 3)))
    found = np.einsum("kni,knj->nij", factors, factors)
    np.testing.assert_allclose(found, np.ones((2, 3, 3)), atol=1e-14)
    flat = OutputMetric(lambda outputs, tangent: 0 * tangent)
    assert not np.asarray(score_factors(flat, jnp.ones((2, 3)))).any()
    drawn = score_samples(jax.random.key(1), flat, jnp.ones((2, 3), jnp.float32))
    assert drawn.dtype == jnp.float32
    assert not np.asarray(drawn).any()


# A loss in place of a family.


def test_cross_entropy_as_a_loss_is_the_categorical_family():
    case, inputs = CASES["Categorical"], draw_inputs(NUM_EXAMPLES)
    metric = OutputMetric.from_loss(jax.nn.logsumexp)
    grads = jax.tree.map(jnp.ones_like, case.params)

    @jax.jit
    def quantities(params):
        results = []
        for predict, family in ((columns_of, metric), (case.predict, case.family)):
            arguments = predict, family, params
            tx = optim.scale_by_natural_gradient(predict, family, solver=optim.Dense())
            results.append(
                (
                    fisher.fisher_matvec(*arguments, grads, inputs),
                    fisher.fisher_matrix(*arguments, inputs),
                    fisher.fisher_diagonal(*arguments, inputs),
                    tx.update(grads, tx.init(params), params, inputs=inputs)[0],
                )
            )
        return results

    of_loss, of_family = map(jax.tree.leaves, quantities(case.params))
    for found, expected in zip(of_loss, of_family, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_outputs_may_be_a_tree_with_tokens():
    metric = OutputMetric.from_loss(
        lambda o: 0.5 * o["a"] ** 2 + jnp.sum(o["b"] ** 2) * 1.5, event_ndim=(0, 1)
    )
    x = draw_inputs(3, 4)
    predict = lambda w, x: {"a": x @ w[0], "b": x[..., None, 0] * w[1].reshape(1, 1, 2)}
    params = jnp.asarray([[0.1, 0.2], [0.3, 0.4]])
    matrix = fisher.fisher_matrix(predict, metric, params, x)
    tokens = np.asarray(x).reshape(12, 2)
    expected = np.zeros((4, 4))
    expected[:2, :2] = tokens.T @ tokens / 3
    expected[2:, 2:] = 3 * np.eye(2) * (tokens[:, 0] ** 2).sum() / 3
    np.testing.assert_allclose(matrix, expected, rtol=1e-12, atol=1e-14)


def test_descriptions_are_static_and_compared_by_value():
    assert OutputMetric.from_loss(quartic) == LOSS
    assert hash(OutputMetric.from_loss(quartic)) == hash(LOSS)
    assert OutputMetric.from_loss(quartic, event_ndim=2) != LOSS
    assert jax.tree.leaves(LOSS) == []


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: OutputMetric(3), TypeError, "matvec must be a function that can be hashed; got 3"),
        (lambda: OutputMetric.from_loss("x"), TypeError, "loss must be a function"),
        (lambda: OutputMetric(quartic, 1.0), TypeError, "event_ndim must be a Python integer"),
        (lambda: OutputMetric(quartic, -1), ValueError, "event_ndim must be at least 0"),
        (lambda: LOSS.batch_shape(jnp.zeros(3, int)), TypeError, "outputs must be floating"),
        (lambda: LOSS.batch_shape(jnp.zeros(())), ValueError, "must have the 1 event axes"),
        (
            lambda: LOSS.batch_shape((jnp.zeros((2, 3)), jnp.zeros(2))),
            ValueError,
            "must share their batch axes",
        ),
        (lambda: LOSS.batch_shape(()), ValueError, "0 leaves. Check what predict returns"),
        (
            lambda: OutputMetric(quartic, (1, 1)).batch_shape(jnp.zeros((2, 3))),
            ValueError,
            "1 leaves. Check what predict returns",
        ),
        (
            lambda: OutputMetric.from_loss(lambda o: o).fisher_matvec(*2 * (jnp.ones((2, 3)),)),
            ValueError,
            "loss must return a scalar for one output",
        ),
        (
            lambda: OutputMetric(lambda o, v: v[0]).fisher_matvec(*2 * (jnp.ones((2, 3)),)),
            ValueError,
            "matvec must return a pytree like one output",
        ),
        (
            lambda: score_of(LOSS, jnp.zeros((2, 3)), jnp.zeros(2)),
            TypeError,
            "family must be an instance of a family",
        ),
        (
            lambda: score_of(families.Poisson(), families.Poisson().Point(jnp.zeros(2)), 1),
            ValueError,
            "targets must have one observation for each output",
        ),
        (
            lambda: score_samples(0, LOSS, jnp.zeros((2, 3))),
            TypeError,
            "key",
        ),
    ],
)
def test_errors_say_what_to_do(call, error, match):
    with pytest.raises(error, match=match):
        call()
