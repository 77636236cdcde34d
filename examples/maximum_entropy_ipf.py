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
from sklearn.datasets import load_breast_cancer

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


def main() -> None:
    """Fit, decompose and compare."""
    jax.config.update("jax_enable_x64", True)
    counts = tumors()
    total = counts.sum()
    law = counts / total
    seed = jnp.full(law.shape, 1 / law.size)
    fits = [geometry.iterative_proportional_fitting(seed, margins(law, order)) for order in (1, 2)]
    independent, pairwise = (fit.table for fit in fits)
    print(f"{int(total)} tumors by {', '.join(NAMES)}")
    print("\nThree-way table and its fit without three-way interaction (malignant, benign):")
    for observed, fitted in zip(counts, pairwise * total, strict=True):
        for row, expected in zip(observed, fitted, strict=True):
            cells = (f"{n:4.0f} ({e:5.1f})" for n, e in zip(row, expected, strict=True))
            print("   " + "  ".join(cells))
        print()
    for name, fit in zip(("independence", "pairs"), fits, strict=True):
        print(f"{name:13s} {int(fit.num_cycles):3d} cycles, residual {float(fit.residual):.1e}")

    flat = lambda table: jnp.asarray(table).ravel()
    divergence = lambda p, q: float(simplex.kl(flat(p), flat(q)))
    parts = {
        "pairs": (divergence(pairwise, independent), 8),
        "three-way": (divergence(law, pairwise), 4),
        "all": (divergence(law, independent), 12),
    }
    print("\nInteraction   KL (nats)   G^2      df   p-value")
    for name, (value, freedom) in parts.items():
        statistic = 2 * total * value
        tail = float(chi2.sf(statistic, freedom))
        print(f"{name:12s}  {value:.6f}   {statistic:7.2f}  {freedom:2d}   {tail:.2g}")
    family = families.Categorical(law.size)
    gap = geometry.pythagorean_gap(
        family, *(family.Params(flat(table)) for table in (law, pairwise, independent))
    )
    print(f"Pythagorean gap all - pairs - three-way: {abs(float(gap)):.1e}")

    moments = indicators(law, 2)
    entropy = discrete.maximum_entropy(moments, flat(law) @ moments)
    difference = jnp.max(jnp.abs(entropy.probs - flat(pairwise)))
    print(f"Maximum entropy with the same margins differs by {float(difference):.1e}")


if __name__ == "__main__":
    main()
