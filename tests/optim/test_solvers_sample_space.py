"""Solves in the space of the outputs, layer by layer, against the dense matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, optim
from tests.fisher.layers import model
from tests.optim.problems import flat, update


@pytest.mark.parametrize("name", ["jnp, used twice", "linen.Conv, grouped", "linen.Embed"])
def test_it_is_the_dense_solve_of_layers_of_many_kinds(name):
    layers = model(name)
    family = families.Poisson()
    outputs = jax.eval_shape(layers.predict, layers.params, layers.inputs)
    mixing = jnp.sin(jnp.arange(float(np.prod(outputs.shape[1:]))))

    def predict(params, inputs):
        found = layers.predict(params, inputs)
        found = jnp.tanh(found.reshape((found.shape[0], -1)) @ mixing)
        return family.natural_from_params(rate=jnp.exp(found))

    cosines = lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
    grads = jax.tree.map(cosines, layers.params)
    weights = jnp.asarray([0.5, 2.0, 0.0])[: len(outputs)]
    found, expected = (
        update(optim.scale_by_natural_gradient(predict, family, solver=solver, damping=0.1))(
            grads, layers.params, inputs=layers.inputs, weights=weights
        )
        for solver in (optim.SampleSpace(), optim.Dense())
    )
    np.testing.assert_allclose(flat(found[0]), flat(expected[0]), rtol=1e-9, atol=1e-11)
    assert float(found[1].residual) < 1e-12


def test_no_jacobian_is_formed_before_it_is_needed():
    # The Jacobian has 8 * 4096 entries; it belongs to the branch that meets cancellation.
    family = families.NormalKnownScale()
    predict = lambda w, x: family.natural_from_params(loc=jnp.sum(jnp.tanh(x @ w), axis=-1))
    w, x = jnp.ones((64, 64)), jnp.ones((8, 64))
    tx = optim.scale_by_natural_gradient(predict, family, solver=optim.SampleSpace(), damping=0.1)
    program = jax.make_jaxpr(lambda g: tx.update(g, tx.init(w), w, inputs=x)[0])(w)

    def largest(jaxpr):
        sizes = [0]
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "cond":
                continue
            sizes += [int(np.prod(v.aval.shape)) for v in eqn.outvars]
            for value in eqn.params.values():
                inner = getattr(value, "jaxpr", value)
                sizes.append(largest(inner) if hasattr(inner, "eqns") else 0)
        return max(sizes)

    assert largest(program.jaxpr) <= w.size
