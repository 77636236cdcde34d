"""Check, tune and time every kernel on the GPU that is here, in less than nine minutes.

    python -m benchmarks.gpu      # all, to benchmarks/results/gpu.md, gpu.json, gpu_tuning.json
    python -m benchmarks.gpu --op softmax --minutes 3
    python -m benchmarks.gpu --plan      # the grid and its goals alone
    python -m benchmarks.gpu --device cpu --quick --output FOLDER      # tries the script itself

First the cross-check, a process for each dtype at once. Then every size is timed beside the same by
torch, JAX, Liger-Kernel and QuACK (where they can be imported), and against a large copy on the
device in the same run: what counts is the bytes that must move a second, as a share of the copy's.
Then each kernel is tried with half and twice the warps, once, and the best is kept in
`gpu_tuning.json`: it is a suggestion for the launcher, whose own choice is what is timed. Then
compute-sanitizer, and last `torch.compile(mode="max-autotune", dynamic=False)`, which compiles for
seconds at every size: rows that the clock leaves no time for say so. The files are written after
every stage, so that a run that is ended early leaves what it has.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_grid
from benchmarks.gpu_grid import NO_TIME, SUBJECTS, Draw, Work, grid, is_installed
from benchmarks.gpu_table import markdown

RESULTS = Path(__file__).parent / "results"
COPY_BYTES = 2**32
SECONDS_A_CALL = 0.02  # spent on timing one implementation, its warm-up apart


class Clock:
    """The time that is left, and who may still begin."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._end = now() + 60 * minutes

    def left(self) -> float:
        """Seconds until the end."""
        return self._end - self._now()

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long may begin."""
        return self.left() >= seconds


def seconds_of(
    call: Callable[[], Any],
    wait: Callable[[Any], None],
    *,
    budget: float = SECONDS_A_CALL,
    rounds: int = 5,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds a call: the median of rounds of calls in a row, waited for once a round.

    The device works through a queue, so that the time to start a call is hidden behind the one
    before it. Everything is compiled and warm before the first round.
    """
    for _ in range(2):
        wait(call())
    began = now()
    wait(call())
    once = max(now() - began, 1e-9)
    repeats = max(1, min(1000, math.ceil(budget / rounds / once)))
    found = []
    for _ in range(rounds):
        began = now()
        for _ in range(repeats):
            result = call()
        wait(result)
        found.append((now() - began) / repeats)
    return statistics.median(found)


def ours(work: Work) -> Callable:
    """The operation that is timed, with its options."""
    import kernels_triton

    function = getattr(kernels_triton, work.operation)
    return functools.partial(function, **SUBJECTS[work.operation].options)


def peer(work: Work, who: str) -> Callable:
    """The same by torch or by JAX."""
    subject = SUBJECTS[work.operation]
    return functools.partial(getattr(subject, who), **subject.options)


def tensors_of(work: Work, device: str) -> dict[str, Any]:
    """The inputs of a row, on the device."""
    return SUBJECTS[work.operation].inputs(Draw(work.dtype, device), *work.shape)


def calls_in_torch(work: Work, function: Callable, tensors: dict[str, Any]) -> Callable[[], Any]:
    """The forward pass, the backward pass alone of one forward pass, or both."""
    import torch

    if work.direction == "forward":
        return lambda: function(**tensors)
    leaves = {name: x.detach().requires_grad_(x.is_floating_point()) for name, x in tensors.items()}
    wanted = [x for x in leaves.values() if x.requires_grad]
    if work.direction == "both":
        return lambda: torch.autograd.grad(function(**leaves).sum(), wanted)
    output = function(**leaves)
    cotangent = torch.ones_like(output)
    return lambda: torch.autograd.grad(output, wanted, cotangent, retain_graph=True)


def calls_in_jax(work: Work, function: Callable, tensors: dict[str, Any]) -> Callable[[], Any]:
    """The same by JAX: of the backward pass what `jax.vjp` leaves to do, compiled."""
    import jax

    from kernels_triton.jax_bridge import to_jax

    arrays = {name: to_jax(x.int() if x.dtype.itemsize == 8 else x) for name, x in tensors.items()}
    if work.direction == "forward":
        compiled = jax.jit(lambda arrays: function(**arrays))
        return lambda: compiled(arrays)
    moving = {name: x for name, x in arrays.items() if tensors[name].is_floating_point()}
    fixed = {name: x for name, x in arrays.items() if name not in moving}
    if work.direction == "both":
        total = lambda moving: function(**moving, **fixed).sum()
        gradient = jax.jit(lambda moving: [jax.grad(total)(moving)])
        return lambda: gradient(moving)
    output, pull_back = jax.jit(
        lambda moving: jax.vjp(lambda moving: function(**moving, **fixed), moving)
    )(moving)
    backward = jax.jit(lambda pull_back, cotangent: pull_back(cotangent))
    cotangent = jax.numpy.ones_like(output)
    return lambda: backward(pull_back, cotangent)


def waiting(device: str) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """How one waits for torch and for JAX."""
    import jax
    import torch

    if device == "cpu":
        return lambda _result: None, lambda result: jax.block_until_ready(result)
    return (
        lambda _result: torch.cuda.synchronize(),
        lambda result: jax.block_until_ready(result),
    )


def timed(work: Work, who: str, device: str) -> float | str:
    """Seconds of one implementation at one row, or the error it raised in a few words."""
    import torch

    in_torch, in_jax = waiting(device)
    try:
        tensors = tensors_of(work, device)
        if who == "jax":
            return seconds_of(calls_in_jax(work, peer(work, "jax"), tensors), in_jax)
        if who == "ours":
            function = ours(work)
        elif who == "torch":
            function = peer(work, "torch")
        elif who == "torch.compile":
            torch.compiler.reset()
            function = torch.compile(
                peer(work, "torch"), mode="max-autotune-no-cudagraphs", dynamic=False
            )
        else:
            positional = SUBJECTS[work.operation].others[who][1]()
            function = lambda **tensors: positional(*tensors.values())
        return seconds_of(calls_in_torch(work, function, tensors), in_torch)
    except Exception as error:  # a peer that fails is a row of the table, not the end of it
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:80]}"
    finally:
        if device != "cpu":
            torch.cuda.empty_cache()


def who_is_timed(work: Work, who: str) -> bool:
    """Whether an implementation has the operation and is here."""
    others = SUBJECTS[work.operation].others
    if who in ("liger", "quack"):
        return who in others and is_installed(others[who][0])
    return True


def copy_seconds(device: str, size: int) -> float:
    """Of a copy on the device, which reads and writes `size` bytes."""
    import torch

    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return seconds_of(lambda: target.copy_(source), waiting(device)[0])


def warp_trials(work: Work, device: str) -> dict[str, float]:
    """Seconds of our kernels with half, the same and twice the warps of the launcher's choice."""
    from unittest import mock

    from kernels_triton import _launch

    tensors, found = tensors_of(work, device), {}
    function, started = ours(work), _launch.run
    for factor in (0.5, 1.0, 2.0):

        def run(kernel: Any, programs: int, *arguments: Any, factor=factor, **constants: Any):
            warps = constants.get("num_warps", 4)
            constants["num_warps"] = max(1, min(32, int(warps * factor)))
            return started(kernel, programs, *arguments, **constants)

        with mock.patch.object(_launch, "run", run):
            call = calls_in_torch(work, function, tensors)
            found[f"{factor:g}"] = seconds_of(call, waiting(device)[0])
    return found


def check(device: str, dtypes: Sequence[str], clock: Clock, operations: Sequence[str]) -> dict:
    """The cross-check of each dtype in a process of its own, all at once."""
    running = {}
    for dtype in dtypes:
        command = [sys.executable, "-m", "kernels_triton.crosscheck", "--device", device]
        command += ["--dtype", dtype, *(part for name in operations for part in ("--op", name))]
        running[dtype] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    found = {}
    for dtype, process in running.items():
        try:
            output, _ = process.communicate(timeout=max(1, min(150, clock.left() / 2)))
            failures = [line for line in output.splitlines() if line.endswith("FAIL")]
            last = (output.strip().splitlines() or ["no output"])[-1]
            found[dtype] = {"status": process.returncode, "last": last, "failures": failures}
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            found[dtype] = {"status": None, "last": NO_TIME, "failures": []}
    return found


def sanitize(clock: Clock, operations: Sequence[str]) -> dict[str, str]:
    """What compute-sanitizer says of the float32 cross-check of each operation."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"all": "compute-sanitizer is not installed"}
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "JAX_PLATFORMS": "cpu"}
    found = {}
    for name in operations:
        if not clock.allows(30):
            found[name] = NO_TIME
            continue
        command = [tool, "--tool", "memcheck", "--error-exitcode", "9", sys.executable, "-m"]
        command += ["kernels_triton.crosscheck", "--device", "cuda", "--dtype", "float32"]
        try:
            done = subprocess.run(
                [*command, "--op", name],
                env=environment,
                capture_output=True,
                text=True,
                timeout=min(60, clock.left() - 5),
                check=False,
            )
            found[name] = "errors" if done.returncode == 9 else f"status {done.returncode}"
        except subprocess.TimeoutExpired:
            found[name] = NO_TIME
    return {name: "no error" if text == "status 0" else text for name, text in found.items()}


def order_of(works: Sequence[Work], *, quick: bool) -> Iterator[tuple[Work, str]]:
    """What is timed after what: first everything cheap, then what compiles long.

    `torch.compile` goes over the lengths in an order that leaves a coarse grid when it is cut off.
    """
    for work in works:
        for who in ("ours", "torch", "jax", "liger", "quack"):
            if who_is_timed(work, who):
                yield work, who
    lengths = sorted({work.shape[1] for work in works})
    coarse = [length for step in (3, 1) for length in lengths[::step]]
    rank = {length: coarse.index(length) for length in lengths}
    if not quick:
        for work in sorted(works, key=lambda work: rank[work.shape[1]]):
            yield work, "torch.compile"


def environment_of(device: str) -> dict[str, str]:
    """The versions and the device, as they head the table."""
    import jax
    import torch

    from kernels_triton import _launch

    name = "the CPU" if device == "cpu" else torch.cuda.get_device_name(device)
    return {
        "device": name,
        "torch": torch.__version__,
        "triton": _launch.triton.__version__ if _launch.triton else "absent",
        "jax": f"{jax.__version__} on {jax.default_backend()}",
    }


def measure(options: argparse.Namespace, works: Sequence[Work]) -> dict[str, Any]:
    """All stages within the time, writing after each."""
    clock = Clock(options.minutes)
    operations = list(dict.fromkeys(work.operation for work in works))
    on_gpu = options.device != "cpu"
    found: dict[str, Any] = {"environment": environment_of(options.device), "on_gpu": on_gpu}

    def write() -> None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.output / "gpu.md").write_text(markdown(found, works))

    size = COPY_BYTES if on_gpu else 2**22
    took = copy_seconds(options.device, size)
    found["copy"] = {"bytes": size, "bandwidth": 2 * size / took}
    dtypes = tuple(dict.fromkeys(work.dtype for work in works))
    found["check"] = check(options.device, dtypes, clock, operations)
    write()
    seconds = found["seconds"] = {work.label: {} for work in works}
    expensive = [
        pair for pair in order_of(works, quick=options.quick) if pair[1] == "torch.compile"
    ]
    for work, who in order_of(works, quick=options.quick):
        if who != "torch.compile":
            enough = clock.allows(120 if on_gpu else 0)  # for the stages that follow
            seconds[work.label][who] = timed(work, who, options.device) if enough else NO_TIME
    write()
    file = options.output / "gpu_tuning.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known = known.get(found["environment"]["device"], {})
    for work in works:
        wanted = on_gpu and work.label not in known and clock.allows(100)
        if wanted and isinstance(seconds[work.label].get("ours"), float):
            known[work.label] = warp_trials(work, options.device)
    if on_gpu:
        file.write_text(json.dumps({found["environment"]["device"]: known}, indent=1) + "\n")
    found["tuning"] = {work.label: known[work.label] for work in works if work.label in known}
    write()
    if on_gpu:
        found["sanitizer"] = sanitize(Clock(min(1.5, clock.left() / 120)), operations)
        write()
    for work, who in expensive:
        enough = clock.allows(25)
        seconds[work.label][who] = timed(work, who, options.device) if enough else NO_TIME
    write()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 when the cross-check fails or a kernel cannot run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--op", action="append", choices=tuple(SUBJECTS))
    parser.add_argument("--dtype", action="append", choices=gpu_grid.DTYPES)
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--quick", action="store_true", help="a grid of two small sizes")
    parser.add_argument("--plan", action="store_true", help="write the grid and the goals alone")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    works = grid(
        quick=options.quick,
        dtypes=tuple(options.dtype or gpu_grid.DTYPES),
        operations=tuple(options.op or ()),
    )
    if options.plan:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "gpu.md").write_text(markdown({}, works))
        return 0
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import torch

    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(
            "torch finds no GPU here; --plan writes the goals, --device cpu --quick tries it"
        )
    found = measure(options, works)
    print((options.output / "gpu.md").read_text())
    wrong = any(result["status"] for result in found["check"].values())
    return int(wrong or any(isinstance(x.get("ours"), str) for x in found["seconds"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
