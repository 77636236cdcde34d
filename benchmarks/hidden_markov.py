"""Hidden Markov models beside hmmlearn (float64, its C++ loops) and dynamax, on the same data.

All in float64 and one process on one core, run in turn, compilation apart; times are those of the
processor. hmmlearn by its faster form, `implementation="scaling"`; dynamax takes sequences of one
length only. Run as

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.hidden_markov
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dynamax import hidden_markov_model as dynamax
from hmmlearn import _hmmc, hmm

from igeojax import em, families

STATES, DIM, CLASSES = 6, 4, 12
FEW, MANY = 2, 7
TASKS = ("Baum-Welch iteration", "log-likelihood", "smoother", "Viterbi")
LENGTHS = {
    "1 x 20,000": np.array([20_000]),
    "100 x 200": np.full(100, 200),
    "100 x 20-380": np.random.default_rng(1).permutation(np.linspace(20, 380, 100).astype(int)),
}

HEADER = f"""# Hidden Markov models beside hmmlearn and dynamax

`python -m benchmarks.hidden_markov --output hidden_markov_cpu.md`. Milliseconds of the processor,
one core, float64, {STATES} states, normal laws of {DIM} coordinates with full covariance or
{CLASSES} classes; alternated rounds, compilation apart. An iteration of Baum-Welch is ({MANY} less
{FEW} iterations) / {MANY - FEW}. Ratio: the peer's time over ours in the same round. Difference:
relative of log-likelihoods, those of the first iterations included; absolute of probabilities.
dynamax has a prior of normal laws: iterations are compared with it at the start alone. hmmlearn
runs by its faster form, `implementation="scaling"`; dynamax takes sequences of one length only.
"""


class Problem(NamedTuple):
    """Parameters to start from, and sequences one after the other."""

    kind: str
    initial: np.ndarray
    transition: np.ndarray
    emissions: tuple[np.ndarray, ...]
    x: np.ndarray
    length: np.ndarray

    @property
    def padded(self) -> np.ndarray:
        """Sequences of one length, by repeating."""
        parts = np.split(self.x, np.cumsum(self.length)[:-1])
        steps = self.length.max()
        return np.stack([np.resize(part, (steps, *part.shape[1:])) for part in parts])

    @property
    def inside(self) -> np.ndarray:
        """Which steps of `padded` are no padding."""
        return np.arange(self.length.max()) < self.length[:, None]


class Runner(NamedTuple):
    """What one library does: `fit(steps)` gives log-likelihoods, the others values to compare."""

    fit: Callable[[int], Any]
    log_likelihood: Callable[[], Any]
    smoother: Callable[[], Any]
    viterbi: Callable[[], Any]


def problem(kind: str, length: np.ndarray) -> Problem:
    """A chain that stays nine times of ten, with emissions that overlap."""
    draws = np.random.default_rng(0)
    transition = 0.88 * np.eye(STATES) + 0.02
    initial = np.full(STATES, 1 / STATES)
    states = np.empty(length.sum(), int)
    begins = np.r_[0, np.cumsum(length)[:-1]]
    uniform = draws.random(states.size)
    for t in range(states.size):
        law = initial if t in begins else transition[states[t - 1]]
        states[t] = min(np.searchsorted(np.cumsum(law), uniform[t]), STATES - 1)
    if kind == "categorical":
        probs = draws.dirichlet(np.ones(CLASSES), STATES)
        steps = np.cumsum(probs, axis=1)[states]
        x = np.minimum((draws.random(states.size)[:, None] > steps).sum(axis=1), CLASSES - 1)
        start = (0.7 * probs + 0.3 / CLASSES,)
    else:
        means = 1.5 * draws.normal(size=(STATES, DIM))
        factors = np.eye(DIM) + 0.2 * draws.normal(size=(STATES, DIM, DIM))
        noise = draws.normal(size=(states.size, DIM))
        x = means[states] + np.einsum("nij,nj->ni", factors[states], noise)
        start = (means + 0.3, np.stack([1.5 * np.eye(DIM)] * STATES))
    return Problem(kind, initial, transition, start, x, length)


def ours(given: Problem) -> Runner:
    """This package."""
    if given.kind == "categorical":
        family: Any = families.Categorical(CLASSES)
    else:
        family = families.MultivariateNormal(DIM)
    model = em.HiddenMarkovModel(family, STATES)
    theta = family.natural_from_params(*map(jnp.asarray, given.emissions))
    params = model.point(given.initial, given.transition, theta)
    x, inside = jnp.asarray(given.padded), given.inside
    length = jnp.asarray(given.length)
    if given.length.size == 1:
        x, length = x[0], length[0]
    inside = inside.reshape(x.shape[: length.ndim + 1])

    def fit(steps: int) -> Any:
        found = model.fit(
            x, length=length, initialization=params, tolerance=0.0, max_iterations=steps
        )
        return np.asarray(found.log_likelihoods) * given.length.sum()

    asked = lambda call: jax.block_until_ready(call(params, x, length=length))
    return Runner(
        fit,
        lambda: np.sum(asked(model.log_likelihood)),
        lambda: np.asarray(asked(model.smooth).states)[inside],
        lambda: np.asarray(asked(model.predict).states)[inside],
    )


def of_hmmlearn(given: Problem) -> Runner:
    """hmmlearn, without priors."""
    x = given.x if given.x.ndim == 2 else given.x[:, None]

    def made(steps: int) -> Any:
        options = {
            "n_iter": steps,
            "tol": -np.inf,
            "init_params": "",
            "implementation": "scaling",
        }
        if given.kind == "categorical":
            model: Any = hmm.CategoricalHMM(STATES, **options)
            model.n_features, model.emissionprob_ = CLASSES, given.emissions[0]
        else:
            model = hmm.GaussianHMM(STATES, "full", covars_prior=0, covars_weight=1, **options)
            model.n_features = DIM
            model.means_, model.covars_ = given.emissions
        model.startprob_, model.transmat_ = given.initial, given.transition
        return model

    still = made(1)
    return Runner(
        lambda steps: np.asarray(made(steps).fit(x, given.length).monitor_.history),
        lambda: still.score(x, given.length),
        lambda: still.predict_proba(x, given.length),
        lambda: still.predict(x, given.length),
    )


def of_dynamax(given: Problem) -> Runner:
    """dynamax, with flat priors of the laws of states; compiled as a whole."""
    flat = {"initial_probs_concentration": 1.0, "transition_matrix_concentration": 1.0}
    laws = {
        "initial_probs": jnp.asarray(given.initial),
        "transition_matrix": jnp.asarray(given.transition),
    }
    if given.kind == "categorical":
        model: Any = dynamax.CategoricalHMM(
            STATES, 1, CLASSES, emission_prior_concentration=1.0, **flat
        )
        laws["emission_probs"] = jnp.asarray(given.emissions[0])[:, None]
    else:
        model = dynamax.GaussianHMM(STATES, DIM, **flat)
        laws["emission_means"], laws["emission_covariances"] = map(jnp.asarray, given.emissions)
    params, props = model.initialize(**laws)
    x = jnp.asarray(given.padded)
    x = x if x.ndim == 3 else x[..., None]
    fits = {
        steps: jax.jit(
            lambda params, x, steps=steps: model.fit_em(
                params, props, x, num_iters=steps, verbose=False
            )
        )
        for steps in (FEW, MANY)
    }
    mapped = lambda method: jax.jit(jax.vmap(method, (None, 0)))
    score, smooth, decode = map(
        mapped, (model.marginal_log_prob, model.smoother, model.most_likely_states)
    )
    flat_steps = lambda values: np.asarray(values).reshape((given.x.shape[0], *values.shape[2:]))
    return Runner(
        lambda steps: np.asarray(fits[steps](params, x)[1]),
        lambda: np.sum(jax.block_until_ready(score(params, x))),
        lambda: flat_steps(smooth(params, x).smoothed_probs),
        lambda: flat_steps(decode(params, x)),
    )


def milliseconds(call: Callable[[], Any]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    call()
    return 1e3 * (time.process_time() - began)


def differences(given: Problem, mine: Runner, peer: Runner, name: str) -> dict[str, str]:
    """How far the results are apart; an error where they are not the same."""
    ratio = abs(mine.log_likelihood() / peer.log_likelihood() - 1)
    gap = np.abs(mine.smoother() - peer.smoother()).max()
    other = int(np.sum(mine.viterbi() != peer.viterbi()))
    # dynamax keeps a prior of normal emissions: its iterations go elsewhere after the first step.
    steps = 1 if name == "dynamax" and given.kind == "normal" else FEW
    history = np.max(np.abs(mine.fit(FEW)[:steps] / peer.fit(FEW)[:steps] - 1))
    if name == "dynamax":
        # Its history adds the log-density of the prior.
        history = ratio
    if max(ratio, history) > 1e-9 or gap > 1e-8 or other:
        raise RuntimeError(f"{name}, {given.kind}: {ratio=}, {gap=}, {other=}, {history=}")
    notes = (f"{history:.0e}", f"{ratio:.0e}", f"{gap:.0e}", "paths equal")
    return dict(zip(TASKS, notes, strict=True))


def calls_of(runner: Runner) -> dict[str, Callable[[], float]]:
    """Milliseconds of each task."""
    step = lambda: (
        (milliseconds(lambda: runner.fit(MANY)) - milliseconds(lambda: runner.fit(FEW)))
        / (MANY - FEW)
    )
    rest = (runner.log_likelihood, runner.smoother, runner.viterbi)
    singles = [lambda call=call: milliseconds(call) for call in rest]
    return dict(zip(TASKS, (step, *singles), strict=True))


def floor(given: Problem) -> list[float]:
    """Milliseconds of the forward and of the Viterbi recursion alone, by the loops of hmmlearn."""
    weights = np.random.default_rng(0).random((given.x.shape[0], STATES)) + 0.5
    logs = np.log(weights), np.log(given.initial), np.log(given.transition)
    begins = np.cumsum(given.length)[:-1]
    parts, log_parts = np.split(weights, begins), np.split(logs[0], begins)
    ahead = lambda: [_hmmc.forward_scaling(given.initial, given.transition, p) for p in parts]
    best = lambda: [_hmmc.viterbi(logs[1], logs[2], p) for p in log_parts]
    return [statistics.median(milliseconds(call) for _ in range(9)) for call in (ahead, best)]


def compare(given: Problem, shape: str, rounds: int) -> list[str]:
    """Rows of the table for one problem."""
    makers = {"hmmlearn": of_hmmlearn}
    if np.ptp(given.length) == 0:
        makers["dynamax"] = of_dynamax
    mine = ours(given)
    peers = {name: make(given) for name, make in makers.items()}
    notes = {name: differences(given, mine, peer, name) for name, peer in peers.items()}
    calls = {name: calls_of(runner) for name, runner in {"igeojax": mine, **peers}.items()}
    lines = []
    for task in TASKS:
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(rounds + 1):
            for name in list(calls)[:: 1 if turn % 2 else -1]:
                value = calls[name][task]()
                if turn:  # the first round compiles
                    taken[name].append(value)
        own = statistics.median(taken["igeojax"])
        for name in peers:
            ratios = sorted(a / b for a, b in zip(taken[name], taken["igeojax"], strict=True))
            line = (
                f"| {given.kind} | {shape} | {task} | {name} {statistics.median(taken[name]):.3g} "
                f"| {own:.3g} | {statistics.median(ratios):.2f} | {ratios[0]:.2f} - "
                f"{ratios[-1]:.2f} | {notes[name][task]} |"
            )
            print(line, flush=True)
            lines.append(line)
    return lines


def main() -> None:
    """Print the table; write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kind", choices=("normal", "categorical"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    jax.config.update("jax_enable_x64", True)
    lines = [
        "| emissions | sequences x steps | task | peer, ms | ours, ms | ratio | least - most | "
        "difference |",
        "|" + " --- |" * 8,
    ]
    print("\n".join(lines))
    for kind in (options.kind,) if options.kind else ("normal", "categorical"):
        for shape, length in LENGTHS.items():
            lines += compare(problem(kind, length), shape, options.rounds)
    floors = []
    for shape in list(LENGTHS)[:2]:
        ahead, best = floor(problem("categorical", LENGTHS[shape]))
        floors.append(f"{ahead:.2f} and {best:.2f} for {shape}")
    lines.append(
        "\nThe floor: the forward and the Viterbi loop alone, compiled C++ of hmmlearn that is "
        f"handed the densities, take in milliseconds {', '.join(floors)}."
    )
    print(lines[-1])
    if options.output is not None:
        version = importlib.metadata.version
        peers = ", ".join(f"{name} {version(name)}" for name in ("hmmlearn", "dynamax"))
        machine = (
            f"JAX {version('jax')}, {peers}, {os.cpu_count()} cores, {platform.machine()}, "
            f"pinned to {len(os.sched_getaffinity(0))}, Python {platform.python_version()}; "
            f"{time.strftime('%Y-%m-%d')}, medians over {options.rounds} rounds."
        )
        text = f"{HEADER}{machine}\n\n"
        options.output.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
