"""The quantities of `tests/reference` as the peers compute them: `name -> function(order, ...)`."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

Quantity = Callable[..., Any]


def _scipy() -> dict[str, Quantity]:
    from scipy import special, stats

    return {
        "logsumexp": lambda _, x: special.logsumexp(x),
        "softmax": lambda _, x: special.softmax(x),
        "log_softmax": lambda _, x: special.log_softmax(x),
        "betaln": lambda _, a, b: special.betaln(a, b),
        "categorical_probs_kl": lambda _, probs_p, probs_q: special.rel_entr(
            probs_p, probs_q
        ).sum(),
        "entropy_normal": lambda _, sigma: stats.norm(scale=sigma).entropy(),
        "entropy_gamma": lambda _, shape, rate: stats.gamma(shape, scale=1 / rate).entropy(),
        "entropy_beta": lambda _, a, b: stats.beta(a, b).entropy(),
        "entropy_dirichlet": lambda _, conc: stats.dirichlet(conc).entropy(),
        "entropy_poisson": lambda _, rate: stats.poisson(rate).entropy(),
        "entropy_mvn": lambda _, cov: stats.multivariate_normal(cov=cov).entropy(),
        "studentt_logpdf": lambda _, x, dof: stats.t(dof).logpdf(x),
        "entropy_categorical_probs": lambda _, probs: stats.entropy(probs),
    }


def _torch() -> dict[str, Quantity]:
    import torch
    from torch import distributions as d

    def tensors(**inputs: np.ndarray) -> dict[str, Any]:
        return {name: torch.as_tensor(np.array(value)) for name, value in inputs.items()}

    def pair(kind: Any, names: tuple[str, ...], arguments: tuple[str, ...]) -> Quantity:
        def divergence(_: Any, **inputs: Any) -> Any:
            values = tensors(**inputs)
            laws = [
                kind(
                    **{a: values[f"{n}_{side}"] for n, a in zip(names, arguments, strict=True)},
                    validate_args=False,
                )
                for side in "pq"
            ]
            return d.kl_divergence(*laws).numpy()

        return divergence

    def entropy(kind: Any, names: dict[str, str], **fixed: Any) -> Quantity:
        def value(_: Any, **inputs: Any) -> Any:
            values = {names[n]: v for n, v in tensors(**inputs).items()}
            more = {n: torch.zeros_like(next(iter(values.values()))) for n in fixed}
            return kind(**values, **more, validate_args=False).entropy().numpy()

        return value

    return {
        "normal_kl": pair(d.Normal, ("mu", "sigma"), ("loc", "scale")),
        "exponential_kl": pair(d.Exponential, ("rate",), ("rate",)),
        "poisson_kl": pair(d.Poisson, ("rate",), ("rate",)),
        "gamma_kl": pair(d.Gamma, ("shape", "rate"), ("concentration", "rate")),
        "beta_kl": pair(d.Beta, ("a", "b"), ("concentration1", "concentration0")),
        "dirichlet_kl": pair(d.Dirichlet, ("conc",), ("concentration",)),
        "categorical_logits_kl": pair(d.Categorical, ("logits",), ("logits",)),
        "categorical_probs_kl": pair(d.Categorical, ("probs",), ("probs",)),
        "mvn_kl": pair(d.MultivariateNormal, ("mu", "cov"), ("loc", "covariance_matrix")),
        "entropy_normal": entropy(d.Normal, {"sigma": "scale"}, loc=0),
        "entropy_exponential": entropy(d.Exponential, {"rate": "rate"}),
        "entropy_gamma": entropy(d.Gamma, {"shape": "concentration", "rate": "rate"}),
        "entropy_beta": entropy(d.Beta, {"a": "concentration1", "b": "concentration0"}),
        "entropy_dirichlet": entropy(d.Dirichlet, {"conc": "concentration"}),
        "entropy_categorical_logits": entropy(d.Categorical, {"logits": "logits"}),
        "studentt_logpdf": lambda _, x, dof: (
            d.StudentT(torch.as_tensor(np.array(dof)))
            .log_prob(torch.as_tensor(np.array(x)))
            .numpy()
        ),
        "entropy_categorical_probs": entropy(d.Categorical, {"probs": "probs"}),
        "logsumexp": lambda _, x: torch.logsumexp(torch.as_tensor(x), -1).numpy(),
        "softmax": lambda _, x: torch.softmax(torch.as_tensor(x), -1).numpy(),
        "log_softmax": lambda _, x: torch.log_softmax(torch.as_tensor(x), -1).numpy(),
    }


def _tensorflow_probability() -> dict[str, Quantity]:
    substrate = importlib.import_module("tensorflow_probability.substrates.jax")
    d = substrate.distributions

    def pair(kind: Any, names: tuple[str, ...], arguments: tuple[str, ...]) -> Quantity:
        def divergence(_: Any, **inputs: Any) -> Any:
            laws = [
                kind(**{a: inputs[f"{n}_{side}"] for n, a in zip(names, arguments, strict=True)})
                for side in "pq"
            ]
            return d.kl_divergence(*laws)

        return divergence

    def direction(dim: Any, kappa: Any, axis: int) -> Any:
        return np.eye(1, int(dim), axis, dtype=kappa.dtype)[0]

    def von_mises_fisher(dim: Any, kappa: Any) -> Any:
        return d.VonMisesFisher(direction(dim, kappa, 0), kappa)

    return {
        "normal_kl": pair(d.Normal, ("mu", "sigma"), ("loc", "scale")),
        "exponential_kl": pair(d.Exponential, ("rate",), ("rate",)),
        "gamma_kl": pair(d.Gamma, ("shape", "rate"), ("concentration", "rate")),
        "beta_kl": pair(d.Beta, ("a", "b"), ("concentration1", "concentration0")),
        "dirichlet_kl": pair(d.Dirichlet, ("conc",), ("concentration",)),
        "categorical_logits_kl": pair(d.Categorical, ("logits",), ("logits",)),
        # At a right angle to the mean direction the log-density is the constant alone.
        "vmf_log_C": lambda _, d, kappa: von_mises_fisher(d, kappa).log_prob(
            direction(d, kappa, 1)
        ),
        "vmf_entropy": lambda _, d, kappa: von_mises_fisher(d, kappa).entropy(),
        "studentt_logpdf": lambda _, x, dof: d.StudentT(dof, 0.0, 1.0).log_prob(x),
    }


PEERS: dict[str, dict[str, Quantity]] = {
    name: make()
    for name, package, make in (
        ("scipy", "scipy", _scipy),
        ("torch", "torch", _torch),
        ("TFP", "tensorflow_probability", _tensorflow_probability),
    )
    if importlib.util.find_spec(package)
}
"""By library, those that are installed."""
