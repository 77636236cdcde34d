"""Settings of the whole process, for the tests and for the doctests of both packages.

They must be made before the first array and before the first `import triton`, so they stand at the
root, which pytest loads for any path it is given.
"""

import os
import time
from pathlib import Path

# LAPACK's threads wait by spinning: of two workers on two cores each takes the time of the other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Kernels are decorated for the interpreter or for the compiler once, when triton is imported. The
# device files (NVIDIA's, ROCm's) are looked at because asking torch would import it into tests that
# need no torch.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
if not any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Pictures are drawn in memory: a test machine has no display.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples on every run, and nothing that depends on the clock: a red run can be repeated.
settings.register_profile(
    "igeojax",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("igeojax")

MAPS = Path("/proc/self/maps")


def _make_room() -> None:
    """Drop compiled programs before their memory maps run out: Linux allows a process 65530.

    One geodesic of one family takes 500 to 1000; beyond the limit the compiler crashes.
    """
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def _room_after_a_module():
    yield
    _make_room()


@pytest.fixture(autouse=True)
def _room_after_a_long_test():
    began = time.perf_counter()
    yield
    if time.perf_counter() - began > 1:
        _make_room()
