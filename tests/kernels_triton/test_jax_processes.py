"""What needs a process of its own: lowering for CUDA, several devices, importing jax-triton."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LOWERING = """
import re, sys, zlib
import jax, torch
jax.config.update("jax_enable_x64", True)
from kernels_triton import jax as kernels
from kernels_triton._operations.table import OPERATIONS

def lower(name, dtype, case):
    '''The operation and its gradients, lowered for a GPU that is not here.'''
    wanted = OPERATIONS[name].differentiable(case.tensors(dtype))
    shapes = {
        key: jax.ShapeDtypeStruct(tuple(x.shape), str(x.dtype).removeprefix("torch."))
        for key, x in case.tensors(dtype).items()
    }
    def step(arrays):
        def scalar(moving):
            values = getattr(kernels, name)(**arrays | moving, **case.options)
            return sum(x.astype(float).sum() for x in jax.tree.leaves(values))
        return jax.value_and_grad(scalar)({key: arrays[key] for key in wanted})
    return jax.jit(step).trace(shapes).lower(lowering_platforms=("cuda",))

def operations_in(parent):
    for region in parent.regions:
        for block in region:
            for child in block:
                yield child
                yield from operations_in(child.operation)

def kernels_in(lowered):
    '''The text of each Triton kernel in the program: its own language and PTX.'''
    for call in operations_in(lowered.compiler_ir("stablehlo").operation):
        if call.operation.name == "stablehlo.custom_call":
            if "triton" in str(call.attributes["call_target_name"]):
                packed = call.attributes["backend_config"].value_bytes
                yield zlib.decompress(packed).decode("latin-1")
"""
LOWER_EVERYTHING = f"""{LOWERING}
for name in OPERATIONS:
    cases = list(OPERATIONS[name].compiled.items())
    for dtype, some in ((torch.bfloat16, cases[:1] + cases[-1:]), (torch.float32, cases[:1])):
        for label, case in some:
            with kernels.lowering_for(90):
                found = list(kernels_in(lower(name, dtype, case)))
            wide = [len(re.findall(r"ld.global[.a-zA-Z0-9_:]*.v4.b32", text)) for text in found]
            print(name, dtype, label, *wide, sep="|")
    assert not list(kernels_in(lower(name, torch.float32, case))), "only where it is asked for"
"""
ROWS_STAY = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from kernels_triton import jax as kernels
from kernels_triton.jax import _kernels, _operator
x = jax.random.normal(jax.random.key(0), (8, 6, 16))
if FORCED:  # the rules for what XLA cannot look into; the kernels are not for this platform
    _operator.kernels_are_used = lambda: True
    _kernels._made_by_jax_triton = lambda launch, arrays, shapes, names, numbers: [
        jnp.zeros(shape.shape, shape.dtype) for shape in shapes
    ]

def loss(x):
    return (kernels.softmax(x) * kernels.logsumexp(x)[..., None] ** 2).sum()

step = jax.value_and_grad(loss)

expected = step(x)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((4,), ("devices",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        for spec in (P("devices"), P(None, None, "devices")):
            sharded = jax.device_put(x, NamedSharding(mesh, spec))
            compiled = jax.jit(step).lower(sharded).compile()
            found = compiled(sharded)
            for a, b in zip(found, expected):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
            text = compiled.as_text()
            sent = set(re.findall("all-gather|all-reduce|all-to-all|collective-permute", text))
            if spec == P("devices"):
                assert sent == {"all-reduce"}, sent  # of the loss alone
                assert found[1].sharding.shard_shape(x.shape) == (2, 6, 16)

mesh = jax.make_mesh((4,), ("devices",), axis_types=(AxisType.Auto,))
place = P("devices")
mapped = jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=place, out_specs=place)
np.testing.assert_allclose(jax.jit(mapped)(x), expected[1], rtol=1e-5, atol=1e-5)

moved = jax.device_put(x.swapaxes(0, 1), NamedSharding(mesh, P(None, "devices")))
over_rows = jax.jit(jax.vmap(kernels.softmax))(moved)
assert over_rows.sharding.shard_shape(over_rows.shape) == (6, 2, 16)
np.testing.assert_allclose(over_rows, kernels.softmax(x).swapaxes(0, 1), rtol=1e-5)
"""


def run(source, first="", **environment):
    """The output of a Python process; `first` stands first on its path."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = [first, str(ROOT), kept.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=first or ROOT,
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def needs_jax_triton():
    for name in ("jax_triton", "jax_cuda13_plugin"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(
                f"{name} is not installed; pip install --no-deps jax-triton jax-cuda13-plugin"
            )


@pytest.mark.slow
def test_every_operation_lowers_to_its_kernels_for_a_gpu(tmp_path):
    needs_jax_triton()
    lines = run(LOWER_EVERYTHING, TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    rows = [line.split("|") for line in lines if "|" in line]
    assert rows
    for name, dtype, variant, *wide in rows:
        # Forward and backward; the gradient of the E-step is made of its statistics.
        assert len(wide) >= (1 if name == "mixture_e_step" else 2), (name, dtype, variant)
        if name in {"softmax", "log_softmax", "logsumexp"} and variant != "16 columns":
            # a kernel between them joins the parts of split rows
            assert int(wide[0]) > 0 < int(wide[-1]), (name, dtype, variant, wide)


@pytest.mark.slow
@pytest.mark.parametrize("forced", [False, True], ids=["formulas", "beside kernels"])
def test_rows_that_are_sharded_stay_where_they_are(forced):
    pytest.importorskip("triton")
    flags = "--xla_force_host_platform_device_count=4"
    run(f"FORCED = {forced}\n{ROWS_STAY}", XLA_FLAGS=flags)


@pytest.mark.parametrize(
    "module",
    [
        "import os; os.environ['TRITON_CACHE_DIR'] = ''; raise ImportError",
        "import os; os.environ.pop('TRITON_CACHE_DIR', None)",
    ],
    ids=["emptied, then fails", "deleted"],
)
@pytest.mark.parametrize("own", ["somewhere", None])
def test_importing_jax_triton_leaves_the_cache_folder_alone(tmp_path, module, own):
    (tmp_path / "jax_triton.py").write_text(module)
    environment = {"TRITON_CACHE_DIR": own} if own else {}
    if not own and "TRITON_CACHE_DIR" in os.environ:
        pytest.skip("set for this process")
    source = (
        "import os, sys\n"
        "from kernels_triton.jax import lowering_for\n"
        "from kernels_triton.jax import _kernels\n"
        "with lowering_for(90):\n"
        "    try: used = _kernels.kernels_are_used()\n"
        "    except RuntimeError as error: used = str(error)[:12]\n"
        f"assert os.environ.get('TRITON_CACHE_DIR') == {own!r}, os.environ['TRITON_CACHE_DIR']\n"
        "print(used, _kernels.kernels_are_used())"
    )
    expected = "lowering_for False" if "raise" in module else "True False"
    assert run(source, first=str(tmp_path), **environment).split() == expected.split()


def test_the_formulas_need_neither_torch_nor_triton():
    source = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['triton'] = None\n"
        "import jax, jax.numpy as jnp\n"
        "from kernels_triton import jax as kernels\n"
        "assert kernels is not jax and kernels.__name__ == 'kernels_triton.jax'\n"
        "assert jax.grad(kernels.logsumexp)(jnp.zeros(2)).tolist() == [0.5, 0.5]"
    )
    run(source)
