"""Information geometry at work on scikit-learn's digits: python examples/quickstart.py.

1. Softmax regression and a small network, trained by SGD, Adam and the natural gradient.
2. The same network with a layer's parameters rescaled: whose training changes?
3. A Gaussian mixture by EM, beside scikit-learn's.
4. Pictures of the geometry, and the Triton kernels checked against JAX.
"""

import functools
import subprocess
import sys
import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import script
from igeojax import divergences, em, families, geometry, optim, viz

BATCH, STEPS, EVERY = 128, 400, 10
OUTPUT = families.Categorical(10)


class Digits(NamedTuple):
    """Images scaled to [0, 1] as rows, labels, and the order of the batches."""

    x: jax.Array
    y: jax.Array
    held_out_x: jax.Array
    held_out_y: jax.Array
    batches: jax.Array


def digits(run: script.Script) -> Digits:
    """Three quarters for training, one held out; the same batches for every optimizer."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images.astype(np.float32) / 16,
        labels,
        test_size=0.25,
        random_state=run.seed,
        stratify=labels,
    )
    x, held_out_x, y, held_out_y = map(jnp.asarray, parts)
    batches = jax.random.choice(run.key(), x.shape[0], (200 if run.quick else STEPS, BATCH))
    return Digits(x, y, held_out_x, held_out_y, batches)


class Network(nn.Module):
    """One hidden layer of tanh units, or none: softmax regression."""

    hidden: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.hidden:
            x = nn.tanh(nn.Dense(self.hidden)(x))
        return nn.Dense(10)(x)


def predictor(network: Network):
    """`predict(params, x)`: a point of the output family, all that the natural gradient needs."""
    return lambda params, x: OUTPUT.natural_from_params(logits=network.apply(params, x))


class Training(NamedTuple):
    """What training by one optimizer gave: one entry every `EVERY` steps."""

    steps: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray
    accuracy: float


def train(
    predict, params: Any, tx: optax.GradientTransformation, data: Digits, advance
) -> Training:
    """Train on `data.batches`; compilation and evaluation are not in the seconds."""
    tx = optax.with_extra_args_support(tx)

    def loss(params, x, y):
        return -jnp.mean(OUTPUT.log_density(predict(params, x), y))

    def step(carry, batch):
        params, state = carry
        x, y = data.x[batch], data.y[batch]
        updates, state = tx.update(jax.grad(loss)(params, x, y), state, params, inputs=x)
        return (optax.apply_updates(params, updates), state), None

    chunk = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches)[0])
    full_loss = jax.jit(lambda params: loss(params, data.x, data.y))
    carry = (params, tx.init(params))
    jax.block_until_ready(chunk(carry, data.batches[:EVERY]))  # compile
    losses, seconds = [float(full_loss(params))], [0.0]
    for start in range(0, len(data.batches), EVERY):
        began = time.perf_counter()
        carry = jax.block_until_ready(chunk(carry, data.batches[start : start + EVERY]))
        seconds.append(seconds[-1] + time.perf_counter() - began)
        losses.append(float(full_loss(carry[0])))
        advance(EVERY)
    guess = jnp.argmax(OUTPUT.logits(predict(carry[0], data.held_out_x)), axis=-1)
    accuracy = float(jnp.mean(guess == data.held_out_y))
    return Training(
        np.arange(0, len(data.batches) + 1, EVERY), np.array(seconds), np.array(losses), accuracy
    )


def optimizers(predict, rates: dict[str, float]) -> dict[str, optax.GradientTransformation]:
    """SGD, Adam and the natural gradient: they differ in one line."""
    solver = optim.ConjugateGradient(tolerance=1e-2, max_iterations=20)
    return {
        "SGD": optax.sgd(rates["SGD"]),
        "Adam": optax.adam(rates["Adam"]),
        "natural gradient": optim.natural_gradient(
            rates["natural gradient"], predict, OUTPUT, solver=solver, damping=3e-3
        ),
    }


def training_rows(runs: dict[str, Training], target: float) -> list[tuple[str, ...]]:
    """Loss, accuracy, and what it took to reach a loss."""
    rows = []
    for name, trained in runs.items():
        reached = np.flatnonzero(trained.loss <= target)
        at = reached[0] if reached.size else None
        steps = "not reached" if at is None else f"<= {trained.steps[at]}"
        seconds = "-" if at is None else f"{trained.seconds[at]:.2f}"
        rows.append((name, f"{trained.loss[-1]:.2e}", f"{trained.accuracy:.1%}", steps, seconds))
    return rows


def training(run: script.Script, data: Digits, progress: Any) -> None:
    """Part 1: the two models, the three optimizers."""
    figure, axes = picture(2, (10, 4))
    for ax, (title, hidden, sgd_rate, adam_rate, target) in zip(
        axes,
        (("softmax regression", 0, 10.0, 0.3, 0.05), ("network 64-32-10", 32, 1.0, 0.1, 0.02)),
        strict=True,
    ):
        # Each the best of a grid in factors of three, and inside it: 0.3-30, 0.01-1 and 0.1-1.
        rates = {"SGD": sgd_rate, "Adam": adam_rate, "natural gradient": 0.3}
        network = Network(hidden)
        predict, params = predictor(network), network.init(run.key(1), data.x[:1])
        chosen = optimizers(predict, rates)
        task = progress.add_task(title, total=len(data.batches) * len(chosen))
        advance = functools.partial(progress.advance, task)
        runs = {name: train(predict, params, tx, data, advance) for name, tx in chosen.items()}
        headings = ("final loss", "held-out accuracy", f"steps to {target:g}", "seconds to it")
        run.table(
            f"{title}, {len(data.batches)} steps of {BATCH} images",
            ("", *headings),
            training_rows(runs, target),
        )
        curves = {name: (trained.steps, trained.loss) for name, trained in runs.items()}
        viz.loss_curves(ax, curves, y_label="training loss (nats)", target=target)
        ax.set_title(title)
    run.save(figure, "training")


def reparameterization(run: script.Script, data: Digits, progress: Any) -> None:
    """Part 2: a network in two charts, its first layer divided by 10 in the second.

    Rescaling a layer is a linear change of coordinates: the natural gradient without damping does
    not see it at all, so the gap that is left is that of the damping, 1e-6.
    """
    factor, steps, hidden, rate = 10.0, 60, 6, 0.1

    def predict(params, x):
        units = jnp.tanh(x @ params["w1"] + params["b1"])
        return OUTPUT.natural_from_params(logits=units @ params["w2"] + params["b2"])

    def rescaled(params, scale):
        return {**params, "w1": scale * params["w1"], "b1": scale * params["b1"]}

    def trajectory(model, tx, start, x, y):
        """Losses and output laws of full-batch training."""

        def loss(params):
            return -jnp.mean(OUTPUT.log_density(model(params, x), y))

        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = tx.update(gradient, state, params, inputs=x)
            return (optax.apply_updates(params, updates), state), (value, model(params, x))

        walk = jax.jit(lambda start: jax.lax.scan(step, (start, tx.init(start)), length=steps)[1])
        return walk(start)

    makers = {
        "SGD": lambda _: optax.with_extra_args_support(optax.sgd(rate)),
        "natural gradient": lambda model: optim.natural_gradient(
            rate, model, OUTPUT, solver=optim.Dense(), damping=1e-6
        ),
    }
    task = progress.add_task("reparameterization", total=2 * len(makers))
    rows = []
    figure, (ax,) = picture(1, (6, 4))
    with jax.enable_x64(True):
        x = jnp.asarray(
            PCA(8, whiten=True, random_state=run.seed).fit_transform(np.float64(data.x))
        )
        first, second = jax.random.split(run.key())
        start = {
            "w1": jax.random.normal(first, (8, hidden)) / 8**0.5,
            "b1": jnp.zeros(hidden),
            "w2": jax.random.normal(second, (hidden, 10)) / hidden**0.5,
            "b2": jnp.zeros(10),
        }
        charts = {
            "as it is": (predict, start),
            f"first layer / {factor:g}": (
                lambda params, x: predict(rescaled(params, factor), x),
                rescaled(start, 1 / factor),
            ),
        }
        for color, (name, make) in enumerate(makers.items()):
            outputs = []
            for style, (chart, (model, begin)) in zip("-:", charts.items(), strict=True):
                losses, laws = trajectory(model, make(model), begin, x, data.y)
                ax.plot(losses, style, color=f"C{color}", linewidth=2, label=f"{name}, {chart}")
                outputs.append(laws)
                progress.advance(task)
            gap = jnp.mean(divergences.exponential.kl(OUTPUT, *outputs), axis=-1)
            rows.append((name, *(f"{value:.1e}" for value in (gap[0], gap[-1], gap.max()))))
    run.table(
        f"Two charts, first layer divided by {factor:g}: KL of the predictions",
        ("", "at the start", f"after {steps} steps", "largest"),
        rows,
    )
    ax.set(xlabel="step", ylabel="training loss (nats)", yscale="log")
    ax.legend(frameon=False)
    run.save(figure, "reparameterization")


def mixture(run: script.Script, progress: Any) -> None:
    """Part 3: ten Gaussians on eight principal components, from one start."""
    rounds = 1 if run.quick else 3
    task = progress.add_task("Gaussian mixture by EM", total=3 * rounds)
    settings: dict[str, Any] = {"tolerance": 1e-5, "max_iterations": 300}
    with jax.enable_x64(True):
        images, _ = load_digits(return_X_y=True)
        x = jnp.asarray(PCA(8, random_state=run.seed).fit_transform(images / 16))
        model = em.Mixture(families.MultivariateNormal(8), 10)
        start = model.fit(x, key=run.key(), max_iterations=1).params
        source = model.family.params_from_natural(start.components)
        peer = GaussianMixture(
            10,
            tol=settings["tolerance"],
            max_iter=settings["max_iterations"],
            reg_covar=0.0,
            weights_init=np.exp(start.log_weights),
            means_init=np.asarray(source.mean),
            precisions_init=np.linalg.inv(source.covariance),
        )
        plain = np.asarray(x)

        @threadpool_limits.wrap(limits=1)
        def single_threaded():
            return peer.fit(plain)

        contestants = {
            "igeojax": lambda: jax.block_until_ready(
                model.fit(x, initialization=start, **settings)
            ),
            "scikit-learn": lambda: peer.fit(plain),
            "scikit-learn, one thread": single_threaded,
        }
        ours = contestants["igeojax"]()  # compile
        seconds = dict.fromkeys(contestants, np.inf)
        for name in [*contestants] * rounds:
            began = time.perf_counter()
            contestants[name]()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
            progress.advance(task)
        responsibilities, _ = model.e_step(ours.params, x)
    steps = int(ours.num_iterations)
    if not ours.converged or np.diff(ours.log_likelihoods[: steps + 1]).min() < -1e-9:
        raise RuntimeError("EM fell or did not converge")
    theirs = (peer.score(plain), peer.n_iter_, peer.bic(plain))
    results = [(float(ours.log_likelihood) / len(plain), steps, ours.bic), theirs, theirs]
    run.table(
        f"Ten Gaussians on eight principal components, same start, best of {rounds}",
        ("", "log-likelihood per image", "EM steps", "seconds", "BIC"),
        [
            (name, f"{mean:.6f}", count, f"{seconds[name]:.3f}", f"{bic:.1f}")
            for name, (mean, count, bic) in zip(seconds, results, strict=True)
        ],
    )
    figure, (left, right) = picture(2, (10, 4))
    left.plot(ours.log_likelihoods[: steps + 1])
    left.set(xlabel="EM step", ylabel="log-likelihood per image (nats)", title="never decreasing")
    guess = np.argmax(responsibilities, axis=1)
    right.scatter(x[:, 0], x[:, 1], c=guess, cmap="tab10", s=6)
    right.set(xlabel="first principal component", ylabel="second principal component")
    right.set_title("images colored by component")
    run.save(figure, "mixture")


def pictures(run: script.Script, progress: Any) -> None:
    """Part 4: the two directions of KL, the Fisher metric of the normal, the simplex."""
    task = progress.add_task("geometry", total=3)
    normal = families.Normal()
    grid = jnp.linspace(-8.0, 9.0, 600)
    left_mode = normal.natural_from_params(loc=-3.0, scale=0.6)
    right_mode = normal.natural_from_params(loc=3.0, scale=0.9)
    log_target = jnp.logaddexp(
        jnp.log(0.35) + normal.log_density(left_mode, grid),
        jnp.log(0.65) + normal.log_density(right_mode, grid),
    )
    # The m-projection matches moments; the other direction is a natural-gradient descent.
    forward = normal.fit(grid, weights=jnp.exp(log_target))
    spacing = grid[1] - grid[0]

    def reverse_kl(theta):
        log_q = normal.log_density(theta, grid)
        return spacing * jnp.sum(jnp.exp(log_q) * (log_q - log_target))

    tx = optax.chain(
        optim.scale_by_metric(
            functools.partial(geometry.fisher_matvec, normal), solver=optim.Dense(), damping=0.0
        ),
        optax.scale_by_learning_rate(0.2),
    )

    def step(carry, _):
        theta, state = carry
        updates, state = tx.update(jax.grad(reverse_kl)(theta), state, theta)
        return (optax.apply_updates(theta, updates), state), None

    start = normal.natural_from_params(loc=2.0, scale=1.5)
    (reverse, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=100)

    figure, (ax,) = picture(1, (6, 4))
    densities = (jnp.exp(normal.log_density(theta, grid)) for theta in (forward, reverse))
    viz.kl_asymmetry(ax, grid, jnp.exp(log_target), *densities)
    run.save(figure, "kl_asymmetry")
    progress.advance(task)

    figure, (ax,) = picture(1, (6, 4))
    locs, scales = np.meshgrid(np.arange(-3.0, 3.5), [0.4, 0.8, 1.6, 2.4])
    viz.fisher_ellipses(
        ax,
        normal,
        lambda xi: normal.natural_from_params(loc=xi[0], scale=xi[1]),
        np.stack([locs.ravel(), scales.ravel()], axis=-1),
        radius=0.3,
    )
    ax.set(xlabel="mean", ylabel="standard deviation", aspect="equal")
    ax.set_title("Unit steps of the Fisher metric, times 0.3")
    run.save(figure, "fisher_ellipses")
    progress.advance(task)

    figure, (left, right) = picture(2, (9, 4))
    center = jnp.array([0.6, 0.3, 0.1])
    kl = divergences.simplex.kl
    for ax, title, function in (
        (left, "KL(center || q)", lambda q: jnp.log1p(kl(center, q))),
        (right, "KL(q || center)", lambda q: jnp.log1p(kl(q, center))),
    ):
        viz.simplex(ax, function, points=center[None], labels=("a", "b", "c"))
        ax.set_title(f"log(1 + {title})", y=1.06)
    run.save(figure, "simplex")
    progress.advance(task)


def kernels(run: script.Script) -> None:
    """Part 4: the Triton kernels against torch, JAX and float64."""
    run.section("kernels_triton.crosscheck")
    subprocess.run(
        [sys.executable, "-m", "kernels_triton.crosscheck", "--dtype", "float32"], check=True
    )


def picture(columns: int, size: tuple[float, float]):
    """A figure without a window, and its Axes in a row."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, np.ravel(figure.subplots(1, columns))


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="half of the training, one round of timing")
    with run.progress() as progress:
        data = digits(run)
        training(run, data, progress)
        reparameterization(run, data, progress)
        mixture(run, progress)
        pictures(run, progress)
    kernels(run)
    run.end()


if __name__ == "__main__":
    main()
