"""Information geometry of a family: charts and metric."""

from igeojax.geometry.coordinates import (
    mean_from_natural,
    natural_from_mean,
    ravel,
    unravel,
)
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
    "inner",
    "mean_from_natural",
    "natural_from_mean",
    "pullback",
    "ravel",
    "source_fisher_matrix",
    "unravel",
]
