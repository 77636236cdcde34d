"""Argument checks with one message style: what was required, what came, what to do."""

from numbers import Real

import torch
from torch.autograd import forward_ad

FLOATING_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def require_floating(name: str, value: torch.Tensor) -> None:
    """Check that `value` is a dense tensor of a dtype the kernels know, without a forward tangent.

    Raises:
      NotImplementedError: it carries a tangent of forward mode.
      TypeError: it is no such tensor.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor; got {type(value).__name__}. "
            "Convert it with torch.as_tensor, or a jax.Array with kernels_triton.to_torch."
        )
    if value.dtype not in FLOATING_DTYPES:
        raise TypeError(
            f"{name} must be float16, bfloat16, float32 or float64; got {value.dtype}. "
            "Cast it with .to(torch.float32)."
        )
    if value.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor; got layout {value.layout}. Call .to_dense() first."
        )
    # torch itself would drop the tangent of an input without gradient, and call the derivative 0.
    if not torch.compiler.is_compiling() and forward_ad.unpack_dual(value).tangent is not None:
        raise NotImplementedError(
            f"{name} must be a plain tensor; got one with a tangent of forward mode, which this "
            "operator lacks. Use reverse mode, or torch's own function."
        )


def require_rows(name: str, value: torch.Tensor) -> None:
    """Check that `value` has a last axis to reduce.

    Raises:
      ValueError: it is a scalar.
    """
    if value.ndim == 0:
        raise ValueError(
            f"{name} must have at least one axis; got a scalar. Reshape it with .reshape(1)."
        )


def require_alike(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    """Check that two tensors share dtype and device.

    Raises:
      TypeError: the dtypes differ.
      ValueError: the devices differ.
    """
    if value.dtype != other.dtype:
        raise TypeError(
            f"{name} must have the dtype of {other_name}, {other.dtype}; got {value.dtype}. "
            f"Cast one of them, for example {name}.to({other_name}.dtype)."
        )
    require_on_device(name, value, other_name, other)


def require_on_device(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    """Check that two tensors are on one device.

    Raises:
      ValueError: they are not.
    """
    if value.device != other.device:
        raise ValueError(
            f"{name} must be on the device of {other_name}, {other.device}; got {value.device}. "
            f"Move it with {name}.to({other_name}.device)."
        )


def require_number_or_tensor(name: str, value: object, like: torch.Tensor) -> torch.Tensor:
    """The value as a tensor: a number in the dtype and on the device of `like`.

    Raises:
      TypeError: it is a bool, or neither a number nor a dense floating tensor.
    """
    if isinstance(value, bool):
        raise TypeError(
            f"{name} must be a tensor or a number; got bool. Pass {float(value)} if meant."
        )
    if isinstance(value, (int, float, Real)):  # Real: the scalars of numpy
        return torch.full((), float(value), dtype=like.dtype, device=like.device)
    require_floating(name, value)  # pyright: ignore[reportArgumentType]
    return value  # pyright: ignore[reportReturnType]


def require_shape(name: str, value: torch.Tensor, *shapes: tuple[int, ...]) -> None:
    """Check that a tensor has one of some shapes.

    Raises:
      ValueError: it has another.
    """
    if tuple(value.shape) not in shapes:
        raise ValueError(
            f"{name} must have shape {' or '.join(map(str, shapes))}, as the other arguments have "
            f"theirs; got {tuple(value.shape)}. Reshape it, or insert axes with {name}[None]."
        )
