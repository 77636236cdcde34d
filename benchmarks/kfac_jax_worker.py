"""Runs kfac-jax on request, in a process of its own: its release needs an older JAX than ours.

The first argument names a problem of `benchmarks.training_problems`. Each line of standard input is
a JSON list; the answer is one line of JSON:

    ["new", damping, seed]      the number of a new run
    ["first", damping]          seconds of the first six steps, which compile two programs
    ["advance", run, count]     seconds of wall and of processor
    ["loss", run]               on all data

An exception answers `{"error": ...}`.
"""

import gc
import importlib.metadata
import json
import sys
import time
from typing import Any

import jax
import kfac_jax
import numpy as np

from benchmarks.training_problems import PROBLEMS, Problem, full_loss


class Runs:
    """All runs of a problem; one optimizer for each initial damping, so that it compiles once."""

    def __init__(self, problem: Problem):
        self._problem = problem
        self._optimizers: dict[float, kfac_jax.Optimizer] = {}
        self._runs: list[list[Any]] = []

    def _optimizer(self, damping: float) -> kfac_jax.Optimizer:
        if damping not in self._optimizers:
            self._optimizers[damping] = kfac_jax.Optimizer(
                jax.value_and_grad(self._registered_loss),
                l2_reg=0.0,
                use_adaptive_learning_rate=True,
                use_adaptive_momentum=True,
                use_adaptive_damping=True,
                initial_damping=damping,
                min_damping=1e-8,
                num_burnin_steps=0,
                inverse_update_period=5,
            )
        return self._optimizers[damping]

    def _registered_loss(self, params: Any, batch: Any) -> Any:
        x, y = batch
        logits = self._problem.apply(params, x)
        if self._problem.classes:
            kfac_jax.register_softmax_cross_entropy_loss(logits, y)
        else:
            kfac_jax.register_multi_bernoulli_predictive_distribution(logits, y)
        return self._problem.loss_of_outputs(logits, y)

    def new(self, damping: float, seed: int) -> int:
        optimizer = self._optimizer(damping)
        params = self._problem.init(jax.random.key(seed))
        rng = np.random.default_rng(seed)
        (batch,) = self._problem.batches(np.random.default_rng(0), 1)
        key = jax.random.PRNGKey(seed + 1000)
        state = optimizer.init(params, key, batch)
        self._runs.append([optimizer, params, state, key, 0, rng])
        gc.collect()
        gc.freeze()  # else collections over all that was traced dominate its times
        return len(self._runs) - 1

    def first(self, damping: float) -> float:
        run = self.new(damping, 0)
        return self.advance(run, 6)[0]

    def advance(self, run: int, count: int) -> tuple[float, float]:
        optimizer, params, state, key, done, rng = self._runs[run]
        batches = self._problem.batches(rng, count)
        wall, processor = time.perf_counter(), time.process_time()
        for batch in batches:
            key, chosen = jax.random.split(key)
            params, state, _ = optimizer.step(
                params, state, chosen, batch=batch, global_step_int=done
            )
            done += 1
        jax.block_until_ready(params)
        seconds = time.perf_counter() - wall, time.process_time() - processor
        self._runs[run][1:5] = [params, state, key, done]
        return seconds

    def loss(self, run: int) -> float:
        return full_loss(self._problem, self._runs[run][1])


def main() -> None:
    """Answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    version = importlib.metadata.version
    print(json.dumps(f"{version('kfac-jax')} on JAX {version('jax')}"), file=answers, flush=True)
    runs = Runs(PROBLEMS[sys.argv[1]]())
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = getattr(runs, name)(*arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


main()
