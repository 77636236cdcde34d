"""The fused E-step against float64, at what is no number, as a torch operator, and in EM."""

import math

import pytest
import torch

from kernels_triton import _mixture_e_step as mixture
from kernels_triton._tolerances import TOLERANCES, error

E_STEP, REFERENCE = mixture.mixture_e_step, mixture.mixture_e_step_reference
INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("implementation")


def accumulator(dtype):
    return torch.promote_types(dtype, torch.float32)


def draw(count, size, components, dtype, device, full=True, seed=0):
    """Data near components that lie apart, and the parameters."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    loc = 2 * normal(components, size)
    chosen = torch.randint(components, (count,), generator=generator)
    x = loc[chosen] + normal(count, size)
    log_weights = torch.log_softmax(normal(components), 0)
    inverse = 0.7 + 0.1 * normal(components, size).abs()
    if full:
        inverse = torch.diag_embed(inverse) + 0.1 * normal(components, size, size).tril(-1)
    parameters = (value.to(device, accumulator(dtype)) for value in (log_weights, loc, inverse))
    return x.to(device, dtype), *parameters


def assert_agrees(found, exact, tolerance=1.0):
    """The statistics agree, each relative to the counts of its component."""
    unit = tolerance * TOLERANCES[found.counts.dtype]
    counts = exact.counts.clamp(min=1.0)
    assert error(found.log_likelihood, exact.log_likelihood) <= unit
    assert error(found.counts / counts, exact.counts / counts) <= unit
    for name in ("sums", "squares"):
        value, expected = getattr(found, name), getattr(exact, name)
        assert value.shape == expected.shape
        assert value.is_contiguous()
        share = counts.reshape(-1, *[1] * (value.ndim - 1))
        assert error(value / share, expected / share) <= unit
    assert (found.log_densities is None) == (exact.log_densities is None)
    if exact.log_densities is not None:
        assert error(found.log_densities, exact.log_densities) <= unit


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("count", "size", "components"), [(1, 1, 1), (131, 3, 5), (70, 17, 2)])
@pytest.mark.parametrize("full", [True, False])
def test_statistics(full, count, size, components, dtype, device):
    arguments = draw(count, size, components, dtype, device, full)
    weights = torch.linspace(0, 2, count, device=device, dtype=accumulator(dtype))
    for given, per_row in ((None, False), (weights, True)):
        found = E_STEP(*arguments, given, per_row=per_row)
        assert_agrees(found, REFERENCE(*arguments, given, per_row=per_row))


@pytest.mark.parametrize(("full", "size"), [(True, 32), (True, 33), (False, 200), (False, 257)])
def test_sizes_at_the_edge_of_a_tile(full, size, device):
    arguments = draw(40, size, 2, torch.float32, device, full)
    assert_agrees(E_STEP(*arguments), REFERENCE(*arguments), 2)


@pytest.mark.parametrize("full", [True, False])
def test_programs_that_take_several_tiles(full, monkeypatch, device):
    monkeypatch.setattr(mixture, "_MOST_PROGRAMS", 3)
    monkeypatch.setattr(mixture, "_CHUNK", 1000)
    arguments = draw(700, 5, 3, torch.float32, device, full)
    weights = torch.rand(700, device=device)
    exact = REFERENCE(*arguments, weights, per_row=True)
    assert_agrees(E_STEP(*arguments, weights, per_row=True), exact)


def test_parameters_in_half_precision(device):
    x, *parameters = draw(30, 3, 2, torch.float16, device)
    halves = [value.half() for value in parameters]
    found, exact = E_STEP(x, *halves), REFERENCE(x, *halves)
    assert found.counts.dtype == torch.float32
    assert_agrees(found, exact)


def test_any_stride(device):
    x, *parameters = draw(30, 6, 3, torch.float32, device)
    exact = REFERENCE(x, *parameters)
    for view in (
        x.T.contiguous().T,
        x.repeat_interleave(2, 1)[:, ::2],
        torch.cat([x, x], 1)[:, 6:],
    ):
        assert_agrees(E_STEP(view, *parameters), exact)
    log_weights, loc, inverse = parameters
    turned = inverse.mT.contiguous().mT
    spread = log_weights.repeat_interleave(3)[::3]
    weights = torch.rand(60, device=device)
    found = E_STEP(x, spread, loc.T.contiguous().T, turned, weights[::2])
    assert_agrees(found, REFERENCE(x, *parameters, weights[::2]))


def test_upper_and_lower_triangles(device):
    x, log_weights, loc, inverse = draw(30, 4, 3, torch.float32, device)
    arguments = (x, log_weights, loc, inverse.mT.contiguous())
    assert_agrees(E_STEP(*arguments), REFERENCE(*arguments))


@pytest.mark.parametrize("full", [True, False])
def test_gradients_of_the_log_likelihood(full, device):
    x, *parameters = draw(90, 5, 3, torch.float64, device, full)
    weights = torch.rand(90, device=device, dtype=torch.float64)
    leaves = [value.requires_grad_() for value in parameters]
    found = torch.autograd.grad(3 * E_STEP(x, *leaves, weights).log_likelihood, leaves)
    expected = torch.autograd.grad(3 * REFERENCE(x, *leaves, weights).log_likelihood, leaves)
    for gradient, exact in zip(found, expected, strict=True):
        # The reference knows the zeros of the triangle as variables too.
        assert error(gradient, exact) < 1e-11


@pytest.mark.parametrize("condition", [1e3, 1e6])
def test_float32_keeps_its_digits(condition, device):
    """Far from the origin, in components of high condition: where raw moments have none left."""
    generator = torch.Generator().manual_seed(0)
    size, count = 4, 400
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    spectrum = torch.logspace(0, -math.log10(condition), size, dtype=torch.float64)
    factor = torch.linalg.cholesky(turn * spectrum @ turn.T)
    inverse = torch.linalg.inv(factor).expand(2, size, size).float().to(device)
    # Offsets that float32 holds exactly, so that the observations are the only rounded numbers.
    loc = torch.tensor([[0.0] * size, [64.0] * size], device=device)
    drawn = torch.randn(count, size, generator=generator, dtype=torch.float64) @ factor.T
    x = (drawn.to(device) + loc.double().repeat_interleave(count // 2, 0)).float()
    log_weights = torch.full((2,), math.log(0.5), device=device)
    found, exact = E_STEP(x, log_weights, loc, inverse), REFERENCE(x, log_weights, loc, inverse)
    unit = 4 * torch.finfo(torch.float32).eps * math.sqrt(condition)
    for name in ("sums", "squares"):
        distance = (getattr(found, name) - getattr(exact, name)).abs().max()
        assert distance / (count / 2) < unit
    assert (found.log_likelihood - exact.log_likelihood).abs() / count < unit


def test_what_is_no_number(device):
    x, log_weights, loc, inverse = draw(5, 3, 2, torch.float32, device)
    x[1, 0], x[3] = INF, torch.tensor([-INF, 0.0, INF])
    some = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0], device=device)
    kept = [0, 2, 4]
    exact = REFERENCE(x[kept], log_weights, loc, inverse)
    found = E_STEP(x, log_weights, loc, inverse, some, per_row=True)
    assert_agrees(found._replace(log_densities=None), exact)
    assert found.log_densities is not None
    assert found.log_densities.isneginf().tolist() == [False, True, False, True, False]
    # Without weights they belong to no component.
    found = E_STEP(x, log_weights, loc, inverse)
    assert found.log_likelihood == -INF
    assert_agrees(found._replace(log_likelihood=exact.log_likelihood), exact)
    x[3, 1] = NAN
    assert_agrees(E_STEP(x, log_weights, loc, inverse, some), exact)
    for value in E_STEP(x, log_weights, loc, inverse)[:4]:
        assert value.isnan().any()


@pytest.mark.parametrize("full", [True, False])
def test_components_without_weight(full, device):
    x, log_weights, loc, inverse = draw(20, 3, 3, torch.float32, device, full)
    log_weights[0] = -INF
    found = E_STEP(x, log_weights, loc, inverse)
    exact = REFERENCE(x, log_weights[1:], loc[1:], inverse[1:])
    assert (found.counts[0], found.sums[0].abs().max(), found.squares[0].abs().max()) == (0, 0, 0)
    assert_agrees(
        found._replace(counts=found.counts[1:], sums=found.sums[1:], squares=found.squares[1:]),
        exact,
    )
    log_weights[:] = -INF
    found = E_STEP(x, log_weights, loc, inverse)
    assert found.log_likelihood == -INF
    assert (found.counts == 0).all()


def test_far_rows_do_not_underflow(device):
    """All log-densities below the least number whose exponential is not 0."""
    x, log_weights, loc, inverse = draw(20, 3, 3, torch.float32, device)
    found = E_STEP(x + 100, log_weights, loc, inverse)
    assert_agrees(found, REFERENCE(x + 100, log_weights, loc, inverse), 20)
    assert found.counts.sum().item() == pytest.approx(20, rel=1e-6, abs=0)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("count", "size", "components"), [(0, 3, 2), (4, 0, 2), (4, 3, 0)])
def test_empty(count, size, components, full, device):
    x = torch.ones(count, size, device=device)
    loc = torch.zeros(components, size, device=device)
    inverse = torch.ones(components, size, device=device)
    inverse = torch.diag_embed(inverse) if full else inverse
    log_weights = torch.full((components,), -math.log(2), device=device)
    found = E_STEP(x, log_weights, loc, inverse, per_row=True)
    assert found.log_densities is not None
    assert found.log_densities.shape == (count,)
    assert found.squares.shape == inverse.shape
    expected = {0: 0.0, 4: 0.0 if components else -INF}[count]
    assert found.log_likelihood == expected
    assert found.counts.sum() == (count if components else 0)


def test_same_bits_every_time(device):
    arguments = draw(700, 5, 3, torch.float32, device)
    first = E_STEP(*arguments)
    for _ in range(3):
        again = E_STEP(*arguments)
        assert all(torch.equal(a, b) for a, b in zip(first[:4], again[:4], strict=True))


@pytest.mark.parametrize("full", [True, False])
def test_the_m_step_of_the_module_is_expectation_maximization(full, device):
    """Beside raw moments in float64: the same estimates."""
    x, log_weights, loc, inverse = draw(200, 3, 2, torch.float64, device, full)
    found = E_STEP(x, log_weights, loc, inverse)
    mean = found.sums / found.counts[:, None]
    if full:
        square = found.squares / found.counts[:, None, None] - mean[:, :, None] * mean[:, None]
        new_inverse = torch.linalg.solve(torch.linalg.cholesky(square), inverse)
        new_loc = loc + torch.linalg.solve(inverse, mean)
        covariance = torch.linalg.inv(new_inverse.mT @ new_inverse)
    else:
        new_inverse = inverse / (found.squares / found.counts[:, None] - mean**2).sqrt()
        new_loc = loc + mean / inverse
        covariance = torch.diag_embed(new_inverse**-2)
    normals = torch.distributions.MultivariateNormal(
        loc, precision_matrix=inverse.mT @ inverse if full else torch.diag_embed(inverse**2)
    )
    mass = torch.softmax(log_weights + normals.log_prob(x[:, None]), 1)
    for k in range(2):
        r = mass[:, k] / mass[:, k].sum()
        expected = r @ x
        moments = (r[:, None] * x).T @ x - expected[:, None] * expected
        moments = moments if full else torch.diag(moments.diagonal())
        assert error(new_loc[k], expected) < 1e-11
        assert error(covariance[k], moments) < 1e-11


@pytest.mark.parametrize("weighted", [False, True])
def test_opcheck(weighted, device):
    x, *parameters = draw(5, 3, 2, torch.float32, device)
    leaves = [value.requires_grad_() for value in parameters]
    weights = torch.ones(5, device=device) if weighted else None
    torch.library.opcheck(mixture._mixture_e_step, (x, *leaves, weights, weighted))


def bad(**changes):
    given = {
        "x": torch.ones(5, 3),
        "log_weights": torch.zeros(2),
        "loc": torch.zeros(2, 3),
        "inverse_scale": torch.ones(2, 3),
    }
    return given | changes


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        (bad(x=1.0), TypeError, "x must be a torch.Tensor; got float"),
        (bad(x=torch.ones(5)), ValueError, r"x must have shape \(N, d\)"),
        (bad(x=torch.ones(5, 3).double()), TypeError, "log_weights must be torch.float64 beside x"),
        (bad(log_weights=torch.zeros(2).half()), TypeError, "log_weights must be torch.float32"),
        (bad(loc=torch.ones(2, 3).half()), TypeError, "loc must have the dtype of log_weights"),
        (bad(loc=torch.zeros(2, 4)), ValueError, r"loc must have shape \(2, 3\)"),
        (bad(log_weights=torch.zeros(2, 1)), ValueError, r"log_weights must have shape \(2,\)"),
        (bad(inverse_scale=torch.ones(2, 3, 2)), ValueError, r"\(2, 3\) or \(2, 3, 3\)"),
        (bad(weights=torch.ones(4)), ValueError, r"weights must have shape \(5,\)"),
        (bad(weights=torch.ones(5, device="meta")), ValueError, "on the device of log_weights"),
        (bad(x=torch.ones(5, 3, device="meta")), ValueError, "on the device of x"),
        (
            bad(x=torch.ones(5, 3, requires_grad=True)),
            NotImplementedError,
            "x must not require a gradient",
        ),
        (
            bad(weights=torch.ones(5, requires_grad=True)),
            NotImplementedError,
            "weights must not require a gradient",
        ),
    ],
)
def test_bad_input(arguments, exception, message):
    with pytest.raises(exception, match=message):
        E_STEP(**arguments)
