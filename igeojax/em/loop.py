"""The EM iteration itself: alternating steps, a monotone objective, a stopping rule."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int


class LoopResult(NamedTuple):
    """Where an EM iteration ended.

    `history` holds the objective before each step and after the last, nan beyond.
    """

    params: Any
    objective: Float[Array, ""]
    history: Float[Array, "steps"]
    num_iterations: Int[Array, ""]
    converged: Bool[Array, ""]


class _Carry(NamedTuple):
    params: Any
    expectations: Any
    objective: Array
    history: Array
    step: Array
    converged: Array
    running: Array


def iterate(
    e_step: Callable[[Any], tuple[Any, Array]],
    m_step: Callable[[Any, Any], Any],
    start: Any,
    *,
    tolerance: ArrayLike,
    max_iterations: int,
    progress: bool = False,
    label: ArrayLike = 0,
) -> LoopResult:
    """Alternate E- and M-steps until a step gains less than `tolerance`.

    A step that makes the objective nan or infinite is not taken: the iteration ends there, not
    converged, with the parameters before it. Runs under `jit` and `vmap`; one E-step an iteration.

    Args:
      e_step: `params -> (expectations, objective)`, the objective at `params`.
      m_step: `(expectations, params) -> params`.
      start: initial parameters, any pytree.
      tolerance: least gain in the objective to go on.
      max_iterations: most steps.
      progress: write each step to stderr.
      label: number of the run, written with its progress; 0 is not written.

    Returns:
      A `LoopResult`.

    Examples:
      >>> halve = lambda p: (p, -p * p)
      >>> result = iterate(halve, lambda e, p: e / 2, 1.0, tolerance=1e-3, max_iterations=50)
      >>> bool(result.converged), int(result.num_iterations)
      (True, 6)
    """

    def begin(params: Any) -> _Carry:
        expectations, objective = e_step(params)
        objective = jnp.asarray(objective)
        history = jnp.full(max_iterations + 1, jnp.nan, objective.dtype).at[0].set(objective)
        no = jnp.asarray(False)
        return _Carry(params, expectations, objective, history, jnp.zeros((), int), no, ~no)

    def advance(carry: _Carry) -> _Carry:
        params = m_step(carry.expectations, carry.params)
        expectations, objective = e_step(params)
        if progress:
            # Under vmap the body also runs for those that have ended.
            jax.debug.callback(_report, carry.step + 1, objective, carry.running, label)
        taken = jnp.isfinite(objective)
        params, expectations, objective = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old),
            (params, expectations, objective),
            (carry.params, carry.expectations, carry.objective),
        )
        converged = taken & (objective - carry.objective < tolerance)
        reached = jnp.where(taken, objective, jnp.nan)
        step = carry.step + taken
        return _Carry(
            params,
            expectations,
            objective,
            carry.history.at[carry.step + 1].set(reached),
            step,
            converged,
            taken & ~converged & (step < max_iterations),
        )

    start = jax.tree.map(jnp.asarray, start)
    end = jax.lax.while_loop(lambda carry: carry.running, advance, begin(start))
    return LoopResult(end.params, end.objective, end.history, end.step, end.converged)


def best_of_starts(
    e_step: Callable[[Any], tuple[Any, Array]],
    m_step: Callable[[Any, Any], Any],
    starts: Any,
    *,
    tolerance: ArrayLike,
    max_iterations: int,
    progress: bool = False,
    side_by_side: bool = True,
) -> LoopResult:
    """The best end of `iterate` from each start.

    A start that ended at a step to nan was collapsing, and its objective only looks good: it is
    passed over while there is another.

    Args:
      e_step: as in `iterate`.
      m_step: as in `iterate`.
      starts: initial parameters, the starts on axis 0 of each leaf.
      tolerance: as in `iterate`.
      max_iterations: as in `iterate`.
      progress: as in `iterate`; several starts are numbered.
      side_by_side: whether the starts run as one batch, or one after the other: for steps that
        choose by values what to compute, as a batch computes both.

    Returns:
      A `LoopResult`.

    Examples:
      >>> halve = lambda p: (p, -p * p)
      >>> options = {"tolerance": 1e-3, "max_iterations": 50}
      >>> float(best_of_starts(halve, lambda e, p: e / 2, jnp.array([9.0, 1.0]), **options).params)
      0.015625
    """
    count = jax.tree.leaves(starts)[0].shape[0]
    labels = jnp.arange(1, count + 1) if count > 1 else jnp.zeros(1, int)

    def from_start(numbered: tuple[Any, Array]) -> LoopResult:
        return iterate(
            e_step,
            m_step,
            numbered[0],
            tolerance=tolerance,
            max_iterations=max_iterations,
            progress=progress,
            label=numbered[1],
        )

    pairs = starts, labels
    ends = jax.vmap(from_start)(pairs) if side_by_side else jax.lax.map(from_start, pairs)
    sound = ends.converged | (ends.num_iterations == max_iterations)
    known = ~jnp.isnan(ends.objective) & (sound | ~sound.any())
    best = jnp.argmax(jnp.where(known, ends.objective, -jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], ends)


def _report(step: Any, objective: Any, running: Any, label: Any) -> None:
    if running:
        start = f"start {int(label)}, " if label else ""
        sys.stderr.write(f"EM {start}step {int(step):4d}: mean log-likelihood {objective:.8g}\n")
