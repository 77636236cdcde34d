"""The EM iteration itself: alternating steps, a monotone objective, a stopping rule."""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks

ROUNDING = 100
"""Falls of so many units in the last place of the objective are rounding."""


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
    """`candidate` is looked at next; `plain`: the step before an extrapolation and its E-step."""

    candidate: Any
    plain: Any
    params: Any
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
    extrapolate: Callable[[Any, Any, Any], Any] | None = None,
    while_loop: Callable[..., Any] = jax.lax.while_loop,
    after: LoopResult | None = None,
    most_loss: ArrayLike = math.inf,
) -> LoopResult:
    """Alternate E- and M-steps until a step changes the objective by less than `tolerance`.

    A fall of no more than rounding ends it too, a larger one does not. A step that makes the
    objective nan or infinite, or loses more than `most_loss` of it, is not taken: the iteration
    ends there, not converged, with the parameters before it. Runs under `jit` and `vmap`; one
    E-step an iteration, two where it extrapolates.

    Args:
      e_step: `params -> (expectations, objective)`, the objective at `params`.
      m_step: `(expectations, params) -> params`.
      start: initial parameters, any pytree.
      tolerance: least change of the objective to go on.
      max_iterations: most steps.
      progress: write each step to stderr.
      label: number of the run, written with its progress; 0 is not written.
      extrapolate: `(params, next, after_next) -> params` beyond two steps; an iteration then takes
        two E-steps, and keeps the extrapolation only where its objective is no less than that of
        the first step.
      while_loop: what runs it, `(condition, body, start) -> end`; a loop of Python for steps that
        cannot be traced.
      after: an end to go on from: the start counts as a step from there, and is taken only where
        its objective is no less.
      most_loss: what a step may lose of the objective, as a share of one and its size; for steps
        that lose no more than rounding unless they break down.

    Returns:
      A `LoopResult`.

    Examples:
      >>> halve = lambda p: (p, -p * p)
      >>> result = iterate(halve, lambda e, p: e / 2, 1.0, tolerance=1e-3, max_iterations=50)
      >>> bool(result.converged), int(result.num_iterations)
      (True, 6)
    """

    def begin(params: Any) -> _Carry:
        plain = () if extrapolate is None else (params, *e_step(params))
        dtype = jnp.result_type(*jax.tree.leaves(params))
        history = jnp.full(max_iterations + 1, jnp.nan, dtype)
        none, no = jnp.asarray(-jnp.inf, dtype), jnp.asarray(False)
        before = (params, none, history, -jnp.ones((), int))
        if after is not None:
            before = (after.params, after.objective, after.history, after.num_iterations)
        return _Carry(params, plain, *before, no, ~no)

    def advance(carry: _Carry) -> _Carry:
        found = (carry.candidate, *e_step(carry.candidate))
        if extrapolate is not None:
            better = found[2] >= carry.plain[2]
            found = jax.tree.map(lambda far, near: jnp.where(better, far, near), found, carry.plain)
        params, expectations, objective = found
        step = carry.step + 1
        if progress:
            # Under vmap the body also runs for those that have ended.
            jax.debug.callback(_report, step, objective, carry.running & (step > 0), label)
        # The start is taken as it is; there is nothing to compare it with.
        least = carry.objective - most_loss * (1 + jnp.abs(carry.objective))
        taken = (jnp.isfinite(objective) & (objective >= least)) | (step == 0)
        if after is not None:
            taken &= (step > after.num_iterations + 1) | (objective >= carry.objective)
        gain = objective - carry.objective
        rounding = ROUNDING * jnp.finfo(gain.dtype).eps * (1 + jnp.abs(objective))
        still = (gain < tolerance) & (-gain < jnp.maximum(tolerance, rounding))
        converged = taken & still & (step > 0)
        history = carry.history.at[step].set(jnp.where(taken, objective, jnp.nan))
        ended = converged | ~taken
        candidate, plain = m_step(expectations, params), carry.plain
        if extrapolate is not None:
            plain = (candidate, *e_step(candidate))
            candidate = extrapolate(params, candidate, m_step(plain[1], candidate))
        params, objective = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old),
            (params, objective),
            (carry.params, carry.objective),
        )
        step = jnp.where(taken, step, carry.step)
        return _Carry(*(candidate, plain, params, objective, history, step, converged, ~ended))

    start = jax.tree.map(jnp.asarray, start)
    # Not a part of the carry: what was saved can go on to more steps.
    going = lambda carry: carry.running & (carry.step < max_iterations)
    end = while_loop(going, advance, begin(start))
    return LoopResult(end.params, end.objective, end.history, end.step, end.converged)


def require_known(end: LoopResult) -> None:
    """Check that the objective was a number at the start, where that is known.

    Args:
      end: of an iteration.

    Raises:
      ValueError: it was nan.

    Examples:
      >>> zero = jnp.zeros(())
      >>> require_known(LoopResult(zero, zero, jnp.zeros(1), 0, True))
    """
    checks.require_values(
        "the log-likelihood at the starting point",
        end.history[0],
        lambda value: ~np.isnan(value),
        "a number",
        "A component has no finite parameters there: pass another initialization or key, a prior "
        "(em.data_prior), or float64 data.",
    )


def best_end(ends: LoopResult, max_iterations: int) -> LoopResult:
    """The end of largest objective among those of several starts.

    A run that ended at a step to nan was collapsing, and its objective only looks good: it is
    passed over while there is another.

    Args:
      ends: the ends, the starts on axis 0 of each leaf.
      max_iterations: the most steps that they could take.

    Returns:
      One of them.

    Examples:
      >>> halve = lambda p: (p, -p * p)
      >>> run = lambda p: iterate(halve, lambda e, p: e / 2, p, tolerance=1.0, max_iterations=9)
      >>> float(best_end(jax.vmap(run)(jnp.array([9.0, 8.0])), 9).params)
      0.5
    """
    sound = ends.converged | (ends.num_iterations == max_iterations)
    known = ~jnp.isnan(ends.objective) & (sound | ~sound.any())
    best = jnp.argmax(jnp.where(known, ends.objective, -jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], ends)


def _report(step: Any, objective: Any, running: Any, label: Any) -> None:
    if running:
        start = f"start {int(label)}, " if label else ""
        sys.stderr.write(f"EM {start}step {int(step):4d}: mean log-likelihood {objective:.8g}\n")
