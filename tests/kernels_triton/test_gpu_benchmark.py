"""The benchmark for GPUs plans, times and writes; its grid is tried on the CPU."""

import json

import pytest
import torch

import kernels_triton
from benchmarks import gpu, gpu_grid, gpu_table
from benchmarks.gpu_grid import SUBJECTS, Work, grid

WORK = Work("softmax", "forward", (4, 8), "float32", 256, 0.9)


class Time:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_clock_says_who_may_begin():
    time = Time()
    clock = gpu.Clock(2, time)
    assert clock.allows(120)
    time.now += 100
    assert clock.left() == 20
    assert clock.allows(20)
    assert not clock.allows(21)


def test_seconds_are_those_of_one_call_in_a_queue():
    time, waits = Time(), []

    def call():
        time.now += 0.001  # starting it
        return "result"

    def wait(result):
        waits.append(result)
        time.now += 0.003

    # one round is 4 calls started and one wait: 4 * 0.001 + 0.003
    assert gpu.seconds_of(call, wait, budget=0.08, rounds=5, now=time) == pytest.approx(0.007 / 4)
    assert waits == ["result"] * (3 + 5)
    assert gpu.seconds_of(call, wait, budget=0, now=time) == pytest.approx(0.004)


def test_the_grid_is_that_of_the_goals():
    works = grid()
    assert {work.operation for work in works} <= set(kernels_triton.__all__)
    (work,) = (w for w in works if w.label == "softmax forward 8192x32768 bfloat16")
    assert (work.moved, work.goal) == (2 * 2 * 2**28, 0.92)
    (work,) = (w for w in works if w.label == "logsumexp forward 1024x262144 float32")
    assert (work.moved, work.goal) == (4 * 2**28, 0.90)
    goals = {w.shape[1]: w.goal for w in works if w.operation == "log_softmax"}
    assert goals == {n: 0.92 if n <= 32768 else 0.80 for n in gpu_grid.LENGTHS}
    assert len({work.label for work in works}) == len(works)
    assert {w.operation for w in grid(operations=("softmax",), dtypes=("float32",))} == {"softmax"}


def test_what_compiles_long_comes_last_and_coarse_first():
    works = grid(dtypes=("float32",), operations=("logsumexp",))
    pairs = list(gpu.order_of(works, quick=False))
    whos = [who for _, who in pairs]
    first = whos.index("torch.compile")
    assert set(whos[first:]) == {"torch.compile"}
    lengths = [work.shape[1] for work, who in pairs[first:] if work.direction == "forward"]
    assert lengths == [1024, 32768, 262144, 4096, 8192, 65536, 131072]
    assert len(pairs[first:]) == len(works)
    assert "torch.compile" not in [who for _, who in gpu.order_of(works, quick=True)]


def test_a_row_says_whether_the_goal_is_reached():
    seconds = {
        "ours": 1e-6,
        "torch": 4e-6,
        "jax": 2e-6,
        "liger": "RuntimeError: no",
        "torch.compile": "no time",
    }
    row = dict(zip(gpu_table.COLUMNS, gpu_table.row_of(WORK, seconds, 2.56e8), strict=True))
    assert (row["us"], row["share"], row["goal"], row["reached"]) == ("1", "1.00", "0.90", "yes")
    assert (row["torch"], row["jax"], row["liger"], row["quack"]) == ("0.25", "0.50", "failed", "-")
    assert row["torch.compile"] == "no time"
    assert row["best peer / ours"] == "2.00"
    slow = dict(zip(gpu_table.COLUMNS, gpu_table.row_of(WORK, {"ours": 2e-6}, 2.56e8), strict=True))
    assert (slow["share"], slow["reached"], slow["best peer / ours"]) == ("0.50", "NO", "-")


def test_failures_and_gains_are_told():
    found = {
        "environment": {"device": "a GPU", "torch": "1", "triton": "2", "jax": "3"},
        "on_gpu": True,
        "copy": {"bytes": 2**32, "bandwidth": 4e12},
        "check": {"float32": {"status": 1, "last": "2 failed", "failures": ["softmax ... FAIL"]}},
        "sanitizer": {"softmax": "no error"},
        "seconds": {
            WORK.label: {"ours": 1e-6, "jax": "MemoryError: too large", "quack": "no time"}
        },
        "tuning": {WORK.label: {"0.5": 1.0, "1": 1.2, "2": 1.3}, "other": {"1": 1.0, "2": 0.99}},
    }
    text = gpu_table.markdown(found, [WORK])
    assert "not run" not in text
    for line in (
        "Copy of 4.00 GiB: 4.000 TB/s read and written.",
        "- cross-check, float32: 2 failed\n    - softmax ... FAIL",
        "- compute-sanitizer, softmax: no error",
        f"- {WORK.label}, jax: MemoryError: too large",
        f"- {WORK.label}: 1.20 times with 0.5 times the warps",
    ):
        assert line in text
    assert "no time" not in text.partition("Failed:")[2]
    assert "other:" not in text


def test_the_committed_table_has_the_grid_of_the_script():
    text = (gpu.RESULTS / "gpu.md").read_text()
    if "**not run on a GPU.**" in text:
        assert text == gpu_table.markdown({}, grid()), "python -m benchmarks.gpu --plan"
    for work in grid():
        size = f"{work.shape[0]} x {work.shape[1]}"
        assert f"| {work.operation} | {work.direction} | {size} | {work.dtype} |" in text


@pytest.mark.parametrize("name", SUBJECTS)
def test_peers_compute_the_same(name):
    """On the CPU; those of other packages only where they are."""
    for work in grid(quick=True, dtypes=("float32",), operations=(name,))[::2]:
        tensors = gpu.tensors_of(work, "cpu")
        ours = gpu.calls_in_torch(work, gpu.ours(work), tensors)()
        theirs = gpu.calls_in_torch(work, gpu.peer(work, "torch"), tensors)()
        in_jax = gpu.calls_in_jax(work, gpu.peer(work, "jax"), tensors)()
        if work.direction == "forward":
            if isinstance(ours, tuple):  # a peer may count statistics from another origin
                ours, theirs, in_jax = ours[:2], theirs[:2], in_jax[:2]
            else:
                ours, theirs, in_jax = [ours], [theirs], [in_jax]
        else:
            (in_jax,) = in_jax
            in_jax = [in_jax[key] for key in tensors if key in in_jax]
        for a, b, c in zip(ours, theirs, in_jax, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(a, torch.tensor(c.tolist()), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_runs_on_the_cpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "SECONDS_A_CALL", 0.0)
    arguments = ["--device", "cpu", "--quick", "--op", "logsumexp", "--dtype", "float32"]
    assert gpu.main([*arguments, "--output", str(tmp_path)]) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    assert "**not run on a GPU**: this tries the script itself" in text
    assert "cross-check, float32: all passed" in text
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert all({"ours", "torch", "jax"} <= set(row) for row in found["seconds"].values())
    assert all(isinstance(row["ours"], float) for row in found["seconds"].values())


def test_without_a_gpu_it_says_what_to_do(capsys, tmp_path):
    assert gpu.main(["--plan", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "gpu.md").exists()
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit):
            gpu.main(["--output", str(tmp_path)])
        assert "--plan writes the goals" in capsys.readouterr().err
