"""Logits as they enter every function of this room: checked, and cut down to size without loss."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks


def checked(logits: ArrayLike, name: str = "logits") -> Array:
    """Logits as a floating array with at least one axis.

    Raises:
      TypeError: they are not real.
      ValueError: a scalar, or no class.
    """
    logits = checks.floating(name, logits)
    if logits.ndim == 0:
        raise ValueError(
            f"{name} must have at least one axis; got a scalar. Pass an array of class scores."
        )
    if logits.shape[-1] == 0:
        raise ValueError(
            f"{name} must have at least one class on the last axis; got shape {logits.shape}."
        )
    return logits


def positive_temperature(temperature: ArrayLike, dtype: jnp.dtype) -> Array:
    """A scalar temperature, at least the smallest normal number; nan where a traced one is below 0.

    Raises:
      TypeError: it is not real.
      ValueError: it is no scalar, or a concrete one is not positive.
    """
    temperature = checks.floating("temperature", temperature)
    if temperature.ndim:
        raise ValueError(
            f"temperature must be a scalar; got shape {temperature.shape}. Use jax.vmap over "
            "several temperatures, or divide the logits."
        )
    checks.require_positive(
        "temperature",
        temperature,
        "The limit 0 is argmax: use jax.nn.one_hot of jnp.argmax. The limit inf is uniform.",
    )
    # Below it, numbers may count as 0 on the device. A traced 0 then gives the limit, argmax.
    tiny = jnp.finfo(dtype).tiny
    temperature = temperature.astype(dtype)
    floor = jnp.where(temperature >= 0, tiny, jnp.nan).astype(dtype)
    return jnp.where(temperature >= tiny, temperature, floor)


def shift_of(logits: Array, axis: int) -> Array:
    """The maximum of each slice, axis kept, and 0 where it is infinite; a nan stays. No derivative.

    `logits - shift` has the same softmax, and no entry that a temperature could overflow upwards.
    """
    top = jax.lax.stop_gradient(jnp.max(logits, axis=axis, keepdims=True))
    return jnp.where(jnp.isinf(top), 0.0, top)


@jax.custom_jvp
def over_temperature(value: Array, temperature: Array) -> Array:
    """`value / temperature`, where 0 stays 0 and an infinity feels no temperature."""
    return jnp.where(value == 0, 0.0, value / temperature)


@over_temperature.defjvp
def _over_temperature_jvp(primals, tangents):
    (value, temperature), (d_value, d_temperature) = primals, tangents
    ratio = over_temperature(value, temperature)
    # An overflow in the slope would be 0 * inf = nan beside a class without mass.
    largest = jnp.finfo(ratio.dtype).max
    slope = jnp.clip(over_temperature(ratio, temperature), -largest, largest)
    slope = jnp.where(jnp.isinf(value), 0.0, slope)
    return ratio, d_value / temperature - slope * d_temperature
