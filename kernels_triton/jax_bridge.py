"""Torch tensors as JAX arrays and back, by DLPack, eagerly.

By default both directions copy, so that neither side can change what the other holds. `copy=False`
shares the memory: then nothing may write to the tensor while the array is in use. JAX computes
asynchronously, so an array that was used must be waited for with `block_until_ready` before the
tensor is written again, and a write through a tensor changes an array that JAX holds for immutable.

Gradients do not cross: differentiate on either side, and pass cotangents over.
"""

from __future__ import annotations

import jax
import torch
from jax.core import Tracer

_WIDE = (torch.float64, torch.int64, torch.uint64, torch.complex128)
_ALIGNMENT = 64  # bytes; the CPU client of JAX copies what is aligned to less


def to_jax(tensor: torch.Tensor, *, copy: bool = True) -> jax.Array:
    """A torch tensor as a JAX array of the same shape, dtype and device.

    Args:
      tensor: any dense tensor that does not require a gradient. Strided, expanded, conjugated and
        negated views are made contiguous by the copy.
      copy: with False the memory is shared, or an error raised: never copied silently.

    Returns:
      The array. With `copy=False` it changes when the tensor is written to.

    Raises:
      TypeError: not a dense tensor on a device, one that requires a gradient, or a 64-bit dtype
        that JAX would narrow because `jax_enable_x64` is off.
      ValueError: `copy=False` for memory that JAX cannot share.

    Examples:
      >>> to_jax(torch.arange(3.0)).tolist()
      [0.0, 1.0, 2.0]
    """
    _require_exportable(tensor)
    if copy:
        tensor = tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    else:
        _require_shareable(tensor)
    # Not from_dlpack(copy=True): JAX ignores it for aligned memory and shares.
    return jax.dlpack.from_dlpack(tensor)


def to_torch(array: jax.Array, *, copy: bool = True) -> torch.Tensor:
    """A JAX array as a torch tensor of the same shape, dtype and device; waits for its value.

    Args:
      array: a concrete array on one device.
      copy: with False the memory is shared: writing to the tensor would change the array.

    Returns:
      The tensor, without gradient.

    Raises:
      TypeError: not a JAX array, a traced one, typed random keys, or one on several devices.

    Examples:
      >>> to_torch(jax.numpy.arange(3.0)).tolist()
      [0.0, 1.0, 2.0]
    """
    if isinstance(array, Tracer):
        raise TypeError(
            "to_torch needs a concrete array; got a traced one. Call it outside of jit, grad and "
            "vmap, or pass the traced function's result."
        )
    if not isinstance(array, jax.Array):
        raise TypeError(
            f"to_torch needs a jax.Array; got {type(array).__name__}. Convert it with jnp.asarray."
        )
    if jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"to_torch needs an array of numbers; got random keys of dtype {array.dtype}. "
            "Pass jax.random.key_data(array)."
        )
    devices = array.sharding.device_set
    if len(devices) > 1:
        raise TypeError(
            f"to_torch needs an array on one device; got one on {len(devices)}. "
            "Gather it with jax.device_put(array, jax.devices()[0])."
        )
    tensor = torch.from_dlpack(array)
    return tensor.clone() if copy else tensor


def _require_exportable(tensor: torch.Tensor) -> None:
    if isinstance(tensor, jax.Array):
        raise TypeError("to_jax needs a torch.Tensor; got a jax.Array. Use it as it is.")
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(
            f"to_jax needs a torch.Tensor; got {type(tensor).__name__}. "
            "Convert it with jax.numpy.asarray."
        )
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        raise TypeError(
            "to_jax needs a dense tensor with memory; got "
            f"layout {tensor.layout} on device {tensor.device}. Call .to_dense() or create it."
        )
    if tensor.requires_grad:
        raise TypeError(
            "to_jax needs a tensor without gradient; got one with requires_grad=True. Gradients do "
            "not cross: pass tensor.detach()."
        )
    if tensor.dtype in _WIDE and jax.dtypes.canonicalize_dtype("float64") != "float64":
        raise TypeError(
            f"to_jax needs jax_enable_x64 for {tensor.dtype}, which JAX would narrow without it. "
            'Call jax.config.update("jax_enable_x64", True), or cast the tensor first.'
        )


def _require_shareable(tensor: torch.Tensor) -> None:
    if tensor.is_conj() or tensor.is_neg() or not tensor.is_contiguous():
        raise ValueError(
            "to_jax with copy=False needs contiguous memory; got "
            f"strides {tensor.stride()}, conjugate bit {tensor.is_conj()}, negative bit "
            f"{tensor.is_neg()}. Pass copy=True or tensor.contiguous()."
        )
    if tensor.device.type == "cpu" and tensor.data_ptr() % _ALIGNMENT:
        raise ValueError(
            f"to_jax with copy=False needs memory aligned to {_ALIGNMENT} bytes; got an address "
            f"{tensor.data_ptr() % _ALIGNMENT} bytes off, as of a slice. Pass copy=True."
        )
