"""A tree in the hyperbolic plane: python examples/hyperbolic_tree.py.

The classes of the Python standard library and what each derives from, a thousand names.

1. Every class gets a point of the Poincaré disk, so that its ancestors are nearer than others.
2. How many come nearer than an ancestor, beside points of the Euclidean plane trained alike.
3. A picture: general classes inside, special ones at the rim, which is infinitely far away.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import script
from igeojax import nn, optim, viz
from igeojax.manifolds import Euclidean, PoincareBall

# In a process of its own: classes of what else is imported would be found too.
CLASSES = """
import contextlib, importlib, io, json, sys, warnings
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")
    for name in sorted(sys.stdlib_module_names - {"antigravity", "this", "idlelib", "turtledemo"}):
        with contextlib.suppress(Exception):
            if not name.startswith("_"):
                importlib.import_module(name)
found, new = set(), [object]
while new:
    one = new.pop()
    if one not in found and one.__module__.split(".")[0] in sys.stdlib_module_names:
        found.add(one)
    new += set(type.__subclasses__(one)) - found
deep = [one for one in found if len(one.__mro__) > 3]
kept = {base for one in deep for base in one.__mro__} & found
name = lambda one: f"{one.__module__}.{one.__qualname__}".removeprefix("builtins.")
# A namedtuple and the class made of it share a name: the longer line of ancestors comes last.
lines = [[name(base) for base in one.__mro__ if base in kept] for one in kept]
lines.sort(key=lambda line: (len(line), line))
json.dump({line[0]: [base for base in line if base != line[0]] for line in lines}, sys.stdout)
"""
BRANCHES = (
    "ast.AST",
    "tkinter.Misc",
    "_ctypes._CData",
    "email._header_value_parser.TokenList",
    "enum.Enum",
    "OSError",
    "ValueError",
    "BaseException",
)
COLORS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "0.5")
NAMED, SHRUNK = 26, 0.22


class Tree(NamedTuple):
    """Classes: their names, whether the second of a pair is an ancestor of the first, parents."""

    names: list[str]
    ancestor: np.ndarray
    parent: dict[int, int]


@functools.cache
def class_tree() -> Tree:
    """Classes of the standard library with a grandparent, and all their ancestors."""
    command = [sys.executable, "-I", "-c", CLASSES]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    names = sorted(found)
    number = {name: row for row, name in enumerate(names)}
    ancestor = np.zeros((len(names), len(names)), bool)
    for name, bases in found.items():
        ancestor[number[name], [number[base] for base in bases]] = True
    np.fill_diagonal(ancestor, False)
    # The first in the order of method resolution: one parent, where there are several.
    parent = {number[name]: number[bases[0]] for name, bases in found.items() if bases}
    return Tree(names, ancestor, parent)


def training(distance: Callable[..., Any], manifolds: Any, tree: Tree, steps: int) -> Any:
    """Start and steps of Adam on the loss of Nickel and Kiela (2017), equation 6.

    The cross-entropy of an ancestor, by its distance, among classes drawn at random that are none.
    For a third of the steps the rate is a fiftieth, longer than theirs: near the origin branches
    find their directions. Then it grows, and falls along a cosine.
    """
    batch, negatives, count = 512, 50, len(tree.names)
    pairs = jnp.asarray(np.argwhere(tree.ancestor))
    related = jnp.asarray(tree.ancestor | np.eye(count, dtype=bool))
    third = steps // 3
    growth = optax.exponential_decay(0.02, third, 50.0, end_value=1.0)
    slow, fall = optax.constant_schedule(0.02), optax.cosine_decay_schedule(1.0, third)
    schedule = optax.join_schedules([slow, growth, fall], [third, 2 * third])
    descent = optim.riemannian_adam(1.0, manifolds, additive=False)

    def loss(params: Any, key: Any) -> Any:
        one, two = jax.random.split(key)
        chosen = pairs[jax.random.randint(one, (batch,), 0, len(pairs))]
        other = jax.random.randint(two, (batch, negatives), 0, count)
        far = distance(params, chosen[:, :1], jnp.concatenate([chosen[:, 1:], other], axis=1))
        hidden = related[chosen[:, :1], other]
        far = far.at[:, 1:].set(jnp.where(hidden, jnp.inf, far[:, 1:]))
        return -jnp.mean(jax.nn.log_softmax(-far)[:, 0])

    @jax.jit
    def advance(params: Any, state: Any, numbers: Any, key: Any, rate: Any) -> Any:
        def step(carry: Any, number: Any) -> Any:
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params, jax.random.fold_in(key, number))
            updates, state = descent.update(gradient, state, params)
            updates = jax.tree.map(lambda leaf: rate * schedule(number) * leaf, updates)
            return (optim.apply_riemannian_updates(params, updates, manifolds), state), value

        (params, state), losses = jax.lax.scan(step, (params, state), numbers)
        return params, state, jnp.mean(losses)

    return descent.init, advance


def measures(distance: Callable[..., Any], params: Any, tree: Tree) -> tuple[float, float]:
    """Mean rank of ancestors among classes that are none, and mean average precision.

    Ties count against the ancestor.
    """
    rows = jnp.arange(len(tree.names))
    from_one = lambda row: distance(params, row, rows)
    apart = np.asarray(jax.jit(lambda: jax.lax.map(from_one, rows))())
    ranks, precisions = [], []
    for row, far in enumerate(apart):
        above = tree.ancestor[row]
        if above.any():
            others = np.sort(far[~above & (rows != row)])
            rank = 1 + np.searchsorted(others, np.sort(far[above]), side="right")
            place = np.arange(1, len(rank) + 1)
            ranks.extend(rank)
            precisions.append(np.mean(place / (place + rank - 1)))
    return float(np.mean(ranks)), float(np.mean(precisions))


def embedded(layer: Any, tree: Tree, steps: int, rate: float, run: script.Script) -> Any:
    """Parameters of a trained table of hyperbolic points."""
    params = layer.init(run.key(), 0)
    distance = functools.partial(layer.apply, method="distance")
    start, advance = training(distance, nn.unit_manifolds(params), tree, steps)
    state, parts = start(params), np.arange(steps).reshape(-1, 50)
    for numbers in run.track(parts, f"{layer.manifold.dim} dimensions"):
        params, state, _ = advance(params, state, numbers, run.key(1), rate)
    return params, distance


def plane(tree: Tree, steps: int, rate: float, run: script.Script) -> Any:
    """Parameters of points of the Euclidean plane, trained alike."""
    manifold = Euclidean(2)
    distance = lambda params, first, second: manifold.distance(params[first], params[second])
    params = jax.random.uniform(run.key(), (len(tree.names), 2), minval=-1e-3, maxval=1e-3)
    start, advance = training(distance, manifold, tree, steps)
    return advance(params, start(params), np.arange(steps), run.key(1), rate)[0], distance


def picture(tree: Tree, points: Any) -> Figure:
    """The disk with branches in colors; radii are scaled, for true ones end near the rim."""
    shown = np.asarray(PoincareBall(2).mobius_scale(SHRUNK, points))
    lines = tree.ancestor | np.eye(len(tree.names), dtype=bool)
    # The first branch that a class is of; gray where it is of none.
    member = lines[:, [tree.names.index(name) for name in BRANCHES]]
    branch = np.where(member.any(axis=1), member.argmax(axis=1), len(BRANCHES))
    palette = np.array([to_rgba(color) for color in COLORS])
    # Names of what has most below it, where there is no name yet.
    named: list[int] = []
    for row in np.argsort(-tree.ancestor.sum(axis=0), kind="stable"):
        if all(np.hypot(*((shown[row] - shown[other]) / (2.5, 1))) > 0.06 for other in named):
            named.append(int(row))
    edges = np.array(list(tree.parent.items()))
    figure = Figure(figsize=(10, 10.4), layout="constrained")
    ax = figure.subplots()
    viz.poincare_disk(
        ax,
        shown,
        edges=edges,
        labels={row: tree.names[row].rpartition(".")[2] for row in named[:NAMED]},
        colors=palette[branch],
        edge_colors=palette[branch[edges[:, 0]]] * (1, 1, 1, 0.6),
        size=14,
    )
    for name, color in zip(BRANCHES, palette, strict=False):
        ax.plot([], [], "o", color=color, label=name.rpartition(".")[2].strip("_"))
    figure.legend(loc="outside lower center", ncols=len(BRANCHES), frameon=False, handletextpad=0)
    ax.set_title(f"{len(lines)} classes of the standard library, radii times {SHRUNK}")
    return figure


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="fewer steps")
    steps = 1500 if run.quick else 6000
    tree = class_tree()
    pairs = int(tree.ancestor.sum())
    run.console.print(f"{len(tree.names)} classes, {pairs} pairs of a class and an ancestor.")
    layer = nn.linen.HyperbolicEmbedding(len(tree.names), PoincareBall(2))
    params, distance = embedded(layer, tree, steps, 0.1, run)
    flat, straight = plane(tree, steps, 0.3, run)
    rows = [
        ("the hyperbolic plane", *measures(distance, params, tree)),
        ("the Euclidean plane", *measures(straight, flat, tree)),
    ]
    run.table(
        "Are ancestors nearest?",
        ("points in", "mean rank", "average precision"),
        [(name, f"{rank:.1f}", f"{precision:.3f}") for name, rank, precision in rows],
    )
    run.save(picture(tree, layer.apply(params, np.arange(len(tree.names)))), "disk")
    run.end()


if __name__ == "__main__":
    main()
