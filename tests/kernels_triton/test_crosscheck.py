"""The cross-check passes, and fails when a kernel is wrong."""

import json
import math
import re

import pytest
import torch

from kernels_triton import _softmax, crosscheck
from kernels_triton._operations.table import OPERATIONS


def test_every_operation_passes():
    rows = list(crosscheck.crosscheck(dtypes=[torch.float32]))
    assert {row.operation for row in rows} == set(OPERATIONS)
    assert {row.quantity for row in rows} == {"value", "gradient"}
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]
    assert all(0 < max(row.triton, row.torch, row.jax) < 4e-6 for row in rows)


@pytest.mark.slow
def test_every_dtype_passes(capsys):
    assert crosscheck._main([]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {row[0] for row in rows if row[-1] == "pass"} == set(OPERATIONS)
    assert {row[1] for row in rows if row[-1] == "pass"} == {
        "float16",
        "bfloat16",
        "float32",
        "float64",
    }


def test_table(capsys):
    assert crosscheck._main(["--op", "logsumexp", "--dtype", "float64", "--dtype", "bfloat16"]) == 0
    header, _, names, *rows = capsys.readouterr().out.splitlines()
    *rows, title, value, gradient, last = rows
    if not torch.cuda.is_available():
        assert "interpreter on cpu; not run on a GPU" in header
    assert names.split() == list(crosscheck.Row._fields)
    assert len(rows) == 2 * len(OPERATIONS["logsumexp"].cases) * 2
    assert len({row.rindex("pass") for row in rows}) == 1  # aligned
    assert title == "worst errors of Triton"
    assert re.match(
        r"logsumexp +value +\d\.\de-\d+ of \d\.\de-\d+ allowed, (bfl|fl)oat\d\d ", value
    )
    assert gradient.split()[1] == "gradient"
    assert last == "all passed"


def test_rows_are_written_as_json(tmp_path, capsys):
    file = tmp_path / "rows.json"
    arguments = ["--op", "logsumexp", "--dtype", "float32", "--device", "cpu", "--json", str(file)]
    assert crosscheck._main(arguments) == 0
    capsys.readouterr()
    found = json.loads(file.read_text())
    assert found["torch"] == torch.__version__
    assert [crosscheck.Row(**row) for row in found["rows"]] == list(
        crosscheck.crosscheck(["logsumexp"], [torch.float32], "cpu")
    )


def test_the_worst_error_is_a_nan_where_there_is_one():
    good = crosscheck.Row("softmax", "float32", "1x1", "value", 3e-6, 0, 0, 0, 4e-6, True)
    worse = good._replace(dtype="bfloat16", triton=7.9e-3, tolerance=8e-3)
    (line,) = crosscheck._worst([good, worse])
    assert line.endswith("7.9e-03 of 8.0e-03 allowed, bfloat16 1x1")
    for rows in ([good, worse._replace(triton=math.nan)], [worse._replace(triton=math.nan), good]):
        (line,) = crosscheck._worst(rows)
        assert "nan of 8.0e-03 allowed" in line


def test_a_wrong_value_fails(monkeypatch, capsys):
    right = _softmax.logsumexp
    monkeypatch.setattr(
        _softmax, "logsumexp", lambda x, **options: right(x, **options) * (1 + 1e-4)
    )
    assert crosscheck._main(["--op", "logsumexp", "--dtype", "float32"]) == 1
    output = capsys.readouterr().out
    assert "FAIL" in output
    assert output.endswith(f"{2 * len(OPERATIONS['logsumexp'].cases)} failed\n")


def test_a_wrong_gradient_and_a_nan_fail(monkeypatch):
    right = _softmax.softmax
    monkeypatch.setattr(
        _softmax, "softmax", lambda x, **options: right(x, **options) + (x - x.detach()) * 0.01
    )
    rows = crosscheck.crosscheck(["softmax"], [torch.float32])
    assert [row.passed for row in rows] == [True, False] * len(OPERATIONS["softmax"].cases)
    monkeypatch.setattr(_softmax, "softmax", lambda x, **options: right(x, **options) * torch.nan)
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
