"""Arrays sharded over several devices give what one device gives; in a process of its own."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from igeojax import families, fisher, optim

jax.config.update("jax_enable_x64", True)
devices = np.array(jax.devices())
assert devices.size == 4, devices
mesh = Mesh(devices.reshape(2, 2), ("data", "model"))
generator = np.random.default_rng(0)
family = families.Categorical(3)
params = {"inner": generator.normal(size=(2, 4)), "outer": generator.normal(size=(4, 3))}
grads = {name: generator.normal(size=leaf.shape) for name, leaf in params.items()}
inputs = generator.normal(size=(8, 2))
predict = lambda p, x: family.natural_from_params(logits=jnp.tanh(x @ p["inner"]) @ p["outer"])
specs = {"inner": P(None, "model"), "outer": P("model", None)}
place = lambda tree: {n: jax.device_put(v, NamedSharding(mesh, specs[n])) for n, v in tree.items()}
for solver in (
    optim.ConjugateGradient(tolerance=1e-13, max_iterations=60),
    optim.Dense(),
    optim.SampleSpace(),
    optim.Diagonal(),
):
    tx = optim.scale_by_natural_gradient(predict, family, solver=solver, damping=0.1)
    step = jax.jit(tx.update)
    alone, state = step(grads, tx.init(params), params, inputs=inputs)
    here = place(params)
    there, sharded = step(
        place(grads), tx.init(here), here,
        inputs=jax.device_put(inputs, NamedSharding(mesh, P("data"))),
    )
    for name in params:
        np.testing.assert_allclose(there[name], alone[name], rtol=1e-8, atol=1e-10)
    assert int(sharded.step) == int(state.step) == 1
    assert len(jax.tree.leaves(there)[0].sharding.device_set) == 4
print("sharded equals single")
"""


@pytest.mark.slow
def test_sharded_arrays_give_the_same_direction():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "sharded equals single" in process.stdout
