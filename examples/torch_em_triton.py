"""EM of a normal mixture in torch by a Triton kernel: python examples/torch_em_triton.py [--quick].

1. A loop of EM in torch around `kernels_triton.mixture_e_step`, on factors of the pixels of digits:
   the E-step is one call, which returns the sums that the M-step needs.
2. The same iterations by `igeojax.em.Mixture.fit`, once with its own E-step and once with the JAX
   function of that kernel in its place, from the same start.

The kernel runs on a GPU where torch has one, and as its formula in torch elsewhere.
"""

import argparse
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from sklearn.datasets import load_digits

import kernels_triton
from igeojax import em, families
from kernels_triton.jax import mixture_e_step

FACTORS = 12


def factors() -> np.ndarray:
    """Principal components of the digits, in units of the first."""
    pixels = load_digits().data
    centred = pixels - pixels.mean(0)
    _, singular, turn = np.linalg.svd(centred, full_matrices=False)
    return centred @ turn[:FACTORS].T / (singular[0] / math.sqrt(len(pixels)))


def start(x: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equal weights, means at observations, and the covariance of all."""
    chosen = np.random.default_rng(0).choice(len(x), components, replace=False)
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


def main() -> None:
    """Run the three and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer components and steps")
    quick = parser.parse_args().quick
    jax.config.update("jax_enable_x64", True)
    components, steps = (4, 8) if quick else (10, 40)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = "the Triton kernel" if device == "cuda" else "its formula in torch"
    x = factors()
    given = start(x, components)
    print(f"{len(x)} digits, {FACTORS} factors, {components} components; E-step by {place}")
    found = {
        "torch, float64": torch_em(torch.tensor(x, device=device), *given, steps),
        "torch, float32": torch_em(torch.tensor(x, device=device).float(), *given, steps),
        "igeojax": igeojax_em(x, *given, steps),
        "igeojax, e_step": igeojax_em(x, *given, steps, e_step=mixture_e_step),
    }
    shown = [n for n in (0, 1, 2, 4, 8, 16, 40) if n <= steps]
    print("\nMean log-likelihood (nats) after steps")
    print(f"{'':16}" + "".join(f"{n:>14d}" for n in shown) + f"{'ms a step':>12}")
    for name, (values, seconds) in found.items():
        cells = "".join(f"{values[n]:14.8f}" for n in shown)
        print(f"{name:16}{cells}{1e3 * seconds:12.2f}")
    exact = found["igeojax"][0]
    print("\nLargest difference from igeojax")
    for name, (values, _) in found.items():
        print(f"{name:16}{(values - exact).abs().max():.1e}")


if __name__ == "__main__":
    main()
