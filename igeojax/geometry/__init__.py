"""Information geometry of a family or model: charts, connections, geodesics, projections."""

from igeojax.geometry.alpha_projection import (
    AlphaProjection,
    alpha_projection,
)
from igeojax.geometry.clustering import (
    Clustering,
    bregman_k_means,
)
from igeojax.geometry.connection import (
    connection_first_kind,
    connection_second_kind,
    parallel_transport,
)
from igeojax.geometry.contingency import (
    FittedTable,
    iterative_proportional_fitting,
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
from igeojax.geometry.distance import (
    fisher_rao_distance,
)
from igeojax.geometry.dual_geodesic import (
    e_geodesic,
    m_geodesic,
)
from igeojax.geometry.exponential_map import (
    LogarithmMap,
    exponential_map,
    geodesic,
    logarithm_map,
)
from igeojax.geometry.invariance import (
    reparameterisation_gap,
)
from igeojax.geometry.manifold_geodesic import (
    ManifoldDistance,
    ManifoldLogarithm,
    manifold_distance,
    manifold_exponential_map,
    manifold_logarithm_map,
)
from igeojax.geometry.means import chernoff_point, e_mean, frechet_mean, m_mean
from igeojax.geometry.metric import (
    fisher_matrix,
    fisher_matvec,
    inner,
    pullback,
    sharp,
    source_fisher_matrix,
)
from igeojax.geometry.mixed import (
    mixed_from_natural,
    natural_from_mixed,
)
from igeojax.geometry.numerical_distance import (
    DistanceBounds,
    NumericalDistance,
    bhattacharyya_angle,
    distance_bounds,
    numerical_distance,
)
from igeojax.geometry.projection import (
    Projection,
    e_projection,
    m_projection,
    pythagorean_gap,
)
from igeojax.geometry.statistical_manifold import (
    StatisticalManifold,
    family_manifold,
    model_manifold,
    sampled_manifold,
)
from igeojax.numerics.center_of_mass import FrechetMean

__all__ = [
    "AlphaProjection",
    "Clustering",
    "DistanceBounds",
    "FittedTable",
    "FrechetMean",
    "LogarithmMap",
    "ManifoldDistance",
    "ManifoldLogarithm",
    "NumericalDistance",
    "Projection",
    "StatisticalManifold",
    "alpha_projection",
    "bhattacharyya_angle",
    "bregman_k_means",
    "chernoff_point",
    "connection_first_kind",
    "connection_second_kind",
    "distance_bounds",
    "e_geodesic",
    "e_mean",
    "e_projection",
    "exponential_map",
    "family_manifold",
    "fisher_matrix",
    "fisher_matvec",
    "fisher_rao_distance",
    "frechet_mean",
    "geodesic",
    "inner",
    "iterative_proportional_fitting",
    "log_jeffreys_prior",
    "logarithm_map",
    "m_geodesic",
    "m_mean",
    "m_projection",
    "manifold_distance",
    "manifold_exponential_map",
    "manifold_logarithm_map",
    "mean_from_natural",
    "mixed_from_natural",
    "model_manifold",
    "natural_from_mean",
    "natural_from_mixed",
    "numerical_distance",
    "parallel_transport",
    "pullback",
    "pythagorean_gap",
    "ravel",
    "reparameterisation_gap",
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
