"""Symmetric matrices on the last two axes and functions of them, right at repeated eigenvalues."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.positive_definite import symmetrized
from igeojax.numerics.rows import norm_at_zero


def spectral_matrix(
    vectors: Float[Array, "*batch dim dim"], values: Float[Array, "*batch dim"]
) -> Float[Array, "*batch dim dim"]:
    """Symmetric matrix with given eigenvectors, as columns, and eigenvalues.

    Args:
      vectors: orthogonal.
      values: the eigenvalues.

    Returns:
      `V diag(values) V^T`, exactly symmetric.

    Examples:
      >>> spectral_matrix(jnp.eye(2), jnp.array([1.0, 2.0])).tolist()
      [[1.0, 0.0], [0.0, 2.0]]
    """
    return symmetrized((vectors * values[..., None, :]) @ jnp.swapaxes(vectors, -1, -2))


def spectral_derivative(
    vectors: Float[Array, "*batch dim dim"],
    differences: Float[Array, "*batch dim dim"],
    tangent: Float[Array, "*batch dim dim"],
) -> Float[Array, "*batch dim dim"]:
    """Derivative of a function of symmetric matrices along a tangent, of which the symmetric part.

    In the eigenbasis a product with the divided differences `(f(a) - f(b)) / (a - b)`, which are
    finite at repeated eigenvalues, where derivatives of eigenvectors are not.

    Args:
      vectors: eigenvectors, as columns.
      differences: divided differences of the function at pairs of eigenvalues.
      tangent: the change of the matrix.

    Returns:
      The change of the function.

    References:
      [Higham2008] theorem 3.11 (Daleckii and Krein).

    Examples:
      >>> spectral_derivative(jnp.eye(1), jnp.array([[3.0]]), jnp.array([[2.0]])).tolist()
      [[6.0]]
    """
    transposed = jnp.swapaxes(vectors, -1, -2)
    inside = differences * (transposed @ symmetrized(tangent) @ vectors)
    return symmetrized(vectors @ inside @ transposed)


def log_differences(values: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim dim"]:
    """Divided differences `(log a - log b) / (a - b)` of positive eigenvalues.

    Args:
      values: the eigenvalues.

    Returns:
      One for each pair, `1 / a` on the diagonal.

    Examples:
      >>> log_differences(jnp.array([2.0])).tolist()
      [[0.5]]
    """
    total = values[..., :, None] + values[..., None, :]
    ratio = (values[..., :, None] - values[..., None, :]) / total
    # log(a / b) / (a - b) = 2 atanh(r) / (r (a + b)), by its series where r is small.
    near = jnp.abs(ratio) < 1e-3
    wide = jnp.where(near, 0.5, ratio)
    series = 1 + ratio**2 / 3 + ratio**4 / 5
    return 2 * jnp.where(near, series, jnp.arctanh(wide) / wide) / total


def exp_differences(values: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim dim"]:
    """Divided differences `(exp a - exp b) / (a - b)`.

    Args:
      values: the eigenvalues.

    Returns:
      One for each pair, `exp(a)` on the diagonal.

    Examples:
      >>> exp_differences(jnp.array([0.0])).tolist()
      [[1.0]]
    """
    gap = jnp.abs(values[..., :, None] - values[..., None, :])
    largest = jnp.maximum(values[..., :, None], values[..., None, :])
    # e^max (1 - e^-d) / d, which does not overflow.
    apart = gap > 0
    wide = jnp.where(apart, gap, 1.0)
    return jnp.exp(largest) * jnp.where(apart, -jnp.expm1(-wide) / wide, 1.0)


@jax.custom_jvp
def symmetric_exp(matrix: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch dim dim"]:
    """Exponential of symmetric matrices, by one eigendecomposition.

    Args:
      matrix: symmetric.

    Returns:
      The exponential, positive definite up to rounding of its largest eigenvalue.

    References:
      [Higham2008] section 10.

    Examples:
      >>> symmetric_exp(jnp.zeros((1, 1))).tolist()
      [[1.0]]
    """
    values, vectors = jnp.linalg.eigh(matrix)
    return spectral_matrix(vectors, jnp.exp(values))


@symmetric_exp.defjvp
def _symmetric_exp_jvp(primals, tangents):
    values, vectors = jnp.linalg.eigh(primals[0])
    change = spectral_derivative(vectors, exp_differences(values), tangents[0])
    return spectral_matrix(vectors, jnp.exp(values)), change


def change_log(
    change: Float[Array, "*batch dim dim"], whole: Float[Array, "*batch dim dim"]
) -> Float[Array, "*batch dim dim"]:
    """Logarithm of `I + C`, from C where it is small: there the sum would round.

    Args:
      change: C, symmetric.
      whole: `I + C`, which may be known to more digits where an eigenvalue of it is near 0.

    Returns:
      The logarithm; nan where an eigenvalue is not positive.

    Examples:
      >>> c = 1e-20 * jnp.eye(1)
      >>> change_log(c, 1 + c).item() == c.item()
      True
    """
    return _log_from(*_nearer(change, whole))


def change_log_norm(
    change: Float[Array, "*batch dim dim"], whole: Float[Array, "*batch dim dim"]
) -> Float[Array, "*batch"]:
    """Frobenius norm `|log(I + C)|`, with derivative 0 at `C = 0` by convention.

    Args:
      change: C, symmetric.
      whole: `I + C`, which may be known to more digits where an eigenvalue of it is near 0.

    Returns:
      The norm; nan where an eigenvalue is not positive.

    Examples:
      >>> change_log_norm(jnp.zeros((2, 2)), jnp.eye(2)).item()
      0.0
    """
    return _log_norm_from(*_nearer(change, whole))


@jax.custom_jvp
def change_log_square(
    change: Float[Array, "*batch dim dim"], whole: Float[Array, "*batch dim dim"]
) -> Float[Array, "*batch"]:
    """Square `|log(I + C)|^2` of the Frobenius norm, which has second derivatives at `C = 0` too.

    Args:
      change: C, symmetric.
      whole: `I + C`, which may be known to more digits where an eigenvalue of it is near 0.

    Returns:
      The square; nan where an eigenvalue is not positive.

    Examples:
      >>> square = lambda c: change_log_square(c * jnp.eye(1), (1 + c) * jnp.eye(1))
      >>> jax.grad(jax.grad(square))(0.0).item()
      2.0
    """
    return jnp.sum(change_log(change, whole) ** 2, axis=(-2, -1))


@change_log_square.defjvp
def _change_log_square_jvp(primals, tangents):
    # 2 <(I + C)^-1 log(I + C), dC>: no second derivative of an eigendecomposition in its own.
    logs = change_log(*primals)
    slope = 2 * jnp.linalg.solve(primals[1], logs)
    return jnp.sum(logs**2, axis=(-2, -1)), jnp.sum(slope * tangents[0], axis=(-2, -1))


def _nearer(change: Array, whole: Array) -> tuple[Array, Array]:
    """C or `I + C`, whichever has the digits, and what the identity counts that is to be added."""
    near = jnp.sum(change**2, axis=(-2, -1)) < 0.25
    return jnp.where(near[..., None, None], change, whole), near.astype(change.dtype)[..., None]


def _logs(values: Array, added: Array) -> Array:
    near = added > 0
    return jnp.where(near, jnp.log1p(jnp.where(near, values, 0.0)), jnp.log(values + added))


@jax.custom_jvp
def _log_from(matrix: Array, added: Array) -> Array:
    values, vectors = jnp.linalg.eigh(matrix)
    return spectral_matrix(vectors, _logs(values, added))


@_log_from.defjvp
def _log_from_jvp(primals, tangents):
    matrix, added = primals
    values, vectors = jnp.linalg.eigh(matrix)
    change = spectral_derivative(vectors, log_differences(values + added), tangents[0])
    return spectral_matrix(vectors, _logs(values, added)), change


@jax.custom_jvp
def _log_norm_from(matrix: Array, added: Array) -> Array:
    return norm_at_zero(_logs(jnp.linalg.eigvalsh(matrix), added))


@_log_norm_from.defjvp
def _log_norm_from_jvp(primals, tangents):
    # By no derivative of eigenvalues, which divides by their gaps in second ones.
    matrix, added = primals
    values, vectors = jnp.linalg.eigh(matrix)
    logs = _logs(values, added)
    norm = norm_at_zero(logs)
    weights = logs / (values + added) / jnp.where(norm == 0, 1.0, norm)[..., None]
    return norm, jnp.sum(spectral_matrix(vectors, weights) * tangents[0], axis=(-2, -1))
