"""The choice of a solver by sizes."""

import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, optim
from tests.optim.problems import LINEAR, linear_predict, update

DRAWS = np.random.default_rng(2)


@pytest.mark.parametrize(
    ("examples", "coordinates", "parameters", "expected"),
    [
        (1, 1, 1, optim.Dense()),
        (10_000, 1, 20, optim.Dense()),
        (64, 1, 5018, optim.SampleSpace()),
        (256, 1, 5018, optim.SampleSpace()),
        (2048, 1, 5018, optim.ConjugateGradient(1e-3, 100)),
        (100_000, 1, 5018, optim.ConjugateGradient(1e-3, 100)),
        (256, 100, 5018, optim.ConjugateGradient(1e-3, 100)),
        (64, 1, 10**9, optim.SampleSpace()),
    ],
)
def test_the_choice_goes_by_sizes(examples, coordinates, parameters, expected):
    sizes = {
        "num_examples": examples,
        "num_coordinates": coordinates,
        "num_parameters": parameters,
    }
    assert optim.Auto().choice(**sizes) == expected


def test_a_choice_refuses_sizes_that_are_none():
    with pytest.raises(ValueError, match="num_coordinates must be at least 1; got 0"):
        optim.Auto().choice(3, 0, 5)
    with pytest.raises(TypeError, match="num_examples must be a Python integer; got float"):
        optim.Auto().choice(3.0, 1, 5)


def test_options_are_those_of_conjugate_gradients():
    chosen = optim.Auto(tolerance=1e-5, max_iterations=7).choice(4096, 1, 5018)
    assert chosen == optim.ConjugateGradient(1e-5, 7)
    with pytest.raises(ValueError, match="tolerance must be positive"):
        optim.Auto(tolerance=0.0)


@pytest.mark.parametrize(("examples", "parameters"), [(4, 300), (2000, 300), (50, 3)])
def test_the_sizes_are_those_of_the_model(examples, parameters):
    x, grads = (jnp.asarray(DRAWS.normal(size=s)) for s in ((examples, parameters), parameters))
    chosen = optim.Auto(tolerance=1e-9).choice(examples, 1, parameters)
    found, expected = (
        update(optim.scale_by_natural_gradient(linear_predict, LINEAR, solver=s, damping=0.1))(
            grads, jnp.zeros(parameters), inputs=x
        )
        for s in (optim.Auto(tolerance=1e-9), chosen)
    )
    np.testing.assert_array_equal(found[0], expected[0])
    assert int(found[1].num_steps) == int(expected[1].num_steps)
    matrix = np.asarray(x.T @ x) / examples + 0.1 * np.eye(parameters)
    np.testing.assert_allclose(found[0], np.linalg.solve(matrix, grads), rtol=1e-6, atol=1e-8)


def test_classes_and_tokens_are_rows_of_the_sample_space():
    family = families.Categorical(5)
    seen = []

    class Spy(optim.Auto):
        def choice(self, num_examples, num_coordinates, num_parameters):
            seen.append((num_examples, num_coordinates, num_parameters))
            return super().choice(num_examples, num_coordinates, num_parameters)

    predict = lambda w, x: family.natural_from_params(logits=x @ w)
    tx = optim.scale_by_natural_gradient(predict, family, solver=Spy(), damping=0.1)
    params = jnp.ones((3, 5))
    update(tx)(params, params, inputs=jnp.ones((7, 2, 3)))
    assert seen == [(7, 10, 15)]


@pytest.mark.parametrize(("size", "steps"), [(4, 1), (40, 2)])
def test_a_metric_of_products_alone_is_solved_too(size, steps):
    scale = jnp.where(jnp.arange(size) % 2 == 0, 1.0, 3.0)
    tx = optim.scale_by_metric(lambda params, v: scale * v, solver=optim.Auto(), damping=1.0)
    direction, state = update(tx)(jnp.ones(size), jnp.ones(size))
    np.testing.assert_allclose(direction, 1 / (scale + 1), rtol=1e-9)
    assert int(state.num_steps) == steps
