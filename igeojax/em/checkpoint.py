"""A loop of Python that saves what it carries, and goes on from there after it was killed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def resumable_loop(directory: str | os.PathLike | None) -> Callable[..., Any]:
    """`(condition, body, start) -> end` like `jax.lax.while_loop`, run by Python.

    What it carries is saved by orbax after each step, the last two kept; a step that was cut off
    while it was written is not seen. A loop with the same directory goes on from the last.

    Args:
      directory: where to save; None saves nothing.

    Returns:
      The loop.

    Examples:
      >>> loop = resumable_loop(None)
      >>> loop(lambda carry: carry < 10, lambda carry: carry * 2, 1)
      16
    """

    def plain(condition: Callable, body: Callable, carry: Any) -> Any:
        while condition(carry):
            carry = body(carry)
        return carry

    def saved(condition: Callable, body: Callable, carry: Any) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        with ocp.CheckpointManager(Path(directory or "").absolute(), options=options) as manager:
            step = manager.latest_step()
            if step is not None:
                shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, carry)
                carry = manager.restore(step, args=ocp.args.StandardRestore(shapes))
            step = 0 if step is None else step
            while condition(carry):
                carry, step = body(carry), step + 1
                manager.save(step, args=ocp.args.StandardSave(carry))
                manager.wait_until_finished()
        return carry

    return plain if directory is None else saved
