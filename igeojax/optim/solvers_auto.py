"""The solver that is chosen by sizes."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
from jaxtyping import Array

from igeojax._core import checks
from igeojax.fisher.output import score_factors
from igeojax.optim.solvers import ConjugateGradient, Dense, Solver, SolverInfo, System
from igeojax.optim.solvers_sample_space import SampleSpace

ITERATIONS = 30
"""Steps of conjugate gradients that a choice counts on; dampings of 1e-4 to 1e-2 take 15 to 70."""

STEP_COST = 1e6
"""What a step costs beyond its products, in operations: it waits for the last one."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Auto(Solver):
    """`Dense`, `SampleSpace` or `ConjugateGradient`, the one that costs least by the sizes alone.

    For N examples of K output coordinates and P parameters, in operations: `SampleSpace` forms and
    factors a matrix of `N K` rows, `8 (N K)^2 sqrt(P) + (N K)^3`, about 4 gradients more;
    `ConjugateGradient` takes 30 gradients, `6 N P` each; `Dense` forms and factors one of P rows,
    `2 N K P^2 + P^3`. A factorization counts three times its operations, as it runs slower than
    products. The sizes are static: the choice is made while compiling. `choice` tells it.
    A metric without a model gives products only: `Dense` up to 30 parameters. Needs
    `damping > 0`.

    Args:
      tolerance: relative residual of `ConjugateGradient`, where that is chosen; the others are
        exact.
      max_iterations: most products of it in one update.

    Raises:
      TypeError: `max_iterations` is not an integer.
      ValueError: `max_iterations < 1` or a `tolerance` that is not positive.

    Examples:
      >>> Auto().choice(num_examples=64, num_coordinates=1, num_parameters=5018)
      SampleSpace()
      >>> Auto().choice(num_examples=4096, num_coordinates=1, num_parameters=5018)
      ConjugateGradient(tolerance=0.001, max_iterations=100)
    """

    tolerance: float = 1e-3
    max_iterations: int = 100

    requires_damping: ClassVar[bool] = True

    def __post_init__(self):
        self._iterative()

    def _iterative(self) -> ConjugateGradient:
        return ConjugateGradient(self.tolerance, self.max_iterations)

    def choice(self, num_examples: int, num_coordinates: int, num_parameters: int) -> Solver:
        """The solver for these sizes.

        Args:
          num_examples: N, examples of a batch.
          num_coordinates: K, classes or coordinates of all outputs of an example.
          num_parameters: P, entries of the parameters.

        Returns:
          `Dense()`, `SampleSpace()` or a `ConjugateGradient`.

        Raises:
          TypeError: a size is not an integer.
          ValueError: a size is below 1.

        Examples:
          >>> Auto().choice(num_examples=4096, num_coordinates=1, num_parameters=20)
          Dense(pseudo_inverse=False)
        """
        checks.require_count("num_examples", num_examples)
        checks.require_count("num_coordinates", num_coordinates)
        checks.require_count("num_parameters", num_parameters)
        rows, parameters = num_examples * num_coordinates, num_parameters
        gradient = 6.0 * num_examples * parameters
        costs: dict[Solver, float] = {
            Dense(): 2.0 * rows * parameters**2 + parameters**3,
            SampleSpace(): 8.0 * rows**2 * math.sqrt(parameters) + rows**3 + 4 * gradient,
            self._iterative(): ITERATIONS * (gradient + STEP_COST),
        }
        return min(costs, key=lambda solver: costs[solver])

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        size = sum(leaf.size for leaf in jax.tree.leaves(gradient))
        if system.model is None:
            chosen = Dense() if size <= ITERATIONS else self._iterative()
        else:
            model = system.model()
            scores = jax.eval_shape(
                lambda p, x: score_factors(model.family, model.predict(p, x)),
                model.params,
                model.inputs,
            )
            coordinates, examples = jax.tree.leaves(scores)[0].shape[:2]
            chosen = self.choice(examples, coordinates, max(size, 1))
        return chosen.solve(system, gradient, damping)
