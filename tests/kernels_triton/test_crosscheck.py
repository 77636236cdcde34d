"""The cross-check passes, and fails when a kernel is wrong."""

import pytest
import torch

from kernels_triton import _softmax, crosscheck


def test_every_operation_passes():
    rows = list(crosscheck.crosscheck(dtypes=[torch.float32]))
    assert {row.operation for row in rows} == set(crosscheck.OPERATIONS)
    assert {row.quantity for row in rows} == {"value", "gradient"}
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]
    assert all(0 < max(row.triton, row.torch, row.jax) < 4e-6 for row in rows)


@pytest.mark.slow
def test_every_dtype_passes(capsys):
    assert crosscheck._main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 5 * 4 * 3 * 2 + 1


def test_table(capsys):
    assert crosscheck._main(["--op", "logsumexp", "--dtype", "float64", "--dtype", "bfloat16"]) == 0
    header, _, names, *rows, last = capsys.readouterr().out.splitlines()
    if not torch.cuda.is_available():
        assert "interpreter on cpu; not run on a GPU" in header
    assert names.split() == list(crosscheck.Row._fields)
    assert len(rows) == 2 * 3 * 2
    assert len({row.rindex("pass") for row in rows}) == 1  # aligned
    assert last == "all passed"


def test_a_wrong_value_fails(monkeypatch, capsys):
    right = _softmax.logsumexp
    monkeypatch.setattr(_softmax, "logsumexp", lambda x, t: right(x, t) * (1 + 1e-4))
    assert crosscheck._main(["--op", "logsumexp", "--dtype", "float32"]) == 1
    output = capsys.readouterr().out
    assert "FAIL" in output
    assert output.endswith("6 failed\n")


def test_a_wrong_gradient_and_a_nan_fail(monkeypatch):
    right = _softmax.softmax
    monkeypatch.setattr(_softmax, "softmax", lambda x, t: right(x, t) + (x - x.detach()) * 0.01)
    rows = crosscheck.crosscheck(["softmax"], [torch.float32])
    assert [row.passed for row in rows] == [True, False] * 3
    monkeypatch.setattr(_softmax, "softmax", lambda x, t: right(x, t) * torch.nan)
    assert not any(row.passed for row in crosscheck.crosscheck(["softmax"], [torch.float32]))


def test_unknown_operation():
    with pytest.raises(ValueError, match=r"operations must be out of softmax, .*; got sofmax"):
        list(crosscheck.crosscheck(["sofmax"]))


def test_unknown_dtype():
    for dtype in ("float32", torch.int32):
        with pytest.raises(TypeError, match=rf"dtypes must be out of .*; got {dtype!r}\. Pass the"):
            list(crosscheck.crosscheck(["softmax"], [dtype]))


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "meta"])
def test_a_device_that_is_not_here(name, capsys):
    with pytest.raises(SystemExit) as stop:
        crosscheck._main(["--device", name])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "error: device must be cpu or one of the" in message
    assert f"got {name}. Leave it out" in message
    with pytest.raises(ValueError, match="device must be cpu or one of the"):
        list(crosscheck.crosscheck(device=name))
