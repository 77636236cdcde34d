"""The options of a fit, and their checks."""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.em._given_e_step import require_e_step
from igeojax.em._maximization import FIXABLE, require_fixable
from igeojax.em.expectations import ASSIGNMENTS
from igeojax.em.initialization import OPTIONS
from igeojax.em.priors import require_prior

ACCELERATIONS = ("squarem",)
"""Names of accelerations."""


class Options(NamedTuple):
    """The arguments of `Mixture.fit` beside the data."""

    key: Any
    weights: ArrayLike | None
    initialization: Any
    num_restarts: int
    tolerance: ArrayLike
    max_iterations: int
    acceleration: str | None
    prior: Any
    fixed: tuple[str | int, ...]
    births: int
    assignment: str
    covariance_regularization: ArrayLike
    chunk_size: int | None
    checkpoint: str | os.PathLike | None
    progress: bool
    e_step: Any


def require_options(mixture: Any, options: Options) -> None:
    """Check options, before any data are looked at.

    Raises:
      TypeError: an option of a wrong kind.
      ValueError: an option out of range, a given start that is none, or restarts from one.
    """
    checks.require_count("max_iterations", options.max_iterations)
    checks.require_count("num_restarts", options.num_restarts)
    if options.chunk_size is not None:
        checks.require_count("chunk_size", options.chunk_size)
    if options.births != 0:
        _require_births(options)
    if options.acceleration is not None:
        checks.require_option("acceleration", options.acceleration, ACCELERATIONS)
    checks.require_option("assignment", options.assignment, ASSIGNMENTS)
    if options.e_step is not None:
        require_e_step(mixture, options.e_step, options.assignment)
    floor = checks.floating("tolerance", options.tolerance)
    checks.require_values("tolerance", floor, lambda v: v >= 0, "non-negative", "Try 1e-6.")
    _require_ridge(mixture, options.covariance_regularization)
    require_prior(mixture, options.prior)
    start = options.initialization
    given = isinstance(start, mixture.Point)
    require_fixable(mixture, options.fixed, start if given else None)
    if not given:
        checked_keys(start, options.key, options.num_restarts)
        return
    mixture.point(jnp.exp(start.log_weights), start.components)
    if options.num_restarts != 1:
        raise ValueError(
            f"num_restarts must be 1 from a given starting point; got {options.num_restarts}. Use "
            'initialization="k-means++" or "random" for restarts.'
        )
    checks.require_values(
        "components of the starting point",
        mixture.family.in_natural_domain(start.components),
        lambda inside: inside,
        "inside the natural domain",
        "Make them with natural_from_params.",
    )


def _require_births(options: Options) -> None:
    """Check a number of births that is not 0.

    Raises:
      TypeError: it is no integer.
      ValueError: it is negative, or all weights or components are fixed.
    """
    checks.require_count("births", options.births)
    if kept := [name for name in FIXABLE if name in options.fixed]:
        raise ValueError(
            f"births must be 0 where {kept[0]} are fixed; got {options.births}. A birth shares the "
            "observations of a component between two: fix numbers of components instead."
        )


def _require_ridge(mixture: Any, value: ArrayLike) -> None:
    """Check the variance that is added to the components.

    Raises:
      TypeError: it is not a number.
      ValueError: it is negative, or the family has no variance to add it to.
    """
    name = "covariance_regularization"
    ridge = checks.floating(name, value)
    checks.require_values(name, ridge, lambda v: v >= 0, ">= 0", "Try 1e-6 of the variance.")
    # As it was given: under jit an array of a number is traced.
    seen = checks.concrete(value)
    if seen is not None and seen == 0:
        return
    with jax.ensure_compile_time_eval():
        family = mixture.family
        like = family.from_leaves([jnp.zeros(shape) for shape in family.point_shape])
        blurred = any(leaf.any() for leaf in jax.tree.leaves(family.blur(jnp.ones(()), like)))
    if not blurred:
        raise ValueError(
            f"{name} must be 0 for {mixture.family}; got {value}. Only normal laws have a "
            "variance that is raised; give others a prior."
        )


def checked_keys(initialization: Any, key: Any, num_restarts: int) -> Array:
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
