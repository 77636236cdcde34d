"""Training over two processes that talk over the network is training in one."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

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


def trained(count: int, folder) -> list[np.ndarray]:
    """Parameters after each step, as each of `count` processes with two devices sees them."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    address = free_address()
    results = [folder / f"{index}_of_{count}.npy" for index in range(count)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SCRIPT, address, str(count), str(index), result],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index, result in enumerate(results)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)
    return [np.load(result) for result in results]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    (alone,) = trained(1, tmp_path)
    assert np.linalg.norm(np.diff(alone, axis=0), axis=1).min() > 1e-3
    for found in trained(2, tmp_path):
        error = np.linalg.norm(found - alone, axis=1) / np.linalg.norm(alone, axis=1)
        assert error.max() <= 1e-12
