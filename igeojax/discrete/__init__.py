"""Probability vectors and logits: softmax, log-sum-exp and what is built on them."""

from igeojax.discrete.softmax import log_softmax, logsumexp, softmax

__all__ = ["log_softmax", "logsumexp", "softmax"]
