"""Blind source separation: python examples/unmixing.py.

1. Signals: voices that swell and fade, a tone and a saw, mixed at random and unmixed again.
2. Photographs: two pictures of scikit-learn laid over one another in three mixtures, and taken
   apart by what is learned from their edges.
3. The same matrices by scikit-learn's FastICA, and the Amari index of both.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images
from sklearn.decomposition import FastICA

import script
from igeojax import estimation


def signals(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[str]]:
    """Four signals of unit variance, one a column, and their names."""
    t = np.arange(count) / 8000
    voice = lambda rate: rng.normal(size=count) * np.exp(2 * np.sin(2 * np.pi * rate * t))
    smooth = lambda x: np.convolve(x, np.hanning(9), mode="same")
    columns = {
        "voice": smooth(voice(3.1)),
        "whisper": voice(4.7),
        "tone": np.sin(2 * np.pi * 97.3 * t),
        "saw": (61.7 * t) % 1,
    }
    stacked = np.stack(list(columns.values()), axis=1)
    return (stacked - stacked.mean(0)) / stacked.std(0), list(columns)


def photographs(step: int) -> np.ndarray:
    """The gray levels of two photographs, of unit variance; every `step`-th line and column."""
    gray = np.stack([image[::step, ::step].mean(axis=2) for image in load_sample_images().images])
    return (gray - gray.mean((1, 2), keepdims=True)) / gray.std((1, 2), keepdims=True)


def edges(images: np.ndarray) -> np.ndarray:
    """Differences of neighbors, one image a column: they mix as the images do, and depend less."""
    return np.diff(images, axis=2).reshape(len(images), -1).T


def compared(name: str, data: np.ndarray, mixing: np.ndarray, seed: int):
    """Fit by both; what ours found, and a row with the indices and times."""
    count = mixing.shape[1]
    fit = lambda: jax.block_until_ready(estimation.independent_components(data, count))
    fit()
    begin = time.perf_counter()
    found = fit()
    ours = time.perf_counter() - begin
    begin = time.perf_counter()
    other = FastICA(count, random_state=seed).fit(data).components_
    theirs = time.perf_counter() - begin
    index = lambda w: f"{float(estimation.amari_index(jnp.asarray(w) @ mixing)):.4f}"
    size, times = f"{data.shape[0]:,} x {data.shape[1]}", f"{1e3 * ours:.0f} / {1e3 * theirs:.0f}"
    return found, (name, size, index(found.unmixing), index(other), times, bool(found.converged))


def matched(unmixing: np.ndarray, mixing: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Which row of the unmixing matrix is which source, and its sign."""
    product = np.asarray(unmixing) @ mixing
    order = [int(i) for i in np.abs(product).argmax(axis=0)]
    return order, np.sign(product[order, np.arange(mixing.shape[1])])


def picture_of_signals(hidden, data, found, names: list[str]) -> Figure:
    """Sources, mixtures and what was found, over the first quarter of a second."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(4, 3, sharex=True)
    for column, (title, values) in enumerate(
        (("sources", hidden), ("mixtures", data), ("found", found))
    ):
        axes[0, column].set_title(title)
        for row in range(4):
            color = "0.35" if title == "mixtures" else f"C{row}"
            axes[row, column].plot(np.arange(2000) / 8000, values[:2000, row], color=color, lw=0.7)
            axes[row, column].set_yticks([])
        axes[-1, column].set_xlabel("seconds")
    for row, name in enumerate(names):
        axes[row, 0].set_ylabel(name)
    return figure


def picture_of_photographs(data, found) -> Figure:
    """Mixtures above, the photographs that were found below."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 3)
    for axes, image in zip(upper, data, strict=True):
        axes.imshow(image, cmap="gray")
    for axes, image in zip(lower, found, strict=False):
        axes.imshow(image, cmap="gray")
    for axes in (*upper, *lower):
        axes.set_axis_off()
    figure.suptitle("Three mixtures, and the two photographs in them")
    return figure


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="shorter signals, smaller photographs")
    jax.config.update("jax_enable_x64", True)
    rng = run.rng()

    hidden, names = signals(rng, 8000 if run.quick else 200_000)
    mixing = rng.normal(size=(4, 4))
    data = hidden @ mixing.T
    components, first = compared("signals", data, mixing, run.seed)
    order, sign = matched(components.unmixing, mixing)
    found = np.asarray(estimation.sources(components, data))[:, order] * sign
    run.save(picture_of_signals(hidden, data, found, names), "signals")

    photos = photographs(4 if run.quick else 1)
    mixing = rng.uniform(0.2, 1.0, size=(3, 2))
    mixtures = np.tensordot(mixing, photos, 1)
    components, second = compared("photographs", edges(mixtures), mixing, run.seed)
    order, sign = matched(components.unmixing, mixing)
    unmixing = np.asarray(components.unmixing)[order] * sign[:, None]
    run.save(picture_of_photographs(mixtures, np.tensordot(unmixing, mixtures, 1)), "photographs")

    headings = ("what", "size", "index", "FastICA", "ms, both", "converged")
    run.table("Amari index, 0 is perfect", headings, (first, second))
    tails = ["heavy" if s > 0 else "light" for s in components.signs]
    run.console.print(f"Edges of photographs have {' and '.join(tails)} tails.")
    run.end()


if __name__ == "__main__":
    main()
