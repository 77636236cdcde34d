"""The relative (natural) gradient of square matrices: steps that multiply.

The metric `<U, V> = tr (U W^-1)^T (V W^-1)` is the same after W is multiplied from the right by any
invertible matrix; of a loss of `W A` alone the descent of `W A` therefore does not depend on A.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.optim._arguments import real_scalar, require_alike, require_params


def scale_by_relative_gradient(
    max_norm: ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Replace the gradient g of a matrix W by `g W^T W`, its gradient in the relative metric.

    The step of independent component analysis, `(E[f(y) y^T] - I) W`. Three products of matrices;
    leading axes are a batch, each with its own norm.

    Args:
      max_norm: bound on the Frobenius norm of `g W^T`, to which longer ones are shortened; with
        `learning_rate max_norm < 1` no step makes W singular. None: no bound. May be traced.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `max_norm` is not real.
      ValueError: it is not a positive scalar; in `update`, missing `params` or leaves that are not
        square matrices.

    References:
      [AmariCichockiYang1996] section 3; [CardosoLaheld1996] section 3.

    Examples:
      >>> tx, w = scale_by_relative_gradient(), 2 * jnp.eye(2)
      >>> tx.update(jnp.eye(2), tx.init(w), w)[0].tolist()
      [[4.0, 0.0], [0.0, 4.0]]
    """
    if max_norm is not None:
        real_scalar("max_norm", max_norm, "It holds for each matrix.")
        checks.require_positive("max_norm", max_norm, "Try 1.")

    def relative(gradient: Array, matrix: Array) -> Array:
        step = gradient @ jnp.swapaxes(matrix, -1, -2)
        if max_norm is not None:
            norm = jnp.linalg.norm(step, axis=(-2, -1), keepdims=True)
            bound = jnp.asarray(max_norm, step.dtype)
            step = step * jnp.where(norm > bound, bound / jnp.where(norm > bound, norm, 1), 1)
        return (step @ matrix).astype(gradient.dtype)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_params("scale_by_relative_gradient", params)
        require_alike(updates, params)
        _require_square(params)
        return jax.tree.map(relative, updates, params), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def relative_gradient(
    learning_rate: optax.ScalarOrSchedule, max_norm: ArrayLike | None = None
) -> optax.GradientTransformationExtraArgs:
    """Descent by the relative gradient, `W' = (I - learning_rate g W^T) W`.

    Args:
      learning_rate: a scalar or an optax schedule.
      max_norm: bound on the Frobenius norm of `g W^T`, as in `scale_by_relative_gradient`.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: as `scale_by_relative_gradient`.
      ValueError: as `scale_by_relative_gradient`.

    References:
      [AmariCichockiYang1996] section 3.

    Examples:
      >>> tx, w = relative_gradient(0.5), 2 * jnp.eye(1)
      >>> tx.update(jnp.eye(1), tx.init(w), w)[0].tolist()
      [[-2.0]]
    """
    return optax.chain(
        scale_by_relative_gradient(max_norm), optax.scale_by_learning_rate(learning_rate)
    )


def _require_square(params: Any) -> None:
    """Check that every leaf is a square matrix, or a batch of them.

    Raises:
      ValueError: one is not.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        shape = jnp.shape(leaf)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            where = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise ValueError(
                f"relative gradients are those of square matrices; got shape {shape}{where}. Leave "
                "other leaves out by optax.masked."
            )
