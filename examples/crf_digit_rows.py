"""Rows of digits that follow a grammar: python examples/crf_digit_rows.py.

Real handwritten digits of scikit-learn, under noise, stand in rows of 3 to 10. Each is followed by
one of three that the grammar allows: one more, two more, or three less, modulo 10.

1. One small network three times: digits by themselves, the same with the grammar as hard
   constraints when decoding, and trained as a CRF that learns transitions from rows (flax.nnx).
2. Digits and whole rows that are right, rows that obey the grammar, the right row among the best 3.
3. Entropy of the row: how much more often the unsure half of the rows is wrong.
4. A picture.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import script
from igeojax import nn
from igeojax.chains import crf

LONGEST, SHORTEST, DIGITS, NOISE = 10, 3, 10, 0.4
FOLLOWERS = (1, 2, 7)
GRAMMAR = np.array(
    [
        [(after - before) % DIGITS in FOLLOWERS for after in range(DIGITS)]
        for before in range(DIGITS)
    ]
)
HARD = jnp.where(GRAMMAR, 0.0, -jnp.inf)
READERS = ("digits alone", "with the grammar", "CRF")


class Rows(NamedTuple):
    """Images `(N, T, 64)`, what they show, and how many of each row there are."""

    images: np.ndarray
    digits: np.ndarray
    length: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """True where a digit stands."""
        return np.arange(LONGEST) < self.length[:, None]


def rows_of(count: int, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Rows:
    """Rows by the grammar, each digit a random image of it."""
    moves = rng.choice(FOLLOWERS, (count, LONGEST))
    moves[:, 0] = rng.integers(0, DIGITS, count)
    digits = moves.cumsum(axis=1) % DIGITS
    chosen = np.zeros(digits.shape, int)
    for digit in range(DIGITS):
        places = digits == digit
        chosen[places] = rng.choice(np.flatnonzero(labels == digit), places.sum())
    return Rows(images[chosen], digits, rng.integers(SHORTEST, LONGEST + 1, count))


def under_noise(rows: Rows, rng: np.random.Generator) -> Rows:
    """The rows with noise on each pixel."""
    seen = rows.images + NOISE * rng.normal(size=rows.images.shape)
    return rows._replace(images=seen.astype(np.float32))


class Reader(nnx.Module):
    """Scores of the digits of a row, and the CRF over them."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, DIGITS, rngs=rngs)
        self.crf = nn.nnx.CRF(DIGITS)

    def __call__(self, images: Any) -> jax.Array:
        """Scores `(*batch, T, 10)`."""
        return self.out(nnx.relu(self.hidden(images)))


def train(rows: Rows, steps: int, chained: bool, run: script.Script, advance: Any) -> Reader:
    """Maximize the log-likelihood of the rows, or that of each digit by itself."""
    reader = Reader(rngs=nnx.Rngs(run.seed))
    optimizer = nnx.Optimizer(reader, optax.adam(1e-2), wrt=nnx.Param)

    def loss(reader: Reader, images: Any, digits: Any, length: Any) -> Any:
        unary = reader(images)
        if chained:
            return -jnp.mean(reader.crf(unary, digits, length=length))
        alone = jnp.zeros((DIGITS, DIGITS))  # a chain whose neighbors do not speak
        return -jnp.mean(crf.log_likelihood(unary, alone, digits, length=length))

    @nnx.jit
    def step(reader: Reader, optimizer: nnx.Optimizer, *batch: Any) -> None:
        optimizer.update(reader, nnx.grad(loss)(reader, *batch))

    rng = run.rng(1)
    for _ in range(steps):
        chosen = rng.integers(0, len(rows.images), 64)
        step(reader, optimizer, *under_noise(Rows(*(part[chosen] for part in rows)), rng))
        advance()
    return reader


def readings(alone: Reader, chained: Reader, rows: Rows) -> dict[str, dict[str, Any]]:
    """Decoded rows of each reader, the best three and the entropy."""
    potentials = {
        "digits alone": (alone, {"transition": jnp.zeros((DIGITS, DIGITS))}),
        "with the grammar": (alone, {"transition": HARD}),
        "CRF": (chained, chained.crf.potentials()),
    }

    @jax.jit
    def read(unary: Any, potentials: Any) -> dict[str, Any]:
        given = {"length": jnp.asarray(rows.length), **potentials}
        return {
            "tags": crf.viterbi(unary, **given).tags,
            "best": crf.k_best(unary, num_paths=3, **given).tags,
            "entropy": crf.entropy(unary, **given),
        }

    return {
        name: read(reader(rows.images), scores) for name, (reader, scores) in potentials.items()
    }


def right_rows(found: Any, rows: Rows) -> np.ndarray:
    """Whether all digits of a row are right; `found` may have axes before the last."""
    truth, present = rows.digits, rows.present
    if found.ndim == 3:
        truth, present = truth[:, None], present[:, None]
    return np.all((np.asarray(found) == truth) | ~present, axis=-1)


def results(read: dict[str, dict[str, Any]], rows: Rows) -> list[tuple[str, ...]]:
    """Shares of each reader: digits and rows that are right, the best three, grammatical rows.

    The last two are of the rows it is less and more sure of.
    """
    lines = []
    for name, found in read.items():
        tags, right = np.asarray(found["tags"]), right_rows(found["tags"], rows)
        digits = (tags == rows.digits)[rows.present].mean()
        pairs = GRAMMAR[tags[:, :-1], tags[:, 1:]] | ~rows.present[:, 1:]
        # Of rows of one length, so that the entropy does not just tell long rows.
        level = np.asarray(found["entropy"])
        typical = {n: np.median(level[rows.length == n]) for n in np.unique(rows.length)}
        unsure = level > np.array([typical[n] for n in rows.length])
        cells = (
            digits,
            right.mean(),
            right_rows(found["best"], rows).any(axis=1).mean(),
            pairs.all(axis=1).mean(),
            1 - right[unsure].mean(),
            1 - right[~unsure].mean(),
        )
        lines.append((name, *(f"{100 * value:.1f}%" for value in cells)))
    return lines


def picture(read: dict[str, dict[str, Any]], rows: Rows, transition: Any) -> Figure:
    """Rows that digits alone get wrong, the learned transitions, and accuracy by length."""
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(11, 8.2), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        wrong = ~right_rows(read["digits alone"]["tags"], rows) & (rows.length >= 8)
        chosen = np.flatnonzero(wrong)[:4]
        axes = upper.subplots(len(chosen), LONGEST)
        upper.suptitle(
            "Below each digit what is read: alone (left), by the CRF (right); red is wrong"
        )
        for line, row in zip(axes, chosen, strict=True):
            for place, ax in enumerate(line):
                ax.axis("off")
                if place >= rows.length[row]:
                    continue
                ax.imshow(rows.images[row, place].reshape(8, 8), cmap="gray_r", vmin=-0.5, vmax=1.5)
                for shift, name in ((0.3, "digits alone"), (0.7, "CRF")):
                    digit = int(read[name]["tags"][row, place])
                    color = "black" if digit == rows.digits[row, place] else "tab:red"
                    ax.text(
                        shift,
                        -0.24,
                        str(digit),
                        color=color,
                        ha="center",
                        fontsize=12,
                        fontweight="bold" if color == "tab:red" else "normal",
                        transform=ax.transAxes,
                    )
        left, right = lower.subplots(1, 2)
        drawn = left.imshow(jax.nn.softmax(transition, axis=-1), cmap="viridis", vmin=0)
        lower.colorbar(drawn, ax=left, label="softmax of a row")
        for before, after in np.argwhere(GRAMMAR):
            left.add_patch(
                mpl.patches.Rectangle((after - 0.5, before - 0.5), 1, 1, fill=False, ec="white")
            )
        left.set(xlabel="digit", ylabel="digit before", xticks=range(10), yticks=range(10))
        left.set_title("Transitions that the CRF learned; the grammar is framed")
        lengths = np.arange(SHORTEST, LONGEST + 1)
        for name in READERS:
            right_of = right_rows(read[name]["tags"], rows)
            right.plot(
                lengths, [right_of[rows.length == n].mean() for n in lengths], "o-", label=name
            )
        right.set(xlabel="digits in the row", ylabel="whole rows right", ylim=(0, 1.02))
        right.set_title("A wrong digit spoils a row, the longer the likelier")
        right.legend()
        return figure


def main() -> None:
    """Train, read, print and draw."""
    run = script.start(__file__, __doc__, quick="fewer rows and steps")
    steps, count = (200, 400) if run.quick else (600, 2000)
    data = load_digits()
    images, labels = data.data / 16, data.target
    half = len(images) // 2
    train_rows = rows_of(count, images[:half], labels[:half], run.rng())
    test_rows = rows_of(count, images[half:], labels[half:], run.rng(1))
    test_rows = under_noise(test_rows, run.rng(2))
    with run.progress() as progress:
        task = progress.add_task("training", total=2 * steps)
        advance = lambda: progress.advance(task)
        alone, chained = (train(train_rows, steps, c, run, advance) for c in (False, True))
    read = readings(alone, chained, test_rows)
    headings = (
        "digits right",
        "rows right",
        "among best 3",
        "grammatical",
        "wrong: unsure",
        "sure",
    )
    run.table(f"{count} rows of unseen images", ("read by", *headings), results(read, test_rows))
    transition = chained.crf.potentials()["transition"]
    learned = float(np.sum(np.asarray(jax.nn.softmax(transition, axis=-1)) * GRAMMAR) / DIGITS)
    run.console.print(f"Mass of the learned transitions within the grammar: {100 * learned:.1f}%")
    run.save(picture(read, test_rows, transition), "crf_digit_rows")
    run.end()


if __name__ == "__main__":
    main()
