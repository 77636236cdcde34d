"""Checkpoints: of this fit and no other, with more steps too."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.em.checkpoint import resumable_loop

MIXTURE = em.Mixture(families.Poisson(), 2)
X = jnp.asarray(np.random.default_rng(0).poisson(3.0, size=40))
POINT = lambda *rates: MIXTURE.point([0.5, 0.5], MIXTURE.family.natural_from_params(rates))
OPTIONS = {"initialization": POINT(1.0, 5.0), "max_iterations": 3, "tolerance": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("orbax.checkpoint")
    folder = tmp_path_factory.mktemp("fit")
    MIXTURE.fit(X, checkpoint=folder, **OPTIONS)
    return folder


def test_the_same_fit_goes_on(folder):
    again = MIXTURE.fit(X, checkpoint=folder, chunk_size=7, **OPTIONS)
    np.testing.assert_array_equal(again.log_likelihoods, MIXTURE.fit(X, **OPTIONS).log_likelihoods)
    drawn = {"key": jax.random.key(0), "max_iterations": 2, "tolerance": 0.0}
    more = folder / "drawn"
    MIXTURE.fit(X, checkpoint=more, **drawn)
    longer = MIXTURE.fit(X, checkpoint=more, **drawn | {"max_iterations": 4})
    assert int(longer.num_iterations) == 4
    with pytest.raises(ValueError, match=r"max_iterations must be at least 4.*got 3"):
        MIXTURE.fit(X, checkpoint=more, **drawn | {"max_iterations": 3})
    with pytest.raises(ValueError, match=r"one of other start: k-means\+\+, uint32"):
        MIXTURE.fit(X, checkpoint=more, **drawn | {"key": jax.random.key(1)})


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"data": X + 1}, "data: 40, 40.0, int"),
        ({"data": X[::-1]}, "data: 40, 40.0, int"),
        ({"data": X[:-1]}, "data: .*, which here is 39, 39.0"),
        ({"data": em.Chunks([X, X])}, "data: .*, which here is 80, 80.0"),
        ({"weights": jnp.linspace(0.5, 1.5, 40)}, "data"),
        ({"initialization": POINT(1.0, 6.0)}, "start"),
        ({"prior": em.mixture_prior(MIXTURE, concentration=2.0)}, "prior: None, which here is"),
        ({"fixed": ("weights",)}, "fixed: None, which here is weights"),
        ({"tolerance": 1e-3}, "tolerance: 0.0, which here is 0.001"),
        ({"acceleration": "squarem"}, "acceleration: None, which here is squarem"),
        ({"family": families.Geometric()}, r"mixture: Mixture\(family=Poisson.*Geometric"),
        ({"assignment": "hard"}, "assignment: soft, which here is hard"),
        ({"missing": True}, "mixture: .*missing=False.*missing=True"),
    ],
)
def test_another_fit_is_refused(folder, change, name):
    change = dict(change)
    data = change.pop("data", X)
    mixture = em.Mixture(
        change.pop("family", MIXTURE.family), 2, missing=change.pop("missing", False)
    )
    if mixture.family != MIXTURE.family:
        probs = mixture.family.natural_from_params(jnp.array([0.5, 0.2]))
        change["initialization"] = mixture.point([0.5, 0.5], probs)
    words = rf"checkpoint must be an empty folder.*holds one of other {name}"
    with pytest.raises(ValueError, match=words) as caught:
        mixture.fit(data, checkpoint=folder, **OPTIONS | change)
    assert "Pass another folder" in str(caught.value)


def test_steps_that_do_not_say_of_what_are_refused(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    (tmp_path / "3").mkdir()
    with pytest.raises(ValueError, match=r"holds steps without arguments\.json"):
        resumable_loop(tmp_path)


def test_orbax_that_is_missing_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"checkpoint needs orbax.*pip install orbax-checkpoint"):
        MIXTURE.fit(X, checkpoint=tmp_path, **OPTIONS)
