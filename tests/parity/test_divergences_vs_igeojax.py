"""Divergences, Fisher products and K-FAC factors: the kernels and igeojax, over hard values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kernels_triton  # noqa: E402
from igeojax import families, fisher  # noqa: E402
from igeojax.divergences import simplex  # noqa: E402
from igeojax.geometry import fisher_matvec  # noqa: E402

INF = np.inf
GENERATOR = np.random.default_rng(0)
NEAR = GENERATOR.normal(size=4)
P = np.array(
    [
        [0.3, -1.2, 2.0, 0.1],
        NEAR,
        NEAR,
        1e4 + NEAR.astype(np.float32),
        [-INF, 0.0, 1.0, -INF],
        [-INF, 0.0, 1.0, 2.0],
        [0.0, 1.0, 2.0, 3.0],
        [1e4, -1e4, 0.0, 0.0],
        [1e4, -1e4, 1e4, 0.0],
        [0.0, -40.0, -90.0, 3.0],
        [0.0, -INF, 0.0, -INF],
    ]
)
Q = np.array(
    [
        [0.3, -1.2, 2.0, 0.1],
        NEAR + 1e-4 * GENERATOR.normal(size=4),
        NEAR + 0.5 * GENERATOR.normal(size=4),
        NEAR,
        [-INF, 0.5, 1.0, -INF],
        [0.0, 0.5, 1.0, 1.0],
        [0.0, -INF, 2.0, 1.0],
        [-1e4, 1e4, 0.0, 0.0],
        [1e4, 1e4, -1e4, 0.0],
        [-90.0, 3.0, 0.0, -40.0],
        [-INF, 0.0, -INF, 0.0],
    ]
)
EPS = {torch.float32: 2e-6, torch.float64: 1e-14}
CASES = [
    ("kl", {}),
    ("jensen_shannon", {}),
    ("total_variation", {}),
    ("alpha_divergence", {"order": 0.0}),
    ("alpha_divergence", {"order": 0.3}),
    ("alpha_divergence", {"order": 1 - 2**-10}),
    ("amari_alpha_divergence", {"alpha": -0.2}),
    ("renyi", {"order": 0.5}),
    ("renyi", {"order": 0.7}),
    ("renyi", {"order": 2.5}),
]


@pytest.mark.parametrize("dtype", EPS, ids=str)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_divergences_from_logits(name, options, dtype):
    ours, theirs = getattr(simplex, name), getattr(kernels_triton, name)
    pair = [torch.tensor(z, dtype=dtype, requires_grad=True) for z in (P, Q)]
    value = theirs(*pair, **options)
    gradients = torch.autograd.grad(value, pair, torch.ones_like(value))
    arrays = [kernels_triton.to_jax(z.detach()) for z in pair]
    expected, pull = jax.vjp(lambda p, q: ours(p, q, logits=True, **options), *arrays)
    found, expected = value.detach().numpy(), np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=EPS[dtype], atol=EPS[dtype])
    # Near rows and equal ones to relative precision.
    np.testing.assert_allclose(found[:2], expected[:2], rtol=100 * EPS[dtype], atol=0)
    finite = np.isfinite(expected)
    cotangent = jnp.ones(expected.shape, arrays[0].dtype)
    for gradient, slope in zip(gradients, pull(cotangent), strict=True):
        assert np.isfinite(gradient.numpy()).all()
        assert not gradient.numpy()[~finite].any()
        scale = np.maximum(1.0, np.abs(found[finite]))[:, None]
        miss = np.abs(gradient.numpy() - np.asarray(slope))[finite] / scale
        assert miss.max() < 4 * EPS[dtype]


@pytest.mark.parametrize("dtype", EPS, ids=str)
def test_fisher_products_are_those_of_the_family(dtype):
    logits, v = (torch.tensor(GENERATOR.normal(size=(3, 5)), dtype=dtype) for _ in range(2))
    v[:, -1] = 0.0  # the last class has no natural coordinate
    found = kernels_triton.categorical_fisher_matvec(logits, v)
    family = families.Categorical(5)
    theta = family.natural_from_params(logits=kernels_triton.to_jax(logits))
    tangent = jax.tree.map(lambda _: kernels_triton.to_jax(v[:, :-1]), theta)
    (expected,) = jax.tree.leaves(fisher_matvec(family, theta, tangent))
    np.testing.assert_allclose(found[:, :-1].numpy(), expected, rtol=1e2 * EPS[dtype], atol=1e-7)
    np.testing.assert_allclose(found.sum(1), 0.0, atol=EPS[dtype])


@pytest.mark.parametrize("bias", [False, True])
def test_factors_of_a_layer(bias):
    x = GENERATOR.normal(size=(50, 3))
    family = families.NormalKnownScale()
    params = {"kernel": jnp.ones((3, 1))} | ({"bias": jnp.ones(1)} if bias else {})

    def predict(params, x):
        out = x @ params["kernel"]
        if bias:
            out = out + params["bias"][None]
        return family.natural_from_params(loc=out[:, 0])

    layout = fisher.kronecker_layout(predict, params, jnp.asarray(x))
    (factor,) = fisher.kronecker_factors(layout, predict, family, params, jnp.asarray(x))
    found = kernels_triton.kronecker_factor(torch.tensor(x), homogeneous=bias)
    np.testing.assert_allclose(found.numpy(), factor.rows[0], rtol=1e-13, atol=1e-14)
    # The moving average of `optim.kfac`, times its weight, from zeros.
    average = torch.zeros_like(found)
    for _ in range(3):
        average = kernels_triton.kronecker_factor(
            torch.tensor(x), average, decay=0.9, homogeneous=bias
        )
    np.testing.assert_allclose(average / (1 - 0.9**3), found, rtol=1e-13, atol=1e-14)
