"""Interactions in a contingency table, by e-projections: python examples/maximum_entropy_ipf.py.

The tumors of scikit-learn's breast cancer data, by diagnosis and by the terciles of texture and
smoothness.

1. Independence and no three-way interaction, fitted by iterative proportional fitting.
2. What each order of interaction contributes: divergences that add up, by Pythagoras.
3. The same law from `discrete.maximum_entropy`, which knows of moments and not of tables.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import chi2
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

import script
from igeojax import discrete, families, geometry
from igeojax.divergences import simplex

NAMES = ("diagnosis", "texture", "smoothness")


def tumors() -> np.ndarray:
    """Counts by diagnosis (malignant, benign) and the terciles of two measurements."""
    data = load_breast_cancer()
    columns = [list(data.feature_names).index(f"mean {name}") for name in NAMES[1:]]
    terciles = [
        np.digitize(values, np.quantile(values, [1 / 3, 2 / 3]))
        for values in data.data[:, columns].T
    ]
    counts = np.zeros((2, 3, 3))
    np.add.at(counts, (data.target, *terciles), 1)
    return counts


def margins(table: np.ndarray, order: int) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """All margins of that many axes."""
    axes = range(table.ndim)
    return [
        (kept, table.sum(tuple(axis for axis in axes if axis not in kept)))
        for kept in itertools.combinations(axes, order)
    ]


def indicators(table: np.ndarray, order: int) -> np.ndarray:
    """A feature of cells for each entry of these margins: whether the cell is counted in it."""
    cells = np.indices(table.shape).reshape(table.ndim, -1)
    return np.stack(
        [
            np.all(cells[list(kept)] == np.array(entry)[:, None], axis=0)
            for kept, margin in margins(table, order)
            for entry in np.ndindex(margin.shape)
        ],
        axis=1,
    ).astype(float)


def picture(counts: np.ndarray, fits: dict[str, np.ndarray]) -> Figure:
    """Counts of all cells beside what each law expects there."""
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    ax = figure.subplots()
    most = 1.05 * counts.max()
    ax.plot([0, most], [0, most], color="0.7", linewidth=1)
    for marker, (name, expected) in zip("xo", fits.items(), strict=True):
        ax.plot(np.ravel(expected), np.ravel(counts), marker, label=name, fillstyle="none")
    ax.set(xlabel="tumors expected in a cell", ylabel="tumors counted", xlim=(0, most))
    ax.legend(frameon=False)
    return figure


def main() -> None:
    """Fit, decompose and compare."""
    run = script.start(__file__, __doc__, quick="nothing: it is quick as it is")
    jax.config.update("jax_enable_x64", True)
    counts = tumors()
    total = counts.sum()
    law = counts / total
    seed = jnp.full(law.shape, 1 / law.size)
    fits = [geometry.iterative_proportional_fitting(seed, margins(law, order)) for order in (1, 2)]
    independent, pairwise = (fit.table for fit in fits)
    run.console.print(f"{int(total)} tumors by {', '.join(NAMES)}")
    cells = [
        (kind, low, *(f"{n:.0f} ({e:.1f})" for n, e in zip(row, expected, strict=True)))
        for kind, observed, fitted in zip(
            ("malignant", "benign"), counts, pairwise * total, strict=True
        )
        for low, row, expected in zip(("low", "middle", "high"), observed, fitted, strict=True)
    ]
    run.table(
        "Counts (and their fit without three-way interaction) by texture, down, and smoothness",
        ("diagnosis", "texture", "low", "middle", "high"),
        cells,
    )
    rows = [
        (name, fit.num_cycles, f"{fit.residual:.1e}")
        for name, fit in zip(("independence", "pairs"), fits, strict=True)
    ]
    run.table("Iterative proportional fitting", ("law", "cycles", "residual"), rows)

    flat = lambda table: jnp.asarray(table).ravel()
    divergence = lambda p, q: float(simplex.kl(flat(p), flat(q)))
    parts = {
        "pairs": (divergence(pairwise, independent), 8),
        "three-way": (divergence(law, pairwise), 4),
        "all": (divergence(law, independent), 12),
    }
    rows = []
    for name, (value, freedom) in parts.items():
        statistic = 2 * total * value
        tail = f"{float(chi2.sf(statistic, freedom)):.2g}"
        rows.append((name, f"{value:.6f}", f"{statistic:.2f}", freedom, tail))
    headings = ("interaction", "KL (nats)", "G²", "df", "p-value")
    run.table("What each order of interaction contributes", headings, rows)
    family = families.Categorical(law.size)
    gap = geometry.pythagorean_gap(
        family, *(family.Params(flat(table)) for table in (law, pairwise, independent))
    )
    run.console.print(f"Pythagorean gap all - pairs - three-way: {abs(float(gap)):.1e}")

    moments = indicators(law, 2)
    entropy = discrete.maximum_entropy(moments, flat(law) @ moments)
    difference = jnp.max(jnp.abs(entropy.probs - flat(pairwise)))
    run.console.print(f"Maximum entropy with the same margins differs by {float(difference):.1e}")
    expected = {"independence": total * independent, "interactions of pairs": total * pairwise}
    run.save(picture(counts, expected), "tables")
    run.end()


if __name__ == "__main__":
    main()
