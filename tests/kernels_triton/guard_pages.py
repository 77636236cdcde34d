"""Run as a script: every kernel on tensors that end, or begin, at memory that may not be touched.

It needs `TRITON_INTERPRET=1`. A read or write out of bounds kills the process, as the arguments
`bad-read` and `bad-write` show.
"""

import ctypes
import functools
import itertools
import mmap
import sys
from unittest import mock

import torch

from kernels_triton import _diagonal_normal as diagonal
from kernels_triton import (
    _divergence_kernels,
    _divergences,
    _launch,
    _rows,
    _sequences,
    _softmax,
    categorical_fisher_matvec,
    cross_entropy,
    kronecker_factor,
)
from kernels_triton import _mixture_e_step as mixture
from kernels_triton import _multivariate_normal as full
from kernels_triton import _normal_log_density as normal
from kernels_triton import _von_mises_fisher as directions
from kernels_triton._launch import tl

_run = _launch.run
_libc = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guarded(shape, dtype, at_end):
    """Zeros whose last byte lies before a forbidden page, or whose first lies after one."""
    size = torch.Size(shape).numel() * dtype.itemsize
    body = max(-(-size // mmap.PAGESIZE), 1) * mmap.PAGESIZE
    readable = mmap.PROT_READ | mmap.PROT_WRITE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = _libc.mmap(None, body + 2 * mmap.PAGESIZE, readable, flags, -1, 0)
    for page in (base, base + mmap.PAGESIZE + body):
        if _libc.mprotect(page, mmap.PAGESIZE, 0):
            raise OSError("mprotect failed")
    start = base + mmap.PAGESIZE + (body - size if at_end else 0)
    if not size:
        return torch.zeros(shape, dtype=dtype)
    memory = (ctypes.c_byte * size).from_address(start)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)


def run_guarded(at_end, kernel, programs, *arguments, **constants):
    """Run the kernel with its contiguous tensors, outputs too, moved between guard pages."""
    moved = {
        index: guarded(value.shape, value.dtype, at_end).copy_(value)
        for index, value in enumerate(arguments)
        if isinstance(value, torch.Tensor) and value.is_contiguous()
    }
    packed = [moved.get(index, value) for index, value in enumerate(arguments)]
    _run(kernel, programs, *packed, **constants)
    for index, copy in moved.items():
        arguments[index].copy_(copy)


def run_rows(x):
    labels = torch.randint(x.shape[1], x.shape[:1]) if x.shape[1] else torch.full((len(x),), -100)
    mask = x[0].contiguous() if len(x) else None
    for operation in (_softmax.softmax, _softmax.log_softmax, _softmax.logsumexp):
        leaf = x.detach().requires_grad_()
        operation(leaf, mask=mask if operation is _softmax.softmax else None).sum().backward()
    leaf = x.detach().requires_grad_()
    cross_entropy(leaf, labels, label_smoothing=0.1).backward()


def run_sequences():
    values = torch.ones(9, requires_grad=True)
    _sequences._sequence_sums(values, torch.tensor([0, 4, 9])).sum().backward()
    _sequences._sequence_sums(values, torch.tensor([0, 18, 28]))  # past the end


def run_rows_of_normal_laws(view, at_end, shape, dtype):
    """All that is given rows and the parameters that they share."""
    count, size = view(torch.empty(shape)).shape
    fresh = lambda *shape: guarded(shape, dtype, at_end).fill_(1).requires_grad_()
    x = view(guarded(shape, dtype, at_end).fill_(1)).detach().requires_grad_()
    calls = [
        (diagonal.diagonal_normal_log_density, fresh(size), fresh(size)),
        (diagonal.diagonal_normal_log_likelihood, fresh(size), fresh(size)),
        (full.multivariate_normal_log_density, fresh(size), fresh(size, size)),
        (full.multivariate_normal_log_likelihood, fresh(size), fresh(size, size)),
        (directions.von_mises_fisher_logits, fresh(3, size), fresh(3)),
    ]
    for operation, *parameters in calls:
        operation(x, *parameters).float().sum().backward()
    for inverse in (fresh(3, size), fresh(3, size, size)):
        arguments = (fresh(3), fresh(3, size), inverse, fresh(count))
        mixture.mixture_e_step(x.detach(), *(y.detach() for y in arguments), per_row=True)


def run_pairs(at_end):
    """Divergences, Fisher products and factors, of one part and of several."""
    for shape, block in [((3, 5), 4096), ((2, 50), 16)]:
        for view in (lambda x: x, lambda x: x.T):
            p, q = (
                view(guarded(shape, torch.float32, at_end).normal_()).detach().requires_grad_()
                for _ in range(2)
            )
            with mock.patch.multiple(_divergence_kernels, _BLOCK=block, _GROUP=2):
                _divergences.renyi(p, q, order=0.7).sum().backward()
                _divergences.jensen_shannon(p, q).sum().backward()
            categorical_fisher_matvec(p, q).sum().backward()
            previous = guarded((p.shape[1] + 1,) * 2, torch.float32, at_end).fill_(1)
            kronecker_factor(p, previous, homogeneous=True)
    long = guarded((2, 4100), torch.float32, at_end).normal_().requires_grad_()
    categorical_fisher_matvec(long, long).sum().backward()
    kronecker_factor(guarded((1100, 65), torch.float32, at_end).normal_())  # split rows


def run_all():
    for at_end in (True, False):
        _launch.run = functools.partial(run_guarded, at_end)
        run_sequences()
        run_pairs(at_end)
        for shape, dtype in itertools.product(
            [(1, 1), (3, 5), (33, 10), (2, 4097), (0, 3), (3, 0)],
            [torch.float32, torch.float16],
        ):
            for view in (lambda x: x, lambda x: x.T):
                x = view(guarded(shape, dtype, at_end).normal_())
                run_rows(x)
                if x.shape == (2, 4097) and dtype == torch.float16:
                    with mock.patch.multiple(_rows, _RESIDENT=1024, _STREAMED=1024):
                        run_rows(x)  # in parts
                for operation in (normal.normal_log_density, normal.normal_log_likelihood):
                    leaves = [
                        view(guarded(shape, dtype, at_end).fill_(1)).detach().requires_grad_()
                        for _ in range(3)
                    ]
                    operation(*leaves).float().sum().backward()
                if dtype == torch.float32 and max(shape) <= 10:
                    run_rows_of_normal_laws(view, at_end, shape, dtype)


@_launch.jit
def _bad_read_kernel(out_ptr, x_ptr, BLOCK: tl.constexpr):
    tl.store(out_ptr, tl.sum(tl.load(x_ptr + tl.arange(0, BLOCK))))


@_launch.jit
def _bad_write_kernel(out_ptr, BLOCK: tl.constexpr):
    tl.store(out_ptr + tl.arange(0, BLOCK), 0.0)


if __name__ == "__main__":
    small = guarded((5,), torch.float32, True)
    if sys.argv[1] == "bad-read":
        _bad_read_kernel[(1,)](torch.zeros(1), small, BLOCK=8)
    elif sys.argv[1] == "bad-write":
        _bad_write_kernel[(1,)](small, BLOCK=8)
    else:
        run_all()
    print("nothing forbidden was touched")
