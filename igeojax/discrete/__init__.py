"""Probability vectors and logits: softmax, log-sum-exp and what is built on them."""

from igeojax.discrete.bounds import (
    LogSumExpBounds,
    logsumexp_bounds,
    logsumexp_hessian_matrix,
    logsumexp_hessian_matvec,
)
from igeojax.discrete.cross_entropy import softmax_cross_entropy
from igeojax.discrete.distillation import distillation_loss
from igeojax.discrete.gumbel import (
    gumbel,
    gumbel_log_softmax,
    gumbel_max,
    gumbel_softmax,
    relaxed_log_density,
)
from igeojax.discrete.maximum_entropy import MaximumEntropy, maximum_entropy
from igeojax.discrete.relative_entropy import entropy_from_logits, log_sum_exp_bregman
from igeojax.discrete.sampling import keep_min_p, keep_top_k, keep_top_p, sample
from igeojax.discrete.sequence import (
    SequenceLogProb,
    perplexity,
    sequence_log_prob,
    token_log_probs,
)
from igeojax.discrete.simplex_charts import (
    centered_log_ratio_from_probs,
    isometric_log_ratio_from_probs,
    logits_from_probs,
    minimal_from_probs,
    probs_from_centered_log_ratio,
    probs_from_isometric_log_ratio,
    probs_from_logits,
    probs_from_minimal,
    probs_from_sphere,
    sphere_from_probs,
)
from igeojax.discrete.softmax import log_softmax, logsumexp, softmax

__all__ = [
    "LogSumExpBounds",
    "MaximumEntropy",
    "SequenceLogProb",
    "centered_log_ratio_from_probs",
    "distillation_loss",
    "entropy_from_logits",
    "gumbel",
    "gumbel_log_softmax",
    "gumbel_max",
    "gumbel_softmax",
    "isometric_log_ratio_from_probs",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "log_softmax",
    "log_sum_exp_bregman",
    "logits_from_probs",
    "logsumexp",
    "logsumexp_bounds",
    "logsumexp_hessian_matrix",
    "logsumexp_hessian_matvec",
    "maximum_entropy",
    "minimal_from_probs",
    "perplexity",
    "probs_from_centered_log_ratio",
    "probs_from_isometric_log_ratio",
    "probs_from_logits",
    "probs_from_minimal",
    "probs_from_sphere",
    "relaxed_log_density",
    "sample",
    "sequence_log_prob",
    "softmax",
    "softmax_cross_entropy",
    "sphere_from_probs",
    "token_log_probs",
]
