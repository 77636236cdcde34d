"""Cross entropy of labels with smoothing and reductions, on the operator of `_token_log_probs`."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels_triton._options import require_reduction, require_smoothing
from kernels_triton._token_log_probs import smoothed_log_probs


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    inplace_gradient: bool = False,
) -> Tensor:
    """Cross entropy `-(1 - s) log p_y - s / V sum_j log p_j` of each label, in nats.

    `torch.nn.functional.cross_entropy` for integer labels, with the classes on the last axis, and
    a mean of 0 where no token counts. The cost is that of `token_log_probs`.

    Args:
      logits: scores, any shape with the `V` classes on the last axis, any strides.
      labels: `y`, as in `token_log_probs`.
      temperature: `t`, a positive finite Python number.
      ignore_index: the label of tokens that do not count, as in `token_log_probs`.
      label_smoothing: `s`, between 0 and 1. With it a logit of `-inf` gives a cross entropy of
        `inf`, as it must.
      reduction: "none", "sum", or "mean" over the tokens that count.
      inplace_gradient: write the gradient over `logits`, as in `token_log_probs`.

    Returns:
      Of the shape of `labels` for "none", otherwise a scalar; float64 for float64, otherwise
      float32.

    Raises:
      NotImplementedError: `logits` has a tangent of forward mode; only reverse mode, once.
      TypeError: as in `token_log_probs`, or `label_smoothing` is not a Python number.
      ValueError: as in `token_log_probs`, or `label_smoothing` or `reduction` is none of these.

    Examples:
      >>> logits, labels = torch.zeros(3, 4), torch.tensor([0, 3, -100])
      >>> round(cross_entropy(logits, labels, label_smoothing=0.1).item(), 4)
      1.3863
    """
    smoothing = require_smoothing(label_smoothing)
    require_reduction(reduction)
    options = ignore_index, smoothing, inplace_gradient
    values = 0.0 - smoothed_log_probs(logits, labels, temperature, *options)  # not -0 where ignored
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return values.sum() / (labels != ignore_index).sum().clamp(min=1)


def cross_entropy_reference(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """`cross_entropy` by torch in float64, differentiable; nan for a mean of nothing."""
    rows = logits.double().flatten(0, -2) if logits.ndim > 1 else logits.double()
    value = torch.nn.functional.cross_entropy(
        rows / temperature,
        labels.flatten().long() if labels.ndim else labels.long(),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    return value.reshape(labels.shape) if reduction == "none" else value
