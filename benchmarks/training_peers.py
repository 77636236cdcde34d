"""The optimizers of `benchmarks.optimizers`: each a list of choices of its settings."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from benchmarks.training_problems import Problem
from benchmarks.training_runs import Method, local_method
from igeojax import families, optim

ABSENT = ("soap", "shampoo")
"""Asked for; compared if a later optax has them."""
MUON_RATES = (1e-2, 3e-2, 1e-1, 3e-1)
DAMPINGS = (0.01, 0.1, 1.0, 10.0)
"""Initial ones of kfac-jax, adapted from there."""
ROOT = Path(__file__).parents[1]


def _rates(
    problem: Problem, rates: Sequence[float]
) -> Iterator[tuple[str, optax.ScalarOrSchedule]]:
    for rate in rates:
        yield f"{rate:g}", rate
        yield f"{rate:g} cosine", optax.cosine_decay_schedule(rate, problem.decay)


def _muon_axes(params: Any) -> Any:
    """Matrices of hidden layers, as Muon is meant; embeddings and the head are left to Adam."""

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        names = jax.tree_util.keystr(path)
        if leaf.ndim < 2 or any(part in names for part in ("bias", "embed", "head")):
            return None
        inputs = leaf.ndim - 1
        if leaf.ndim == 3 and "'out'" not in names:
            inputs = 1
        return optax.contrib.MuonDimensionNumbers(
            tuple(range(inputs)), tuple(range(inputs, leaf.ndim))
        )

    return jax.tree_util.tree_map_with_path(axes, params)


def predict(problem: Problem) -> tuple[Callable[[Any, Any], Any], Any]:
    """The model as a point of its output family, and the family."""
    family = families.Categorical(problem.classes) if problem.classes else families.Bernoulli()
    return lambda params, x: family.natural_from_params(logits=problem.apply(params, x)), family


def _choices(name: str, problem: Problem) -> Iterator[tuple[str, optax.GradientTransformation]]:
    """Labels and transforms of an optimizer.

    Raises:
      LookupError: it is not there.
    """
    if name == "Adam":
        for label, rate in _rates(problem, problem.learning_rates):
            yield label, optax.adam(rate)
    elif name == "Muon":
        for label, rate in _rates(problem, MUON_RATES):
            yield label, optax.contrib.muon(rate, muon_weight_dimension_numbers=_muon_axes)
    elif name in ABSENT:
        build = getattr(optax.contrib, name, None)
        if build is None:
            raise LookupError(f"optax {optax.__version__} has no contrib.{name}")
        for label, rate in _rates(problem, problem.learning_rates):
            yield label, build(rate)
    else:
        build = getattr(optim, name, None)
        if build is None:
            raise LookupError(f"igeojax.optim has no {name}")
        model, family = predict(problem)
        yield "defaults", build(model, family, example_inputs=problem.inputs[:1])


NAMES = ("Adam", "Muon", *ABSENT, "kfac", "ekfac")


class Worker:
    """kfac-jax in another Python, on one problem."""

    def __init__(self, python: str, problem: str):
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.kfac_jax_worker", problem],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.version = self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError("its process ended")
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, *request: Any) -> Any:
        """The answer to a request.

        Raises:
          RuntimeError: what kfac-jax raised.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise RuntimeError("its process ended") from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()


class RemoteRun:
    """A run of kfac-jax."""

    def __init__(self, worker: Worker, damping: float, seed: int):
        self._worker, self._number = worker, worker.ask("new", damping, seed)

    def advance(self, count: int) -> tuple[float, float]:
        wall, processor = self._worker.ask("advance", self._number, count)
        return wall, processor

    def loss(self) -> float:
        return self._worker.ask("loss", self._number)


def local_methods(
    name: str, problem: Problem, only_first: bool
) -> tuple[dict[str, Method], str | None]:
    """An optimizer's compiled choices by label, or none and the reason."""
    found = {}
    try:
        for label, tx in _choices(name, problem):
            found[label] = local_method(problem, label, tx)
            if only_first:
                break
    except LookupError as error:
        return {}, str(error)
    return found, None


def remote_methods(worker: Worker, only_first: bool) -> tuple[dict[str, Method], str | None]:
    """kfac-jax's compiled choices by label, or none and the reason."""
    found = {}
    for damping in DAMPINGS[:1] if only_first else DAMPINGS:
        try:
            seconds = worker.ask("first", damping)
        except RuntimeError as error:
            return {}, f"kfac-jax {worker.version} failed: {error}"

        def run(seed: int, damping: float = damping) -> RemoteRun:
            return RemoteRun(worker, damping, seed)

        found[f"damping {damping:g}"] = Method(f"damping {damping:g}", seconds, run)
    return found, None
