"""Linear chains: hidden Markov models and conditional random fields on one engine.

A chain is T steps over K states; a path has the sum of a score for the state at each step and one
for each pair of neighbors. `hmm` and `crf` differ in what they call these scores. Shapes: scores
`(*batch, T, K)`, transitions `(K, K)` with `[i, j]` from `i` to `j`, or `(T - 1, K, K)`. Chains of
several lengths: `length (*batch,)`, or a boolean `mask (*batch, T)` with padding at any place. A
score of `-inf` forbids, exactly; where nothing is possible log Z is `-inf` and gradients are 0.
Half precision is computed and returned in float32.

`hmm` for learning: `hmm.smooth(log_initial, log_transition, log_emission, length=..., mask=...)` is
`Smoothed(log_likelihood (*batch,), states (*batch, T, K), transitions (*batch, K, K), initial
(*batch, K))`, the expected counts of each chain. The same summed with weights, faster: the gradient
of `sum(weights * hmm.log_likelihood(...))` in the three arrays. A missing observation is a row of
zeros in `log_emission`. `hmm.filter`, `hmm.viterbi`, `hmm.sample`, `hmm.forecast` take the same.
"""

from igeojax.chains import crf, hmm

__all__ = ["crf", "hmm"]
