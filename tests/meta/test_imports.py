"""Importing costs nothing: no JAX backend, no heavy package, no warning, no changed setting."""

import os
import subprocess
import sys

import pytest

from tests.meta.sources import ROOT, is_private, module_name, python_files

# A platform that does not exist: whatever asks JAX for a device dies at once.
NO_BACKEND = {"JAX_PLATFORMS": "no_such_platform"}
HEAVY = {"torch", "triton", "matplotlib", "sklearn", "flax", "kernels_triton"}
# The layers of `nn` are flax modules; nothing else may need an optional package to be imported.
MAY_IMPORT = {"igeojax.em.sklearn": {"sklearn"}, "igeojax.nn": {"flax"}}


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def roots_after(imports: list[str]) -> set[str]:
    """Import the modules in a fresh interpreter without a JAX backend; the packages then loaded."""
    lines = [f"import {name}" for name in imports]
    lines += ["import sys", "print(*sorted({name.partition('.')[0] for name in sys.modules}))"]
    done = run_python("\n".join(lines), **NO_BACKEND)
    assert done.returncode == 0, f"importing {imports} failed:\n{done.stderr[-3000:]}"
    return set(done.stdout.split())


def modules_of(package: str) -> list[str]:
    return [module_name(path) for path in python_files(package)]


def test_an_import_that_makes_an_array_would_be_seen():
    done = run_python("import jax.numpy as jnp; jnp.zeros(())", **NO_BACKEND)
    assert done.returncode != 0
    assert "no_such_platform" in done.stderr


def test_importing_every_module_of_igeojax_has_no_effect():
    optional = {name for room in MAY_IMPORT for name in modules_of("igeojax") if room in name}
    loaded = roots_after([name for name in modules_of("igeojax") if name not in optional])
    assert not loaded & HEAVY, (
        f"importing igeojax loads {sorted(loaded & HEAVY)}; import an optional package inside the "
        "function that needs it, or under TYPE_CHECKING where only an annotation does"
    )


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_with_an_optional_package_loads_only_that(room):
    names = [name for name in modules_of("igeojax") if name == room or name.startswith(room + ".")]
    if names:
        loaded = roots_after(names) & HEAVY
        assert loaded <= MAY_IMPORT[room], f"importing {room} loads {sorted(loaded)}"


def test_importing_igeojax_changes_no_setting_of_jax():
    code = (
        "import jax; before = dict(jax.config.values)\n"
        + "\n".join(f"import {name}" for name in modules_of("igeojax") if not is_private(name))
        + "\nafter = dict(jax.config.values)"
        + "\nprint(*[name for name in after if after[name] != before.get(name)])"
    )
    done = run_python(code, **NO_BACKEND)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stdout.split(), f"importing igeojax changed {done.stdout.split()}"


def test_importing_kernels_triton_loads_no_framework():
    loaded = roots_after(["kernels_triton"]) & {"torch", "triton", "jax", "jaxlib", "igeojax"}
    assert not loaded, f"importing kernels_triton loads {sorted(loaded)}; its names must be lazy"
