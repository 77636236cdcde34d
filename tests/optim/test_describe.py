"""The tables that say how K-FAC treats each parameter."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from igeojax import fisher, optim
from tests.fisher.layers import MODELS, model

METRIC = fisher.OutputMetric(lambda outputs, tangent: tangent)


def table(name: str, **limits: int) -> list[list[str]]:
    found = model(name)
    text = optim.describe(found.predict, METRIC, found.params, found.inputs, **limits)
    return [line.split() for line in text.splitlines()]


def numbers_kept(make: Any, name: str, **limits: int) -> int:
    """What the state of `kfac` or `ekfac` holds beyond the momentum and scalars."""
    found = model(name)
    tx = make(found.predict, METRIC, example_inputs=found.inputs, **limits)
    state = jax.eval_shape(tx.init, found.params).curvature
    return sum(leaf.size for leaf in jax.tree.leaves((state.factors, state.inverses)))


@pytest.mark.parametrize(
    "name", ["linen.Dense", "linen.Conv, grouped", "linen tied, remat", "jnp, nonlinear",
             "linen scan over layers, remat", "linen.Embed", "jnp, slices of one array"],
)  # fmt: skip
@pytest.mark.parametrize("limits", [{}, {"dense_limit": 3, "factor_limit": 4}])
def test_the_numbers_kept_are_those_of_the_state(name, limits):
    size = sum(leaf.size for leaf in jax.tree.leaves(model(name).params))
    rows = {row[0]: row[1:] for row in table(name, **limits) if row}
    for method in ("kfac", "ekfac"):
        kept = numbers_kept(getattr(optim, method), name, **limits)
        assert int(rows[method][0]) - size == kept


@pytest.mark.parametrize("name", [name for name in sorted(MODELS) if "n." not in name])
def test_every_parameter_is_told(name):
    found = model(name)
    text = optim.describe(found.predict, METRIC, found.params, found.inputs)
    for path, _ in jax.tree_util.tree_leaves_with_path(found.params):
        assert (jax.tree_util.keystr(path) or "params") in text


def test_words_for_each_treatment():
    text = {
        name: optim.describe(model(name).predict, METRIC, model(name).params, model(name).inputs)
        for name in ("linen tied, remat", "jnp, slices of one array", "jnp, nonlinear")
    }
    assert "Kronecker, embedding and dense, 2 uses" in text["linen tied, remat"]
    assert "row of ['CheckpointDense_0']['kernel']" in text["linen tied, remat"]
    assert "no use: damping alone" in text["jnp, slices of one array"]
    assert "dense block" in text["jnp, nonlinear"]


def test_errors():
    with pytest.raises(TypeError, match="predict must be a function"):
        optim.describe(3, METRIC, jnp.ones(2), jnp.ones((1, 2)))
    with pytest.raises(TypeError, match="family"):
        optim.describe(lambda p, x: x * p, "normal", jnp.ones(2), jnp.ones((1, 2)))
