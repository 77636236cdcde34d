"""The fit of a mixture: its arguments checked, where it starts, and the best of its ends."""

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from igeojax._core import checks
from igeojax.em._data import checked_weights
from igeojax.em.initialization import OPTIONS, starting_points
from igeojax.em.loop import LoopResult, best_of_starts


def mass_of(
    mixture: Any, responsibilities: ArrayLike, x: ArrayLike, weights: ArrayLike | None
) -> Float[Array, "data components"]:
    """Responsibilities times weights, after checking the shapes of both.

    Raises:
      TypeError: a value is not real.
      ValueError: other shapes than the data ask for.
    """
    mass, family = checks.floating("responsibilities", responsibilities), mixture.family
    shape = (*family._data_batch_shape(x), mixture.num_components)
    if len(shape) != 2 or mass.shape != shape:
        raise ValueError(
            f"responsibilities must have shape (N, {mixture.num_components}) for data of shape "
            f"(N,) + {family.event_shape}; got {mass.shape} and {jnp.shape(x)}. They come first: "
            "m_step(responsibilities, x)."
        )
    return mass * checked_weights(weights, shape[0], mass.dtype)[:, None]


def fit_mixture(
    mixture: Any,
    data: ArrayLike,
    *,
    key: Key[Array, ""] | None,
    weights: ArrayLike | None,
    initialization: Any,
    num_restarts: int,
    tolerance: ArrayLike,
    max_iterations: int,
    progress: bool,
    fit_options: dict[str, Any],
) -> tuple[LoopResult, Float[Array, ""]]:
    """The best end of EM, and the total weight of the data; the arguments are those of the fit."""
    data = checks.as_array("data", data)
    weights = _checked_weights(mixture, data, weights, fit_options)
    if jnp.issubdtype(data.dtype, jnp.floating):
        data = data.astype(jnp.promote_types(data.dtype, jnp.float32))
    checks.require_count("max_iterations", max_iterations)
    checks.require_count("num_restarts", num_restarts)
    floor = checks.floating("tolerance", tolerance)
    checks.require_values("tolerance", floor, lambda v: v >= 0, "non-negative", "Try 1e-6.")
    if isinstance(initialization, mixture.Point):
        starts = _given_start(mixture, initialization, num_restarts, weights.dtype)
    else:
        keys = _checked_keys(initialization, key, num_restarts)
        starts = starting_points(
            mixture, keys, data, weights, fit_options, initialization=str(initialization)
        )
    found = _run(
        *(mixture, starts, data, weights, tolerance, fit_options),
        max_iterations=max_iterations,
        progress=progress,
    )
    if progress:
        jax.effects_barrier()
    return found


def _given_start(mixture: Any, start: Any, num_restarts: int, dtype: Any) -> Any:
    """The start as a batch of one.

    Raises:
      ValueError: it is asked for more than once, or lies outside the domain.
    """
    mixture.point(jnp.exp(start.log_weights), start.components)
    if num_restarts != 1:
        raise ValueError(
            f"num_restarts must be 1 from a given starting point; got {num_restarts}. Use "
            'initialization="k-means++" or "random" for restarts.'
        )
    checks.require_values(
        "components of the starting point",
        mixture.family.in_natural_domain(start.components),
        lambda inside: inside,
        "inside the natural domain",
        "Make them with natural_from_params.",
    )
    # In the dtype of the data: the loop carries one dtype.
    return jax.tree.map(lambda leaf: leaf[None].astype(dtype), start)


def _checked_keys(initialization: Any, key: Any, num_restarts: int) -> Array:
    """A key for each restart of a named initialization.

    Raises:
      TypeError: `initialization` is no name, or `key` no key.
      ValueError: the name is unknown.
    """
    if not isinstance(initialization, str):
        raise TypeError(
            f"initialization must be one of {', '.join(map(repr, OPTIONS))} or a "
            f"MixturePoint; got {type(initialization).__name__}. Make a starting point "
            "with Mixture.point(weights, components)."
        )
    checks.require_option("initialization", initialization, OPTIONS)
    if key is None:
        raise TypeError(
            f"initialization {initialization!r} needs a PRNG key; got None. Pass "
            "key=jax.random.key(0)."
        )
    checks.require_key(key)
    return jax.random.split(key, num_restarts)


def _checked_weights(
    mixture: Any, data: Array, weights: ArrayLike | None, fit_options: dict[str, Any]
) -> Array:
    """Weights of the data as an array, after checking both and the options.

    Raises:
      TypeError: an option that the family's fit does not know.
      ValueError: data or weights that no component could be fitted to, or an option in words.
    """
    allowed = list(inspect.signature(mixture.family.fit).parameters)[2:]
    for name, value in fit_options.items():
        if name not in allowed:
            raise TypeError(
                f"Mixture.fit has no option {name!r}, nor has the fit of {mixture.family}; that "
                f"takes {allowed or 'none'}. The options of EM are named in Mixture.fit."
            )
        if isinstance(value, str):
            raise ValueError(
                f"{name} must be a number in a mixture, whose M-step is a weighted fit; got "
                f"{value!r}. Pass a number, or covariance_regularization."
            )
    mixture.family.require_support(data)
    shape = jnp.shape(data)
    if len(shape) != 1 + len(mixture.family.event_shape) or shape[0] < mixture.num_components:
        raise ValueError(
            f"data must have shape (N,) + {mixture.family.event_shape} with N >= "
            f"{mixture.num_components} components; got {shape}. Flatten other axes into the first."
        )
    # One dry fit reports what no component could be fitted to: N <= d, bad weights, a constant
    # column, an unknown option.
    theta = mixture.family.fit(data, weights, **fit_options)
    # Half precision could not hold the sum of many weights.
    dtype = jnp.promote_types(jax.tree.leaves(theta)[0].dtype, jnp.float32)
    return jnp.ones(shape[0], dtype) if weights is None else jnp.asarray(weights, dtype)


@partial(jax.jit, static_argnames=("mixture", "max_iterations", "progress"))
def _run(
    mixture: Any,
    starts: Any,
    data: Array,
    weights: Array,
    tolerance: ArrayLike,
    fit_options: dict[str, Any],
    *,
    max_iterations: int,
    progress: bool,
) -> tuple[LoopResult, Array]:
    """EM from each start, side by side; the best of them, and the total weight."""
    total = jnp.sum(weights)

    def e_step(params: Any) -> tuple[Any, Array]:
        sums = mixture.expectations(params, data, weights)
        return sums, sums.log_likelihood / total

    def m_step(sums: Any, params: Any) -> Any:
        return mixture.maximized(sums, previous=params, **fit_options)

    end = best_of_starts(
        e_step,
        m_step,
        starts,
        tolerance=tolerance,
        max_iterations=max_iterations,
        progress=progress,
    )
    return end, total
