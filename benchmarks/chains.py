"""Linear chains beside pytorch-crf and dynamax: times in float32 on one core, compilation apart.

    export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
    taskset -c 1 python -m benchmarks.chains                     # prints the table
    taskset -c 1 python -m benchmarks.chains --output PATH.md    # and writes it

Rounds alternate between the libraries, so that a slow moment of the machine hits both. Times are of
the processor (`process_time`), which another process on the same core does not lengthen. The ratio is
the median over the rounds of the peer's time over ours in the same round. Results must agree: log-likelihoods to 1e-6
relative and gradients to 1e-4 of the largest, decoded paths tag by tag.
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dynamax.hidden_markov_model as dynamax
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchcrf

from igeojax.chains import crf, hmm


class Problem(NamedTuple):
    """A batch of sequences of several lengths, as pytorch-crf takes it: padded at the end."""

    name: str
    unary: np.ndarray
    transition: np.ndarray
    start: np.ndarray
    end: np.ndarray
    tags: np.ndarray
    mask: np.ndarray


Call = Callable[[], Any]
Pair = tuple[Call, Call]


def problem(
    batch: int, length: int, states: int, kind: str = "", spread: float = 0.3
) -> Problem:
    """Normal scores; `bio` forbids transitions, a large `spread` leaves the range of float32."""
    draws = np.random.default_rng(batch + length + states)
    normal = lambda *shape: draws.normal(size=shape).astype(np.float32)
    transition, start, end = normal(states, states) * np.float32(spread), normal(states), normal(states)
    lengths = draws.integers(length // 2, length + 1, batch)
    lengths[0] = length  # pytorch-crf wants one full sequence
    mask = np.arange(length) < lengths[:, None]
    tags = draws.integers(0, states, (batch, length))
    if kind == "bio":
        names = ["O", *(f"{p}-{k}" for k in range(states // 2) for p in "BI")]
        constraints = crf.tag_constraints(names)
        transition = transition + np.asarray(constraints.transition, np.float32)
        start = start + np.asarray(constraints.start, np.float32)
        tags = np.where(tags % 2 == 0, 0, tags)  # without any I
    name = f"{batch} x {length} x {states}" + (f", {kind}" if kind else "")
    return Problem(name, normal(batch, length, states), transition, start, end, tags, mask)


def their_model(given: Problem) -> Any:
    """pytorch-crf with these scores."""
    model = torchcrf.CRF(given.transition.shape[0], batch_first=True)
    with torch.no_grad():
        model.transitions.copy_(torch.from_numpy(given.transition))
        model.start_transitions.copy_(torch.from_numpy(given.start))
        model.end_transitions.copy_(torch.from_numpy(given.end))
    return model


def crf_pairs(given: Problem) -> dict[str, Pair]:
    """By name of a task, the call of pytorch-crf and ours; each ends when its numbers are there."""
    model = their_model(given)
    scores = torch.from_numpy(given.unary)
    tags, mask = torch.from_numpy(given.tags), torch.from_numpy(given.mask)

    def their_value() -> Any:
        with torch.no_grad():
            return -model(scores, tags, mask=mask, reduction="sum")

    def their_gradient() -> Any:
        leaf = scores.detach().requires_grad_()
        model.zero_grad()
        value = -model(leaf, tags, mask=mask, reduction="sum")
        value.backward()
        return value, leaf.grad, model.transitions.grad

    weights = tuple(map(jnp.asarray, (given.unary, given.transition, given.start, given.end)))
    data = jnp.asarray(given.tags), jnp.asarray(given.mask)

    def loss(unary: Any, transition: Any, start: Any, end: Any, tags: Any, mask: Any) -> Any:
        return -jnp.sum(
            crf.log_likelihood(unary, transition, tags, mask=mask, start=start, end=end)
        )

    value = jax.jit(loss)
    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    decode = jax.jit(
        lambda u, a, s, e, mask: crf.viterbi(u, a, mask=mask, start=s, end=e)
    )
    ready = jax.block_until_ready
    return {
        "NLL": (their_value, lambda: ready(value(*weights, *data))),
        "NLL + gradient": (their_gradient, lambda: ready(gradient(*weights, *data))),
        "Viterbi": (
            lambda: model.decode(scores, mask=mask),
            lambda: ready(decode(*weights, data[1])),
        ),
    }


def require_agreement(given: Problem, pairs: dict[str, Pair]) -> str:
    """Raise where the results differ; otherwise how near they are."""
    theirs, ours = (call() for call in pairs["NLL + gradient"])
    relative = abs(float(ours[0]) / float(theirs[0]) - 1)
    gaps = []
    for mine, other in zip(ours[1][:2], theirs[1:], strict=True):
        finite = np.nan_to_num(other.numpy())
        gaps.append(np.abs(np.asarray(mine) - finite).max() / np.abs(finite).max())
    theirs, ours = (call() for call in pairs["Viterbi"])
    paths = np.asarray(ours.tags)
    same = all(
        path == paths[row, given.mask[row]].tolist() for row, path in enumerate(theirs)
    )
    if relative > 1e-6 or max(gaps) > 1e-4 or not same:
        raise RuntimeError(f"{given.name}: {relative=}, {gaps=}, same paths: {same}")
    return f"NLL to {relative:.0e}, gradient to {max(gaps):.0e}, paths equal"


def hmm_pairs(batch: int, length: int, states: int) -> tuple[dict[str, Pair], str]:
    """dynamax's filter and smoother and ours, on a batch by its `vmap`."""
    draws = np.random.default_rng(states)
    law = lambda *shape: jnp.asarray(draws.dirichlet(np.ones(states), shape), jnp.float32)
    initial, transition = law(), law(states)
    emission = jnp.asarray(draws.normal(size=(batch, length, states)), jnp.float32)
    logs = jnp.log(initial), jnp.log(transition)
    theirs = {
        "HMM filter": dynamax.hmm_filter,
        "HMM smoother": dynamax.hmm_two_filter_smoother,
        "HMM Viterbi": dynamax.hmm_posterior_mode,
    }
    ours = {"HMM filter": hmm.filter, "HMM smoother": hmm.smooth, "HMM Viterbi": hmm.viterbi}
    pairs = {}
    for name, peer in theirs.items():
        mapped = jax.jit(jax.vmap(peer, (None, None, 0)))
        own = jax.jit(ours[name])
        pairs[name] = (
            lambda mapped=mapped: jax.block_until_ready(mapped(initial, transition, emission)),
            lambda own=own: jax.block_until_ready(own(*logs, emission)),
        )
    filtered = [call() for call in pairs["HMM filter"]]
    smoothed = [call() for call in pairs["HMM smoother"]]
    relative = np.max(np.abs(filtered[1].log_likelihood / filtered[0].marginal_loglik - 1))
    gap = max(
        float(np.abs(filtered[1].states - filtered[0].filtered_probs).max()),
        float(np.abs(smoothed[1].states - smoothed[0].smoothed_probs).max()),
    )
    same = bool((pairs["HMM Viterbi"][0]() == pairs["HMM Viterbi"][1]().states).all())
    if relative > 1e-5 or gap > 1e-4 or not same:
        raise RuntimeError(f"HMM: {relative=}, {gap=}, same paths: {same}")
    return pairs, f"log-likelihood to {relative:.0e}, probabilities to {gap:.0e}, paths equal"


def milliseconds(call: Call) -> float:
    """Of one call."""
    begin = time.process_time()
    call()
    return 1e3 * (time.process_time() - begin)


def measured(name: str, size: str, pair: Pair, rounds: int, peer: str, note: str) -> str:
    """A line of the table."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, found in zip(pair, times, strict=True):
            found.append(milliseconds(call))
    ratios = sorted(a / b for a, b in zip(*times, strict=True))
    theirs, ours = map(statistics.median, times)
    line = (
        f"| {name} | {size} | {peer} {theirs:.3g} | {ours:.3g} | {statistics.median(ratios):.1f} | "
        f"{ratios[0]:.1f} - {ratios[-1]:.1f} | {note} |"
    )
    print(line, flush=True)
    return line


def main() -> None:
    """Print the table; write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| task | batch x steps x states | peer, ms | igeojax, ms | ratio | least - most | agreement |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines))
    for given in (
        problem(64, 256, 32),
        problem(32, 64, 9, "bio"),
        problem(64, 256, 32, "wide", spread=30.0),
    ):
        pairs = crf_pairs(given)
        note = require_agreement(given, pairs)
        for name, pair in pairs.items():
            rounds = options.rounds if given.name.count(",") == 0 else max(options.rounds // 2, 3)
            lines.append(measured(name, given.name, pair, rounds, "pytorch-crf", note))
    pairs, note = hmm_pairs(64, 256, 32)
    for name, pair in pairs.items():
        lines.append(measured(name, "64 x 256 x 32", pair, options.rounds, "dynamax", note))
    if options.output is not None:
        version = importlib.metadata.version
        peers = ", ".join(
            f"{name} {version(name)}" for name in ("torch", "pytorch-crf", "dynamax")
        )
        text = (
            "# Linear chains beside pytorch-crf and dynamax\n\n"
            f"`python -m benchmarks.chains --output {options.output.name}`. Milliseconds of one "
            f"core, medians over {options.rounds} alternated rounds (half for other shapes), "
            f"compilation apart; float32, JAX {version('jax')} on the CPU, {peers}, "
            f"{os.cpu_count()} cores, {platform.machine()}, pinned to "
            f"{len(os.sched_getaffinity(0))}, OPENBLAS_NUM_THREADS "
            f"{os.environ.get('OPENBLAS_NUM_THREADS')}, Python {platform.python_version()}; "
            f"{time.strftime('%Y-%m-%d')}.\n\n"
        )
        options.output.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
