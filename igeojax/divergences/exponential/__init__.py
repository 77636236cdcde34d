"""Divergences between two members of one exponential family, from its log-partition alone, in nats.

Points are natural parameters or source parameters (`Params`), told apart by their type. All are
made of the Bregman divergence `B` of `psi`, which families compute without cancellation:
`KL(p || q) = B(q, p)`, and with the mixture `m = a p + (1-a) q` of natural parameters
`-log int p^a q^(1-a) = a B(p, m) + (1-a) B(q, m)`, a sum of non-negative terms for `0 < a < 1`.

Jensen-Shannon, total variation and general f-divergences have no such form: see
`divergences.quadrature` and `divergences.montecarlo`.
"""

from igeojax.divergences.exponential.chernoff import chernoff_information, chernoff_order
from igeojax.divergences.exponential.power import (
    alpha_divergence,
    amari_alpha_divergence,
    bhattacharyya,
    chi_square,
    hellinger,
    neyman_chi_square,
    renyi,
)
from igeojax.divergences.exponential.relative_entropy import (
    cross_entropy,
    geometric_jensen_shannon,
    jeffreys,
    kl,
    reverse_kl,
)
from igeojax.families._pairs import natural

__all__ = [
    "alpha_divergence",
    "amari_alpha_divergence",
    "bhattacharyya",
    "chernoff_information",
    "chernoff_order",
    "chi_square",
    "cross_entropy",
    "geometric_jensen_shannon",
    "hellinger",
    "jeffreys",
    "kl",
    "natural",
    "neyman_chi_square",
    "renyi",
    "reverse_kl",
]
