"""Pictures: functions that draw on given matplotlib Axes and never call show().

Needs the extra `viz`. Colors of curves follow the Axes' own cycle, so a style sheet decides; e-, m-
and Levi-Civita geodesics have a color and a stroke of their own in all pictures, which the
color-blind can tell apart.
"""

from igeojax.viz.curves import kl_asymmetry, loss_curves
from igeojax.viz.dual_geometry import geodesic_triangle, kl_balls, pythagorean_triangle
from igeojax.viz.estimation import coverage, efficiency, normal_approximation
from igeojax.viz.hyperbolic import poincare_disk
from igeojax.viz.manifold import fisher_ellipses, fisher_log_determinant, simplex
from igeojax.viz.mixtures import model_selection, projection_gains
from igeojax.viz.sphere import sphere
from igeojax.viz.temperature import temperature_paths

__all__ = [
    "coverage",
    "efficiency",
    "fisher_ellipses",
    "fisher_log_determinant",
    "geodesic_triangle",
    "kl_asymmetry",
    "kl_balls",
    "loss_curves",
    "model_selection",
    "normal_approximation",
    "poincare_disk",
    "projection_gains",
    "pythagorean_triangle",
    "simplex",
    "sphere",
    "temperature_paths",
]
