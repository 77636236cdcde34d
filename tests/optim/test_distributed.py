"""Training over two processes that talk over the network is training in one."""

import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.meta.sources import ROOT

SCRIPT = """
import sys

import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from igeojax import families, optim

address, count, index, result = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
jax.config.update("jax_enable_x64", True)
if count > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=count, process_id=index)
assert jax.process_count() == count
assert len(jax.devices()) == 2 * count, jax.devices()
mesh = Mesh(np.array(jax.devices()), "data")
generator = np.random.default_rng(0)
family = families.Categorical(3)
params = {"inner": generator.normal(size=(4, 5)), "outer": generator.normal(size=(5, 3))}
inputs = generator.normal(size=(3, 16, 4))
labels = generator.integers(0, 3, (3, 16))
predict = lambda p, x: family.natural_from_params(logits=jnp.tanh(x @ p["inner"]) @ p["outer"])
tx = optim.kfac(predict, family, example_inputs=inputs[0], update_every=2)


@jax.jit
def step(params, state, x, y):
    loss = lambda p: -jnp.mean(family.log_density(predict(p, x), y))
    updates, state = tx.update(jax.grad(loss)(params), state, params, inputs=x)
    return optax.apply_updates(params, updates), state


def batch(array):
    own = np.split(array, count)[index]  # what this process has read
    return jax.make_array_from_process_local_data(NamedSharding(mesh, P("data")), own)


params = jax.device_put(params, NamedSharding(mesh, P()))
state = jax.jit(tx.init)(params)
found = []
for x, y in zip(inputs, labels):
    x, y = batch(x), batch(y)
    assert x.shape == (16, 4) and len(x.sharding.device_set) == 2 * count
    params, state = step(params, state, x, y)
    found.append(np.concatenate([np.ravel(jax.device_get(params[n])) for n in params]))
assert int(state.step) == 3 and int(state.num_skipped) == 0
np.save(result, np.stack(found))
"""


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def outputs_of(script: str, arguments: list[list[str]], extra: list[dict[str, str]]) -> list[str]:
    """What processes with two devices each print, that run at the same time."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *given],
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for given, more in zip(arguments, extra, strict=True)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)
    return outputs


def trained(count: int, folder) -> list[np.ndarray]:
    """Parameters after each step, as each of `count` processes sees them."""
    address = free_address()
    results = [str(folder / f"{index}_of_{count}.npy") for index in range(count)]
    arguments = [[address, str(count), str(index), file] for index, file in enumerate(results)]
    outputs_of(SCRIPT, arguments, [{}] * count)
    return [np.load(result) for result in results]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    (alone,) = trained(1, tmp_path)
    assert np.linalg.norm(np.diff(alone, axis=0), axis=1).min() > 1e-3
    for found in trained(2, tmp_path):
        error = np.linalg.norm(found - alone, axis=1) / np.linalg.norm(alone, axis=1)
        assert error.max() <= 1e-12


@pytest.mark.slow
def test_the_program_of_the_docs_runs_where_slurm_starts_it():
    page = (ROOT / "docs" / "many_devices.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    slurm = {
        "JAX_COORDINATOR_ADDRESS": free_address(),
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": "2",
    }
    ranks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
    first, second = outputs_of(program, [[], []], [slurm | rank for rank in ranks])
    losses = re.findall(r"^step \d: loss (.*) of 256 examples$", first, re.MULTILINE)
    assert len(losses) == 5
    assert float(losses[-1]) < 0.7 * float(losses[0])
    assert "step" not in second
