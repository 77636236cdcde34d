"""Every dtype and layout across DLPack, both ways, copied and shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from kernels_triton.jax_bridge import to_jax, to_torch

NARROW = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.uint16,
    torch.uint32,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.complex64,
]
WIDE = [torch.int64, torch.uint64, torch.float64, torch.complex128]
LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T,
    "permuted": lambda x: x.reshape(2, 3, 4).permute(2, 0, 1),
    "channels last": lambda x: (
        x.reshape(1, 2, 3, 4).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    ),
    "step": lambda x: x[:, ::2],
    "slice": lambda x: x[1:, 1:],
    "expanded": lambda x: x[:1].expand(5, -1),
    "scalar": lambda x: x[1, 2],
    "empty": lambda x: x[:0],
}


def numbers(dtype):
    return torch.arange(24).reshape(4, 6).to(dtype)


def bits(tensor):
    """The stored bytes: equal for equal values of equal dtype."""
    return tensor.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).tolist()


def assert_same(tensor, array):
    assert array.shape == tuple(tensor.shape)
    assert str(array.dtype) == str(tensor.dtype).removeprefix("torch.")
    strange = tensor.dtype == torch.bfloat16 or tensor.dtype.itemsize == 1  # to numpy
    expected = tensor.float() if strange else tensor.resolve_conj()
    found = np.asarray(array.astype(jnp.float32) if strange else array)
    np.testing.assert_array_equal(found, expected.resolve_neg().numpy())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NARROW + WIDE, ids=str)
def test_copies_are_equal_and_independent(dtype, layout):
    tensor = LAYOUTS[layout](numbers(dtype))
    with jax.enable_x64(dtype in WIDE):
        array = to_jax(tensor)
        assert_same(tensor, array)
        back = to_torch(array)
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert bits(back) == bits(tensor)
    before = np.array(array)
    (tensor if layout != "expanded" else tensor[0]).zero_()
    back.zero_()
    np.testing.assert_array_equal(np.array(array), before)


@pytest.mark.parametrize("dtype", NARROW + WIDE, ids=str)
def test_every_dtype_is_shared_without_a_copy(dtype):
    tensor = torch.arange(64).reshape(4, 16).to(dtype)
    with jax.enable_x64(dtype in WIDE):
        array = to_jax(tensor, copy=False)
        assert array.unsafe_buffer_pointer() == tensor.data_ptr()
        assert_same(tensor, array)
        back = to_torch(array, copy=False)
        assert back.data_ptr() == tensor.data_ptr()
        assert to_torch(array).data_ptr() != tensor.data_ptr()
    assert back.dtype == dtype


def test_sharing_shows_writes_on_the_other_side():
    tensor = torch.ones(64)
    array = to_jax(tensor, copy=False)
    tensor.fill_(2)
    assert array[3] == 2
    array = jnp.ones(64) + 0
    jax.block_until_ready(array)
    shared = to_torch(array, copy=False)
    shared.fill_(3)
    assert np.asarray(array)[3] == 3


def test_a_write_does_not_race_with_an_unfinished_computation():
    tensor = torch.ones(1500, 1500)
    total = jax.jit(lambda x: (x @ x).sum() / 1500)(to_jax(tensor))
    tensor.zero_()
    assert total == 1500**2


def test_to_torch_waits_for_the_value():
    x = jnp.ones((1000, 1000))
    assert to_torch(jax.jit(lambda x: x @ x @ x)(x), copy=False)[0, 0] == 1e6


def test_conjugate_and_negative_views():
    tensor = torch.tensor([1 + 2j, 3 - 1j])
    assert to_jax(tensor.conj()).tolist() == [1 - 2j, 3 + 1j]
    assert to_jax(tensor.conj().imag).tolist() == [-2.0, 1.0]


@pytest.mark.parametrize("dtype", [*WIDE, torch.uint64], ids=str)
def test_nothing_is_narrowed_silently(dtype):
    with jax.enable_x64(False), pytest.raises(TypeError, match="jax_enable_x64 for torch"):
        to_jax(torch.ones(3).to(dtype))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(3, requires_grad=True), "requires_grad=True. Gradients"),
        (torch.nn.Parameter(torch.ones(3)), "requires_grad=True. Gradients"),
        (torch.eye(3).to_sparse(), "dense tensor with memory; got layout torch.sparse_coo"),
        (torch.ones(3, device="meta"), "device meta"),
        (np.ones(3), "got ndarray. Convert it with jax.numpy.asarray"),
        ([1.0], "got list"),
    ],
    ids=["gradient", "parameter", "sparse", "meta", "numpy", "list"],
)
def test_to_jax_refuses(value, message):
    for copy in (True, False):
        with pytest.raises(TypeError, match=message):
            to_jax(value, copy=copy)


def test_to_jax_refuses_an_array():
    with pytest.raises(TypeError, match=r"got a jax.Array. Use it as it is"):
        to_jax(jnp.ones(3))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(8)[::2], r"contiguous memory; got strides \(2,\)"),
        (torch.ones(8, 2).T, "contiguous memory"),
        (torch.ones(1, 4).expand(3, -1), "contiguous memory"),
        (torch.ones(3, dtype=torch.complex64).conj(), "conjugate bit True"),
        (torch._neg_view(torch.ones(3)), "negative bit True"),
        (torch.ones(64)[1:], "aligned to 64 bytes; got an address 4 bytes off"),
    ],
    ids=["step", "transposed", "expanded", "conjugate", "negative", "slice"],
)
def test_what_cannot_be_shared_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        to_jax(value, copy=False)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap], ids=["jit", "grad", "vmap"])
def test_to_torch_refuses_traced_arrays(transform):
    x = jnp.float32(1) if transform is jax.grad else jnp.ones(3)
    with pytest.raises(TypeError, match="concrete array; got a traced one"):
        transform(to_torch)(x)


def test_to_torch_refuses_other_things():
    with pytest.raises(TypeError, match=r"needs a jax.Array; got ndarray"):
        to_torch(np.ones(3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"random keys of dtype key<fry>.*key_data"):
        to_torch(jax.random.key(0))


def test_to_torch_refuses_an_array_on_several_devices(monkeypatch):
    array = jnp.ones(4)
    # One process has one CPU device unless it is told otherwise before JAX starts.
    monkeypatch.setattr(type(array.sharding), "device_set", {"cpu:0", "cpu:1"})
    with pytest.raises(TypeError, match="on one device; got one on 2"):
        to_torch(array)
