"""Steps with a batch and parameters sharded over 8 devices are those of one device.

In a process of its own for each precision: the number of devices is set before JAX starts.
"""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from igeojax import families, optim

dtype = "float64" if jax.config.jax_enable_x64 else "float32"
bound = {"float64": 1e-12, "float32": 1e-5}[dtype]
devices = np.array(jax.devices())
assert devices.size == 8, devices
generator = np.random.default_rng(0)
draw = lambda *shape: generator.normal(size=shape).astype(dtype)
family = families.Categorical(4)
start = {
    "inner": {"kernel": draw(6, 16) / 2, "bias": draw(16) / 2},
    "outer": {"kernel": draw(16, 4) / 4, "bias": draw(4) / 4},
}
batches = draw(10, 32, 6)
labels = generator.integers(0, 4, (10, 32))


def predict(params, x):
    layer = lambda p, x: x @ p["kernel"] + p["bias"]
    hidden = jnp.tanh(layer(params["inner"], x))
    return family.natural_from_params(logits=layer(params["outer"], hidden))


def steps(tx, place_params, place_batch):
    def loss(params, x, y):
        return -jnp.mean(family.log_density(predict(params, x), y))

    @jax.jit
    def step(params, state, x, y):
        updates, state = tx.update(jax.grad(loss)(params, x, y), state, params, inputs=x)
        return optax.apply_updates(params, updates), state, updates

    params = place_params(start)
    state, seen = jax.jit(tx.init)(params), []
    for x, y in zip(batches, labels):
        params, state, updates = step(params, state, place_batch(x), place_batch(y))
        seen.append(jax.device_get((updates, params)))
    assert int(getattr(state, "num_skipped", 0)) == 0
    return seen, params


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def placed(mesh, specs):
    return lambda tree: jax.device_put(
        tree, jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    )


data, both = Mesh(devices, "data"), Mesh(devices.reshape(4, 2), ("data", "model"))
split = {
    "inner": {"kernel": P(None, "model"), "bias": P("model")},
    "outer": {"kernel": P("model", None), "bias": P()},
}
placements = {
    "replicated": (placed(data, P()), placed(data, P("data"))),
    "sharded": (placed(both, split), placed(both, P("data"))),
}
kinds = {
    "kfac": optim.kfac(predict, family, example_inputs=batches[0]),
    "ekfac": optim.ekfac(predict, family, example_inputs=batches[0], update_every=2),
    "kfac of eigenvectors": optim.kfac(
        predict, family, example_inputs=batches[0], inverse="eigen", update_every=1, chunk_size=8
    ),
    "natural_gradient": optim.natural_gradient(
        0.2, predict, family, solver=optim.Dense(), damping=0.1
    ),
}
for kind, tx in kinds.items():
    alone, _ = steps(tx, jax.device_put, jax.device_put)
    for name, places in placements.items():
        there, params = steps(tx, *places)
        assert len(jax.tree.leaves(params)[0].sharding.device_set) == 8
        worst = [
            max(
                np.linalg.norm(flat(a[k]) - flat(b[k])) / np.linalg.norm(flat(b[k]))
                for a, b in zip(there, alone)
            )
            for k in (0, 1)
        ]
        print(f"{kind}, {name}, {dtype}: updates {worst[0]:.1e}, parameters {worst[1]:.1e}")
        assert max(worst) <= bound, worst
print("sharded equals single")
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sharded_steps_are_those_of_one_device(dtype):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {
        "XLA_FLAGS": flags.strip(),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": str(dtype == "float64"),
    }
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "sharded equals single" in process.stdout
