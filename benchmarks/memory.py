"""Memory of each optimizer beside what `optim.describe` predicts: bytes a parameter.

    export OPENBLAS_NUM_THREADS=1
    python -m benchmarks.memory                       # prints the table
    python -m benchmarks.memory --output PATH.md      # and writes it

A network with tanh and one output, in float32. Each optimizer has a process of its own, which
compiles its step, forgets its peak, makes the state and takes three steps with the buffers of
parameters and state donated; its growth from before the state to the peak, less the same growth of
plain gradient descent, is the memory of the method. Needs Linux, whose kernel keeps the peak.
"""

import argparse
import importlib.metadata
import itertools
import math
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from igeojax import families, optim

FAMILY = families.NormalKnownScale()
WIDTHS = (784, 1024, 1536, 1024, 1)
COUNT = 64
METHODS = ("Adam", "kfac", "ekfac", "SampleSpace", "ConjugateGradient", "Diagonal")
PLAIN = "gradient descent"
MEBIBYTE = 2**20


def predict(params: Any, inputs: jax.Array) -> Any:
    """The network."""
    *hidden, last = params
    for layer in hidden:
        inputs = jnp.tanh(inputs @ layer["kernel"] + layer["bias"][None])
    return FAMILY.natural_from_params(loc=(inputs @ last["kernel"] + last["bias"][None])[:, 0])


def initial_params() -> list[dict[str, jax.Array]]:
    """Weights of unit gain."""
    key, found = jax.random.key(0), []
    for index, (rows, columns) in enumerate(itertools.pairwise(WIDTHS)):
        kernel = jax.random.normal(jax.random.fold_in(key, index), (rows, columns))
        found.append({"kernel": kernel / math.sqrt(rows), "bias": jnp.zeros(columns)})
    return found


def transform(method: str, inputs: jax.Array) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a name, those of `describe`."""
    if method == PLAIN:
        return optax.with_extra_args_support(optax.sgd(1e-3))
    if method == "Adam":
        return optax.with_extra_args_support(optax.adam(1e-3))
    if method in ("kfac", "ekfac"):
        return getattr(optim, method)(predict, FAMILY, example_inputs=inputs[:1])
    return optim.natural_gradient(1e-3, predict, FAMILY, solver=getattr(optim, method)())


def resident(field: str) -> int:
    """Bytes of this process, now (`VmRSS`) or at the peak (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def growth(method: str) -> int:
    """Bytes from before the state is made to the peak of three steps."""
    inputs = jax.random.normal(jax.random.key(1), (COUNT, WIDTHS[0]))
    params, tx = initial_params(), transform(method, inputs)

    def step(params: Any, state: Any) -> Any:
        grads = jax.grad(lambda p: jnp.mean((predict(p, inputs).x - 1) ** 2) / 2)(params)
        updates, state = tx.update(grads, state, params, inputs=inputs)
        return optax.apply_updates(params, updates), state

    shapes = jax.eval_shape(tx.init, params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, shapes).compile()
    init = jax.jit(tx.init).lower(params).compile()
    jax.block_until_ready(params)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    state = init(params)
    for _ in range(3):
        params, state = jax.block_until_ready(compiled(params, state))
    return resident("VmHWM") - before


def predicted() -> dict[str, int]:
    """Numbers in memory of each method, from `optim.describe`."""
    inputs = jax.ShapeDtypeStruct((COUNT, WIDTHS[0]), jnp.float32)
    text = optim.describe(predict, FAMILY, jax.eval_shape(initial_params), inputs)
    rows = (line.split() for line in text.split("numbers in memory")[1].splitlines()[1:])
    return {row[0]: int(row[1]) for row in rows}


def in_own_process(method: str) -> int:
    """`growth` of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--measure", method]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def table() -> list[str]:
    """Lines of the table."""
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(initial_params)))
    told, plain = predicted(), in_own_process(PLAIN)
    lines = [
        f"{'-'.join(map(str, WIDTHS))}, {size} parameters, {COUNT} examples; {PLAIN} itself grows "
        f"by {plain / MEBIBYTE:.0f} MiB, {plain / size:.1f} bytes a parameter.",
        "",
        "| method | measured, MiB | bytes a parameter | predicted by `describe` | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for method in METHODS:
        beyond = in_own_process(method) - plain
        expected = 4 * told[method]
        lines.append(
            f"| {method} | {beyond / MEBIBYTE:.0f} | {beyond / size:.1f} | {expected / size:.1f} | "
            f"{beyond / expected:.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Print the table; write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--measure", choices=[PLAIN, *METHODS], help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.measure:
        print(growth(options.measure))
        return
    lines = table()
    print(lines[0])
    if options.output is not None:
        text = (
            "# Memory of optimizers\n\n`python -m benchmarks.memory --output "
            f"{options.output}`. Peak of a process beyond that of plain gradient descent, beside "
            f"the count of `optim.describe`; float32, JAX "
            f"{importlib.metadata.version('jax')} on the CPU, {platform.machine()}, Python "
            f"{platform.python_version()}; {time.strftime('%Y-%m-%d')}.\n\n"
        )
        options.output.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
