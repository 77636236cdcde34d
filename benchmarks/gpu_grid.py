"""What `benchmarks/gpu.py` times: operations, sizes, the bytes that must move, peers and goals.

A peer is given the fair form of the operation, not one with a temperature it must divide by.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import torch

from kernels_triton._operations.table import OPERATIONS

LENGTHS = (1024, 4096, 8192, 32_768, 65_536, 131_072, 262_144)
ELEMENTS = 2**28  # of each matrix: far more than a cache holds
QUICK_LENGTHS, QUICK_ELEMENTS = (64, 1000), 2**14
DTYPES = ("bfloat16", "float32")
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
COMPONENTS = 64  # of mixtures
NO_TIME = "no time"
PEERS = ("torch", "torch.compile", "jax", "liger", "quack")


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
      operation: its public name.
      direction: forward, backward, or both.
      shape: rows and columns.
      dtype: of storage.
      moved: the bytes that must be read and written.
      goal: the least share of the bandwidth of a copy that is aimed at, or None.
    """

    operation: str
    direction: str
    shape: tuple[int, int]
    dtype: str
    moved: int
    goal: float | None

    @property
    def label(self) -> str:
        """All but the figures."""
        rows, columns = self.shape
        return f"{self.operation} {self.direction} {rows}x{columns} {self.dtype}"


class Draw:
    """Makes the inputs of one row of the table on the device, the same on every run."""

    def __init__(self, dtype: str, device: str):
        torch.manual_seed(0)
        self.device = device
        self._made = {"dtype": getattr(torch, dtype), "device": device}

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, **self._made)

    def positive(self, *shape: int) -> torch.Tensor:
        """Numbers from 0.5 on."""
        return torch.randn(shape, **self._made).abs_().add_(0.5)

    def labels(self, below: int, *shape: int) -> torch.Tensor:
        """Numbers of int64 from 0 on, `below` left out."""
        return torch.randint(below, shape, device=self._made["device"])


@dataclass(frozen=True)
class Subject:
    """How one operation is called and what it costs.

    Attributes:
      inputs: `inputs(draw, rows, columns)`, the tensors by the names of their parameters.
      passes: reads and writes of a matrix of `rows x columns`, forward and backward; None for a
        direction that is not timed.
      goal: `goal(columns)` forward and backward.
      torch: the same by torch; `torch.compile` is given it too.
      jax: the same by JAX.
      others: peers that need a package: `name -> (package, function that makes the call)`, called
        with the inputs in their order.
      shapes: rows and columns, where they are not those of the grid.
      quick_shapes: likewise for trying the script.
      options: arguments by name that are no tensors, for ours and the peers alike.
      both: whether one forward and one backward pass are timed together too, as a peer may do the
        work of the one in the other.
    """

    inputs: Callable[[Draw, int, int], dict[str, torch.Tensor]]
    passes: tuple[float | None, float | None]
    goal: tuple[Callable[[int], float | None], Callable[[int], float | None]]
    torch: Callable
    jax: Callable
    others: dict[str, tuple[str, Callable[[], Callable]]] = field(default_factory=dict)
    shapes: tuple[tuple[int, int], ...] = ()
    options: dict[str, float] = field(default_factory=dict)
    both: bool = False
    quick_shapes: tuple[tuple[int, int], ...] = ()

    def directions(self) -> Iterator[tuple[str, float, Callable[[int], float | None]]]:
        """What is timed, with its passes and its goal."""
        passes = zip(("forward", "backward"), self.passes, self.goal, strict=True)
        for direction, count, goal in passes:
            if count is not None:
                yield direction, count, goal
        if self.both:
            yield "both", sum(count or 0 for count in self.passes), _always(None)


def _softmax_goal(columns: int) -> float:
    return 0.92 if columns <= 32_768 else 0.80


def _always(goal: float | None) -> Callable[[int], float | None]:
    return lambda _columns: goal


def _torch_softmax(kind: str) -> Callable:
    return lambda x: getattr(torch, kind)(x, -1)


def _jax_softmax(kind: str) -> Callable:
    return lambda x: getattr(jax.nn, kind)(x, -1)


def _liger_softmax() -> Callable:
    from liger_kernel.ops.softmax import LigerSoftmaxFunction

    return LigerSoftmaxFunction.apply


def _quack_softmax() -> Callable:
    from quack.softmax import softmax

    return softmax


def _liger_cross_entropy() -> Callable:
    from liger_kernel.transformers.functional import liger_cross_entropy

    return liger_cross_entropy


def _quack_cross_entropy() -> Callable:
    from quack.cross_entropy import cross_entropy

    return lambda x, labels: cross_entropy(x, labels, reduction="mean")


def _labeled(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    return {"logits": draw.normal(rows, columns), "labels": draw.labels(columns, rows)}


def _torch_log_probs(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return -torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def _jax_log_probs(logits: jax.Array, labels: jax.Array) -> jax.Array:
    log_probs = jax.nn.log_softmax(logits.astype(jax.numpy.float32))
    return jax.numpy.take_along_axis(log_probs, labels[:, None], 1)[:, 0]


def _torch_normal(x: Any, loc: Any, scale: Any) -> Any:
    return torch.distributions.Normal(loc, scale, validate_args=False).log_prob(x)


def _jax_normal(x: Any, loc: Any, scale: Any) -> Any:
    return jax.scipy.stats.norm.logpdf(x, loc, scale)


def _mixture(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    """Overlapping components with full covariances; parameters in float32 whatever the data are."""
    inverse = torch.eye(columns, device=draw.device) + 0.1 * draw.normal(
        COMPONENTS, columns, columns
    )
    return {
        "x": draw.normal(rows, columns),
        "log_weights": torch.full((COMPONENTS,), -math.log(COMPONENTS), device=draw.device),
        "loc": draw.normal(COMPONENTS, columns).float(),
        "inverse_scale": inverse.float().tril().contiguous(),
    }


def _e_step(
    xp: Any, x: Any, log_weights: Any, loc: Any, inverse_scale: Any, logsumexp: Callable
) -> tuple[Any, ...]:
    """As a product of the features `1, x, x x^T` with natural parameters, and its transpose."""
    precision = xp.swapaxes(inverse_scale, 1, 2) @ inverse_scale
    linear = (precision @ loc[:, :, None])[:, :, 0]
    norm = 0.5 * x.shape[1] * math.log(2 * math.pi)
    log_det = xp.log(abs(xp.diagonal(inverse_scale, 0, 1, 2))).sum(1)
    constant = log_weights + log_det - norm - 0.5 * (loc * linear).sum(1)
    features = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    quadratic = features @ precision.reshape(len(loc), -1).T
    joint = constant[None] + x @ linear.T - 0.5 * quadratic
    density = logsumexp(joint)
    mass = xp.exp(joint - density[:, None])
    return density.sum(), mass.sum(0), mass.T @ x, mass.T @ features


def _torch_e_step(**tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    tensors["x"] = tensors["x"].float()
    return _e_step(torch, **tensors, logsumexp=lambda joint: joint.logsumexp(1))


def _jax_e_step(**arrays: jax.Array) -> tuple[jax.Array, ...]:
    arrays["x"] = arrays["x"].astype("float32")
    logsumexp = lambda joint: jax.scipy.special.logsumexp(joint, axis=1)
    with jax.default_matmul_precision("highest"):
        return _e_step(jax.numpy, **arrays, logsumexp=logsumexp)


# Rows of scores, many and few; rows of data; and tiny ones to try the script.
_SCORES = {"shapes": ((65_536, 4096), (2048, 131_072)), "quick_shapes": ((50, 64), (4, 5000))}
_DATA = {"shapes": ((16_777_216, 16), (8_388_608, 32)), "quick_shapes": ((100, 3), (50, 16))}
_FEATURES = {"shapes": ((1_048_576, 256), (65_536, 4096)), "quick_shapes": ((100, 16), (50, 40))}


def _pair(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    return {"p_logits": draw.normal(rows, columns), "q_logits": draw.normal(rows, columns)}


def _scores(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    return {"logits": draw.normal(rows, columns), "tangent": draw.normal(rows, columns)}


def _one_diagonal(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    parameters = {"loc": draw.normal(columns), "scale": draw.positive(columns)}
    return {"x": draw.normal(rows, columns)} | parameters


def _one_normal(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    identity = torch.eye(columns, device=draw.device)
    factor = (1.5 * identity + 0.1 * draw.normal(columns, columns).float().tril()).contiguous()
    x = draw.normal(rows, columns)
    return {"x": x, "loc": draw.normal(columns), "scale_tril": factor.to(x.dtype)}


def _directions(draw: Draw, rows: int, columns: int) -> dict[str, torch.Tensor]:
    parameters = {"mu": draw.normal(COMPONENTS, columns), "kappa": draw.positive(COMPONENTS)}
    return {"x": draw.normal(rows, columns)} | parameters


def _registered(
    name: str, inputs: Callable, passes: tuple, sizes: dict[str, Any], **options: float
) -> Subject:
    """A subject without a goal, whose peers are those of the cross-check."""
    peers = OPERATIONS[name]
    goals = (_always(None), _always(None))
    return Subject(inputs, passes, goals, peers.torch, peers.jax, options=options, **sizes)


SUBJECTS = {
    "softmax": Subject(
        lambda draw, *shape: {"x": draw.normal(*shape)},
        (2, 3),
        (_softmax_goal, _softmax_goal),
        _torch_softmax("softmax"),
        _jax_softmax("softmax"),
        {
            "liger": ("liger_kernel", _liger_softmax),
            "quack": ("quack", _quack_softmax),
        },
    ),
    "log_softmax": Subject(
        lambda draw, *shape: {"x": draw.normal(*shape)},
        (2, 3),
        (_softmax_goal, _softmax_goal),
        _torch_softmax("log_softmax"),
        _jax_softmax("log_softmax"),
    ),
    "logsumexp": Subject(
        lambda draw, *shape: {"x": draw.normal(*shape)},
        (1, 2),
        (_always(0.90), _always(None)),
        _torch_softmax("logsumexp"),
        _jax_softmax("logsumexp"),
    ),
    "token_log_probs": Subject(
        _labeled,
        (1, 2),
        (_always(0.90), _always(0.88)),
        _torch_log_probs,
        _jax_log_probs,
    ),
    "cross_entropy": Subject(
        _labeled,
        (1, 2),
        (_always(0.90), _always(0.88)),
        lambda logits, labels: torch.nn.functional.cross_entropy(logits, labels),
        lambda logits, labels: -_jax_log_probs(logits, labels).mean(),
        {
            "liger": ("liger_kernel", _liger_cross_entropy),
            "quack": ("quack", _quack_cross_entropy),
        },
        both=True,
    ),
    "normal_log_density": Subject(
        lambda draw, *shape: {
            "x": draw.normal(*shape),
            "loc": draw.normal(*shape),
            "scale": draw.positive(*shape),
        },
        (4, 7),
        (_always(0.93), _always(None)),
        _torch_normal,
        _jax_normal,
    ),
    "mixture_e_step": Subject(
        _mixture,
        (1, None),
        (_always(None), _always(None)),
        _torch_e_step,
        _jax_e_step,
        shapes=((10_000_000, 16),),
        quick_shapes=((100, 3), (50, 16)),
    ),
    "kl": _registered("kl", _pair, (2, 4), _SCORES),
    "jensen_shannon": _registered("jensen_shannon", _pair, (2, 4), _SCORES),
    "total_variation": _registered("total_variation", _pair, (2, 4), _SCORES),
    "renyi": _registered("renyi", _pair, (2, 4), _SCORES, order=0.5),
    "categorical_fisher_matvec": _registered("categorical_fisher_matvec", _scores, (3, 5), _SCORES),
    "kronecker_factor": _registered(
        "kronecker_factor",
        lambda draw, *shape: {"activations": draw.normal(*shape)},
        (1, None),
        _FEATURES,
        homogeneous=False,
    ),
    "diagonal_normal_log_density": _registered(
        "diagonal_normal_log_density", _one_diagonal, (1, 2), _DATA
    ),
    "multivariate_normal_log_density": _registered(
        "multivariate_normal_log_density", _one_normal, (1, 2), _DATA
    ),
    "von_mises_fisher_logits": _registered(
        "von_mises_fisher_logits", _directions, (1, 2), _FEATURES
    ),
}
"""The operations that are timed, in the order of the table."""


def grid(
    *, quick: bool = False, dtypes: tuple[str, ...] = DTYPES, operations: tuple[str, ...] = ()
) -> list[Work]:
    """The rows of the table."""
    lengths, elements = (QUICK_LENGTHS, QUICK_ELEMENTS) if quick else (LENGTHS, ELEMENTS)
    usual = tuple((max(1, elements // columns), columns) for columns in lengths)
    return [
        Work(name, direction, shape, dtype, int(passes * math.prod(shape) * BYTES[dtype]), goal)
        for name, subject in SUBJECTS.items()
        if not operations or name in operations
        for direction, passes, goal_of in subject.directions()
        for dtype in dtypes
        for shape in (subject.quick_shapes if quick else subject.shapes) or usual
        for goal in [goal_of(shape[1])]
    ]


@functools.cache
def is_installed(package: str) -> bool:
    """Whether a peer's package is here."""
    return importlib.util.find_spec(package) is not None
