"""Laws over the paths of one short chain, by listing all of them in float64."""

import itertools
from typing import NamedTuple

import numpy as np


class Listed(NamedTuple):
    """All paths over the steps that are present, and what follows from their scores."""

    paths: np.ndarray  # (N, n)
    scores: np.ndarray  # (N,)
    present: np.ndarray  # indices of the n steps

    @property
    def log_partition(self):
        top = self.scores.max(initial=-np.inf)
        return top if top == -np.inf else top + np.log(np.exp(self.scores - top).sum())

    @property
    def probs(self):
        impossible = self.log_partition == -np.inf
        return np.zeros(len(self.scores)) if impossible else np.exp(self.log_probs)

    @property
    def log_probs(self):
        return self.scores - self.log_partition

    def marginals(self, length, states):
        found = np.zeros((length, states))
        for path, p in zip(self.paths, self.probs, strict=True):
            found[self.present, path] += p
        return found

    def pairs(self, length, states):
        """`[t, i, j]`: the pair whose second is at step `t + 1`."""
        found = np.zeros((length - 1, states, states))
        for path, p in zip(self.paths, self.probs, strict=True):
            for n in range(1, len(path)):
                found[self.present[n] - 1, path[n - 1], path[n]] += p
        return found

    @property
    def entropy(self):
        p = self.probs[self.probs > 0]
        return -(p * np.log(p)).sum()

    def kl(self, other):
        if self.log_partition == -np.inf:
            return np.nan
        has = self.scores > -np.inf
        if (other.scores[has] == -np.inf).any():
            return np.inf
        return (self.probs[has] * (self.log_probs[has] - other.log_probs[has])).sum()

    def score_of(self, states):
        """Score of the path with these states, over all steps of the chain."""
        (row,) = np.flatnonzero((self.paths == np.asarray(states)[self.present]).all(axis=1))
        return self.scores[row]


def listed(unary, transition, *, mask=None, start=None, end=None):
    """List the paths of a chain; `transition` is `(K, K)` or `(T - 1, K, K)`."""
    unary, transition = np.asarray(unary, float), np.asarray(transition, float)
    length, states = unary.shape
    present = np.flatnonzero(np.ones(length, bool) if mask is None else mask)
    paths = np.array(list(itertools.product(range(states), repeat=len(present))), int)
    paths = paths.reshape(states ** len(present), len(present))
    scores = np.zeros(len(paths))
    for n, t in enumerate(present):
        scores = scores + unary[t, paths[:, n]]
        if n:
            move = transition if transition.ndim == 2 else transition[t - 1]
            scores = scores + move[paths[:, n - 1], paths[:, n]]
    if len(present):
        scores = scores + (0.0 if start is None else np.asarray(start, float)[paths[:, 0]])
        scores = scores + (0.0 if end is None else np.asarray(end, float)[paths[:, -1]])
    return Listed(paths, scores, present)
