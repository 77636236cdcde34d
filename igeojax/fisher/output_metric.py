"""The metric of a user's convex loss, in place of an output family."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks


@dataclasses.dataclass(frozen=True)
class _LossHessian:
    """Hessian product of a loss; compared by the loss, so that it never retraces."""

    loss: Callable[[Any], Array]

    def __call__(self, outputs: Any, tangent: Any) -> Any:
        found = jax.eval_shape(self.loss, outputs)
        if jax.tree.structure(found) != jax.tree.structure(0) or found.shape:
            raise ValueError(
                f"loss must return a scalar for one output; got {found}. Sum over the event axes; "
                "batch axes are mapped over, and never passed to it."
            )
        return jax.jvp(jax.grad(self.loss), (outputs,), (tangent,))[1]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class OutputMetric:
    """Metric on the raw outputs of a model: of a convex loss, in place of an output family.

    Taken wherever `fisher` and `optim` take a `family`: `predict` then returns raw outputs, an
    array or a pytree of arrays, and `F = mean_x J_x^T H J_x` is the generalized Gauss-Newton matrix
    of the loss with Hessian `H` in the outputs.

    Args:
      matvec: `matvec(outputs, tangent)`, the product `H v` for *one* output, without batch axes, a
        pytree like `outputs`; symmetric and positive semi-definite. Mapped over the batch axes.
      event_ndim: how many trailing axes of a leaf belong to one output; or a tuple with a number
        for each leaf, in the order of `jax.tree.leaves`. The axes before are examples, tokens, ...

    Raises:
      TypeError: `matvec` is not a hashable function, or `event_ndim` is not an integer.
      ValueError: `event_ndim` is negative.

    References:
      [Schraudolph2002] section 3 (the generalized Gauss-Newton matrix).

    Examples:
      >>> squared = OutputMetric(lambda outputs, tangent: 2 * tangent)
      >>> squared.fisher_matvec(jnp.zeros((1, 2)), jnp.ones((1, 2))).tolist()
      [[2.0, 2.0]]
    """

    matvec: Callable[[Any, Any], Any]
    event_ndim: int | tuple[int, ...] = 1

    def __post_init__(self):
        _require_function("matvec", self.matvec)
        counts = self.event_ndim if isinstance(self.event_ndim, tuple) else (self.event_ndim,)
        for count in counts:
            checks.require_count("event_ndim", count, 0)

    @classmethod
    def from_loss(
        cls, loss: Callable[[Any], Array], event_ndim: int | tuple[int, ...] = 1
    ) -> "OutputMetric":
        """Metric of a convex loss: its Hessian, by forward over reverse mode.

        Args:
          loss: `loss(outputs)`, a scalar, for *one* output. It closes over no label: the Hessian
            of a loss such as cross-entropy or squared error does not depend on it.
          event_ndim: as for the class.

        Returns:
          The description; equal for equal losses and `event_ndim`.

        Raises:
          TypeError: `loss` is not a hashable function, or `event_ndim` is not an integer.
          ValueError: `event_ndim` is negative.

        Examples:
          >>> metric = OutputMetric.from_loss(lambda outputs: jnp.sum(outputs**4) / 12)
          >>> metric.fisher_matvec(jnp.array([[1.0, 2.0]]), jnp.ones((1, 2))).tolist()
          [[1.0, 4.0]]
        """
        _require_function("loss", loss)
        return cls(_LossHessian(loss), event_ndim)

    def batch_shape(self, outputs: Any) -> tuple[int, ...]:
        """Leading shape shared by the outputs: examples, then tokens, pixels, ...

        Args:
          outputs: what `predict` returns.

        Returns:
          The batch shape; `()` for one output.

        Raises:
          TypeError: a leaf is not floating.
          ValueError: there are no leaves, too few axes, or the leaves disagree on the batch shape.

        Examples:
          >>> OutputMetric(lambda outputs, tangent: tangent).batch_shape(jnp.zeros((3, 4, 2)))
          (3, 4)
        """
        leaves = jax.tree.leaves(outputs)
        counts = self._event_ndims(leaves)
        for leaf, count in zip(leaves, counts, strict=True):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(
                    f"outputs must be floating arrays; got {jnp.result_type(leaf)}. Return from "
                    "predict what the loss is differentiated in, and nothing else."
                )
            if jnp.ndim(leaf) < count:
                raise ValueError(
                    f"outputs must have the {count} event axes of {self}; got shape "
                    f"{jnp.shape(leaf)}. Set event_ndim to the trailing axes of one output."
                )
        batches = {jnp.shape(x)[: jnp.ndim(x) - n] for x, n in zip(leaves, counts, strict=True)}
        if len(batches) > 1:
            raise ValueError(
                f"the outputs must share their batch axes; got {sorted(batches)}. Set event_ndim "
                "to the trailing axes of one output, a tuple where the leaves differ."
            )
        return batches.pop()

    def _event_ndims(self, leaves: list[Any]) -> tuple[int, ...]:
        counts = self.event_ndim
        counts = counts if isinstance(counts, tuple) else (counts,) * len(leaves)
        if not leaves or len(counts) != len(leaves):
            raise ValueError(
                f"outputs must be arrays, one for each number of event_ndim={self.event_ndim}; "
                f"got {len(leaves)} leaves. Check what predict returns."
            )
        return counts

    def fisher_matvec(self, outputs: Any, tangent: Any) -> Any:
        """Metric times a tangent, `H v`, output by output.

        Args:
          outputs: what `predict` returns.
          tangent: a pytree like `outputs`.

        Returns:
          The cotangent, a pytree like `outputs`.

        Raises:
          TypeError: a leaf is not floating.
          ValueError: shapes do not fit `event_ndim`, or `matvec` returns something else.

        Examples:
          >>> metric = OutputMetric(lambda outputs, tangent: outputs * tangent, event_ndim=0)
          >>> metric.fisher_matvec(jnp.array([1.0, 3.0]), jnp.array([1.0, 2.0])).tolist()
          [1.0, 6.0]
        """
        batch = self.batch_shape(outputs)
        tangent = jax.tree.map(lambda v, leaf: jnp.asarray(v, leaf.dtype), tangent, outputs)
        product = self.matvec
        for _ in batch:
            product = jax.vmap(product)
        image = product(outputs, tangent)
        shapes = jax.tree.map(jnp.shape, (image, outputs), is_leaf=lambda x: x is None)
        if jax.tree.structure(image) != jax.tree.structure(outputs) or shapes[0] != shapes[1]:
            raise ValueError(
                f"matvec must return a pytree like one output; got {shapes[0]} for outputs of "
                f"shapes {shapes[1]}. It is the product of a Hessian with a tangent."
            )
        return jax.tree.map(lambda v, leaf: v.astype(leaf.dtype), image, outputs)


def _require_function(name: str, function: Any) -> None:
    try:
        hash(function)
        sound = callable(function)
    except TypeError:
        sound = False
    if not sound:
        raise TypeError(
            f"{name} must be a function that can be hashed; got {function!r}. An OutputMetric is a "
            "static description: pass a function, or a frozen dataclass with __call__."
        )
