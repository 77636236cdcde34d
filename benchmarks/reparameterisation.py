"""How far one step of each optimizer depends on the chart of the parameters.

    python -m benchmarks.reparameterisation

A network 8-6-10 with tanh on 256 digits (eight principal components), float64, and the same network
in three other charts: the first layer divided by 10, its inputs mixed by a matrix, and its weights
as `sinh` of the parameters. `geometry.reparameterisation_gap` of the laws after a step of small
length, as a share of the distance that the step moves them in the first chart: 0 is no dependence
on the chart, 1 is as far apart as the step is long.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from igeojax import families, geometry, optim
from igeojax.divergences.exponential import jeffreys

FAMILY = families.Categorical(10)
EXAMPLES, INPUTS, HIDDEN = 256, 8, 6
STEP_SIZE = 1e-3
SMALL = 1e-10
Predict = Callable[[Any, Any], Any]
Step = Callable[[Predict, Any, Any], optax.GradientTransformationExtraArgs]


@dataclasses.dataclass(frozen=True)
class Chart:
    """The laws of all examples as a function of parameters, and the model behind it."""

    predict: Predict
    x: Any

    def __call__(self, params: Any) -> Any:
        return self.predict(params, self.x)


def mixing() -> np.ndarray:
    """A matrix of condition 30."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(INPUTS, INPUTS)))[0] for _ in range(2))
    return left * np.geomspace(0.2, 6.0, INPUTS) @ right


def network(inner: Callable[[Any, Any], Any]) -> Predict:
    """The network with a first layer of its own."""

    def predict(params: Any, x: Any) -> Any:
        hidden = jnp.tanh(inner(params, x))
        return FAMILY.natural_from_params(logits=hidden @ params["w2"] + params["b2"][None])

    return predict


def charts(x: Any, params: Any) -> dict[str, tuple[Chart, Any]]:
    """The network as it is and in other charts, each with the coordinates of the same start."""
    mix = mixing()
    w, b = params["w1"], params["b1"]
    return {
        "as it is": (Chart(network(lambda p, x: x @ p["w1"] + p["b1"][None]), x), params),
        "layer / 10": (
            Chart(network(lambda p, x: 10.0 * (x @ p["w1"] + p["b1"][None])), x),
            params | {"w1": w / 10, "b1": b / 10},
        ),
        "inputs mixed": (
            Chart(network(lambda p, x: (x @ mix) @ p["w1"] + p["b1"][None]), x),
            params | {"w1": jnp.linalg.solve(mix, w)},
        ),
        "sinh of the weights": (
            Chart(network(lambda p, x: x @ jnp.sinh(p["w1"]) + p["b1"][None]), x),
            params | {"w1": jnp.arcsinh(w)},
        ),
    }


def plain(tx: Callable[[Any], optax.GradientTransformation]) -> Step:
    """Of optimizers that know no model."""
    return lambda _, __, size: optax.with_extra_args_support(tx(size))


def natural(**options: Any) -> Step:
    """Natural-gradient descent."""
    return lambda predict, _, size: optim.natural_gradient(size, predict, FAMILY, **options)


def kronecker(make: Callable[..., Any], damping: float) -> Step:
    """K-FAC or EKFAC of a given step size."""
    return lambda predict, x, size: make(
        predict, FAMILY, example_inputs=x, learning_rate=size, momentum=0.0, damping=damping
    )


def bounded(damping: float, **options: Any) -> Step:
    """Steps as long as a bound allows, of the length of the step size."""
    return lambda predict, _, size: optim.trust_region(
        predict, FAMILY, max_kl=size**2 / 2, damping=damping, **options
    )


OPTIMIZERS: dict[str, Step] = {
    "SGD": plain(optax.sgd),
    "Adam": plain(optax.adam),
    "natural_gradient, Dense, damping 1e-10": natural(solver=optim.Dense(), damping=SMALL),
    "natural_gradient, defaults (damping 1e-2)": natural(),
    "trust_region, 300 products, damping 1e-10": bounded(
        SMALL, max_iterations=300, tolerance=1e-10
    ),
    "trust_region, defaults (10 products, damping 1e-2)": bounded(1e-2),
    "kfac, damping 1e-10": kronecker(optim.kfac, SMALL),
    "kfac, damping 0.1 (its first)": kronecker(optim.kfac, 0.1),
    "ekfac, damping 1e-10": kronecker(optim.ekfac, SMALL),
    "ekfac, damping 0.1 (its first)": kronecker(optim.ekfac, 0.1),
}


def root_mean_square(distances: Any) -> float:
    """Of a distance for each example: the distance of all laws together."""
    return float(jnp.sqrt(jnp.mean(distances**2)))


def shares(make: Step, found: dict[str, tuple[Chart, Any]], y: Any) -> list[float]:
    """The gap of each chart as a share of the step."""

    def step(chart: Any, params: Any, size: Any) -> Any:
        loss = lambda params: -jnp.mean(FAMILY.log_density(chart(params), y))
        tx = make(chart.predict, chart.x, size)
        grads = jax.grad(loss)(params)
        updates, _ = tx.update(grads, tx.init(params), params, inputs=chart.x)
        return optax.apply_updates(params, updates)

    first, *others = found.values()
    sizes = jnp.array([STEP_SIZE])
    chart, start = first
    moved = jax.jit(functools.partial(step, chart))(start, sizes[0])
    length = root_mean_square(jnp.sqrt(jeffreys(FAMILY, chart(start), chart(moved))))
    gap = geometry.reparameterisation_gap
    return [root_mean_square(gap(FAMILY, step, first, other, sizes)) / length for other in others]


def measured(names: Any = tuple(OPTIMIZERS)) -> tuple[list[str], dict[str, list[float]]]:
    """Names of the charts, and the shares of each optimizer."""
    images, labels = load_digits(return_X_y=True)
    x = PCA(INPUTS, whiten=True, random_state=0).fit_transform(images / 16)[:EXAMPLES]
    first, second = jax.random.split(jax.random.key(0))
    params = {
        "w1": jax.random.normal(first, (INPUTS, HIDDEN)) / INPUTS**0.5,
        "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(second, (HIDDEN, 10)) / HIDDEN**0.5,
        "b2": jnp.zeros(10),
    }
    found = charts(jnp.asarray(x), params)
    y = jnp.asarray(labels[:EXAMPLES])
    return list(found)[1:], {name: shares(OPTIMIZERS[name], found, y) for name in names}


def main() -> None:
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    columns, rows = measured()
    print("| optimizer | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.1e}" for value in values) + " |")


if __name__ == "__main__":
    main()
