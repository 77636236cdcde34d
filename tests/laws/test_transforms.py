"""Laws that every transform of `optim` obeys: optax's contract, and a little more."""

import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, fisher, manifolds, optim

LINEAR, NORMAL = families.NormalKnownScale(), families.Normal()
INPUTS = jnp.asarray([[1.0, 0.5, 0.0], [0.0, 2.0, 1.0], [-1.0, 1.0, 0.5], [0.3, 0.1, 1.0]])


def predict(params: Any, inputs: jax.Array) -> Any:
    return LINEAR.natural_from_params(loc=inputs @ params["w"] + params["b"])


def scaled(params: Any, tangent: Any) -> Any:
    return jax.tree.map(lambda v: 2 * v, tangent)


def capped(point: Any) -> Any:
    return jax.tree.map(functools.partial(optim.entropy_projection, upper=0.9), point)


@dataclasses.dataclass(frozen=True)
class Law:
    """A transform and where to try it.

    Args:
      build: makes the transform; keyword arguments replace `hyperparameters`.
      params: the parameters.
      grads: a gradient.
      extra: arguments of `update` beyond the parameters.
      hyperparameters: numeric arguments of `build`, which `inject_hyperparams` may take.
      static: arguments of the factory that are callables or descriptions.
      factory: the public function, and the arguments for `inject_hyperparams`.
    """

    factory: Callable[..., optax.GradientTransformationExtraArgs]
    static: dict[str, Any]
    hyperparameters: dict[str, float]
    params: Any
    grads: Any
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def build(self) -> optax.GradientTransformationExtraArgs:
        return self.factory(**self.static, **self.hyperparameters)


TREE = {"w": jnp.asarray([0.2, -0.1, 0.4]), "b": jnp.asarray(0.3)}
SLOPE = {"w": jnp.asarray([1.0, 0.5, -2.0]), "b": jnp.asarray(-0.7)}
SIMPLEX = {"p": jnp.asarray([0.2, 0.3, 0.5]), "q": jnp.asarray([[0.5, 0.5], [0.9, 0.1]])}
PUSH = {"p": jnp.asarray([1.0, 0.5, -2.0]), "q": jnp.asarray([[1.0, 0.0], [-1.0, 2.0]])}
MATRICES = {"c": jnp.asarray([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])}
TURNS = {"c": jnp.asarray([[[0.3, -0.5], [-0.5, 1.0]], [[-1.0, 0.2], [0.2, 0.5]]])}
DIRECTIONS = {
    "x": jnp.asarray([[0.6, 0.8, 0.0], [0.0, -1.0, 0.0]]),
    "y": jnp.asarray([[0.1, -0.2], [0.0, 0.5]]),
    "z": jnp.asarray([0.3, -0.4]),
}
FORCES = {
    "x": jnp.asarray([[0.3, -0.5, 1.0], [2.0, 0.1, -0.2]]),
    "y": jnp.asarray([[0.5, 1.0], [-2.0, 0.2]]),
    "z": jnp.asarray([1.0, 2.0]),
}
CURVED = {"manifolds": {"x": manifolds.Sphere(3), "y": manifolds.PoincareBall(2), "z": None}}
POINT = NORMAL.mean_from_natural(NORMAL.natural_from_params(0.4, 1.3))
NATURAL = NORMAL.natural_from_params(jnp.asarray([0.4, -1.0]), jnp.asarray([1.3, 0.5]))
# The first leaves the domain.
RISE = NORMAL.Point(jnp.asarray([0.3, 1.0]), jnp.asarray([0.4, -0.2]))
MEAN_FIELD = {"weight_decay": 0.0, "curvature_init": 0.5}  # no pull where the gradient is 0
DRAW = {"w": jnp.asarray([0.3, 0.1, 0.2]), "b": jnp.asarray(-0.2)}
MODEL = {"predict": predict, "family": LINEAR}
CG = optim.ConjugateGradient(tolerance=1e-6)
# Random signs are the same in float32: labels of a family would be others.
KRONECKER = {
    "predict": lambda params, inputs: predict(params, inputs).x,
    "family": fisher.OutputMetric(lambda outputs, tangent: tangent, event_ndim=0),
    "example_inputs": INPUTS[:1],
    "update_every": 2,
    "decay": 0.5,
    "dense_limit": 8,
    "factor_limit": 8,
    "seed": 3,
}
LAWS = {
    "scale_by_metric": Law(
        optim.scale_by_metric,
        {"metric_matvec": scaled, "solver": optim.Dense()},
        {"damping": 0.1},
        TREE,
        SLOPE,
    ),
    **{
        f"scale_by_natural_gradient-{type(solver).__name__}": Law(
            optim.scale_by_natural_gradient,
            MODEL | {"solver": solver},
            {"damping": 0.1},
            TREE,
            SLOPE,
            {"inputs": INPUTS},
        )
        for solver in (
            optim.Dense(),
            CG,
            optim.SampleSpace(),
            optim.Diagonal(),
            optim.BlockDiagonal(),
            optim.LowRank(2),
            optim.KFAC(),
            optim.EKFAC(),
            optim.Auto(),
        )
    },
    "natural_gradient": Law(
        optim.natural_gradient,
        MODEL | {"solver": CG},
        {"learning_rate": 0.3, "damping": 0.1},
        TREE,
        SLOPE,
        {"inputs": INPUTS},
    ),
    "trust_region": Law(
        optim.trust_region,
        MODEL | {"max_iterations": 10, "tolerance": 1e-6, "max_backtracks": 10},
        {"max_kl": 0.02, "damping": 0.1, "backtrack": 0.5},
        TREE,
        SLOPE,
        {"inputs": INPUTS},
    ),
    "scale_by_spring": Law(
        optim.scale_by_spring,
        MODEL | {"solver": optim.SampleSpace()},
        {"momentum": 0.9, "damping": 0.1},
        TREE,
        SLOPE,
        {"inputs": INPUTS},
    ),
    "spring": Law(
        optim.spring,
        MODEL | {"solver": optim.SampleSpace()},
        {"learning_rate": 0.3, "momentum": 0.9, "damping": 0.1, "max_norm": 0.5},
        TREE,
        SLOPE,
        {"inputs": INPUTS},
    ),
    "scale_by_kfac": Law(
        optim.scale_by_kfac, KRONECKER, {"damping": 0.1}, TREE, SLOPE, {"inputs": INPUTS}
    ),
    **{
        name: Law(
            factory,
            KRONECKER,
            {"learning_rate": 0.3, "momentum": 0.5, "damping": 0.1},
            TREE,
            SLOPE,
            {"inputs": INPUTS},
        )
        for name, factory in (("kfac", optim.kfac), ("ekfac", optim.ekfac))
    },
    "kfac-adaptive": Law(optim.kfac, KRONECKER, {}, TREE, SLOPE, {"inputs": INPUTS}),
    "scale_by_relative_gradient": Law(
        optim.scale_by_relative_gradient, {}, {"max_norm": 0.5}, MATRICES, TURNS
    ),
    "relative_gradient": Law(
        optim.relative_gradient, {}, {"learning_rate": 0.1, "max_norm": 0.5}, MATRICES, TURNS
    ),
    "within_domain": Law(
        optim.within_domain,
        {"family": NORMAL, "max_backtracks": 9},
        {"backtrack": 0.5},
        NATURAL,
        RISE,
    ),
    "add_prior": Law(optim.add_prior, {"family": NORMAL, "prior": NATURAL}, {}, NATURAL, RISE),
    "bayesian_learning_rule": Law(
        optim.bayesian_learning_rule,
        {"family": NORMAL, "prior": NATURAL, "max_backtracks": 9},
        {"learning_rate": 1.5, "backtrack": 0.5},
        NATURAL,
        jax.tree.map(jnp.negative, RISE),
    ),
    "scale_by_ivon": Law(
        optim.scale_by_ivon,
        MEAN_FIELD,
        {"ess": 10.0, "b1": 0.9, "b2": 0.8},
        TREE,
        SLOPE,
        {"curvature": DRAW},
    ),
    "ivon": Law(
        optim.ivon,
        MEAN_FIELD | {"ess": 10.0},
        {"learning_rate": 0.1, "b1": 0.9, "b2": 0.8},
        TREE,
        SLOPE,
        {"sample": DRAW},
    ),
    **{
        name: Law(
            factory,
            MODEL | MEAN_FIELD | {"chunk_size": 2},
            {"ess": 10.0, "b1": 0.9, "b2": 0.8} | rate,
            TREE,
            SLOPE,
            {"inputs": INPUTS, "sample": DRAW},
        )
        for name, factory, rate in (
            ("scale_by_vogn", optim.scale_by_vogn, {}),
            ("vogn", optim.vogn, {"learning_rate": 0.1}),
        )
    },
    "scale_by_mirror_descent": Law(
        optim.scale_by_mirror_descent, {"mirror_map": optim.NegativeEntropy()}, {}, SIMPLEX, PUSH
    ),
    "mirror_descent-projected": Law(
        optim.mirror_descent,
        {"mirror_map": optim.NegativeEntropy(), "projection": capped},
        {"learning_rate": 0.1},
        SIMPLEX,
        PUSH,
    ),
    **{
        f"mirror_descent-{type(mirror).__name__}": Law(
            optim.mirror_descent, {"mirror_map": mirror}, {"learning_rate": 0.1}, params, grads
        )
        for mirror, params, grads in (
            (optim.Euclidean(), TREE, SLOPE),
            (optim.NegativeEntropy(), SIMPLEX, PUSH),
            (optim.LogBarrier(normalized=True), SIMPLEX, PUSH),
            (optim.PNorm(1.2), TREE, SLOPE),
            (optim.VonNeumannEntropy(), MATRICES, TURNS),
            (optim.LogDet(), MATRICES, TURNS),
            (optim.FamilyPotential(NORMAL), POINT, NORMAL.Point(*map(jnp.asarray, (0.3, -0.2)))),
        )
    },
    **{
        name: Law(factory, CURVED, hyperparameters, DIRECTIONS, FORCES)
        for name, factory, hyperparameters in (
            ("riemannian_gradient", optim.riemannian_gradient, {}),
            ("riemannian_trace", optim.riemannian_trace, {"decay": 0.9}),
            ("scale_by_riemannian_adam", optim.scale_by_riemannian_adam, {"b1": 0.9, "eps": 1e-8}),
            ("geodesic_updates", optim.geodesic_updates, {}),
            ("project_onto", optim.project_onto, {}),
            ("riemannian_sgd", optim.riemannian_sgd, {"learning_rate": 0.1}),
            ("riemannian_momentum", optim.riemannian_momentum, {"learning_rate": 0.1}),
            ("riemannian_adam", optim.riemannian_adam, {"learning_rate": 0.1, "b2": 0.99}),
        )
    },
}
each_transform = pytest.mark.parametrize("name", sorted(LAWS))


def fingerprint(tree):
    """Structure, shapes and dtypes."""
    return jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def close(found, expected, rtol=1e-9, atol=1e-12):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), found, expected
    )


@functools.cache
def compiled(name):
    """The transform's update, compiled once."""
    tx = LAWS[name].build()
    return tx, jax.jit(tx.update)


@functools.cache
def first(name):
    """The first update of a transform."""
    law, (tx, step) = LAWS[name], compiled(name)
    return step(law.grads, tx.init(law.params), law.params, **law.extra)


def test_every_public_transform_is_here():
    public = {n for n in optim.__all__ if callable(getattr(optim, n)) and n[0].islower()}
    others = {
        "apply_riemannian_updates",
        "describe",
        "elbo",
        "entropy_projection",
        "generalized_advantages",
        "posterior_scale",
        "sample_posterior",
        "sampled_curvature",
        "variational_gradient",
    }
    assert public - others == {name.split("-")[0] for name in LAWS}
    maps = {k.__name__ for k in vars(optim).values() if isinstance(k, type)
            and issubclass(k, optim.MirrorMap) and k is not optim.MirrorMap}  # fmt: skip
    solvers = {k.__name__ for k in vars(optim).values() if isinstance(k, type)
               and issubclass(k, optim.Solver) and k is not optim.Solver}  # fmt: skip
    assert maps | solvers <= {name.split("-")[-1] for name in LAWS}


@each_transform
def test_extra_arguments_are_accepted(name):
    law, (tx, _) = LAWS[name], compiled(name)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    state = tx.init(law.params)
    updates, _ = jax.jit(tx.update)(
        law.grads, state, law.params, **law.extra, value=1.0, unheard_of=jnp.ones(3)
    )
    close(updates, first(name)[0])


@each_transform
def test_updates_are_like_gradients_and_the_state_like_itself(name):
    law, (tx, _) = LAWS[name], compiled(name)
    updates, state = first(name)
    assert fingerprint(updates) == fingerprint(law.grads)
    assert fingerprint(state) == fingerprint(tx.init(law.params))
    assert fingerprint(jax.eval_shape(tx.init, law.params)) == fingerprint(state)
    weak = [x.weak_type for x in jax.tree.leaves((tx.init(law.params), updates, state))]
    assert not any(weak), "a weak type would compile the second step anew"
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
    assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(updates)])).all()


@each_transform
def test_jit_is_eager(name):
    law, (tx, _) = LAWS[name], compiled(name)
    close(tx.update(law.grads, tx.init(law.params), law.params, **law.extra), first(name))


@each_transform
def test_zero_gradient_is_zero_update(name):
    law, (tx, step) = LAWS[name], compiled(name)
    zero = jax.tree.map(jnp.zeros_like, law.grads)
    updates, _ = step(zero, tx.init(law.params), law.params, **law.extra)
    close(updates, zero, atol=1e-15)


@each_transform
def test_float32_stays(name):
    law, (tx, step) = LAWS[name], compiled(name)
    single = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.float32))
    grads, params, extra = single((law.grads, law.params, law.extra))
    state = tx.init(params)
    updates, after = step(grads, state, params, **extra)
    assert fingerprint(updates) == fingerprint(grads)
    assert fingerprint(after) == fingerprint(state)
    assert not any(x.dtype == jnp.float64 for x in jax.tree.leaves(after))
    close(updates, first(name)[0], rtol=1e-4, atol=1e-5)


@each_transform
def test_vmap_is_a_loop(name):
    law, (tx, step) = LAWS[name], compiled(name)
    grads = jax.tree.map(lambda g: jnp.stack([g, 0.5 * g]), law.grads)
    mapped, _ = jax.vmap(lambda g: step(g, tx.init(law.params), law.params, **law.extra))(grads)
    half = jax.tree.map(lambda g: 0.5 * g, law.grads)
    alone, _ = step(half, tx.init(law.params), law.params, **law.extra)
    close(jax.tree.map(lambda u: u[0], mapped), first(name)[0], rtol=1e-6)
    close(jax.tree.map(lambda u: u[1], mapped), alone, rtol=1e-6)


@each_transform
def test_scan_carries_the_state(name):
    law, (tx, step) = LAWS[name], compiled(name)

    def advance(carry, _):
        params, state = carry
        updates, state = step(law.grads, state, params, **law.extra)
        return (optax.apply_updates(params, updates), state), None

    start = law.params, tx.init(law.params)
    scanned, _ = jax.jit(lambda carry: jax.lax.scan(advance, carry, length=2))(start)
    once, _ = advance(start, None)
    twice, _ = advance(once, None)
    close(scanned, twice, rtol=1e-6)


@each_transform
def test_inject_hyperparams_changes_nothing_but_the_values(name):
    law = LAWS[name]
    if not law.hyperparameters:
        pytest.skip("no hyperparameter")
    factory = optax.inject_hyperparams(law.factory, static_args=tuple(law.static))
    tx = factory(**law.static, **law.hyperparameters)
    state = tx.init(law.params)
    step = jax.jit(tx.update)
    updates, after = step(law.grads, state, law.params, **law.extra)
    close(updates, first(name)[0], rtol=1e-6)
    assert fingerprint(after) == fingerprint(state)
    for hyperparameter in law.hyperparameters:
        values = law.hyperparameters | {hyperparameter: 0.05}
        changed = state._replace(
            hyperparams=state.hyperparams | {hyperparameter: jnp.zeros(()) + 0.05}
        )
        expected = law.factory(**law.static, **values)
        found, _ = step(law.grads, changed, law.params, **law.extra)
        alone, _ = jax.jit(expected.update)(
            law.grads, expected.init(law.params), law.params, **law.extra
        )
        close(found, alone, rtol=1e-6)


@each_transform
def test_state_survives_pickle(name):
    law, (_, step) = LAWS[name], compiled(name)
    _, state = first(name)
    restored = pickle.loads(pickle.dumps(state))
    close(
        step(law.grads, restored, law.params, **law.extra),
        step(law.grads, state, law.params, **law.extra),
        rtol=0,
        atol=0,
    )


@each_transform
def test_params_are_asked_for(name):
    law, (tx, _) = LAWS[name], compiled(name)
    with pytest.raises(ValueError, match=r"needs the current parameters; got params=None\. Call"):
        tx.update(law.grads, tx.init(law.params), **law.extra)
