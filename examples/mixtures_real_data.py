"""Mixtures of real data: python examples/mixtures_real_data.py.

1. Digits: a dozen factors of their pixels by probabilistic PCA, and how many normal components
   their law has.
2. What each iteration of EM gains, as the divergences of its two projections.
3. Wine: normal, categorical and Poisson columns together, a sixth of the entries missing.
4. Pictures: the components, the criteria, the projections, and the wines by the fit.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits, load_wine
from sklearn.metrics import adjusted_rand_score

import script
from igeojax import em, families, viz

FACTORS = 12
MISSING = 1 / 6
NORMALS = ("alcohol", "flavanoids", "hue", "od280/od315_of_diluted_wines")
WINE = families.Product(
    (families.MultivariateNormal(len(NORMALS)), families.Categorical(3), families.Poisson())
)


def digits(run: script.Script) -> em.ModelSelection:
    """Factors of the pixels, mixtures of the factors, and images of the components."""
    run.section("Digits")
    data = load_digits()
    # Half a gray level of noise: the pixels of the margin never change.
    noise = 0.5 * run.rng().normal(size=data.data.shape)
    model = em.FactorAnalysis(64, FACTORS, isotropic=True)
    pixels = model.fit(data.data + noise)
    factors = model.transform(pixels.params, data.data)
    per_image = float(pixels.log_likelihood) / len(factors)
    print(f"{FACTORS} factors of {factors.shape[0]} images: {per_image:.2f} nats an image")
    selection = em.model_selection(
        families.MultivariateNormal(FACTORS),
        factors,
        (1, 8) if run.quick else (1, 4, 8, 16, 24),
        key=run.key(),
        num_restarts=1 if run.quick else 3,
        tolerance=1e-4,
        prior=lambda mixture: em.data_prior(mixture, factors, count=1.0),
    )
    print(selection.table())
    labels = selection.mixture.predict(selection.fit.params, factors)
    agreement = adjusted_rand_score(data.target, labels)
    print(f"Adjusted Rand index of the components and the digits: {agreement:.2f}")
    means = selection.mixture.family.mean(selection.fit.params.components)
    images = np.asarray(pixels.params.mean[None] + means @ pixels.params.loadings.T)
    order = np.argsort(-np.asarray(selection.fit.params.log_weights))
    columns = min(8, len(order))
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(1.2 * columns, 1.45 * rows), layout="constrained")
    for ax, k in zip(figure.subplots(rows, columns, squeeze=False).ravel(), order, strict=False):
        ax.imshow(images[k].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set_title(f"{np.exp(selection.fit.params.log_weights[k]):.3f}", fontsize=9)
    for ax in figure.axes:
        ax.set_axis_off()
    figure.suptitle("Means of the components, and their weights", fontsize=11)
    run.save(figure, "components")
    projections(selection.mixture, factors, run)
    return selection


def projections(mixture: em.Mixture, factors: Any, run: script.Script) -> None:
    """The account of the first iterations from a start at random."""
    run.section("Gains of EM by its projections")
    prior = em.data_prior(mixture, factors, count=1.0)
    start = mixture.fit(factors, key=run.key(1), prior=prior, max_iterations=1).params
    gains = em.projection_gains(mixture, factors, start, prior=prior, num_iterations=40)
    lines = gains.table().splitlines()
    print("\n".join([*lines[:6], "  ...", lines[-1]]))
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    viz.projection_gains(figure.subplots(), gains)
    run.save(figure, "projections")


def wine(generator: np.random.Generator) -> tuple[Any, np.ndarray]:
    """Columns of three kinds, with missing entries, and the cultivars."""
    data = load_wine()
    column = {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
    normals = np.stack([column[name] for name in NORMALS], axis=1)
    ash = np.digitize(column["alcalinity_of_ash"], [17.0, 20.0]).astype(float)
    proline = np.round(column["proline"] / 100)
    holes = lambda x: np.where(generator.uniform(size=x.shape) < MISSING, np.nan, x)
    return tuple(map(holes, (normals, ash, proline))), data.target


def mixed(run: script.Script) -> em.ModelSelection:
    """Mixtures of all columns, the missing entries integrated out."""
    run.section("Wine: normal, categorical and Poisson columns with missing entries")
    x, cultivars = wine(run.rng())
    entries = np.concatenate([part.reshape(len(cultivars), -1) for part in x], axis=1)
    whole = ~np.isnan(entries).any(axis=1)
    print(f"{np.isnan(entries).mean():.0%} of the entries are missing; {whole.mean():.0%} of the")
    print(f"{len(cultivars)} rows are complete")
    selection = em.model_selection(
        WINE,
        x,
        (2, 3, 4) if run.quick else (1, 2, 3, 4, 5),
        key=run.key(),
        criterion="icl",
        num_restarts=2 if run.quick else 8,
        prior=lambda mixture: em.data_prior(mixture, x, count=1.0),
        missing=True,
        max_iterations=500,
    )
    print(selection.table())
    labels = np.asarray(selection.mixture.predict(selection.fit.params, x))
    print(f"\nCultivars by component, adjusted Rand {adjusted_rand_score(cultivars, labels):.2f}:")
    for cultivar in range(3):
        counts = np.bincount(labels[cultivars == cultivar], minlength=labels.max() + 1)
        print(f"  cultivar {cultivar + 1}: " + "  ".join(f"{n:3d}" for n in counts))
    normal, ash, proline = WINE.params_from_natural(selection.fit.params.components)
    print("\nComponent  weight  " + "  ".join(f"{name[:10]:>10}" for name in NORMALS), end="")
    print("  alcalinity of ash    proline/100")
    for k, log_weight in enumerate(selection.fit.params.log_weights):
        means = "  ".join(f"{value:10.2f}" for value in normal.mean[k])
        shares = " ".join(f"{value:.2f}" for value in ash.probs[k])
        print(
            f"{k + 1:9d}  {np.exp(log_weight):6.2f}  {means}  {shares:>17}  {proline.rate[k]:13.2f}"
        )
    plane(selection, x, labels, run)
    return selection


def plane(selection: em.ModelSelection, x: Any, labels: np.ndarray, run: script.Script) -> None:
    """Two normal columns by component; of missing entries the expectation, drawn hollow."""
    params = selection.fit.params
    family = WINE.families[0]
    given = lambda theta: families.missing.expected_statistics(family, theta, x[0]).x
    expected = jax.jit(jax.vmap(given))(params.components[0])
    shares = selection.mixture.predict_proba(params, x)
    filled = np.asarray(jnp.einsum("nk,knd->nd", shares, expected))
    shown = [NORMALS.index("flavanoids"), NORMALS.index("alcohol")]
    known = ~np.isnan(x[0][:, shown]).any(axis=1)
    figure = Figure(figsize=(6.5, 4.8), layout="constrained")
    ax = figure.subplots()
    for k in range(selection.mixture.num_components):
        rows, color = labels == k, f"C{k}"
        full, part = filled[rows & known][:, shown], filled[rows & ~known][:, shown]
        ax.plot(*full.T, "o", color=color, markersize=5, label=f"component {k + 1}")
        ax.plot(*part.T, "o", color=color, markersize=5, fillstyle="none")
    ax.plot([], [], "o", color="0.4", fillstyle="none", label="an entry missing: its expectation")
    ax.set(xlabel="flavanoids", ylabel="alcohol (%)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    run.save(figure, "wine")


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="fewer models and restarts")
    jax.config.update("jax_enable_x64", True)
    parts = {"Digits": digits, "Wine": mixed}
    found = {name: parts[name](run) for name in run.track(list(parts), "data")}
    figure = Figure(figsize=(10, 4), layout="constrained")
    for ax, (name, selection) in zip(figure.subplots(1, 2), found.items(), strict=True):
        viz.model_selection(ax, selection)
        ax.set_title(name)
    run.save(figure, "selection")
    run.end()


if __name__ == "__main__":
    main()
