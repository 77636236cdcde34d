"""All eigenvalues of the Fisher matrix of a model, and how many of them the data determine."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.fisher.sample_space import fisher_root


def fisher_eigenvalues(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    weights: ArrayLike | None = None,
) -> Float[Array, "rank"]:
    """All eigenvalues of the Fisher matrix, exact, descending: the squared singular values of R.

    Of the root `F = R^T R` of `fisher_root`, not of a matrix of products: singular values are right
    to `eps` of the largest, and so eigenvalues are seen down to `eps^2` of the largest, in float32
    14 decades. `N K P` memory for N examples of K rows and `N K P min(N K, P)` operations. Of large
    models `fisher_eigenpairs` finds the largest and `fisher_spectral_density` the density. Their
    sum is `fisher_trace`; for the trace of each leaf sum the leaves of `fisher_diagonal`.

    Unchanged by the chart of the outputs and by orthogonal maps of the parameters, such as an
    exchange of hidden units; not by others: they are relative to the parameters' own unit.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: pytree of arrays with the examples on axis 0.
      weights: of each example or output, replacing `1/N`.

    Returns:
      The `min(N K, P)` largest, non-negative; the others, up to P, are 0.

    Raises:
      TypeError: `family` is not a family, or `predict` does not return a point of it.
      ValueError: no axis of examples, or `weights` of a wrong shape or negative.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> arguments = predict, family, jnp.zeros(3), jnp.array([[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
      >>> fisher_eigenvalues(*arguments).round(6).tolist()
      [8.0, 2.0]
    """
    root = fisher_root(predict, family, params, inputs, weights=weights)
    return jnp.linalg.svd(root, compute_uv=False) ** 2


def effective_dimension(
    eigenvalues: Float[ArrayLike, "*batch rank"], *, damping: ArrayLike
) -> Float[Array, "*batch"]:
    """Number of directions that the data determine, `sum lambda / (lambda + c)`: `tr F (F + c)^-1`.

    A direction counts 1 where its eigenvalue is far above c, 0 far below, 1/2 at c. With F the mean
    over N examples and a prior of precision tau on the parameters, `c = tau / N` counts those that
    the N examples determine rather than the prior. It is the slope `P - d log det(F + c) / d log c`
    of `fisher_log_det`. As the eigenvalues, it is relative to the parameters' own unit. Of large
    models `P sum w node / (node + c)` over `fisher_spectral_density` estimates it.

    Args:
      eigenvalues: of F on the last axis, non-negative; zeros may be left out.
      damping: c > 0, a scalar; may be traced.

    Returns:
      Between 0 and the number of eigenvalues.

    Raises:
      TypeError: one of them does not hold real numbers.
      ValueError: `damping` is not a positive scalar, or `eigenvalues` has no axis.

    References:
      [MacKay1992] section 4 (well-determined parameters).
      [Maddox2020] (of networks, along training and over their sizes).

    Examples:
      >>> float(effective_dimension(jnp.array([3.0, 1.0, 0.0]), damping=1.0))
      1.25
    """
    values = checks.floating("eigenvalues", eigenvalues)
    level = checks.floating("damping", damping).astype(values.dtype)
    if level.ndim or not values.ndim:
        raise ValueError(
            "eigenvalues must have a last axis and damping must be a scalar; got shapes "
            f"{values.shape} and {level.shape}. Use jax.vmap for several dampings."
        )
    checks.require_positive("damping", damping, "Without it every positive eigenvalue counts 1.")
    return jnp.sum(values / (values + level), axis=-1)
