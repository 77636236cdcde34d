"""EM of a normal mixture in torch by a Triton kernel: python examples/torch_em_triton.py.

1. A loop of EM in torch around `kernels_triton.mixture_e_step`, on factors of the pixels of digits:
   the E-step is one call, which returns the sums that the M-step needs.
2. The same iterations by `igeojax.em.Mixture.fit`, once with its own E-step and once with the JAX
   function of that kernel in its place, from the same start.

The kernel runs on a GPU where torch has one, and as its formula in torch elsewhere.
"""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import kernels_triton
import script
from igeojax import em, families
from kernels_triton.jax import mixture_e_step

FACTORS = 12


def factors() -> np.ndarray:
    """Principal components of the digits, in units of the first."""
    pixels = load_digits().data
    centred = pixels - pixels.mean(0)
    _, singular, turn = np.linalg.svd(centred, full_matrices=False)
    return centred @ turn[:FACTORS].T / (singular[0] / math.sqrt(len(pixels)))


def start(x: np.ndarray, components: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Equal weights, means at observations, and the covariance of all."""
    chosen = rng.choice(len(x), components, replace=False)
    covariance = np.broadcast_to(np.cov(x.T, bias=True), (components, FACTORS, FACTORS))
    return np.full(components, 1 / components), x[chosen], covariance


def torch_em(
    x: torch.Tensor, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, steps: int
) -> tuple[torch.Tensor, float]:
    """Mean log-likelihoods before each step and after the last, and seconds a step."""
    as_tensor = lambda value: torch.tensor(np.array(value)).to(x)
    log_weights, loc = as_tensor(weights).log(), as_tensor(means)
    inverse = torch.linalg.inv(torch.linalg.cholesky(as_tensor(covariances)))
    kernels_triton.mixture_e_step(x, log_weights, loc, inverse)  # compiled, where it is
    history, began = [], time.perf_counter()
    for step in range(steps + 1):
        found = kernels_triton.mixture_e_step(x, log_weights, loc, inverse)
        history.append(found.log_likelihood / len(x))
        if step == steps:
            break
        # The sums are those of whitened differences: no covariance is formed, and none inverted.
        shift = found.sums / found.counts[:, None]
        square = found.squares / found.counts[:, None, None] - shift[:, :, None] * shift[:, None]
        log_weights = (found.counts / found.counts.sum()).log()
        loc = loc + torch.linalg.solve(inverse, shift)
        inverse = torch.linalg.solve(torch.linalg.cholesky(square), inverse)
    values = torch.stack(history).double().cpu()
    return values, (time.perf_counter() - began) / (steps + 1)


def igeojax_em(
    x: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    steps: int,
    **options,
) -> tuple[torch.Tensor, float]:
    """The same by `Mixture.fit`; seconds a step are those of a second, compiled fit."""
    family = families.MultivariateNormal(FACTORS)
    mixture = em.Mixture(family, len(weights))
    components = family.natural_from_params(jnp.asarray(means), jnp.asarray(covariances))
    initialization = mixture.point(weights, components)
    for _ in range(2):
        began = time.perf_counter()
        fit = mixture.fit(
            x, initialization=initialization, tolerance=0.0, max_iterations=steps, **options
        )
        values = np.array(fit.log_likelihoods)
        seconds = time.perf_counter() - began
    return torch.from_numpy(values), seconds / (steps + 1)


def picture(found: dict[str, tuple[torch.Tensor, float]]) -> Figure:
    """The log-likelihoods, and how far they are from those of igeojax."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    exact = found["igeojax"][0]
    for place, (name, (values, _)) in enumerate(found.items()):
        left.plot(values, linewidth=7 - 2 * place, alpha=0.4 + 0.2 * place, label=name)
        if name != "igeojax":
            right.semilogy((values - exact).abs().clamp(min=1e-16), color=f"C{place}", label=name)
    left.set(xlabel="step", ylabel="mean log-likelihood (nats)")
    right.set(xlabel="step", ylabel="difference from igeojax (nats)")
    left.legend(frameon=False)
    return figure


def main() -> None:
    """Run the three and print them side by side."""
    run = script.start(__file__, __doc__, quick="fewer components and steps")
    jax.config.update("jax_enable_x64", True)
    components, steps = (4, 8) if run.quick else (10, 40)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = "the Triton kernel" if device == "cuda" else "its formula in torch"
    x = factors()
    given = start(x, components, run.rng())
    run.console.print(
        f"{len(x)} digits, {FACTORS} factors, {components} components; E-step by {place}"
    )
    found = {
        "torch, float64": torch_em(torch.tensor(x, device=device), *given, steps),
        "torch, float32": torch_em(torch.tensor(x, device=device).float(), *given, steps),
        "igeojax": igeojax_em(x, *given, steps),
        "igeojax, e_step": igeojax_em(x, *given, steps, e_step=mixture_e_step),
    }
    exact = found["igeojax"][0]
    shown = [n for n in (0, 1, 2, 8, 40) if n <= steps]
    rows = [
        (
            name,
            *(f"{values[n]:.6f}" for n in shown),
            f"{1e3 * seconds:.2f}",
            f"{(values - exact).abs().max():.1e}",
        )
        for name, (values, seconds) in found.items()
    ]
    run.table(
        "Mean log-likelihood (nats) after steps, ms a step, largest difference from igeojax",
        ("by", *map(str, shown), "ms", "apart"),
        rows,
    )
    run.save(picture(found), "log_likelihoods")
    run.end()


if __name__ == "__main__":
    main()
