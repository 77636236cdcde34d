"""Charts: round trips, duality, one structure for statistics, means and natural parameters."""

import jax
import numpy as np

from igeojax.families import FAMILIES, cumulants
from tests.laws.programs import NAMES, family_params, flat, natural, quantities


def test_mean_map_is_the_gradient_of_the_log_partition(name):
    found = quantities(name)
    for derived in ("eta_derived", "eta_gradient"):
        np.testing.assert_allclose(flat(name, found["eta"]), flat(name, found[derived]), rtol=1e-12)


def test_round_trips(name):
    found, theta = quantities(name), natural(name, 0)
    np.testing.assert_allclose(flat(name, found["round_trip"]), flat(name, theta), rtol=1e-10)
    np.testing.assert_allclose(flat(name, found["source_trip"]), flat(name, theta), rtol=1e-12)
    source = family_params(name)
    assert jax.tree.structure(found["source"]) == jax.tree.structure(source)
    for got, value in zip(*map(jax.tree.leaves, (found["source"], source)), strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-11, atol=1e-13)


def test_outside_the_domain_all_is_nan(name):
    family, theta = FAMILIES[name].family, natural(name, 0)
    inside = jax.tree.map(lambda leaf: leaf[0], theta)
    everything = jax.jit(
        lambda theta: (
            family.in_natural_domain(theta),
            [
                getattr(family, method)(theta)
                for method in ("mean_from_natural", "params_from_natural", "mean", "variance")
            ],
            family.fisher_matvec(theta, theta),
            cumulants.cumulant(family, theta, theta, order=2),
        )
    )
    # All coordinates are moved, and one at a time.
    leaves, structure = jax.tree.flatten(inside)
    every = range(len(leaves))
    candidates = [
        structure.unflatten([change(v) if i in chosen else v for i, v in enumerate(leaves)])
        for chosen in (every, *([i] for i in every))
        for change in (np.negative, lambda v: v + np.inf)
    ]
    outside = [theta for theta in candidates if not everything(theta)[0]]
    if name in ("Bernoulli", "Binomial"):  # whose domain is closed: laws of certain outcomes
        assert not outside
    else:
        assert outside
    for theta in outside:
        assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(everything(theta)[1:]))
    assert everything(inside)[0]
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(everything(inside)[1:]))


def test_legendre_identity(name):
    found = quantities(name)
    total = found["potential"] + found["dual_potential"]
    np.testing.assert_allclose(total, found["pairing"], rtol=1e-11, atol=1e-12)


def test_one_structure(name):
    entry = FAMILIES[name]
    family, theta, found = entry.family, natural(name, 0), quantities(name)
    assert type(theta) is family.Point
    assert type(found["source"]) is family.Params
    structure = jax.tree.structure(theta)
    for other in (found["eta"], found["eta_gradient"], found["round_trip"]):
        assert jax.tree.structure(other) == structure
        assert jax.tree.map(np.shape, other) == jax.tree.map(np.shape, theta)
    x = entry.family.sample(jax.random.key(0), theta)
    statistics = family.statistics(x)
    assert jax.tree.map(np.shape, statistics) == jax.tree.map(np.shape, theta)
    assert family.batch_shape(theta) == (3,)
    assert family.dimension == found["vector"].shape[-1]
    event = [np.shape(leaf)[1:] for leaf in jax.tree.leaves(theta)]
    assert tuple(event) == family.point_shape


def test_pairing_is_the_dot_product_of_the_chart(name):
    found = quantities(name)
    dot = np.sum(flat(name, natural(name, 0)) * flat(name, found["eta"]), axis=-1)
    np.testing.assert_allclose(found["pairing"], dot, rtol=1e-12, atol=1e-14)


def test_points_are_valid(name):
    found = quantities(name)
    assert found["in_domain"].all()
    assert found["in_support"].all()
    theta = natural(name, 0)
    bad = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), theta)
    assert not FAMILIES[name].family.in_natural_domain(bad).any()


def test_the_registry_lists_every_family():
    import igeojax.families as package

    families = {name for name in package.__all__ if name[0].isupper()}
    assert set(NAMES) == families - {"FAMILIES", "ExponentialFamily"}
