"""The kernels and igeojax compute the same: values and gradients, across the bridge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kernels_triton  # noqa: E402
from igeojax import discrete, families  # noqa: E402

SCORES = np.array(
    [
        [0.3, -1.2, 2.0, 0.1],
        [-np.inf, 0.0, 1.0, -np.inf],
        [-np.inf, -np.inf, -np.inf, -np.inf],
        [np.inf, 0.0, np.inf, 1.0],
        [1e4, -1e4, 1e4, 0.0],
        [np.nan, 0.0, 1.0, 2.0],
    ]
)
EPS = {torch.float32: 1e-6, torch.float64: 1e-14}


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax_family(name, temperature, dtype):
    scores = torch.tensor(SCORES, dtype=dtype, requires_grad=True)
    ours, theirs = getattr(discrete, name), getattr(kernels_triton, name)
    x = kernels_triton.to_jax(scores.detach())
    value, pull_back = jax.vjp(lambda z: ours(z, temperature), x)
    output = theirs(scores, temperature)
    np.testing.assert_allclose(output.detach().numpy(), value, rtol=EPS[dtype], atol=EPS[dtype])

    cotangent = torch.linspace(0.1, 1.0, output.numel(), dtype=dtype).reshape(output.shape)
    (gradient,) = torch.autograd.grad(output, scores, cotangent)
    (expected,) = pull_back(kernels_triton.to_jax(cotangent))
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=10 * EPS[dtype], atol=EPS[dtype])
    finite = ~np.isnan(SCORES).any(axis=1)
    assert np.isfinite(gradient.numpy()[finite]).all()


@pytest.mark.parametrize("dtype", EPS)
def test_normal_log_density_is_the_family(dtype):
    generator = np.random.default_rng(0)
    x, loc, scale = generator.normal(size=(3, 5, 7))
    arrays = [torch.tensor(v, dtype=dtype) for v in (x, loc, np.abs(scale) + 0.1)]
    leaves = [v.clone().requires_grad_() for v in arrays]
    output = kernels_triton.normal_log_density(*leaves)
    gradients = torch.autograd.grad(output.sum(), leaves)

    normal = families.Normal()

    def log_density(x, loc, scale):
        return normal.log_density(normal.natural_from_params(loc, scale), x)

    inputs = [kernels_triton.to_jax(v) for v in arrays]
    # Through natural coordinates the family rounds at the size of loc / scale^2.
    size = float(jnp.max(jnp.abs(inputs[1] / inputs[2] ** 2)))
    tolerance = {"rtol": 10 * EPS[dtype], "atol": 4 * EPS[dtype] * size}
    np.testing.assert_allclose(output.detach().numpy(), log_density(*inputs), **tolerance)
    total = lambda *args: jnp.sum(log_density(*args))
    for ours, theirs in zip(jax.grad(total, (0, 1, 2))(*inputs), gradients, strict=True):
        bound = {"rtol": 1e3 * EPS[dtype], "atol": 1e2 * EPS[dtype] * size}
        np.testing.assert_allclose(theirs.numpy(), ours, **bound)
