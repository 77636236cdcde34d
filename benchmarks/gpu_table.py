"""The table of `benchmarks/gpu.py` as it is committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.gpu_grid import NO_TIME, PEERS, Work

COLUMNS = (
    *("operation", "direction", "rows x columns", "dtype", "us", "share", "goal", "reached"),
    *(*PEERS, "best peer / ours"),
)


_ABOUT = """\
`share` is the bytes that must be read and written, divided by the time and by the bandwidth of a
large copy on the device in the same run; so are the columns of the peers. `reached` compares it
with the goal. The last column is the time of the fastest peer divided by ours. `torch.compile` is
`max-autotune` without CUDA graphs, `dynamic=False`; `-` is not there or not timed.

Goals that are not shares: no size slower than 0.95 of the best peer; `cross_entropy` forward and
backward 1.3 times Liger at 131072 columns; `mixture_e_step` twice the jitted quadratic form of JAX
at 10^7 rows, 16 dimensions, 64 components.
""".splitlines()


def row_of(work: Work, seconds: dict[str, float | str], bandwidth: float) -> list[str]:
    """One line of the table: shares of the copy's bandwidth, and how we stand to the best peer."""

    def share(found: float | str | None) -> str:
        if isinstance(found, float):
            return f"{work.moved / found / bandwidth:.2f}"
        return {None: "-", NO_TIME: NO_TIME}.get(found, "failed")

    ours = seconds.get("ours")
    peers = [seconds.get(who) for who in PEERS]
    times = [found for found in peers if isinstance(found, float)]
    ratio, verdict = "-", "-"
    if isinstance(ours, float):
        reached = work.moved / ours / bandwidth
        verdict = "-" if work.goal is None else "yes" if reached >= work.goal else "NO"
        ratio = f"{min(times) / ours:.2f}" if times else "-"
    goal = "-" if work.goal is None else f"{work.goal:.2f}"
    size = f"{work.shape[0]} x {work.shape[1]}"
    microseconds = f"{ours * 1e6:.0f}" if isinstance(ours, float) else share(ours)
    return [
        *(work.operation, work.direction, size, work.dtype, microseconds, share(ours), goal),
        *(verdict, *map(share, peers), ratio),
    ]


def markdown(found: dict[str, Any], works: Sequence[Work]) -> str:
    """The results as they are committed; without a GPU, the grid and the goals."""
    lines = ["# Kernels on a GPU", ""]
    if not found:
        lines += ["**not run on a GPU.** This is the grid with its goals; one command fills it in:"]
    else:
        about = found["environment"]
        lines += [
            f"On {about['device']}; torch {about['torch']}, triton {about['triton']}, "
            f"jax {about['jax']}."
            + ("" if found["on_gpu"] else " **not run on a GPU**: this tries the script itself.")
            + " Made by"
        ]
    lines += ["", "    python -m benchmarks.gpu", ""]
    lines += [
        *_ABOUT,
        "",
    ]
    if found:
        lines += [
            f"Copy of {found['copy']['bytes'] / 2**30:.2f} GiB: "
            f"{found['copy']['bandwidth'] / 1e12:.3f} TB/s read and written."
        ]
        for dtype, result in found.get("check", {}).items():
            lines += [f"- cross-check, {dtype}: {result['last']}"]
            lines += [f"    - {line}" for line in result["failures"]]
        for name, text in found.get("sanitizer", {}).items():
            lines += [f"- compute-sanitizer, {name}: {text}"]
        lines += [""]
    lines += [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    seconds = found.get("seconds", {})
    bandwidth = found["copy"]["bandwidth"] if found else 1.0
    for work in works:
        lines += [f"| {' | '.join(row_of(work, seconds.get(work.label, {}), bandwidth))} |"]
    failures = [
        f"- {label}, {who}: {text}"
        for label, by_whom in seconds.items()
        for who, text in by_whom.items()
        if isinstance(text, str) and text != NO_TIME
    ]
    lines += ["", "Failed:", "", *failures] if failures else []
    if gains := list(_gains(found.get("tuning", {}))):
        lines += ["", "Faster with another number of warps than the launcher's:", "", *gains]
    return "\n".join(lines) + "\n"


def _gains(tuning: dict[str, dict[str, float]]) -> Iterator[str]:
    for label, trials in tuning.items():
        best = min(trials, key=lambda factor: trials[factor])
        if (gain := trials["1"] / trials[best]) > 1.03:
            yield f"- {label}: {gain:.2f} times with {best} times the warps"
