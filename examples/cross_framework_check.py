"""One likelihood in three ways: python examples/cross_framework_check.py.

Each model is written in torch with the kernels, in JAX with igeojax, and in plain torch in float64,
which is the judge. All start from the same numbers; the table has the values, and how far values
and gradients of the first two, in float32, are from the third.

1. Digits: a multinomial logistic regression, the mean log-likelihood of the labels.
2. Wine: a mixture of normal laws, the mean log-likelihood of the wines.
3. Digits: how far the predictions of two regressions are apart, in nats.

On a GPU the Triton kernels run, with TRITON_INTERPRET=1 Triton's interpreter, elsewhere the
kernels' formulas in torch.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import scale

import kernels_triton
import script
from igeojax import discrete, families
from igeojax.divergences import simplex

CLASSES, COMPONENTS = 10, 3


class Model(NamedTuple):
    """One scalar in three ways, of parameters by name, whose gradients are compared."""

    params: dict[str, np.ndarray]
    with_kernels: Callable
    with_igeojax: Callable
    in_float64: Callable


def regression(run: script.Script) -> Model:
    """Digits: `mean log p(label | pixels)` of a multinomial logistic regression."""
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = (pixels[:200], labels[:200]) if run.quick else (pixels, labels)
    generator = run.rng()
    params = {
        "weights": 0.1 * generator.normal(size=(64, CLASSES)),
        "bias": generator.normal(size=CLASSES),
    }
    family = families.Categorical(CLASSES)

    def with_kernels(weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        logits = torch.as_tensor(pixels).to(weights) @ weights + bias
        return -kernels_triton.cross_entropy(logits, torch.as_tensor(labels).to(weights.device))

    def with_igeojax(weights: jax.Array, bias: jax.Array) -> jax.Array:
        logits = jnp.asarray(pixels, weights.dtype) @ weights + bias[None]
        return family.log_density(family.natural_from_params(logits=logits), labels).mean()

    def in_float64(weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        log_probs = torch.log_softmax(torch.as_tensor(pixels) @ weights + bias, -1)
        return log_probs[torch.arange(len(labels)), torch.as_tensor(labels)].mean()

    return Model(params, with_kernels, with_igeojax, in_float64)


def mixture(run: script.Script) -> Model:
    """Wine: `mean log sum_k w_k N(x; loc_k, scale_k)` of a mixture of diagonal normal laws."""
    wines = scale(load_wine().data)[: 60 if run.quick else None]
    generator = run.rng(1)
    shape = (COMPONENTS, wines.shape[1])
    params = {
        "scores": generator.normal(size=COMPONENTS),
        "loc": generator.normal(size=shape),
        "scale": 0.5 + generator.random(shape),
    }
    family = families.DiagonalNormal(wines.shape[1])

    def with_kernels(scores: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        x = torch.as_tensor(wines).to(loc)[:, None]
        densities = kernels_triton.normal_log_density(x, loc, scale).sum(-1)
        joint = densities + kernels_triton.log_softmax(scores)
        return kernels_triton.logsumexp(joint).mean()

    def with_igeojax(scores: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
        theta = family.natural_from_params(loc[None], scale[None])
        densities = family.log_density(theta, jnp.asarray(wines, loc.dtype)[:, None])
        joint = densities + discrete.log_softmax(scores)[None]
        return discrete.logsumexp(joint).mean()

    def in_float64(scores: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        laws = torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1)
        choice = torch.distributions.Categorical(logits=scores)
        mixed = torch.distributions.MixtureSameFamily(choice, laws)
        return mixed.log_prob(torch.as_tensor(wines)).mean()

    return Model(params, with_kernels, with_igeojax, in_float64)


def distance(run: script.Script) -> Model:
    """Digits: `mean KL(p || q)` of the predictions of two regressions that are near each other."""
    pixels = load_digits().data[: 200 if run.quick else None] / 16
    generator = run.rng(2)
    weights = generator.normal(size=(64, CLASSES))
    params = {"weights": weights, "others": weights + 1e-3 * generator.normal(size=weights.shape)}

    def with_kernels(weights: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        x = torch.as_tensor(pixels).to(weights)
        return kernels_triton.kl(x @ weights, x @ others).mean()

    def with_igeojax(weights: jax.Array, others: jax.Array) -> jax.Array:
        x = jnp.asarray(pixels, weights.dtype)
        return simplex.kl(x @ weights, x @ others, logits=True).mean()

    def in_float64(weights: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        p, q = ((torch.as_tensor(pixels) @ z).log_softmax(-1) for z in (weights, others))
        return (p.exp() * (p - q)).sum(-1).mean()

    return Model(params, with_kernels, with_igeojax, in_float64)


MODELS = {"logistic regression": regression, "normal mixture": mixture, "KL": distance}


def by_torch(
    function: Callable, params: dict[str, np.ndarray], dtype: torch.dtype, device: str
) -> tuple[float, list[np.ndarray]]:
    """The value and the gradient to each parameter."""
    leaves = {
        name: torch.tensor(value, dtype=dtype, device=device, requires_grad=True)
        for name, value in params.items()
    }
    value = function(**leaves)
    gradients = torch.autograd.grad(value, list(leaves.values()))
    return value.item(), [gradient.double().cpu().numpy() for gradient in gradients]


def by_jax(function: Callable, params: dict[str, np.ndarray]) -> tuple[float, list[np.ndarray]]:
    """Likewise, in float32."""
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    value, gradients = jax.jit(jax.value_and_grad(lambda arrays: function(**arrays)))(arrays)
    return float(value), [np.asarray(gradients[name], float) for name in params]


def difference(found: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """The largest difference, in units of the largest entry of its gradient."""
    pairs = zip(found, exact, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def picture(errors: dict[str, list[tuple[float, float]]]) -> Figure:
    """How far both are from float64, in the value and in the gradient."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    for place, (ax, what) in enumerate(
        zip(figure.subplots(1, 2), ("value", "gradient"), strict=True)
    ):
        for marker, (name, pairs) in zip("ox", errors.items(), strict=True):
            # An error of exactly 0 stands at the left border.
            sizes = np.maximum([pair[place] for pair in pairs], 1e-10)
            ax.plot(sizes, list(MODELS), marker, label=name, fillstyle="none", markersize=8)
        ax.axvline(np.finfo(np.float32).eps, color="0.6", linestyle="--", linewidth=1)
        ax.set(xscale="log", xlabel=f"relative error of the {what}", ylim=(-0.5, len(MODELS) - 0.5))
    figure.axes[0].legend(frameon=False)
    figure.axes[1].set_yticklabels([])
    return figure


def main() -> None:
    """Compute each model in three ways and print how far they are apart."""
    run = script.start(__file__, __doc__, quick="a part of the data")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, errors = [], {}
    for name, make in MODELS.items():
        model = make(run)
        # What float32 holds of the parameters is what all are given.
        params = {key: x.astype(np.float32).astype(float) for key, x in model.params.items()}
        value, gradients = by_torch(model.in_float64, params, torch.float64, "cpu")
        rows.append((name, "float64", f"{value:.9g}", "", ""))
        for label, (found, slopes) in {
            "torch and kernels": by_torch(model.with_kernels, params, torch.float32, device),
            "JAX and igeojax": by_jax(model.with_igeojax, params),
        }.items():
            error, slope = abs(found - value) / abs(value), difference(slopes, gradients)
            errors.setdefault(label, []).append((error, slope))
            rows.append((name, label, f"{found:.9g}", f"{error:.1e}", f"{slope:.1e}"))
    run.table(
        f"float32 against float64, torch {torch.__version__} on {device}, JAX {jax.__version__}",
        ("model", "by", "value", "error of the value", "of the gradient"),
        rows,
    )
    run.save(picture(errors), "errors")
    run.end()


if __name__ == "__main__":
    main()
