"""Spectrum of the Fisher matrix of a model, and solves with it, from products alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key
from matfree.decomp import tridiag_sym

from igeojax._core import checks
from igeojax.fisher._arguments import tangent_of
from igeojax.fisher.model import Predict, fisher_matvec
from igeojax.fisher.output import Output, widened
from igeojax.numerics.conjugate_gradient import ConjugateGradientInfo, conjugate_gradient
from igeojax.numerics.eigenpairs import top_eigenpairs


class FisherEigenpairs(NamedTuple):
    """Eigenvalues, descending, and eigenvectors as columns: `F ~ U diag(values) U^T`."""

    values: Float[Array, " rank"]
    vectors: Float[Array, "parameters rank"]


class SpectralDensity(NamedTuple):
    """Nodes and weights, which sum to 1: `P sum w f(node)` estimates the trace of `f(F)`."""

    nodes: Float[Array, "samples matvecs"]
    weights: Float[Array, "samples matvecs"]


def _flat_matvec(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    weights: ArrayLike | None,
    chunk_size: int | None,
) -> tuple[Callable[[Array], Array], int, Any]:
    """The product on vectors of at least float32, their size and dtype."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    wide = widened(flat)

    def matvec(vector: Array) -> Array:
        tangent = unravel(vector.astype(flat.dtype))
        image = fisher_matvec(
            predict, family, params, tangent, inputs, weights=weights, chunk_size=chunk_size
        )
        return jax.flatten_util.ravel_pytree(image)[0].astype(wide.dtype)

    return matvec, wide.size, wide.dtype


def fisher_eigenpairs(
    key: Key[Array, ""],
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    rank: int,
    num_blocks: int = 4,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> FisherEigenpairs:
    """Largest eigenpairs of the Fisher matrix, the low-rank form `F ~ U diag(values) U^T`.

    Randomized block Krylov iteration: `2 num_blocks (rank + 4)` products, in batches of
    `rank + 4` and one of `num_blocks (rank + 4)`, whose vectors are kept. Exact where the rank of F
    is at most `rank`; repeated eigenvalues are found, each with its own vector. For all of them at
    small P take `jnp.linalg.eigh` of `fisher_matrix`, at few outputs of `sample_space_gram`.

    Args:
      key: a PRNG key, of the start.
      predict: `predict(params, inputs)`, outputs of `family` with the examples on axis 0.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: what `predict` takes.
      rank: how many pairs; at most the number of parameters.
      num_blocks: steps of the iteration; more where the spectrum falls slowly.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, as in `fisher_matvec`.

    Returns:
      The pairs; rows of the vectors are in the order of `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `rank` is not an integer, or as `fisher_matvec`.
      ValueError: `rank` out of range, or as `fisher_matvec`.

    References:
      [MuscoMusco2015] algorithm 2.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> arguments = predict, family, jnp.zeros(2), jnp.array([[2.0, 0.0], [0.0, 4.0]])
      >>> fisher_eigenpairs(jax.random.key(0), *arguments, rank=1).values.round(6).tolist()
      [8.0]
    """
    checks.require_key(key)
    matvec, size, dtype = _flat_matvec(predict, family, params, inputs, weights, chunk_size)
    return FisherEigenpairs(
        *top_eigenpairs(key, matvec, size, rank, num_blocks=num_blocks, dtype=dtype)
    )


def fisher_spectral_density(
    key: Key[Array, ""],
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    num_matvecs: int = 30,
    num_samples: int = 4,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> SpectralDensity:
    """Density of the eigenvalues of the Fisher matrix, by stochastic Lanczos quadrature.

    A histogram of `nodes` with `weights` is the spectrum; with P parameters
    `P * jnp.sum(weights * jnp.log(nodes + damping))` estimates `log det(F + damping I)`, and
    likewise the trace of any function of F. `num_matvecs` products a sample, one sample at a time.

    Args:
      key: a PRNG key, of the random signs.
      predict: `predict(params, inputs)`, outputs of `family` with the examples on axis 0.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      inputs: what `predict` takes.
      num_matvecs: nodes of a sample; no more than there are parameters are taken.
      num_samples: random vectors; the error falls as the root of their number times P.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, as in `fisher_matvec`.

    Returns:
      Nodes, at least 0, and weights. Where the Krylov space of a sample ends early the nodes that
      are left over have weight 0.

    Raises:
      TypeError: `num_matvecs` or `num_samples` is not an integer, or as `fisher_matvec`.
      ValueError: one of them is below 1, or as `fisher_matvec`.

    References:
      [UbaruChenSaad2017] section 3.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> arguments = predict, family, jnp.zeros(2), jnp.array([[2.0, 0.0], [0.0, 4.0]])
      >>> density = fisher_spectral_density(jax.random.key(0), *arguments, num_samples=1)
      >>> density.nodes.round(6).tolist(), density.weights.round(6).tolist()
      ([[2.0, 8.0]], [[0.5, 0.5]])
    """
    checks.require_key(key)
    checks.require_count("num_matvecs", num_matvecs)
    checks.require_count("num_samples", num_samples)
    matvec, size, dtype = _flat_matvec(predict, family, params, inputs, weights, chunk_size)
    depth = min(num_matvecs, size)
    lanczos = tridiag_sym(depth, materialize=False, custom_vjp=False)

    def quadrature(key: Array) -> tuple[Array, Array]:
        start = jax.random.rademacher(key, (size,), dtype)
        diagonal, off_diagonal = lanczos(matvec, start).J_small
        # Where the Krylov space is exhausted (the rank of F is that of few examples) Lanczos
        # divides by a length of rounding noise, or by 0: what follows is cut off.
        largest = jnp.max(jnp.where(jnp.isfinite(diagonal), jnp.abs(diagonal), 0.0))
        alive = off_diagonal > jnp.finfo(dtype).eps * largest
        # From here on nothing counts; a nan in the first product does, and reaches the nodes.
        inside = jnp.concatenate([jnp.ones(1, bool), jnp.cumprod(alive.astype(int)) == 1])
        off_diagonal = jnp.where(inside[1:], off_diagonal, 0.0)
        diagonal = jnp.where(inside, diagonal, 0.0)
        small = jnp.diag(diagonal) + jnp.diag(off_diagonal, 1) + jnp.diag(off_diagonal, -1)
        nodes, vectors = jnp.linalg.eigh(small)
        return jnp.maximum(nodes, 0.0), vectors[0] ** 2 / num_samples

    return SpectralDensity(*jax.lax.map(quadrature, jax.random.split(key, num_samples)))


def fisher_solve(
    predict: Predict,
    family: Output,
    params: Any,
    cotangent: Any,
    inputs: Any,
    *,
    damping: ArrayLike,
    tolerance: ArrayLike = 1e-5,
    max_iterations: int = 100,
    weights: ArrayLike | None = None,
    chunk_size: int | None = None,
) -> tuple[Any, ConjugateGradientInfo]:
    """Solve `(F + damping I) d = g` by conjugate gradients: one jvp and one vjp a step.

    The natural direction of a gradient g, outside an optimizer; `optim` has the other solvers
    (`Dense`, `SampleSpace`, ...) as static descriptions.

    Args:
      predict: `predict(params, inputs)`, outputs of `family` with the examples on axis 0.
      family: the output family, or an `OutputMetric`.
      params: any pytree of floating arrays.
      cotangent: the right-hand side g, a pytree like `params`.
      inputs: what `predict` takes.
      damping: non-negative scalar; may be traced. With 0 the minimum-norm solution is approached.
      tolerance: relative residual to reach.
      max_iterations: most products to take.
      weights: of each example or output, replacing `1/N`.
      chunk_size: examples at a time, as in `fisher_matvec`.

    Returns:
      The direction, a pytree like `params`, and a `ConjugateGradientInfo`.

    Raises:
      TypeError: as `fisher_matvec`.
      ValueError: `damping` is not a non-negative scalar, or as `fisher_matvec`.

    References:
      [Martens2020] section 6.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> arguments = predict, family, jnp.zeros(1), jnp.array([8.0]), jnp.array([[2.0]])
      >>> fisher_solve(*arguments, damping=0.0)[0].tolist()
      [2.0]
    """
    level = checks.floating("damping", damping)
    if level.shape:
        raise ValueError(
            f"damping must be a scalar; got shape {level.shape}. Scale the parameters instead to "
            "damp them differently."
        )
    checks.require_values("damping", damping, lambda v: v >= 0, "non-negative", "Try 1e-3.")

    def damped(vector: Any) -> Any:
        image = fisher_matvec(
            predict, family, params, vector, inputs, weights=weights, chunk_size=chunk_size
        )
        return jax.tree.map(lambda v, leaf: v + level.astype(leaf.dtype) * leaf, image, vector)

    rhs = tangent_of(params, cotangent)
    return conjugate_gradient(damped, rhs, tolerance=tolerance, max_iterations=max_iterations)
