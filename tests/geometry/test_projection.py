"""Projections against closed forms, scipy and finite differences; Pythagoras at each of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from igeojax import discrete, families, geometry
from igeojax.divergences import exponential
from igeojax.families.registry import FAMILIES
from tests.laws.programs import NAMES, each_family_few_by_default, natural

EPS = np.finfo(float).eps


def law(name, seed, dtype="float64"):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0], dtype), natural(name, seed))


LAWS = ("p", "base", "other", "m", "e")


@functools.cache
def compiled(name):
    """Both projections onto one direction; means, divergences and gaps of all laws."""
    family = FAMILIES[name].family
    grid = np.indices((len(LAWS),) * 3).reshape(3, -1)

    @jax.jit
    def quantities(p, base, directions, other):
        rows = geometry.ravel(family, directions)
        moments = rows @ geometry.ravel(family, family.mean_from_natural(p))
        m = geometry.m_projection(family, p, base, directions)
        e = geometry.e_projection(family, other, directions, moments)
        laws = jax.tree.map(lambda *v: jnp.stack(v), p, base, other, m.point, e.point)
        one, two, three = (jax.tree.map(lambda leaf, i=i: leaf[i], laws) for i in grid)
        cube = lambda values: values.reshape((len(LAWS),) * 3)
        return {
            "m": m,
            "e": e,
            "moments": geometry.ravel(family, family.mean_from_natural(laws)) @ rows.T,
            "kl": cube(exponential.kl(family, one, two))[..., 0],
            "gap": cube(geometry.pythagorean_gap(family, one, two, three)),
        }

    return quantities


def arguments(name, dtype="float64"):
    p, base, other = (law(name, seed, dtype) for seed in range(3))
    # The submanifold through two laws: near enough that it stays in the domain.
    directions = jax.tree.map(lambda a, b: (a - b)[None], other, base)
    return p, base, directions, other


@each_family_few_by_default
def test_projections_meet_the_moments_and_pythagoras(name):
    found = compiled(name)(*arguments(name))
    moments = dict(zip(LAWS, np.asarray(found["moments"])[:, 0], strict=True))
    size = max(1.0, abs(moments["p"]))
    kl, gap = np.asarray(found["kl"]), np.asarray(found["gap"])
    p, base, other, m, e = range(len(LAWS))
    # m: the laws of the submanifold are base and other; e: those with the moments are p and m.
    for kind, corner, foot in (("m", m, base), ("m", m, other), ("e", e, other)):
        assert found[kind].converged, found[kind]
        assert moments[kind] == pytest.approx(moments["p"], rel=0, abs=1e-11 * size)
        assert gap[p, corner, foot] == pytest.approx(0, abs=1e-10 * size)
        assert kl[p, foot] == pytest.approx(kl[p, corner] + kl[corner, foot], rel=1e-8, abs=0)
    # Anywhere else the gap is what divergences lack.
    expected = kl[p, other] - kl[p, base] - kl[base, other]
    assert abs(expected) > 1e-4
    assert gap[p, base, other] == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_and_is_near_float64(name):
    narrow, wide = compiled(name)(*arguments(name, "float32")), compiled(name)(*arguments(name))
    for kind in ("m", "e"):
        for leaf in jax.tree.leaves(narrow[kind].point):
            assert leaf.dtype == np.float32
        assert narrow[kind].converged, narrow[kind]
        np.testing.assert_allclose(
            narrow[kind].coordinates, wide[kind].coordinates, rtol=2e-3, atol=1e-3
        )


NORMAL = families.MultivariateNormal(3)
COVARIANCE = np.array([[2.0, 0.8, -0.3], [0.8, 1.0, 0.2], [-0.3, 0.2, 0.5]])
LAW = NORMAL.Params(jnp.array([1.0, -2.0, 0.5]), jnp.asarray(COVARIANCE))
STANDARD = NORMAL.Params(jnp.zeros(3), jnp.eye(3))


def units(indices):
    """Directions of all means and of some entries of the second moments."""
    xx = np.zeros((len(indices), 3, 3))
    for row, (i, j) in enumerate(indices):
        xx[row, i, j] = xx[row, j, i] = 1.0
    k = len(indices)
    x = np.concatenate([np.eye(3), np.zeros((k, 3))])
    return NORMAL.Point(jnp.asarray(x), jnp.asarray(np.concatenate([np.zeros((3, 3, 3)), xx])))


DIAGONAL = units([(0, 0), (1, 1), (2, 2)])
M_NORMAL = jax.jit(lambda p, d: geometry.m_projection(NORMAL, p, STANDARD, d))


@pytest.mark.slow
def test_the_nearest_diagonal_normal_has_the_marginals():
    found = M_NORMAL(LAW, DIAGONAL)
    params = NORMAL.params_from_natural(found.point)
    assert found.converged
    np.testing.assert_allclose(params.mean, LAW[0], rtol=1e-12)
    np.testing.assert_allclose(params.covariance, np.diag(np.diag(COVARIANCE)), atol=1e-12)


@pytest.mark.slow
def test_a_graphical_model_keeps_the_moments_of_its_edges():
    # Without the edge (0, 2) of the precision: a chain, whose covariance is in closed form.
    found = M_NORMAL(LAW, units([(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]))
    covariance = np.asarray(NORMAL.params_from_natural(found.point).covariance)
    expected = COVARIANCE.copy()
    expected[0, 2] = expected[2, 0] = COVARIANCE[0, 1] * COVARIANCE[1, 2] / COVARIANCE[1, 1]
    np.testing.assert_allclose(covariance, expected, rtol=1e-11)
    assert found.converged


@pytest.mark.slow
def test_redundant_directions_share_their_coordinates():
    doubled = jax.tree.map(lambda leaf: jnp.concatenate([leaf, 3 * leaf, 0 * leaf]), DIAGONAL)
    once, found = M_NORMAL(LAW, DIAGONAL), M_NORMAL(LAW, doubled)
    assert found.converged
    for one, other in zip(once.point, found.point, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)
    u = np.asarray(found.coordinates).reshape(3, -1)
    np.testing.assert_allclose(u[0] + 3 * u[1], once.coordinates, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(u[2], 0)
    # Of moments that contradict each other there is no law.
    poisson = families.Poisson()
    twice = poisson.Point(jnp.ones(2))
    for target, possible in (([3.0, 3.0], True), ([3.0, 4.0], False)):
        found = geometry.e_projection(poisson, poisson.Params(1.0), twice, target)
        assert found.converged == possible


@pytest.mark.slow
def test_onto_everything_a_law_is_its_own_projection():
    beta = families.Beta()
    p, base = beta.natural_from_params(0.3, 7.0), beta.natural_from_params(2.0, 2.0)
    full = beta.Point(*jnp.eye(2))
    found = jax.jit(lambda p: geometry.m_projection(beta, p, base, full))(p)
    np.testing.assert_allclose(found.point, p, rtol=1e-12)
    assert found.converged


# A die, its prior, and two moments of the faces.
DIE = families.Categorical(6)
FACES = np.stack([np.arange(1.0, 7.0), (np.arange(6) == 1) * 1.0])
PRIOR = np.array([0.1, 0.25, 0.05, 0.2, 0.3, 0.1])
# In the minimal chart a feature counts relative to that of the last class.
DIRECTIONS = DIE.Point(jnp.asarray(FACES[:, :-1] - FACES[:, -1:]))


def die_projection(prior, moments):
    target = moments - FACES[:, -1]
    return geometry.e_projection(DIE, DIE.natural_from_params(prior), DIRECTIONS, target)


DIE_PROJECTION = jax.jit(die_projection)
MOMENTS = np.array([4.1, 0.2])


def test_maximum_entropy_is_the_projection_of_the_uniform_law():
    found = DIE_PROJECTION(np.full(6, 1 / 6), MOMENTS)
    expected = discrete.maximum_entropy(FACES.T, MOMENTS)
    assert found.converged
    np.testing.assert_allclose(DIE.params_from_natural(found.point).probs, expected.probs, 1e-11)
    np.testing.assert_allclose(found.coordinates, expected.multipliers, rtol=1e-10)


def test_no_law_with_the_moments_is_nearer_to_the_prior():
    found = DIE_PROJECTION(PRIOR, MOMENTS)
    q = np.asarray(DIE.params_from_natural(found.point).probs)
    objective = lambda v: np.sum(v * np.log(v / PRIOR))
    constraints = [
        {"type": "eq", "fun": lambda v: FACES @ v - MOMENTS},
        {"type": "eq", "fun": lambda v: v.sum() - 1},
    ]
    best = scipy.optimize.minimize(
        objective,
        np.full(6, 1 / 6),
        constraints=constraints,
        bounds=[(1e-9, 1)] * 6,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(q, best.x, atol=2e-6)
    assert objective(q) <= best.fun + 1e-12
    np.testing.assert_allclose(FACES @ q, MOMENTS, rtol=1e-13)


@pytest.mark.slow
def test_no_law_of_the_submanifold_is_nearer_to_the_data():
    gamma = families.Gamma()
    p, base = gamma.natural_from_params(2.0, 1.0), gamma.natural_from_params(6.0, 5.0)
    direction = gamma.Point(jnp.array([0.3]), jnp.array([-1.0]))
    found = geometry.m_projection(gamma, p, base, direction)

    def divergence(u):
        q = gamma.Point(base.log_x + 0.3 * u, base.x - u)
        return float(exponential.kl(gamma, p, q))

    best = scipy.optimize.minimize_scalar(divergence, bounds=(-4.9, 10), method="bounded")
    assert float(found.coordinates[0]) == pytest.approx(best.x, abs=1e-4)
    assert divergence(float(found.coordinates[0])) <= best.fun + 1e-14


def test_impossible_classes_stay_impossible():
    prior = np.array([0.1, 0.0, 0.15, 0.25, 0.4, 0.1])
    found = DIE_PROJECTION(prior, np.array([4.1, 0.0]))
    q = np.asarray(DIE.params_from_natural(found.point).probs)
    assert found.converged
    assert q[1] == 0
    assert FACES[0] @ q == pytest.approx(4.1, rel=1e-12, abs=0)
    # What is left is an exponential tilt of the prior.
    left = prior > 0
    steps = np.diff(np.log(q[left] / prior[left])) / np.diff(FACES[0][left])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_infeasible_targets_are_reported(dtype):
    prior = jnp.asarray(PRIOR, dtype)
    for moments in ([7.0, 0.2], [0.9, 0.2], [4.0, 1.2], [6.0, 0.01], [4.0, -0.001]):
        found = DIE_PROJECTION(prior, jnp.asarray(moments, dtype))
        assert not found.converged
        assert found.residual > 1e-4
        assert np.isfinite(found.coordinates).all()
    # On the boundary the moments are met in the limit.
    edge = DIE_PROJECTION(prior, jnp.asarray([3.5, 0.0], dtype))
    probs = np.asarray(DIE.params_from_natural(edge.point).probs)
    np.testing.assert_allclose(FACES @ probs, [3.5, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("family", "params", "direction", "target"),
    [
        (families.Poisson(), (1.0,), [1.0], -1.0),
        (families.Exponential(), (1.0,), [1.0], -1.0),
        (families.Normal(), (0.0, 1.0), [0.0, 1.0], -2.0),
        (families.Bernoulli(), (0.5,), [1.0], 2.0),
    ],
    ids=["Poisson", "Exponential", "Normal", "Bernoulli"],
)
@pytest.mark.slow
def test_no_law_has_such_a_mean(family, params, direction, target):
    directions = family.from_leaves([jnp.array([d]) for d in direction])
    found = geometry.e_projection(family, family.Params(*params), directions, [target])
    assert not found.converged
    assert found.residual > 0.1
    assert np.isfinite(found.residual)


@pytest.mark.parametrize("rate", [1e-12, 1e-3, 40.0, 1e9])
def test_far_targets_are_reached(rate):
    poisson, exponent = families.Poisson(), families.Exponential()
    one = poisson.Point(jnp.ones(1))
    found = geometry.e_projection(poisson, poisson.Params(1.0), one, [rate])
    assert found.converged
    assert float(found.point.x) == pytest.approx(np.log(rate), rel=1e-12, abs=0)
    mean = geometry.e_projection(
        exponent, exponent.Params(1.0), exponent.Point(jnp.ones(1)), [rate]
    )
    assert mean.converged
    assert float(mean.point.x) == pytest.approx(-1 / rate, rel=1e-12, abs=0)


@pytest.mark.slow
def test_derivatives_are_implicit():
    solve = lambda prior, moments: DIE_PROJECTION(prior, moments)[1]
    point = lambda prior, moments: DIE.params_from_natural(DIE_PROJECTION(prior, moments)[0]).probs
    forward = jax.jit(jax.jacfwd(solve, argnums=1))(PRIOR, MOMENTS)
    # d lambda / d moments is the inverse covariance of the features.
    q = np.asarray(point(PRIOR, MOMENTS))
    centered = FACES - (FACES @ q)[:, None]
    covariance = (q * centered) @ centered.T
    np.testing.assert_allclose(forward @ covariance, np.eye(2), atol=1e-10)
    reverse = jax.jit(jax.jacrev(solve, argnums=1))(PRIOR, MOMENTS)
    np.testing.assert_allclose(reverse, forward, rtol=1e-10)
    # In the prior, along a direction in the simplex, by central differences.
    along = np.array([0.01, -0.02, 0.005, 0.015, -0.02, 0.01])
    _, moved = jax.jit(lambda p, v: jax.jvp(lambda p: point(p, MOMENTS), (p,), (v,)))(PRIOR, along)
    step = 1e-4
    high, low = (np.asarray(point(PRIOR + s * along, MOMENTS)) for s in (step, -step))
    np.testing.assert_allclose(moved, (high - low) / (2 * step), rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_derivatives_in_the_directions():
    def probs(rows):
        target = MOMENTS - FACES[:, -1]
        prior = DIE.natural_from_params(PRIOR)
        found = geometry.e_projection(DIE, prior, DIE.Point(rows), target)
        return DIE.params_from_natural(found.point).probs

    rows, weights = DIRECTIONS.one_hot, np.arange(6.0)
    slope = jax.jit(jax.grad(lambda rows: probs(rows) @ weights))(rows)
    along = np.random.default_rng(0).normal(size=rows.shape)
    high, low = (float(probs(rows + s * along) @ weights) for s in (1e-5, -1e-5))
    assert np.sum(slope * along) == pytest.approx((high - low) / 2e-5, rel=1e-6, abs=0)


@pytest.mark.slow
def test_vmap_is_a_loop():
    moments = np.array([[4.1, 0.2], [3.0, 0.3], [9.0, 0.1]])
    many = jax.jit(jax.vmap(die_projection, (None, 0)))(PRIOR, moments)
    for i, row in enumerate(moments[:2]):
        one = DIE_PROJECTION(PRIOR, row)
        np.testing.assert_allclose(many.coordinates[i], one.coordinates, rtol=1e-10)
    assert many.converged.tolist() == [True, True, False]


def test_gap_keeps_digits_that_divergences_lose():
    normal = families.NormalKnownScale(1.0)
    p, q, r = (normal.Point(jnp.array(v)) for v in (0.0, 1e6, 1e6 + 1e-6))
    # <eta_p - eta_q, theta_q - theta_r> of a flat family: a product of differences.
    step = (1e6 + 1e-6) - 1e6
    found = float(geometry.pythagorean_gap(normal, p, q, r))
    assert found == pytest.approx(1e6 * step, rel=1e-14, abs=0)


def test_gap_broadcasts_and_is_nan_outside_the_domain():
    exponent = families.Exponential()
    p = exponent.natural_from_params(jnp.array([1.0, 2.0]))
    q, r = exponent.Params(1.5), exponent.Params(jnp.ones((3, 1)))
    assert geometry.pythagorean_gap(exponent, p, q, r).shape == (3, 2)
    outside = exponent.Point(jnp.array(1.0))
    assert np.isnan(geometry.pythagorean_gap(exponent, outside, q, q))
    assert np.isnan(geometry.pythagorean_gap(exponent, q, q, outside))


def test_bad_input():
    normal = families.Normal()
    p = normal.natural_from_params(0.0, 1.0)
    pair = normal.natural_from_params(jnp.zeros(2), 1.0)
    direction = normal.Point(jnp.zeros(1), jnp.ones(1))
    m = functools.partial(geometry.m_projection, normal)
    e = functools.partial(geometry.e_projection, normal)
    with pytest.raises(TypeError, match="instance of a family"):
        geometry.m_projection(families.Normal, p, p, direction)
    with pytest.raises(ValueError, match=r"base must be one law; got a batch of shape \(2,\)"):
        m(p, pair, direction)
    with pytest.raises(ValueError, match="p must be inside the natural domain"):
        e(normal.Point(0.0, 1.0), direction, [1.0])
    with pytest.raises(ValueError, match=r"directions must have one leading axis.*got \(\)"):
        m(p, p, p)
    with pytest.raises(TypeError, match=r"needs a Normal\.Point; got list"):
        m(p, p, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"target must have shape \(1,\).*got \(2,\)"):
        e(p, direction, [1.0, 2.0])
    with pytest.raises(TypeError, match="target must be a number or an array"):
        e(p, direction, "one")
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        e(p, direction, [1.0], max_steps=0)
