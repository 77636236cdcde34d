"""What a model, its inputs and its weights must be, said by the errors."""

import jax.numpy as jnp
import pytest

from igeojax import families, fisher

FAMILY = families.NormalKnownScale()
PARAMS, INPUTS = jnp.ones(2), jnp.ones((4, 2))
NO_EXAMPLES = r"examples on axis 0, at least one; got batch shape {}\. Give inputs a leading axis"


def predict(params, inputs):
    return FAMILY.natural_from_params(loc=inputs @ params)


def forms(predict, inputs, params=PARAMS, **options):
    """Calls of every form of the Fisher information."""
    targets = jnp.zeros(4)
    return {
        "matvec": lambda: fisher.fisher_matvec(predict, FAMILY, params, params, inputs, **options),
        "matrix": lambda: fisher.fisher_matrix(predict, FAMILY, params, inputs, **options),
        "diagonal": lambda: fisher.fisher_diagonal(predict, FAMILY, params, inputs, **options),
        "jacobian": lambda: fisher.output_jacobian(predict, FAMILY, params, inputs, **options),
        "empirical": lambda: fisher.empirical_fisher_matrix(
            predict, FAMILY, params, inputs, targets, **options
        ),
    }


@pytest.mark.parametrize("form", ["matvec", "matrix", "diagonal", "jacobian", "empirical"])
def test_predict_must_return_a_point(form):
    with pytest.raises(TypeError, match=r"needs a NormalKnownScale\.Point; got \w+\. Make one"):
        forms(lambda w, x: x @ w, INPUTS)[form]()


@pytest.mark.parametrize("form", ["matvec", "matrix", "diagonal", "jacobian"])
def test_predict_must_keep_the_examples(form):
    alone = lambda w, x: FAMILY.natural_from_params(loc=w @ w)
    with pytest.raises(ValueError, match=NO_EXAMPLES.format(r"\(\)")):
        forms(alone, INPUTS)[form]()


@pytest.mark.parametrize("form", ["matvec", "matrix", "diagonal", "jacobian"])
def test_an_empty_batch_is_refused(form):
    with pytest.raises(ValueError, match=NO_EXAMPLES.format(r"\(0,\)")):
        forms(predict, INPUTS[:0])[form]()


@pytest.mark.parametrize("form", ["matrix", "diagonal", "jacobian", "empirical"])
@pytest.mark.parametrize(
    "inputs", [1.0, [[1.0, 2.0], [3.0, 4.0]], (INPUTS, jnp.ones(3)), (INPUTS, 2.0)]
)
def test_inputs_must_share_the_examples(form, inputs):
    with pytest.raises(ValueError, match=r"share the examples on axis 0; got shapes .*asarray"):
        forms(predict, inputs)[form]()


@pytest.mark.parametrize("form", ["matvec", "matrix", "diagonal", "jacobian", "empirical"])
@pytest.mark.parametrize("weights", [jnp.ones(3), 1.0, jnp.ones((4, 2))])
def test_weights_must_fit(form, weights):
    with pytest.raises(ValueError, match=r"weights must have shape \(4,\).*got .*replace the"):
        forms(predict, INPUTS, weights=weights)[form]()


def test_targets_must_fit():
    with pytest.raises(ValueError, match="share the examples on axis 0"):
        fisher.empirical_fisher_matrix(predict, FAMILY, PARAMS, INPUTS, jnp.zeros(3))


@pytest.mark.parametrize("form", ["matvec", "matrix", "diagonal", "jacobian", "empirical"])
@pytest.mark.parametrize("weight", [-1.0, jnp.nan, jnp.inf])
def test_weights_are_not_negative(form, weight):
    weights = jnp.array([1.0, 0.0, weight, 1.0])
    with pytest.raises(ValueError, match=r"weights must be non-negative and finite; got .*\(2,\)"):
        forms(predict, INPUTS, weights=weights)[form]()


def test_exchanged_arguments():
    with pytest.raises(TypeError, match=r"instance of a family.*; got function\. .* order of the"):
        fisher.fisher_matrix(FAMILY, predict, PARAMS, INPUTS)
    with pytest.raises(TypeError, match=r"instance of a family.*; got class NormalKnownScale"):
        fisher.fisher_matvec(predict, families.NormalKnownScale, PARAMS, PARAMS, INPUTS)
    with pytest.raises(TypeError, match=r"instance of a family.*; got str"):
        fisher.empirical_fisher_matrix(predict, "Normal", PARAMS, INPUTS, jnp.zeros(4))


@pytest.mark.parametrize(
    ("tangent", "message"),
    [
        (
            (PARAMS,),
            r"tree structure of params, PyTreeDef\(\*\); got PyTreeDef\(\(\*,\)\)\. Pass",
        ),
        (jnp.ones(3), r"shapes of params, \(2,\); got \(3,\)\. Pass a pytree like params"),
        (1.0, r"shapes of params, \(2,\); got \(\)\. Pass"),
    ],
)
def test_a_tangent_is_like_the_parameters(tangent, message):
    with pytest.raises(ValueError, match=message):
        fisher.fisher_matvec(predict, FAMILY, PARAMS, tangent, INPUTS)


def test_a_tangent_takes_the_dtype_of_the_parameters():
    found = fisher.fisher_matvec(predict, FAMILY, PARAMS, jnp.ones(2, jnp.float32), INPUTS)
    assert found.dtype == PARAMS.dtype
    assert found.tolist() == [2.0, 2.0]
