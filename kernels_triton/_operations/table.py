"""The table of all operations, by name."""

from kernels_triton._operations import cross_entropy, normal, sequences, softmax

OPERATIONS = {
    **softmax.OPERATIONS,
    **cross_entropy.OPERATIONS,
    **sequences.OPERATIONS,
    **normal.OPERATIONS,
}
"""Every public operation; a new one is one entry in a module beside this one."""
