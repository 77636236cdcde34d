"""Pictures of the gains of EM and of model selection hold the numbers they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from igeojax import em, families, viz


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def test_gains_are_drawn_as_the_sum_of_two(ax):
    mixture = em.Mixture(families.Poisson(), 2)
    start = mixture.point([0.5, 0.5], families.Poisson().natural_from_params([2.0, 9.0]))
    x = jnp.array([1, 2, 3, 8, 12, 15])
    gains = em.projection_gains(mixture, x, start, num_iterations=4)
    viz.projection_gains(ax, gains)
    latent, model, total, marks = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(latent, gains.latent_kls)
    np.testing.assert_allclose(model, gains.model_kls)
    np.testing.assert_allclose(total, latent + model)
    np.testing.assert_allclose(marks, total, rtol=1e-6)
    assert ax.get_yscale() == "log"
    still = gains._replace(latent_kls=np.zeros(4), model_kls=np.zeros(4))
    with pytest.raises(ValueError, match="an iteration that gains; got none"):
        viz.projection_gains(ax, still)


@pytest.mark.slow
def test_criteria_stand_above_their_least(ax):
    x = jnp.array([1, 2, 1, 2, 30, 32, 31, 29])
    found = em.model_selection(families.Poisson(), x, (1, 2, 3), key=jax.random.key(0))
    viz.model_selection(ax, found)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines[::2]}
    for name in ("bic", "aic", "icl"):
        values = getattr(found, name)
        label = f"{name.upper()}: {found.num_components[np.argmin(values)]}"
        np.testing.assert_allclose(lines[label], values - values.min())
    assert [mark.get_xdata()[0] for mark in ax.lines[1::2]] == [2, 2, 2]
