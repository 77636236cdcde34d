"""Pictures: functions that draw on given matplotlib Axes and never call show().

Needs the extra `viz`. Colors follow the Axes' own cycle, so a style sheet decides.
"""

from igeojax.viz.curves import kl_asymmetry, loss_curves
from igeojax.viz.manifold import fisher_ellipses, simplex

__all__ = ["fisher_ellipses", "kl_asymmetry", "loss_curves", "simplex"]
