"""Information geometry of a family: charts, metric and distance."""

from igeojax.geometry.coordinates import (
    mean_from_natural,
    natural_from_mean,
    ravel,
    unravel,
)
from igeojax.geometry.distance import fisher_rao_distance
from igeojax.geometry.metric import (
    fisher_matrix,
    fisher_matvec,
    inner,
    pullback,
    source_fisher_matrix,
)

__all__ = [
    "fisher_matrix",
    "fisher_matvec",
    "fisher_rao_distance",
    "inner",
    "mean_from_natural",
    "natural_from_mean",
    "pullback",
    "ravel",
    "source_fisher_matrix",
    "unravel",
]
