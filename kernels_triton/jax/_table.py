"""The table of all operations of JAX, by name."""

from kernels_triton.jax import _cross_entropy, _normal_log_density, _softmax

OPERATIONS = {
    **_softmax.OPERATIONS,
    **_cross_entropy.OPERATIONS,
    **_normal_log_density.OPERATIONS,
}
