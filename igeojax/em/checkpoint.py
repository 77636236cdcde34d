"""A loop of Python that saves what it carries, and goes on from there after it was killed."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HISTORY = "history"
"""Name of the leaf that holds a value a step: another number of steps may go on from it."""

ARGUMENTS = "arguments.json"
"""Name of the file that says what was fitted."""


def resumable_loop(
    directory: str | os.PathLike | None, arguments: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., Any]:
    """`(condition, body, start) -> end` like `jax.lax.while_loop`, run by Python.

    What it carries is saved by orbax after each step, the last two kept; a step that was cut off
    while it was written is not seen. A loop with the same directory and arguments goes on from the
    last, also where its history is longer.

    Args:
      directory: where to save; None saves nothing.
      arguments: what the loop depends on, by name: pytrees. They are kept beside what is saved as
        text, arrays as a digest of their values.

    Returns:
      The loop.

    Raises:
      ImportError: orbax is not installed.
      ValueError: the directory holds a loop of other arguments.

    Examples:
      >>> loop = resumable_loop(None)
      >>> loop(lambda carry: carry < 10, lambda carry: carry * 2, 1)
      16
    """

    def plain(condition: Callable, body: Callable, carry: Any) -> Any:
        while condition(carry):
            carry = body(carry)
        return carry

    if directory is None:
        return plain
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "checkpoint needs orbax; it is not installed. Run `pip install orbax-checkpoint`, or "
            "pass checkpoint=None."
        ) from error
    folder = Path(directory).absolute()
    _require_same(folder, {name: _told(value) for name, value in arguments.items()})

    def saved(condition: Callable, body: Callable, carry: Any) -> Any:
        handler = ocp.StandardCheckpointHandler()
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        with ocp.CheckpointManager(folder, options=options, item_handlers=handler) as manager:
            step = manager.latest_step()
            if step is not None:
                shapes = _shapes(folder, manager.item_metadata(step).tree, carry)
                saved = manager.restore(step, args=ocp.args.StandardRestore(shapes))
                carry = jax.tree.map(partial(_resized, folder), saved, carry)
            step = 0 if step is None else step
            while condition(carry):
                carry, step = body(carry), step + 1
                manager.save(step, args=ocp.args.StandardSave(carry))
                manager.wait_until_finished()
        return carry

    return saved


def _told(value: Any) -> str:
    """Leaves as text, the values of arrays as a digest."""

    def word(leaf: Any) -> str:
        if not isinstance(leaf, (np.ndarray, jax.Array)):
            return str(leaf)
        array = np.asarray(leaf)
        if not array.ndim:
            return str(array)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype}{list(array.shape)} {digest[:12]}"

    return ", ".join(map(word, jax.tree.leaves(value))) or "None"


def _require_same(folder: Path, arguments: dict[str, str]) -> None:
    """Keep the arguments in a new folder; compare them with those of one that is there.

    Raises:
      ValueError: it holds other ones, or steps without any.
    """
    path = folder / ARGUMENTS
    if not path.exists():
        if any(entry.name.isdigit() for entry in folder.glob("*")):
            raise ValueError(
                f"checkpoint must be an empty folder, or hold a fit that says of what; {folder} "
                f"holds steps without {ARGUMENTS}. Pass another folder, or delete this one."
            )
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(arguments, indent=1))
        draft.replace(path)
        return
    stored = json.loads(path.read_text())
    differing = [
        name for name in {**arguments, **stored} if stored.get(name) != arguments.get(name)
    ]
    if differing:
        name = differing[0]
        was, now = (told.get(name, "nothing") for told in (stored, arguments))
        raise ValueError(
            f"checkpoint must be an empty folder, or hold a fit with these arguments; {folder} "
            f"holds one of other {name}: {was}, which here is {now}. Pass another folder, or "
            "delete this one."
        )


def _shapes(folder: Path, stored: Any, carry: Any) -> Any:
    """Shapes to restore, those of the carry but for the length of its history.

    Raises:
      ValueError: what was saved has other leaves, shapes or dtypes.
    """
    named = lambda tree: {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            tuple(leaf.shape),
            jnp.dtype(leaf.dtype),
        )
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    there, known = named(stored), named(carry)
    if HISTORY in there and HISTORY in known:
        known[HISTORY] = there[HISTORY]
    if there != known:
        raise ValueError(
            f"checkpoint must be an empty folder, or hold a fit with these arguments; {folder} "
            f"holds other arrays than {', '.join(sorted(known))}. Pass another folder, or delete "
            "this one."
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
