"""Digits as directions: python examples/planetarium.py.

1. A network maps scikit-learn's digits to the unit sphere in three dimensions, by a normalized
   classifier with a margin on the angle of the true class.
2. Held-out digits as a sky: mean directions, whether they are more than chance, and mixtures of von
   Mises-Fisher laws fitted without labels, with concentrations free or shared, soft or hard.
3. Pictures: the sky from two sides with the clusters, and the posterior of clusters of one
   concentration, which is softmax at temperature 1 / concentration, as that concentration grows.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split

import script
from igeojax import discrete, em, families, nn, optim, viz
from igeojax.families import directional_statistics as directional

BATCH = 128
SPHERE = families.VonMisesFisher(3)
COLORS = np.array([(0.96, 0.87, 0.70) if k == 7 else colormaps["tab10"](k)[:3] for k in range(10)])
"""Those of tab10, but for its gray, which is what all colors mix to."""

CONCENTRATIONS = (1.0, 4.0, 16.0, 64.0, 256.0)


class Sky(NamedTuple):
    """Unit vectors of held-out digits, and what they are."""

    x: np.ndarray
    digit: np.ndarray


class Network(linen.Module):
    """Two hidden layers, a direction in three dimensions, and cosine logits of the digits."""

    @linen.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """Directions and logits; with labels those of training, with the margin."""
        for width in (128, 64):
            x = linen.gelu(linen.Dense(width)(x))
        z = nn.normalized.l2_normalize(linen.Dense(3)(x))
        margin = functools.partial(nn.margins.cosface_logits, margin=0.1)
        return z, nn.linen.NormalizedClassifier(10, scale=24.0, margin=margin)(z, labels)


def trained(run: script.Script) -> Sky:
    """Directions of the digits that were held out of training."""
    run.section("1. Digits on the sphere")
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images.astype(np.float32) / 16,
        labels,
        test_size=0.4,
        random_state=run.seed,
        stratify=labels,
    )
    x, held_out, y, held_out_digit = map(jnp.asarray, parts)
    network, steps = Network(), 1000 if run.quick else 2000
    params = network.init(run.key(), x[:1])
    # The class vectors go back to the sphere after each step.
    tx = optax.chain(
        optax.adam(optax.cosine_decay_schedule(3e-3, steps)),
        optim.project_onto(nn.unit_manifolds(params)),
    )

    def loss(params: Any, rows: jax.Array) -> jax.Array:
        logits = network.apply(params, x[rows], y[rows])[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

    @jax.jit
    def train(params: Any) -> tuple[Any, jax.Array]:
        def step(carry: Any, rows: jax.Array) -> tuple[Any, jax.Array]:
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params, rows)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        batches = jax.random.choice(run.key(1), x.shape[0], (steps, BATCH))
        (params, _), values = jax.lax.scan(step, (params, tx.init(params)), batches)
        return params, values

    params, values = train(params)
    z, logits = network.apply(params, held_out)
    right = np.mean(np.argmax(logits, axis=1) == held_out_digit)
    run.console.print(f"{steps} steps, loss {values[0]:.2f} to {values[-20:].mean():.3f}")
    run.console.print(f"{len(z)} digits held out, {right:.1%} of them nearest to their own class")
    return Sky(np.asarray(z), np.asarray(held_out_digit))


def described(run: script.Script, sky: Sky) -> None:
    """How each digit is spread, and whether it has a direction at all."""
    headings = ("digit", "n", "resultant length", "cone of 95 %", "Rayleigh p", "concentration")
    rows = []
    # Groups by weights of 0 and 1: all have one shape, which is compiled once.
    groups = {str(d): sky.digit == d for d in range(10)} | {"all": np.ones_like(sky.digit)}
    for name, members in groups.items():
        chosen = (sky.x, members.astype(np.float32))
        p_value = float(directional.rayleigh_test(*chosen).p_value)
        row = (
            f"{directional.resultant_length(*chosen):.4f}",
            f"{np.rad2deg(directional.confidence_cone(*chosen)):.1f}°",
            f"{p_value:.0e}" if p_value > 0 else "< 1e-38",
            f"{SPHERE.params_from_natural(SPHERE.fit(*chosen)).concentration:.1f}",
        )
        rows.append((name, members.sum(), *row))
    run.table("Directions of each digit", headings, rows)


def clustered(run: script.Script, sky: Sky) -> dict[str, tuple[em.Mixture, em.MixtureFit]]:
    """Mixtures of ten laws, fitted without the labels."""
    run.section("2. Clusters without labels")
    headings = ("mixture", "parameters", "nats a digit", "BIC", "Rand index", "concentrations")
    fits, rows = {}, []
    for name, tied, assignment in (
        ("free concentrations", False, "soft"),
        ("one concentration", True, "soft"),
        ("one, hard assignments", True, "hard"),
    ):
        mixture = em.Mixture(SPHERE, 10, tied=tied)
        found = mixture.fit(
            sky.x,
            key=run.key(),
            num_restarts=2 if run.quick else 8,
            assignment=assignment,
            prior=None if tied else em.data_prior(mixture, sky.x),
        )
        labels = mixture.predict(found.params, sky.x)
        lengths = SPHERE.params_from_natural(found.params.components).concentration
        row = (
            name,
            str(mixture.dimension),
            f"{mixture.score(found.params, sky.x):.3f}",
            f"{mixture.bic(found.params, sky.x):.0f}",
            f"{adjusted_rand_score(sky.digit, labels):.3f}",
            f"{lengths.min():.0f}" + ("" if tied else f" to {lengths.max():.0f}"),
        )
        rows.append(row)
        fits[name] = mixture, found
    run.table("Ten clusters each", headings, rows)
    return fits


def named(sky: Sky, mixture: em.Mixture, params: em.MixturePoint) -> np.ndarray:
    """The digit that most observations of each component are."""
    labels = np.asarray(mixture.predict(params, sky.x))
    counts = [np.bincount(sky.digit[labels == k], minlength=10) for k in range(10)]
    return np.argmax(counts, axis=1)


def clear_view(directions: Any, rng: np.random.Generator) -> np.ndarray:
    """A direction to look from, such that no cluster lies near the rim of the globe."""
    drawn = rng.normal(size=(4000, 3))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn[np.argmax(np.min(np.abs(drawn @ np.asarray(directions).T), axis=1))]


def sky_picture(run: script.Script, sky: Sky, mixture: em.Mixture, params: em.MixturePoint) -> None:
    """The density of the mixture and the digits, seen from two sides."""
    digits = named(sky, mixture, params)
    directions = np.asarray(SPHERE.params_from_natural(params.components).mean_direction)
    density = jax.jit(mixture.log_density)
    top = float(jnp.max(density(params, directions)))

    def night(x: jax.Array) -> np.ndarray:
        """Lighter where the density is higher, over seven powers of e."""
        share = np.clip((np.asarray(density(params, x)) - top + 7) / 7, 0, 1)[..., None]
        return (1 - share) * np.array([0.06, 0.08, 0.2]) + share * np.array([0.55, 0.62, 0.82])

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    front, names = clear_view(directions, run.rng()), [str(d) for d in digits]
    for ax, view in zip(figure.subplots(1, 2), (front, -front), strict=True):
        colors = list(COLORS[sky.digit])
        viz.sphere(ax, night, points=sky.x, colors=colors, view=tuple(view))
        viz.sphere(ax, points=directions, size=0.0, labels=names, view=tuple(view), grid=0)
    for digit in range(10):
        figure.axes[0].plot([], [], "o", color=COLORS[digit], label=str(digit))
    figure.legend(loc="outside lower center", ncols=10, frameon=False, handletextpad=0.1)
    figure.suptitle("Digits held out of training, from two sides; ten clusters by EM, no labels")
    run.save(figure, "planetarium")


def strip_picture(
    run: script.Script, sky: Sky, mixture: em.Mixture, params: em.MixturePoint
) -> None:
    """The posterior of clusters of one concentration, from 1 to 256."""
    run.section("3. Softmax is a posterior")
    headings, rows = ("κ", "temperature 1/κ", "mean largest share", "posterior - softmax"), []
    digits = named(sky, mixture, params)
    directions = SPHERE.params_from_natural(params.components).mean_direction
    weights, view = np.full(10, 0.1, np.float32), tuple(clear_view(directions, run.rng()))
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    for ax, concentration in zip(
        figure.subplots(1, len(CONCENTRATIONS)), CONCENTRATIONS, strict=True
    ):
        theta = SPHERE.natural_from_params(directions, concentration)
        posterior = mixture.predict_proba(mixture.point(weights, theta), sky.x)
        scores = sky.x @ directions.T
        shares = discrete.softmax(scores, temperature=1 / concentration)
        apart = float(jnp.max(jnp.abs(posterior - shares)))
        mean_top = float(jnp.mean(jnp.max(posterior, axis=1)))
        temperature = f"{1 / concentration:.4f}"
        rows.append((f"{concentration:g}", temperature, f"{mean_top:.3f}", f"{apart:.0e}"))

        def mixed(x: jax.Array, concentration: float = concentration) -> jax.Array:
            scores = x.astype(jnp.float32) @ directions.T
            return discrete.softmax(scores, temperature=1 / concentration) @ COLORS[digits]

        viz.sphere(ax, mixed, view=view)
        names = [str(d) for d in digits]
        viz.sphere(ax, points=directions, size=0.0, labels=names, view=view, grid=0)
        ax.set_title(f"κ = {concentration:g},  T = 1/{concentration:g}", fontsize=11)
    run.table("Shares of the clusters", headings, rows)
    figure.suptitle("Ten clusters of one concentration κ: colors mixed by softmax(cosine / T)")
    run.save(figure, "temperature")


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="fewer steps and restarts")
    sky = trained(run)
    described(run, sky)
    fits = clustered(run, sky)
    mixture, found = fits["free concentrations"]
    sky_picture(run, sky, mixture, found.params)
    mixture, found = fits["one concentration"]
    strip_picture(run, sky, mixture, found.params)
    run.end()


if __name__ == "__main__":
    main()
