"""Triton kernels for torch, checked against float64, and a bridge to JAX.

    from kernels_triton import softmax, normal_log_density, to_jax

Row-wise `softmax`, `log_softmax` and `logsumexp` with temperature and mask; `token_log_probs` of
labels, their `cross_entropy`, and `sequence_log_probs` and `perplexity` of whole sequences;
divergences between rows of logits (`kl`, `jensen_shannon`, `alpha_divergence`,
`amari_alpha_divergence`, `renyi`, `total_variation`); `categorical_fisher_matvec` and the
`kronecker_factor` of K-FAC; the `normal_log_density` of data, elementwise or summed
(`normal_log_likelihood`): forward and backward, any length, any stride, float16, bfloat16, float32
and float64, accumulated in float32 (float64). A CUDA or ROCm tensor is computed by the kernel; a
CPU tensor by the same formula in torch, or by the kernel in Triton's interpreter when
`TRITON_INTERPRET=1` is set before triton is first imported.

`python -m kernels_triton.crosscheck` compares Triton, torch and JAX with float64, and
`python -m kernels_triton.compile_report` compiles every kernel for GPUs that need not be present.

Importing this package imports neither torch nor triton; the first use of a name does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernels_triton._categorical_fisher_matvec import categorical_fisher_matvec
    from kernels_triton._cross_entropy import cross_entropy
    from kernels_triton._diagonal_normal import (
        diagonal_normal_log_density,
        diagonal_normal_log_likelihood,
    )
    from kernels_triton._divergences import (
        alpha_divergence,
        amari_alpha_divergence,
        jensen_shannon,
        kl,
        renyi,
        total_variation,
    )
    from kernels_triton._kronecker_factor import kronecker_factor
    from kernels_triton._mixture_e_step import MixtureStatistics, mixture_e_step
    from kernels_triton._multivariate_normal import (
        multivariate_normal_log_density,
        multivariate_normal_log_likelihood,
    )
    from kernels_triton._normal_log_density import normal_log_density, normal_log_likelihood
    from kernels_triton._sequences import perplexity, sequence_log_probs
    from kernels_triton._softmax import log_softmax, logsumexp, softmax
    from kernels_triton._token_log_probs import token_log_probs
    from kernels_triton._von_mises_fisher import von_mises_fisher_logits
    from kernels_triton.jax_bridge import to_jax, to_torch

__all__ = [
    "MixtureStatistics",
    "alpha_divergence",
    "amari_alpha_divergence",
    "categorical_fisher_matvec",
    "cross_entropy",
    "diagonal_normal_log_density",
    "diagonal_normal_log_likelihood",
    "jensen_shannon",
    "kl",
    "kronecker_factor",
    "log_softmax",
    "logsumexp",
    "mixture_e_step",
    "multivariate_normal_log_density",
    "multivariate_normal_log_likelihood",
    "normal_log_density",
    "normal_log_likelihood",
    "perplexity",
    "renyi",
    "sequence_log_probs",
    "softmax",
    "to_jax",
    "to_torch",
    "token_log_probs",
    "total_variation",
    "von_mises_fisher_logits",
]

_HOMES = {
    "MixtureStatistics": "_mixture_e_step",
    "alpha_divergence": "_divergences",
    "amari_alpha_divergence": "_divergences",
    "categorical_fisher_matvec": "_categorical_fisher_matvec",
    "cross_entropy": "_cross_entropy",
    "diagonal_normal_log_density": "_diagonal_normal",
    "diagonal_normal_log_likelihood": "_diagonal_normal",
    "jensen_shannon": "_divergences",
    "kl": "_divergences",
    "kronecker_factor": "_kronecker_factor",
    "log_softmax": "_softmax",
    "logsumexp": "_softmax",
    "mixture_e_step": "_mixture_e_step",
    "multivariate_normal_log_density": "_multivariate_normal",
    "multivariate_normal_log_likelihood": "_multivariate_normal",
    "normal_log_density": "_normal_log_density",
    "normal_log_likelihood": "_normal_log_density",
    "perplexity": "_sequences",
    "renyi": "_divergences",
    "sequence_log_probs": "_sequences",
    "softmax": "_softmax",
    "to_jax": "jax_bridge",
    "to_torch": "jax_bridge",
    "token_log_probs": "_token_log_probs",
    "total_variation": "_divergences",
    "von_mises_fisher_logits": "_von_mises_fisher",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
