"""Geodesic steps beside steps that are normalized: how they part as steps grow.

    python -m benchmarks.riemannian_steps --write

On the sphere, the leading axis of scikit-learn's digits is sought from a random start by three
chains of `optim` with one step size: along the geodesic, along the tangent and then normalized, and
along the ambient gradient and then normalized, as is usual for normalized weights. The step size is
in units of one over the largest gap of the eigenvalues, which is the curvature there.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from igeojax import optim
from igeojax.manifolds import Sphere

SIZES = (0.03, 0.1, 0.3, 0.6, 1.0, 1.5, 1.9, 2.5, 4.0)
STEPS, GAP, STARTS = 20_000, 1e-6, 20
RESULT = Path(__file__).parent / "results" / "riemannian_steps.md"


def chains(rate: Any, sphere: Sphere) -> dict[str, optax.GradientTransformation]:
    """The three ways to step."""
    scaled = optax.scale_by_learning_rate(rate)
    return {
        "geodesic": optim.riemannian_sgd(rate, sphere),
        "tangent": optax.chain(
            optim.riemannian_gradient(sphere), scaled, optim.project_onto(sphere)
        ),
        "ambient": optax.chain(scaled, optim.project_onto(sphere)),
    }


@partial(jax.jit, static_argnames="name")
def steps_needed(name: str, rate: Any, matrix: Any, best: Any, start: Any) -> tuple[Any, Any]:
    """Steps until the Rayleigh quotient is `GAP` from the best, and the gap at the end."""
    sphere = Sphere(start.shape[0])
    tx = chains(rate, sphere)[name]
    gap_of = lambda x: best - x @ matrix @ x

    def step(carry: Any) -> Any:
        count, x = carry
        updates, _ = tx.update(-matrix @ x, tx.init(x), x)
        return count + 1, optax.apply_updates(x, updates)

    going = lambda carry: (carry[0] < STEPS) & (gap_of(carry[1]) > GAP)
    count, x = jax.lax.while_loop(going, step, (0, start))
    return count, gap_of(x)


def lines() -> list[str]:
    """The tables."""
    pixels = load_digits().data
    covariance = np.cov(pixels.T)
    values = np.linalg.eigvalsh(covariance)
    # The quotient's gradient is 2 A x; the factor is in the step size.
    matrix = jnp.asarray(covariance / (values[-1] - values[0]))
    best = values[-1] / (values[-1] - values[0])
    starts = jax.random.normal(jax.random.key(0), (STARTS, len(values)))
    starts = starts / jnp.linalg.norm(starts, axis=1, keepdims=True)
    rows = [
        "| step | angle, geodesic | angle, normalized | of the geodesic | steps, geodesic | "
        "steps, tangent | steps, ambient |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    sphere, x = Sphere(2), jnp.array([1.0, 0.0])
    for size in SIZES:
        turned = {}
        for name, tx in chains(1.0, sphere).items():
            updates, _ = tx.update(jnp.array([0.0, -size]), tx.init(x), x)
            turned[name] = float(jnp.arctan2(*(x + updates)[::-1])) % (2 * np.pi)
        cells = []
        for name in chains(1.0, sphere):
            one = partial(steps_needed, name, jnp.asarray(size), matrix, best)
            counts, gaps = jax.lax.map(one, starts)
            arrived = np.asarray(gaps <= GAP)
            median = int(np.median(np.asarray(counts)))
            cells.append(f"{median}" if arrived.all() else f"{arrived.sum()} of {STARTS} arrive")
        share = 100 * turned["tangent"] / turned["geodesic"]
        angles = f"{turned['geodesic']:.4f} | {turned['tangent']:.4f} | {share:.1f} %"
        rows.append(f"| {size:g} | {angles} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    write = parser.parse_args().write
    with jax.enable_x64(True):
        rows = lines()
    text = "\n".join(
        [
            "# Geodesic steps beside steps that are normalized",
            "",
            "`python -m benchmarks.riemannian_steps --write`, float64, JAX "
            f"{jax.__version__}. Angles in radians of one step along a tangent of that length. "
            "Steps to the leading axis of the covariance of 64 pixels, medians over "
            f"{STARTS} random starts, at most {STEPS}, until the Rayleigh quotient is within "
            f"{GAP:g}; the step size is that of the tangent beside a unit gap of the eigenvalues.",
            "",
            *rows,
            "",
            "Up to a step of 2, beyond which descent along the tangent overshoots the axis, both "
            "steps along it need as many: the angles part by the cube of the step (a third of it), "
            "and near the end all steps are short. Beyond 2 the geodesic turns about at random and "
            "arrives by chance or not. The ambient gradient has a part along the normal, which "
            "lengthens the vector that is then normalized: it turns less, needs up to twice as "
            "many steps, and in return does not diverge.",
            "",
        ]
    )
    if write:
        RESULT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
