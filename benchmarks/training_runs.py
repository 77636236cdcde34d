"""Runs of optimizers: seconds of a step, and steps and seconds to losses, all in alternation.

Everything here knows a run only by `advance(count)`, which returns its seconds of wall and of
processor, and `loss()`, which is not timed.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
import optax

from benchmarks.training_problems import Problem, full_loss

Name = TypeVar("Name")
TURN = 25
"""Steps of a run before it is another's turn: long enough to keep its data in the cache."""


class Run(Protocol):
    """A training run, at some step."""

    def advance(self, count: int) -> tuple[float, float]:
        """Take steps; seconds of wall and of processor."""
        ...

    def loss(self) -> float:
        """On all data."""
        ...


class Method(NamedTuple):
    """A compiled optimizer with one choice of its settings."""

    label: str
    first_call: float
    run: Callable[[int], Run]


class LocalRun:
    """A run of an optax transform in this process."""

    def __init__(self, problem: Problem, step: Callable, state: Any, seed: int):
        self._problem, self._step, self._state = problem, step, state
        self._rng = np.random.default_rng(seed)

    def advance(self, count: int) -> tuple[float, float]:
        batches, state = self._problem.batches(self._rng, count), self._state
        wall, processor = time.perf_counter(), time.process_time()
        for x, y in batches:
            state = self._step(state, x, y)
        self._state = jax.block_until_ready(state)
        return time.perf_counter() - wall, time.process_time() - processor

    def loss(self) -> float:
        return full_loss(self._problem, self._state[0])


def local_method(problem: Problem, label: str, tx: optax.GradientTransformation) -> Method:
    """A method of an optax transform, its step compiled and called once."""
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def step(state: Any, x: Any, y: Any) -> Any:
        params, inner, key = state
        key, chosen = jax.random.split(key)
        grads = jax.grad(problem.loss)(params, x, y)
        updates, inner = tx.update(grads, inner, params, inputs=x, key=chosen)
        return optax.apply_updates(params, updates), inner, key

    def start(seed: int) -> Any:
        params = problem.init(jax.random.key(seed))
        return params, tx.init(params), jax.random.key(seed + 1000)

    state = start(0)
    (batch,) = problem.batches(np.random.default_rng(0), 1)
    begin = time.perf_counter()
    jax.block_until_ready(step(state, *batch))
    first_call = time.perf_counter() - begin
    full_loss(problem, state[0])
    gc.collect()
    gc.freeze()  # as in the worker: collections over all that was traced are not the optimizer's
    return Method(label, first_call, lambda seed: LocalRun(problem, step, start(seed), seed))


def step_seconds(
    methods: dict[Name, Method], block: int, rounds: int
) -> dict[Name, list[tuple[float, float]]]:
    """Seconds of wall and of processor of a step of each method, by round.

    The order of the methods is reversed in every other round.
    """
    runs = {name: method.run(0) for name, method in methods.items()}
    for run in runs.values():
        run.advance(block)
    found: dict[Name, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds):
        for name in list(runs) if turn % 2 else reversed(runs):
            wall, processor = runs[name].advance(block)
            found[name].append((wall / block, processor / block))
    return found


class Reached(NamedTuple):
    """When a run reached a loss; `inf` if it did not."""

    steps: float
    wall: float
    processor: float


NEVER = Reached(math.inf, math.inf, math.inf)


class _Race:
    """A run with its clock and what it has reached; `to_the_end` goes on after the last level."""

    def __init__(self, run: Run, problem: Problem, steps: int, to_the_end: bool):
        self.run, self.problem, self.limit, self.to_the_end = run, problem, steps, to_the_end
        self.steps, self.wall, self.processor = 0, 0.0, 0.0
        self.reached: dict[float, Reached] = {}
        self.history: list[tuple[int, float, float]] = []
        self.last = math.inf
        self.is_over = False

    def take_turn(self) -> None:
        """Train for a turn or until the end, evaluating the loss on the way."""
        end = self.steps + TURN
        while self.steps < end and not self.is_over:
            after = max(self.steps + 1, math.floor(self.steps * self.problem.growth))
            after = min(after, self.limit)
            wall, processor = self.run.advance(after - self.steps)
            self.steps = after
            self.wall += wall
            self.processor += processor
            self.last = self.run.loss()
            now = Reached(self.steps, self.wall, self.processor)
            self.history.append((self.steps, self.processor, self.last))
            for level in self.problem.levels:
                if self.last <= level:
                    self.reached.setdefault(level, now)
            is_done = len(self.reached) == len(self.problem.levels) and not self.to_the_end
            self.is_over = is_done or self.steps >= self.limit or not math.isfinite(self.last)


class Trained(NamedTuple):
    """What the runs of one method reached, by level: medians over the seeds; and the last loss.

    `histories`: of each run its steps, seconds of processor and losses.
    """

    reached: dict[float, Reached]
    spread: dict[float, tuple[float, float]]
    last: float
    histories: list[list[tuple[int, float, float]]]

    @property
    def processor(self) -> float:
        """Seconds of the longest run."""
        return max(history[-1][1] for history in self.histories)

    def lowest(self, processor: float = math.inf) -> float:
        """The lowest loss within so many seconds of processor; median over the seeds."""
        return statistics.median_high(
            min((loss for _, spent, loss in history if spent <= processor), default=math.inf)
            for history in self.histories
        )


def trained(
    methods: dict[Name, Method], problem: Problem, steps: int, seeds: int, to_the_end: bool = False
) -> dict[Name, Trained]:
    """Train each method from each seed, in turns; until the last level or `to_the_end`."""
    found: dict[Name, list[_Race]] = {name: [] for name in methods}
    for seed in range(seeds):
        races = {
            name: _Race(method.run(seed), problem, steps, to_the_end)
            for name, method in methods.items()
        }
        turn = 0
        while any(not race.is_over for race in races.values()):
            for name in list(races) if turn % 2 else reversed(races):
                races[name].take_turn()
            turn += 1
        for name, race in races.items():
            found[name].append(race)
    return {name: _summary(races, problem.levels) for name, races in found.items()}


def _summary(races: list[_Race], levels: tuple[float, ...]) -> Trained:
    reached, spread = {}, {}
    for level in levels:
        each = [race.reached.get(level, NEVER) for race in races]
        columns = list(zip(*each, strict=True))
        reached[level] = Reached(*(statistics.median_high(column) for column in columns))
        spread[level] = (min(columns[0]), max(columns[0]))
    last = statistics.median_high([race.last for race in races])
    return Trained(reached, spread, last, [race.history for race in races])
