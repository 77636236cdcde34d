"""The Fisher matrix of a network in training: python examples/information_landscape.py.

A small network learns scikit-learn's digits twice, once from weights of the usual scale and once
from weights so small that nearly nothing that one does to them changes an output. Its Fisher matrix
tells which changes would.

1. Along training: all eigenvalues, the trace of each layer, and the effective dimension, the number
   of directions that the data determine.
2. The landscape: the area element of the Fisher metric on the plane in which training moves, and
   the path over it. The desert of the small start becomes a terrain; but past the ridge the network
   is sure of its digits, and the ground falls again, about as low as the desert was. The effective
   dimension falls too, not so far.
"""

import os
from typing import Any, NamedTuple

# LAPACK's threads wait by spinning, which costs more than they gain at these sizes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LightSource, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from sklearn.datasets import load_digits

import script
from igeojax import fisher
from igeojax.families import Categorical

WIDTHS = (64, 20, 20, 10)
LAYERS = ("first", "second", "last")
STARTS = {"usual": 1.0, "vanishing": 0.03}
"""Scale of the weights, in units of one over the root of a layer's inputs."""
STEPS, EVERY = 1600, 4
DIGITS = Categorical(WIDTHS[-1])
DAMPINGS = (1e-2, 1e-3, 1e-4)
DAMPING = DAMPINGS[1]
"""What eigenvalues are held against: about that of a prior N(0, 1) on the weights, and of the mean
over the 1297 digits."""


class Data(NamedTuple):
    """Digits to learn and to be judged by, and those at which the Fisher matrix is taken."""

    x: jax.Array
    y: jax.Array
    held_x: jax.Array
    held_y: jax.Array
    seen: jax.Array


class Training(NamedTuple):
    """What was measured at some steps, and the weights at every fourth as rows."""

    steps: np.ndarray
    losses: np.ndarray
    accuracies: np.ndarray
    eigenvalues: np.ndarray
    traces: np.ndarray
    path: np.ndarray
    unravel: Any

    def dimensions(self, damping: float) -> np.ndarray:
        """Effective dimension at these steps."""
        return np.asarray(fisher.effective_dimension(self.eigenvalues, damping=damping))


class Ground(NamedTuple):
    """Height over a plane of weights, and the path in it: coordinates, and height below them."""

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray
    path: np.ndarray
    below: np.ndarray
    share: float


def digits(rng: np.random.Generator, seen: int) -> Data:
    """Pixels less their mean, in random order."""
    bunch = load_digits()
    order = rng.permutation(len(bunch.target))
    x = (bunch.data[order] / 16).astype(np.float32)
    x, y = jnp.asarray(x - x.mean(axis=0)), jnp.asarray(bunch.target[order])
    return Data(x[500:], y[500:], x[:500], y[:500], x[500 : 500 + seen])


def drawn(key: jax.Array, scale: float) -> list[dict[str, jax.Array]]:
    """Weights of this scale, and no biases."""
    keys = jax.random.split(key, len(LAYERS))
    return [
        {"w": scale * jax.random.normal(k, (m, n)) / m**0.5, "b": jnp.zeros(n)}
        for k, m, n in zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]


def predict(params: Any, x: jax.Array) -> Any:
    """Laws of the digits."""
    *hidden, last = params
    for layer in hidden:
        x = jnp.tanh(x @ layer["w"] + layer["b"][None])
    return DIGITS.natural_from_params(logits=x @ last["w"] + last["b"][None])


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy in nats a digit."""
    return -jnp.mean(DIGITS.log_density(predict(params, x), y))


@jax.jit
def measured(params: Any, data: Data) -> tuple[jax.Array, ...]:
    """Loss, accuracy on held-out digits, eigenvalues of the Fisher matrix, its trace by layers."""
    arguments = predict, DIGITS, params, data.seen
    diagonal = fisher.fisher_diagonal(*arguments)
    traces = [sum(jnp.sum(leaf) for leaf in jax.tree.leaves(layer)) for layer in diagonal]
    guess = jnp.argmax(DIGITS.logits(predict(params, data.held_x)), axis=-1)
    return (
        loss(params, data.x, data.y),
        jnp.mean(guess == data.held_y),
        fisher.fisher_eigenvalues(*arguments),
        jnp.stack(traces),
    )


@jax.jit
def trained(params: Any, data: Data) -> jax.Array:
    """Weights along gradient descent with momentum on all digits, every fourth step a row."""
    optimizer = optax.sgd(0.1, momentum=0.9)

    def step(_: int, carry: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, data.x, data.y), state, params)
        return optax.apply_updates(params, updates), state

    def steps(carry: Any, _: Any) -> Any:
        after = jax.lax.fori_loop(0, EVERY, step, carry)
        return after, jax.flatten_util.ravel_pytree(carry[0])[0]

    start = params, optimizer.init(params)
    return jax.lax.scan(steps, start, length=STEPS // EVERY + 1)[1]


def looks(count: int) -> np.ndarray:
    """Rows of the path to look at: the first, and others that grow by a factor."""
    later = np.unique(np.rint(np.geomspace(2, STEPS // EVERY, count - 1)).astype(int))
    return np.concatenate([[0], later])


def training(params: Any, data: Data, rows: np.ndarray, advance: Any) -> Training:
    """Train, and measure at these rows of the path."""
    unravel = jax.flatten_util.ravel_pytree(params)[1]
    path = np.asarray(trained(params, data))
    found = []
    for row in rows:
        found.append(jax.device_get(measured(unravel(path[row]), data)))
        advance()
    return Training(EVERY * rows, *map(np.stack, zip(*found, strict=True)), path, unravel)


def ground(run: Training, data: Data, size: int) -> Ground:
    """Area element `sqrt(det g)` as log10, on the plane through both ends nearest to the path.

    `g` is the Fisher metric of two orthonormal directions: two products with the Jacobian a place.
    """
    moved = run.path - run.path[0]
    length = np.linalg.norm(moved[-1])
    first = moved[-1] / length
    rest = moved - np.outer(moved @ first, first)
    second = np.linalg.svd(rest, full_matrices=False)[2][0]
    second *= np.sign((rest @ second).sum())
    plane = np.stack([first, second])
    path = moved @ plane.T
    share = 1 - np.sum((moved - path @ plane) ** 2) / np.sum(moved**2)
    margin = 0.35 * length
    x = np.linspace(-margin, length + margin, size)
    y = x - x.mean() + path[:, 1].max() / 2
    tangents = [run.unravel(jnp.asarray(direction)) for direction in plane]

    def height(place: jax.Array) -> jax.Array:
        params = run.unravel(run.path[0] + place @ plane)
        metric = fisher.fisher_inner_products(predict, DIGITS, params, tangents, data.seen)
        square = metric[0, 0] * metric[1, 1] - metric[0, 1] ** 2
        return 0.5 * jnp.log10(jnp.maximum(square, 1e-20))  # rounding may go below 0

    heights = jax.jit(lambda places: jax.lax.map(height, places, batch_size=32))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    places = np.concatenate([grid.reshape(-1, 2), path]).astype(np.float32)
    found = np.asarray(heights(places))
    inner = found[: size * size].reshape((size, size))
    return Ground(*np.moveaxis(grid, -1, 0), inner, path, found[size * size :], share)


def picture_of_training(runs: dict[str, Training]) -> Figure:
    """Spectrum, traces of the layers and effective dimension over steps, a start a column."""
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True, sharey="row")
    shown = (1, 2, 5, 9, 10, 20, 50, 100, 200, 300)
    for column, (name, run) in enumerate(runs.items()):
        spectrum, layers, counts = axes[:, column]
        spectrum.set_title(f"{name} start: weights of scale {STARTS[name]:g}")
        for rank in shown:
            color = colormaps["viridis"](0.95 * np.log(rank) / np.log(shown[-1]))
            spectrum.plot(run.steps, run.eigenvalues[:, rank - 1], color=color, label=f"{rank}")
        spectrum.axhline(DAMPING, color="0.4", ls="--", lw=1, label=f"c = {DAMPING:g}")
        for index, layer in enumerate(LAYERS):
            layers.plot(run.steps, run.traces[:, index], color=f"C{index}", label=f"{layer} layer")
        layers.plot(run.steps, run.traces.sum(axis=1), color="0.2", lw=1, ls=":", label="all")
        for damping, style in zip(DAMPINGS, (":", "-", "--"), strict=True):
            counts.plot(
                run.steps, run.dimensions(damping), style, color="C3", label=f"c = {damping:g}"
            )
        learned = run.steps[int(np.argmax(run.losses < 1))]
        for ax in (spectrum, layers, counts):
            ax.axvline(learned, color="0.7", lw=1, zorder=0)
            ax.grid(alpha=0.25)
        counts.annotate(
            "loss below 1 nat",
            (learned, 0.04),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            color="0.4",
            fontsize="small",
        )
        counts.set_xscale("symlog", linthresh=run.steps[1], linscale=0.3)
        counts.set_xticks([0, 10, 100, 1000], ["0", "10", "100", "1000"])
        counts.set(xlabel="step", xlim=(0, STEPS))
    axes[0, 0].set(yscale="log", ylabel="eigenvalues of the Fisher matrix", ylim=(1e-10, 5))
    axes[1, 0].set(yscale="log", ylabel="trace of the Fisher matrix", ylim=(1e-6, 50))
    axes[2, 0].set(yscale="log", ylabel="effective dimension")
    axes[0, 1].annotate(
        "nine: the biases of ten classes",
        (runs["vanishing"].steps[1], 0.1),
        (0, 4),
        textcoords="offset points",
        fontsize="small",
        color="0.4",
    )
    for ax, title in zip(axes[:, 1], ("rank", None, None), strict=True):
        ax.legend(title=title, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def picture_of_landscapes(grounds: dict[str, Ground]) -> Figure:
    """Both planes as reliefs with the same colors, and the paths over them."""
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    heights = [np.concatenate([g.height.ravel(), g.below]) for g in grounds.values()]
    norm = Normalize(*np.percentile(heights, [1, 99.9]))
    colors = ListedColormap(colormaps["gist_earth"](np.linspace(0.12, 1, 256)))
    light = LightSource(azdeg=315, altdeg=40)
    every = figure.subplots(
        1, len(grounds), subplot_kw={"projection": "3d", "computed_zorder": False}
    )
    for ax, (name, g) in zip(every, grounds.items(), strict=True):
        height = np.clip(g.height, norm.vmin, None)
        shaded = light.shade(
            height,
            colors,
            norm=norm,
            vert_exag=3,
            dx=g.x[0, 1] - g.x[0, 0],
            dy=g.y[1, 0] - g.y[0, 0],
            blend_mode="soft",
        )
        ax.plot_surface(
            g.x,
            g.y,
            height,
            facecolors=shaded,
            rstride=1,
            cstride=1,
            linewidth=0,
            antialiased=False,
            shade=False,
            zorder=1,
        )
        lifted = np.clip(g.below, norm.vmin, None) + 0.04
        outline = [withStroke(linewidth=4, foreground="black")]
        ax.plot(*g.path.T, lifted, color="white", lw=2, path_effects=outline, zorder=3)
        halo = [withStroke(linewidth=3, foreground="white")]
        for place, mark, word in ((0, "o", "start"), (-1, "*", "end")):
            x, y, z = *g.path[place], lifted[place]
            ax.plot([x], [y], [z], mark, color="white", mec="black", ms=10, zorder=4)
            ax.text(x, y, z + 0.4, word, ha="center", path_effects=halo, zorder=5)
        ax.set(xlabel="weights, from start to end", ylabel="across", zticks=[])
        ax.set_title(f"{name} start", y=0.95)
        ax.grid(visible=False)
        for axis, shade in ((ax.xaxis, 0.0), (ax.yaxis, 0.0), (ax.zaxis, 0.06)):
            axis.set_pane_color((0, 0, 0, shade))
        ax.zaxis.line.set_visible(False)
        ax.set_zlim(norm.vmin, norm.vmax)
        ax.view_init(elev=42, azim=-68)
        ax.set_box_aspect((1, 1, 0.42), zoom=1.15)
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=list(every), shrink=0.7, pad=0.03)
    bar.set_label("area element of the Fisher metric, log$_{10}$")
    return figure


def rows_of(name: str, run: Training) -> list[tuple[str, ...]]:
    """The start, the step of the largest effective dimension, and the end."""
    dimension, rows = run.dimensions(DAMPING), []
    for at in (0, int(np.argmax(dimension)), len(run.steps) - 1):
        trace = run.traces[at].sum()
        shares = " / ".join(f"{100 * part / trace:.2f}" for part in run.traces[at])
        head = f"{run.losses[at]:.3f}", f"{run.accuracies[at]:.3f}", f"{trace:.2f}", shares
        rows.append((name, f"{run.steps[at]}", *head, f"{dimension[at]:.1f}"))
    return rows


def main() -> None:
    """Run both starts."""
    run = script.start(__file__, __doc__, quick="fewer looks, at fewer digits; a coarser plane")
    count, seen, size = (8, 40, 31) if run.quick else (24, 100, 101)
    data, rows = digits(run.rng(), seen), looks(count)
    runs, grounds = {}, {}
    with run.progress() as progress:
        task = progress.add_task("looks and planes", total=len(STARTS) * (len(rows) + 1))
        advance = lambda: progress.advance(task)
        for name, scale in STARTS.items():
            runs[name] = training(drawn(run.key(), scale), data, rows, advance)
            grounds[name] = ground(runs[name], data, size)
            advance()
    headings = "start", "step", "loss", "accuracy", "trace", "of it first / second / last, %"
    run.table(
        f"Fisher matrix of {seen} digits, {runs['usual'].path.shape[1]} parameters",
        (*headings, "dimension"),
        [row for name, found in runs.items() for row in rows_of(name, found)],
    )
    headings = "start", "at the start", "highest", "at the end", "of the way in its plane, %"
    levels = {name: (g.below[0], g.below.max(), g.below[-1]) for name, g in grounds.items()}
    run.table(
        "Area element below the path, log10",
        headings,
        [(k, *(f"{v:.2f}" for v in levels[k]), f"{100 * g.share:.1f}") for k, g in grounds.items()],
    )
    run.save(picture_of_training(runs), "training")
    run.save(picture_of_landscapes(grounds), "landscape")
    run.end()


if __name__ == "__main__":
    main()
