"""Divergences between probability vectors, on the last axis, in nats.

Each is written for positive measures as a sum of non-negative terms in the difference `q - p`
(`sum p log(p/q) - p + q` for KL), so it never cancels, is never negative, and is exactly 0 at
`p = q`. For vectors that sum to one this is the usual value; gradients differ from those of the
usual formula by a constant along `(1, ..., 1)`, which no motion on the simplex sees. Zero entries
take the measure-theoretic value (`p > 0 = q` gives inf for KL); where the one-sided derivative in
an entry 0 is infinite, the derivative is 0 by convention, so gradients are finite wherever values
are.

With `logits=True` both arguments are logits instead, and their difference keeps all its digits;
`-inf` is an impossible class.
"""

from igeojax.divergences.simplex._arguments import Probabilities
from igeojax.divergences.simplex.bounds import kl_lower_bound_from_jensen_shannon
from igeojax.divergences.simplex.chernoff import chernoff_information, chernoff_order
from igeojax.divergences.simplex.f_divergence import f_divergence, total_variation
from igeojax.divergences.simplex.power import (
    alpha_divergence,
    amari_alpha_divergence,
    bhattacharyya,
    chi_square,
    hellinger,
    neyman_chi_square,
    renyi,
)
from igeojax.divergences.simplex.relative_entropy import (
    cross_entropy,
    entropy,
    jeffreys,
    jensen_shannon,
    jensen_shannon_distance,
    kl,
    reverse_kl,
)

__all__ = [
    "Probabilities",
    "alpha_divergence",
    "amari_alpha_divergence",
    "bhattacharyya",
    "chernoff_information",
    "chernoff_order",
    "chi_square",
    "cross_entropy",
    "entropy",
    "f_divergence",
    "hellinger",
    "jeffreys",
    "jensen_shannon",
    "jensen_shannon_distance",
    "kl",
    "kl_lower_bound_from_jensen_shannon",
    "neyman_chi_square",
    "renyi",
    "reverse_kl",
    "total_variation",
]
