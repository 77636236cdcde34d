"""The table of all operations, by name."""

from kernels_triton._operations import cross_entropy, normal, softmax

OPERATIONS = {**softmax.OPERATIONS, **cross_entropy.OPERATIONS, **normal.OPERATIONS}
"""Every public operation; a new one is one entry in a module beside this one."""
