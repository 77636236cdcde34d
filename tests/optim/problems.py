"""Problems shared by the tests of the transforms, with dense algebra in numpy as the reference."""

import functools
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from igeojax import families
from tests.fisher.models import CASES, draw_inputs

CASE = CASES["Categorical"]
FAMILY = CASE.family
INPUTS = draw_inputs(6, seed=4)
LABELS = jnp.asarray([0, 1, 2, 2, 1, 0])
PARAMS = CASE.params
predict = CASE.predict

LINEAR = families.NormalKnownScale()


def linear_predict(params: Any, inputs: jax.Array) -> Any:
    """A linear model with unit-variance noise: its Fisher matrix is `X^T X / N`."""
    return LINEAR.natural_from_params(loc=inputs @ params)


def flat(tree: Any) -> np.ndarray:
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


def loss(params: Any, inputs: jax.Array = INPUTS, labels: jax.Array = LABELS) -> jax.Array:
    """Mean negative log-likelihood."""
    return -jnp.mean(FAMILY.log_density(predict(params, inputs), labels))


gradient = jax.jit(jax.grad(loss))
fisher_matrix = jax.jit(CASE.fisher_matrix)


@functools.cache
def problem() -> tuple[Any, np.ndarray]:
    """The gradient at the start, and the Fisher matrix from enumerated labels."""
    return gradient(PARAMS), np.asarray(fisher_matrix(PARAMS, INPUTS))


def solution(
    damping: float, right_side: Any = None, matrix: np.ndarray | None = None
) -> np.ndarray:
    """`(F + damping I)^{-1} g` in numpy."""
    grads, fisher = problem()
    matrix = fisher if matrix is None else matrix
    right_side = grads if right_side is None else right_side
    return np.linalg.solve(matrix + damping * np.eye(len(matrix)), flat(right_side))


def single(tree: Any) -> Any:
    """The tree in float32."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def update(tx: Any) -> Any:
    """One compiled update from a fresh state: `(grads, params, **extra) -> (updates, state)`."""

    @jax.jit
    def run(grads, params, **extra):
        return tx.update(grads, tx.init(params), params, **extra)

    return run
