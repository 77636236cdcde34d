"""Kernels run on the GPU where there is one, else in Triton's interpreter."""

import importlib.util
import os
import sys

import pytest

collect_ignore_glob = []

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob.append("*.py")  # the lane without torch
else:
    import torch

    # The root conftest.py looks at device files only: a GPU that this torch cannot use (a build for
    # the CPU, a driver too old) is found here. Triton reads the variable once, when it is first
    # imported.
    if not torch.cuda.is_available() and "TRITON_INTERPRET" not in os.environ:
        if "triton" in sys.modules:
            raise pytest.UsageError(
                "triton was imported before tests/kernels_triton/conftest.py could choose its "
                "interpreter. Set TRITON_INTERPRET=1 in the environment or the root conftest.py."
            )
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items):
    """Skip tests marked `gpu` where there is none."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a GPU")
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)) and item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda" if sys.modules["torch"].cuda.is_available() else "cpu"


@pytest.fixture(params=["triton", "torch"])
def implementation(request, monkeypatch) -> str:
    """The kernel, then its formulas in torch."""
    launch = importlib.import_module("kernels_triton._launch")
    if request.param == "torch":
        monkeypatch.setattr(launch, "uses_triton", lambda _: False)
    elif launch.triton is None:
        pytest.skip("triton has no wheel here")
    else:
        assert launch.INTERPRETED or sys.modules["torch"].cuda.is_available()
    return request.param
