"""Information geometry of a family or model: charts, metric, connections, curvature, distance."""

from igeojax.geometry.connection import (
    connection_first_kind,
    connection_second_kind,
    parallel_transport,
)
from igeojax.geometry.coordinates import (
    mean_from_natural,
    natural_from_mean,
    ravel,
    unravel,
)
from igeojax.geometry.curvature import (
    log_jeffreys_prior,
    ricci_tensor,
    riemann_tensor,
    scalar_curvature,
    sectional_curvature,
    statistical_curvature,
)
from igeojax.geometry.distance import fisher_rao_distance
from igeojax.geometry.invariance import reparameterization_gap
from igeojax.geometry.metric import (
    fisher_matrix,
    fisher_matvec,
    inner,
    pullback,
    sharp,
    source_fisher_matrix,
)
from igeojax.geometry.mixed import mixed_from_natural, natural_from_mixed
from igeojax.geometry.statistical_manifold import (
    StatisticalManifold,
    family_manifold,
    model_manifold,
    sampled_manifold,
)

__all__ = [
    "StatisticalManifold",
    "connection_first_kind",
    "connection_second_kind",
    "family_manifold",
    "fisher_matrix",
    "fisher_matvec",
    "fisher_rao_distance",
    "inner",
    "log_jeffreys_prior",
    "mean_from_natural",
    "mixed_from_natural",
    "model_manifold",
    "natural_from_mean",
    "natural_from_mixed",
    "parallel_transport",
    "pullback",
    "ravel",
    "reparameterization_gap",
    "ricci_tensor",
    "riemann_tensor",
    "sampled_manifold",
    "scalar_curvature",
    "sectional_curvature",
    "sharp",
    "source_fisher_matrix",
    "statistical_curvature",
    "unravel",
]
