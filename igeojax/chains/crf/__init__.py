"""Conditional random fields: the law of a sequence of tags, from scores of tags and transitions.

A path `y` of T tags has the score `start[y_1] + sum_t unary[t, y_t] + sum_t transition[y_t, y_t+1]
+ end[y_T]`, and the probability `exp(score) / Z`. All functions take the same arguments:

- `unary`: scores of the K tags at each step, in nats, `(*batch, T, K)`; `-inf` forbids.
- `transition`: scores of a tag after another, `[i, j]` from `i` to `j`: one matrix `(K, K)`, or one
  for each pair of neighbors, `(T - 1, K, K)` or `(*batch, T - 1, K, K)`; `-inf` forbids.
- `length` or `mask`: the number of steps of each sequence, `(*batch,)`, or True where a step is
  present, `(*batch, T)`. An absent step is not there, at whichever end or in the middle: its
  neighbors follow each other, by the transition into the later one. Its scores are not read.
- `start`, `end`: scores of the first and the last tag that is present, `(K,)` or `(*batch, K)`.

Where no path is possible log Z is `-inf`, its gradient 0, and decoded tags are -1. A sequence
without any step has one path, the empty one, of score 0. Each is differentiable in all scores, in
forward and reverse mode and repeatedly, and maps with `vmap`; batches as leading axes are faster.

A log Z beyond the largest float is infinite, as of two steps with scores of 3e38 in float32, and
its marginals are right still; nan where a score of a tag plus `start` or `end` is beyond it alone.

On a CPU probabilities are propagated in place of scores while a test of their range allows, which
is ten times faster: up to spans of transitions of 50 nats in float32, 420 in float64, and of
20 and 170 where transitions are forbidden, if then no tag that can be reached becomes less likely
than exp(-61) and exp(-495) on the way. Beyond that, logarithms.
"""

from igeojax.chains.crf.decoding import Decoded, k_best, sample, viterbi
from igeojax.chains.crf.information import entropy, kl
from igeojax.chains.crf.likelihood import (
    log_likelihood,
    log_partition,
    marginals,
    pair_marginals,
)
from igeojax.chains.crf.tag_schemes import TagConstraints, tag_constraints

__all__ = [
    "Decoded",
    "TagConstraints",
    "entropy",
    "k_best",
    "kl",
    "log_likelihood",
    "log_partition",
    "marginals",
    "pair_marginals",
    "sample",
    "tag_constraints",
    "viterbi",
]
