"""A loop of Python that saves what it carries, and goes on from there after it was killed."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HISTORY = "history"
"""Name of the leaf that holds a value a step: another number of steps may go on from it."""


def resumable_loop(directory: str | os.PathLike | None) -> Callable[..., Any]:
    """`(condition, body, start) -> end` like `jax.lax.while_loop`, run by Python.

    What it carries is saved by orbax after each step, the last two kept; a step that was cut off
    while it was written is not seen. A loop with the same directory goes on from the last, also
    where its history is longer; the loop raises ValueError where what was saved is not of its kind.

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

        handler, folder = ocp.StandardCheckpointHandler(), Path(directory or "").absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        with ocp.CheckpointManager(folder, options=options, item_handlers=handler) as manager:
            step = manager.latest_step()
            if step is not None:
                stored = manager.item_metadata(step)
                shapes = _require_alike(folder, _shapes(stored.tree), carry)
                saved = manager.restore(step, args=ocp.args.StandardRestore(shapes))
                carry = jax.tree.map(partial(_resized, folder), saved, carry)
            step = 0 if step is None else step
            while condition(carry):
                carry, step = body(carry), step + 1
                manager.save(step, args=ocp.args.StandardSave(carry))
                manager.wait_until_finished()
        return carry

    return plain if directory is None else saved


def _shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shapes and dtypes of the leaves by their names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name(path): (tuple(leaf.shape), jnp.dtype(leaf.dtype)) for path, leaf in leaves}


def _require_alike(folder: Path, stored: dict[str, tuple[tuple[int, ...], Any]], carry: Any) -> Any:
    """Shapes to restore, those of the carry but for the length of its history.

    Raises:
      ValueError: what was saved has other leaves, shapes or dtypes.
    """
    known = _shapes(carry)
    if HISTORY in stored and HISTORY in known:
        known[HISTORY] = stored[HISTORY]
    if stored != known:
        differing = sorted(name for name, _ in stored.items() ^ known.items())
        name = differing[0]
        stored_leaf, leaf = (
            "{1}{0}".format(*leaves[name]) if name in leaves else "nothing"
            for leaves in (stored, known)
        )
        raise ValueError(
            f"checkpoint must be an empty folder, or hold a fit with these arguments; {folder} "
            f"holds {stored_leaf} for {name!r}, which here is {leaf}. Pass another folder, or "
            "delete this one."
        )
    leaves = [jax.ShapeDtypeStruct(*leaf) for leaf in known.values()]
    return jax.tree.unflatten(jax.tree.structure(carry), leaves)


def _resized(folder: Path, saved: Any, like: Any) -> Any:
    """What was saved; of a history of another length the values so far, nan beyond.

    Raises:
      ValueError: it holds more steps than there is room for.
    """
    if saved.shape == like.shape:
        return saved
    length = like.shape[0]
    steps = int(np.flatnonzero(~np.isnan(saved)).max(initial=0))
    if steps >= length:
        raise ValueError(
            f"max_iterations must be at least {steps}, the steps that the fit in {folder} has "
            f"taken; got {length - 1}. Raise it, or pass another folder."
        )
    return jnp.full_like(like, jnp.nan).at[: steps + 1].set(saved[: steps + 1])
