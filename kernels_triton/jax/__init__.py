"""The operations as functions of JAX, for `jit`, `grad`, `vmap` and sharded arrays.

    from kernels_triton import jax as kernels
    kernels.softmax(logits, temperature=0.7)

On CUDA, with torch and [jax-triton](https://github.com/jax-ml/jax-triton) installed (the extra
`jax-triton`), they launch the kernels that torch launches, with the same options, inside the
compiled program. Everywhere else, and on CPU and TPU without torch, they are the same formulas in
JAX: values, gradients and conventions at infinities agree.

Each has its own gradient (`custom_vjp`: reverse mode, first order). Under `vmap` the mapped axis is
one more axis of rows. Rows may be sharded over devices under `jit`, each device computing its own,
and inside `jax.shard_map` the functions see the rows of one device.
"""

from kernels_triton.jax._cross_entropy import cross_entropy, token_log_probs
from kernels_triton.jax._diagonal_normal import (
    diagonal_normal_log_density,
    diagonal_normal_log_likelihood,
)
from kernels_triton.jax._divergences import (
    alpha_divergence,
    amari_alpha_divergence,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
)
from kernels_triton.jax._information import categorical_fisher_matvec, kronecker_factor
from kernels_triton.jax._kernels import lowering_for
from kernels_triton.jax._mixture_e_step import mixture_e_step
from kernels_triton.jax._multivariate_normal import (
    multivariate_normal_log_density,
    multivariate_normal_log_likelihood,
)
from kernels_triton.jax._normal_log_density import normal_log_density, normal_log_likelihood
from kernels_triton.jax._sequences import perplexity, sequence_log_probs
from kernels_triton.jax._softmax import log_softmax, logsumexp, softmax
from kernels_triton.jax._von_mises_fisher import von_mises_fisher_logits

__all__ = [
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
    "lowering_for",
    "mixture_e_step",
    "multivariate_normal_log_density",
    "multivariate_normal_log_likelihood",
    "normal_log_density",
    "normal_log_likelihood",
    "perplexity",
    "renyi",
    "sequence_log_probs",
    "softmax",
    "token_log_probs",
    "total_variation",
    "von_mises_fisher_logits",
]
