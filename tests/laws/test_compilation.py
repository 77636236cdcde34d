"""Families under the transformations of JAX: jit, vmap, batches, dtypes, pickle, no retracing."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential
from igeojax.families import FAMILIES
from tests.laws.programs import arguments, cast, flat, natural, observations, quantities

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow


def leaves(results) -> dict[str, np.ndarray]:
    paths = jax.tree_util.tree_leaves_with_path(results)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


def few(family, theta, other, x):
    """What a user computes most."""
    return {
        "log_density": family.log_density(theta, x),
        "entropy": family.entropy(theta),
        "mean": family.mean_from_natural(theta),
        "params": family.params_from_natural(theta),
        "kl": exponential.kl(family, theta, other),
    }


def test_jit_is_eager_and_vmap_is_a_loop(name):
    theta, other, x = arguments(name)
    batch = quantities(name)
    alone = few(FAMILIES[name].family, first(theta), first(other), first(x))
    expected = {
        "log_density": batch["log_density"],
        "entropy": batch["entropy"],
        "mean": batch["eta"],
        "params": batch["source"],
        "kl": batch["kl"],
    }
    expected, alone = leaves(first(expected)), leaves(alone)
    if isinstance(FAMILIES[name].family, families.Wishart | families.InverseWishart):
        # Two programs round differently, eps times the condition number of the observed matrix.
        value, other = (densities.pop("['log_density']") for densities in (alone, expected))
        slack = 1e-12 + 8 * np.finfo(float).eps * np.linalg.cond(first(x))
        assert (np.abs(value - other) <= 1e-13 + slack * np.abs(other)).all()
    for key, value in alone.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-12, atol=1e-13, err_msg=key)


def test_float32_stays_and_is_near_float64(name):
    family = FAMILIES[name].family
    compiled = jax.jit(lambda *points: few(family, *points))
    theta, other, x = first(arguments(name, "float32"))
    if len(family.event_shape) == 2 and not isinstance(x, tuple):
        # A nearly singular matrix has lost its determinant to float32 before anything is computed.
        x = x[np.linalg.cond(x) < 30]
    # The same numbers in float64, so that only arithmetic differs.
    double = leaves(compiled(*cast((theta, other, x), "float64")))
    for key, value in leaves(compiled(theta, other, x)).items():
        assert value.dtype == "float32", key
        size = np.abs(double[key])
        assert (np.abs(value - double[key]) <= 1e-5 * (1 + size)).all(), key


def test_without_float64(name):
    family = FAMILIES[name].family
    theta, other = first(arguments(name, "float32")[:2])
    narrow = lambda leaf: leaf.astype("int32" if leaf.dtype.kind == "i" else "float32")
    x = jax.tree.map(narrow, observations(name))
    expected = leaves(few(family, theta, other, x))

    def everyday(theta, other, x):
        drawn = family.sample(jax.random.key(0), theta, (8,))
        return few(family, theta, other, x), drawn, family.fit(drawn)

    with jax.enable_x64(False):
        results, drawn, fitted = jax.jit(everyday)(theta, other, x)
    for key, value in leaves(results).items():
        assert value.dtype == np.float32, key
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-5, err_msg=key)
    for leaf, example in zip(*map(jax.tree.leaves, (drawn, x)), strict=True):
        assert leaf.dtype == example.dtype
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(fitted))


def test_axes_of_points_and_data_broadcast(name):
    family = FAMILIES[name].family
    theta, row = natural(name, 0), observations(name)
    column = jax.tree.map(lambda leaf: leaf[:, None], theta)
    density = jax.jit(family.log_density)
    table = density(column, row)
    assert table.shape == (3, 2)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], theta)
        np.testing.assert_allclose(density(one, row), table[i], rtol=1e-12)
    # A single point meets many observations, and many points one observation.
    np.testing.assert_allclose(density(theta, first(row)), table[:, 0], rtol=1e-12)
    upright = jax.tree.map(lambda leaf: leaf[:, None], row)
    assert density(first(theta), upright).shape == (2, 1)


def test_gradients_of_the_density(name):
    family = FAMILIES[name].family
    one, event = first(natural(name, 0)), first(observations(name))
    score = lambda t: family.log_density(t, event)
    reverse, forward, hessian = jax.jit(
        lambda t: (jax.grad(score)(t), jax.jacfwd(score)(t), jax.hessian(score)(t))
    )(one)
    # The score is T(x) - eta, in both modes; minus its derivative is the Fisher metric.
    statistics = jax.tree.map(np.asarray, family.statistics(event))
    eta = first(quantities(name)["eta"])
    for slope in (reverse, forward):
        for got, t, mean in zip(*map(jax.tree.leaves, (slope, statistics, eta)), strict=True):
            np.testing.assert_allclose(got, t - mean, rtol=1e-8, atol=1e-9)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(hessian))
    direction = jax.tree.map(lambda leaf: 0.3 * jnp.ones_like(leaf), one)
    curvature = jax.jvp(jax.grad(score), (one,), (direction,))[1]
    expected = family.fisher_matvec(one, direction)
    np.testing.assert_allclose(flat(name, curvature), -flat(name, expected), rtol=1e-8, atol=1e-9)


def test_a_family_is_a_value(name):
    family = FAMILIES[name].family
    twin = copy.deepcopy(family)
    assert twin == family
    assert hash(twin) == hash(family)
    assert pickle.loads(pickle.dumps(family)) == family
    assert jax.tree.leaves(family) == []
    with pytest.raises(AttributeError):
        family.extra = 1


def test_equal_families_do_not_retrace(name):
    family = FAMILIES[name].family
    theta, x = first(natural(name, 0)), observations(name)
    traces = []

    def density(family, theta, x):
        traces.append(family)
        return family.log_density(theta, x)

    # As an argument (a static pytree) and as a static argument.
    as_tree, as_static = jax.jit(density), jax.jit(density, static_argnums=0)
    for _ in range(2):
        as_tree(copy.deepcopy(family), theta, x)
        as_static(copy.deepcopy(family), theta, x)
    assert len(traces) == 2


def test_points_survive_pickle_and_are_pytrees(name):
    family = FAMILIES[name].family
    theta = natural(name, 0)
    back = pickle.loads(pickle.dumps(theta))
    assert type(back) is family.Point
    for one, other in zip(*map(jax.tree.leaves, (back, theta)), strict=True):
        np.testing.assert_array_equal(one, other)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, theta)
    assert type(doubled) is family.Point
    assert len(jax.tree.leaves(theta)) == len(family.point_shape)


def test_rebuilding_a_point_inside_scan_and_cond(name):
    family = FAMILIES[name].family
    theta = first(natural(name, 0))

    def step(point, _):
        point = jax.lax.cond(family.in_natural_domain(point), lambda p: p, lambda p: theta, point)
        return family.natural_from_mean(family.mean_from_natural(point)), family.entropy(point)

    end, entropies = jax.jit(lambda t: jax.lax.scan(step, t, length=3))(theta)
    np.testing.assert_allclose(flat(name, end), flat(name, theta), rtol=1e-8)
    np.testing.assert_allclose(entropies, np.full(3, quantities(name)["entropy"][0]), rtol=1e-9)
