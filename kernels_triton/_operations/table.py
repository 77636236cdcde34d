"""The table of all operations, by name."""

from kernels_triton._operations import (
    cross_entropy,
    directions,
    divergences,
    information,
    mixture,
    normal,
    normal_rows,
    sequences,
    softmax,
)

OPERATIONS = {
    **softmax.OPERATIONS,
    **cross_entropy.OPERATIONS,
    **sequences.OPERATIONS,
    **normal.OPERATIONS,
    **divergences.OPERATIONS,
    **information.OPERATIONS,
    **directions.OPERATIONS,
    **mixture.OPERATIONS,
    **normal_rows.OPERATIONS,
}
"""Every public operation; a new one is one entry in a module beside this one."""
