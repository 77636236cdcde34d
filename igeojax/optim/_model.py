"""The model of a transform: `predict` on the inputs of the call, under masks too."""

from typing import Any

import jax
import optax

from igeojax.fisher.model import Predict


def require_predict(predict: Any) -> None:
    """Check that the model is a function.

    Raises:
      TypeError: it is not.
    """
    if not callable(predict):
        raise TypeError(
            f"predict must be a function predict(params, inputs); got {predict!r}. Pass a model's "
            "apply function, returning a point of the family."
        )


def _is_masked(leaf: Any) -> bool:
    return isinstance(leaf, optax.MaskedNode)


REMEDY = "Call tx.update(grads, state, params, inputs=x, full_params=params)."


def completed(params: Any, full_params: Any, remedy: str = REMEDY) -> Any:
    """`params` with the leaves that `optax.masked` took out put back from `full_params`.

    Raises:
      ValueError: leaves are masked and `full_params` is None.
    """
    if not any(map(_is_masked, jax.tree.leaves(params, is_leaf=_is_masked))):
        return params
    if full_params is None:
        raise ValueError(
            "under optax.masked or multi_transform the model needs all its parameters; got "
            f"masked ones only. {remedy}"
        )
    return jax.tree.map(
        lambda leaf, full: full if _is_masked(leaf) else leaf,
        params,
        full_params,
        is_leaf=_is_masked,
    )


def masked_as(tree: Any, like: Any) -> Any:
    """A tree over all parameters, without what is masked in `like`: the inverse of `completed`."""
    if not any(map(_is_masked, jax.tree.leaves(like, is_leaf=_is_masked))):
        return tree
    return jax.tree.map(
        lambda leaf, part: leaf if _is_masked(leaf) else part, like, tree, is_leaf=_is_masked
    )


def model_of(predict: Predict, inputs: Any, full_params: Any) -> Predict:
    """`predict` of masked parameters.

    Raises:
      ValueError: `inputs` is None.
    """
    if inputs is None:
        raise ValueError(
            "the metric of a model needs the inputs of the batch; got none. Call "
            "tx.update(grads, state, params, inputs=x)."
        )
    return lambda params, x: predict(completed(params, full_params), x)
