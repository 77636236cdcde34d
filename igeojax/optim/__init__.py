"""Second-order, mirror-geometry and Riemannian transforms for optax.

Geometry arrives as a callable; what the loss cannot know arrives as an extra argument of `update`.
"""

from igeojax.optim.advantages import generalized_advantages
from igeojax.optim.bregman_projection import entropy_projection
from igeojax.optim.damping import LevenbergMarquardt
from igeojax.optim.describe import describe
from igeojax.optim.family_potential import FamilyPotential
from igeojax.optim.kfac import KfacState, ekfac, kfac
from igeojax.optim.kfac_preconditioner import scale_by_kfac
from igeojax.optim.matrix_maps import LogDet, VonNeumannEntropy
from igeojax.optim.mean_field_posterior import (
    MeanFieldState,
    posterior_scale,
    sample_posterior,
    sampled_curvature,
)
from igeojax.optim.metric import Metric, MetricState, scale_by_metric
from igeojax.optim.mirror import mirror_descent, scale_by_mirror_descent
from igeojax.optim.mirror_maps import (
    Euclidean,
    LogBarrier,
    MirrorMap,
    NegativeEntropy,
    PNorm,
)
from igeojax.optim.natural_gradient import natural_gradient, scale_by_natural_gradient
from igeojax.optim.relative_gradient import relative_gradient, scale_by_relative_gradient
from igeojax.optim.riemannian import (
    RiemannianAdamState,
    RiemannianTraceState,
    apply_riemannian_updates,
    geodesic_updates,
    project_onto,
    riemannian_gradient,
    riemannian_trace,
    scale_by_riemannian_adam,
)
from igeojax.optim.riemannian_descent import (
    riemannian_adam,
    riemannian_momentum,
    riemannian_sgd,
)
from igeojax.optim.solvers import (
    ConjugateGradient,
    Dense,
    Diagonal,
    Model,
    Solver,
    SolverInfo,
)
from igeojax.optim.solvers_approximate import BlockDiagonal, LowRank
from igeojax.optim.solvers_auto import Auto
from igeojax.optim.solvers_kronecker import EKFAC, KFAC
from igeojax.optim.solvers_sample_space import SampleSpace
from igeojax.optim.spring import SpringState, scale_by_spring, spring
from igeojax.optim.trust_region import TrustRegionState, trust_region
from igeojax.optim.variational import (
    DomainState,
    add_prior,
    bayesian_learning_rule,
    within_domain,
)
from igeojax.optim.variational_gaussian import (
    ivon,
    scale_by_ivon,
    scale_by_vogn,
    vogn,
)
from igeojax.optim.variational_gradient import VariationalGradient, elbo, variational_gradient

__all__ = [
    "EKFAC",
    "KFAC",
    "Auto",
    "BlockDiagonal",
    "ConjugateGradient",
    "Dense",
    "Diagonal",
    "DomainState",
    "Euclidean",
    "FamilyPotential",
    "KfacState",
    "LevenbergMarquardt",
    "LogBarrier",
    "LogDet",
    "LowRank",
    "MeanFieldState",
    "Metric",
    "MetricState",
    "MirrorMap",
    "Model",
    "NegativeEntropy",
    "PNorm",
    "RiemannianAdamState",
    "RiemannianTraceState",
    "SampleSpace",
    "Solver",
    "SolverInfo",
    "SpringState",
    "TrustRegionState",
    "VariationalGradient",
    "VonNeumannEntropy",
    "add_prior",
    "apply_riemannian_updates",
    "bayesian_learning_rule",
    "describe",
    "ekfac",
    "elbo",
    "entropy_projection",
    "generalized_advantages",
    "geodesic_updates",
    "ivon",
    "kfac",
    "mirror_descent",
    "natural_gradient",
    "posterior_scale",
    "project_onto",
    "relative_gradient",
    "riemannian_adam",
    "riemannian_gradient",
    "riemannian_momentum",
    "riemannian_sgd",
    "riemannian_trace",
    "sample_posterior",
    "sampled_curvature",
    "scale_by_ivon",
    "scale_by_kfac",
    "scale_by_metric",
    "scale_by_mirror_descent",
    "scale_by_natural_gradient",
    "scale_by_relative_gradient",
    "scale_by_riemannian_adam",
    "scale_by_spring",
    "scale_by_vogn",
    "spring",
    "trust_region",
    "variational_gradient",
    "vogn",
    "within_domain",
]
