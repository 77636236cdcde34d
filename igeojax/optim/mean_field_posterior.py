"""The normal law that variational optimizers keep about the parameters of a network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from igeojax._core import checks
from igeojax.optim._arguments import require_alike
from igeojax.optim._model import completed, masked_as


class MeanFieldState(NamedTuple):
    """What a variational optimizer knows beside the mean, which is the parameters.

    `step`: updates so far. `momentum`: running mean of the gradients. `curvature`: h, of the mean
    loss. `ess`, `weight_decay`: those of the last update.
    """

    step: Int[Array, ""]
    momentum: Any
    curvature: Any
    ess: Float[Array, ""]
    weight_decay: Float[Array, ""]


def posterior_scale(state: Any) -> Any:
    """Standard deviations `(ess (h + weight_decay))^(-1/2)` of the approximation.

    Args:
      state: of `ivon`, `vogn` or a chain that holds one of them.

    Returns:
      A pytree like the parameters.

    Raises:
      ValueError: the state holds no `MeanFieldState`, or several.

    Examples:
      >>> from igeojax.optim.variational_gaussian import scale_by_ivon
      >>> state = scale_by_ivon(ess=4.0, weight_decay=0.5, curvature_init=0.5).init(jnp.zeros(2))
      >>> posterior_scale(state).tolist()
      [0.5, 0.5]
    """
    found = _found_in(state)
    return jax.tree.map(lambda h: jax.lax.rsqrt(_precision(found, h)), found.curvature)


def sample_posterior(
    key: Key[Array, ""], state: Any, params: Any, shape: tuple[int, ...] = ()
) -> Any:
    """Parameters drawn from the approximation, whose mean are `params`.

    Args:
      key: a PRNG key.
      state: of `ivon`, `vogn` or a chain that holds one of them.
      params: the parameters, the mean.
      shape: leading shape of the draws, such as `(8,)` for predictions by `jax.vmap`.

    Returns:
      A pytree like `params`, each leaf with `shape` in front. Leaves that `optax.masked` takes out
      are at their mean.

    Raises:
      TypeError: `key` is no PRNG key, or `shape` no tuple.
      ValueError: the state holds no `MeanFieldState`, or several, or is not that of `params`.

    Examples:
      >>> from igeojax.optim.variational_gaussian import ivon
      >>> params = jnp.ones(2)
      >>> state = ivon(0.1, ess=1e12).init(params)
      >>> sample_posterior(jax.random.key(0), state, params, (3,)).round(3).tolist()
      [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    checks.require_key(key)
    checks.require_shape(shape)
    scale = posterior_scale(state)
    part = masked_as(params, scale)
    _require_state_of(scale, part)
    structure = jax.tree.structure(part)
    keys = jax.tree.unflatten(structure, jax.random.split(key, structure.num_leaves))
    pad = (1,) * len(shape)

    def drawn(key: Array, mean: Array, scale: Array) -> Array:
        noise = jax.random.normal(key, shape + mean.shape, scale.dtype)
        wide = scale.reshape(pad + scale.shape) * noise
        return (mean.reshape(pad + mean.shape) + wide).astype(mean.dtype)

    still = jax.tree.map(lambda mean: jnp.broadcast_to(mean, shape + jnp.shape(mean)), params)
    return completed(jax.tree.map(drawn, keys, part, scale), still)


def sampled_curvature(state: Any, params: Any, samples: Any, grads: Any) -> Any:
    """Diagonal curvature from gradients at drawn parameters, `mean grad (x - m) / variance`.

    By Stein's identity an unbiased estimate of the expected diagonal of the Hessian, without second
    derivatives. For several samples a step: pass it, and the mean of the gradients, to `update`.

    Args:
      state: of `ivon` or a chain that holds it, the one that the samples were drawn with.
      params: the parameters, the mean.
      samples: pytree like `params`, samples on axis 0 of each leaf.
      grads: gradients at the samples, likewise.

    Returns:
      A pytree like `params`.

    Raises:
      ValueError: the state holds no `MeanFieldState`, or several, or shapes do not fit.

    References:
      [Shen2024] section 3.

    Examples:
      >>> from igeojax.optim.variational_gaussian import scale_by_ivon
      >>> params, tx = jnp.zeros(1), scale_by_ivon(ess=1.0, weight_decay=1.0)
      >>> state, samples = tx.init(params), jnp.array([[-0.5], [0.5]])
      >>> grads = 2.0 * samples  # of x^2
      >>> sampled_curvature(state, params, samples, grads).tolist()
      [1.0]
    """
    found = _found_in(state)
    params, samples, grads = (masked_as(t, found.curvature) for t in (params, samples, grads))
    _require_state_of(found.curvature, params)
    require_alike(grads, samples, name="grads", remedy="Pass a gradient for each of samples.")

    def stein(mean: Array, sample: Array, gradient: Array, h: Array) -> Array:
        if sample.shape[1:] != mean.shape or sample.ndim != mean.ndim + 1:
            raise ValueError(
                f"samples must have one more axis than params, in front; got shape {sample.shape} "
                f"for a parameter of shape {mean.shape}. Draw them by sample_posterior(key, state, "
                "params, (n,))."
            )
        apart = (sample - mean[None]).astype(h.dtype)
        return jnp.mean(gradient.astype(h.dtype) * apart, axis=0) * _precision(found, h)

    return jax.tree.map(stein, params, samples, grads, found.curvature)


def _found_in(state: Any) -> MeanFieldState:
    """The one `MeanFieldState` in the state of a chain.

    Raises:
      ValueError: there is none, or there are several.
    """
    is_one = lambda node: isinstance(node, MeanFieldState)
    found = [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]
    if len(found) != 1:
        raise ValueError(
            f"state must hold one MeanFieldState; got {len(found)}. Pass the state of ivon or "
            "vogn, or of a chain with one of them."
        )
    return found[0]


def _precision(state: MeanFieldState, h: Array) -> Array:
    """Of the approximation, `ess (h + weight_decay)`."""
    return state.ess.astype(h.dtype) * (h + state.weight_decay.astype(h.dtype))


def _require_state_of(tree: Any, params: Any) -> None:
    """Check that a tree of the state has the structure and shapes of the parameters.

    Raises:
      ValueError: it has others.
    """
    shapes = lambda tree: [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
    alike = jax.tree.structure(tree) == jax.tree.structure(params)
    if not alike or shapes(tree) != shapes(params):
        raise ValueError(
            f"state must be that of params, of shapes {shapes(params)}; got one of shapes "
            f"{shapes(tree)}. Pass tx.init(params) or what update gave."
        )
