"""Variational inference: python examples/variational_inference.py.

1. Breast cancer: logistic regression on all features by the Bayesian learning rule, as a full
   normal law and as a mean field, from an exact gradient and from samples; beside Laplace's
   approximation and a long run of Hamiltonian Monte Carlo.
2. Digits with wrong labels among them: a network by IVON, whose probabilities are averages over
   its posterior, beside the mode by Adam: accuracy, log-probability and calibration, held out.
3. Digits: a variational autoencoder, with the divergence of its code in closed form.
"""

import time
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import logsumexp
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_digits

import script
from igeojax import bayes, families, optim
from igeojax.divergences.exponential import kl

PIXELS, CLASSES = families.Bernoulli(), families.Categorical(10)
CODE = families.DiagonalNormal(8)


def moments(family: Any, theta: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every coordinate."""
    variance = family.variance(theta)
    return np.asarray(family.mean(theta)), np.sqrt(np.asarray(variance))


def hamiltonian(key: Any, log_joint: Any, start: Any, draws: int) -> np.ndarray:
    """Draws of the posterior by the no-U-turn sampler."""
    warm, sample = jax.random.split(key)
    adaptation = blackjax.window_adaptation(blackjax.nuts, log_joint)
    (state, tuned), _ = adaptation.run(warm, start, num_steps=1000)
    kernel = blackjax.nuts(log_joint, **tuned)

    def step(state: Any, key: Any) -> tuple[Any, Any]:
        state, _ = kernel.step(key, state)
        return state, state.position

    keys = jax.random.split(sample, draws)
    return np.asarray(jax.jit(lambda s: jax.lax.scan(step, s, keys)[1])(state))


def tumors(run: script.Script) -> None:
    """A posterior of 31 weights."""
    run.section("Breast cancer: logistic regression on 30 features")
    data = load_breast_cancer()
    z = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    x = jnp.asarray(np.concatenate([np.ones((len(z), 1)), z], axis=1))
    y = jnp.asarray(data.target, float)
    size = x.shape[1]
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = jnp.asarray(weights / weights.sum())

    def log_likelihood(w: Any) -> Any:
        return jnp.sum(y * (x @ w) - jax.nn.softplus(x @ w))

    def expected(location: Any, variance: Any) -> Any:
        """Expected log-likelihood of normal scores, by quadrature on a line each."""
        scores = location[:, None] + jnp.sqrt(variance)[:, None] * nodes[None]
        return jnp.sum(y * location) - jnp.sum(jax.nn.softplus(scores) @ weights)

    def loss_full(eta: Any) -> Any:
        location = x @ eta.x
        return -expected(location, jnp.einsum("ni,ij,nj->n", x, eta.xx, x) - location**2)

    def loss_diagonal(eta: Any) -> Any:
        return -expected(x @ eta.x, x**2 @ (eta.xx - eta.x**2))

    full, diagonal = families.MultivariateNormal(size), families.DiagonalNormal(size)
    priors = {
        full: full.natural_from_params(jnp.zeros(size), jnp.eye(size)),
        diagonal: diagonal.natural_from_params(jnp.zeros(size), jnp.ones(size)),
    }

    def descended(family: Any, gradient: Any, steps: int, rate: Any) -> tuple[Any, Any, float]:
        """The optimum, how often a step was shortened, and the seconds without compilation."""
        tx, prior = optim.bayesian_learning_rule(rate, family, priors[family]), priors[family]

        def step(carry: Any, key: Any) -> Any:
            theta, state = carry
            updates, state = tx.update(gradient(key, theta), state, theta)
            return (optax.apply_updates(theta, updates), state), state[-1].scale < 1

        keys = jax.random.split(run.key(2), steps)
        walk = jax.jit(lambda start: jax.lax.scan(step, (start, tx.init(start)), keys))
        walk = walk.lower(prior).compile()
        began = time.perf_counter()
        (theta, _), shortened = jax.block_until_ready(walk(prior))
        return theta, int(shortened.sum()), time.perf_counter() - began

    def by_samples(key: Any, theta: Any) -> Any:
        return optim.variational_gradient(
            key, full, theta, priors[full], log_likelihood, num_samples=16
        ).gradient

    def of_mean(family: Any, loss: Any) -> Any:
        return lambda _, theta: jax.grad(loss)(family.mean_from_natural(theta))

    steps = 100 if run.quick else 300
    rates = optax.cosine_decay_schedule(0.1, 5 * steps)
    # Of a mean field of correlated weights longer steps than 2 / size may overshoot.
    runs = {
        "full normal": (full, *descended(full, of_mean(full, loss_full), steps, 0.3)),
        "mean field": (
            diagonal, *descended(diagonal, of_mean(diagonal, loss_diagonal), 10 * steps, 0.05)
        ),
        "full, samples": (full, *descended(full, by_samples, 5 * steps, rates)),
    }  # fmt: skip
    log_joint = lambda w: log_likelihood(w) - 0.5 * jnp.sum(w**2) - size / 2 * jnp.log(2 * jnp.pi)
    mode = jnp.zeros(size)
    for _ in range(20):
        mode = mode - jnp.linalg.solve(jax.hessian(log_joint)(mode), jax.grad(log_joint)(mode))
    laplace = bayes.laplace_approximation(log_joint, mode)
    found = {name: moments(family, theta) for name, (family, theta, *_) in runs.items()}
    found["Laplace"] = moments(full, laplace.theta)
    draws = hamiltonian(run.key(1), log_joint, mode, 2000 if run.quick else 20000)
    centre, spread = draws.mean(axis=0), draws.std(axis=0)
    rows = []
    for name, (mean, deviation) in found.items():
        error = np.max(np.abs(mean - centre) / spread)
        row = (name, f"{error:.3f}", f"{np.mean(deviation / spread):.3f}")
        if name in runs:
            family, theta, shortened, seconds = runs[name]
            bound = optim.elbo(
                run.key(), family, theta, priors[family], log_likelihood, num_samples=4000
            )
            value = f"{bound.value:.2f} ± {bound.standard_error:.2f}"
            rows.append((*row, value, f"{seconds:.2f}", shortened))
        else:
            rows.append((*row, f"{laplace.log_evidence:.2f}", "", ""))
    run.table(
        "Beside HMC: largest error of a mean, mean ratio of deviations; Laplace's log-evidence",
        ("posterior", "error / sd", "deviation", "ELBO (nats)", "seconds", "steps shortened"),
        rows,
    )
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, part, name in zip(axes, (0, 1), ("mean", "standard deviation"), strict=True):
        values = (centre, spread)[part]
        line = [values.min(), values.max()]
        ax.plot(line, line, color="0.7", linewidth=1)
        for other, marker in zip(("full normal", "mean field", "Laplace"), "o^x", strict=True):
            ax.plot(values, found[other][part], marker, markersize=4, label=other)
        ax.set(xlabel=f"{name} by HMC", ylabel=f"{name} of the approximation")
    axes[0].legend(frameon=False)
    run.save(figure, "logistic")


def layers(key: Any, widths: tuple[int, ...]) -> list[dict[str, Any]]:
    """Layers whose outputs have the variance of their inputs."""
    keys = jax.random.split(key, len(widths) - 1)
    sizes = zip(keys, widths[:-1], widths[1:], strict=True)
    return [
        {"w": jax.random.normal(k, (a, b), "float32") / a**0.5, "b": jnp.zeros(b, "float32")}
        for k, a, b in sizes
    ]


def applied(params: list[dict[str, Any]], x: Any) -> Any:
    """Outputs of a network with tanh between its layers."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"][None])
    return x @ params[-1]["w"] + params[-1]["b"][None]


def calibration(probs: np.ndarray, labels: np.ndarray, bins: int = 10) -> tuple[float, Any]:
    """Expected calibration error; confidence, accuracy and share of each bin that is not empty."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = [
        (confidence[place == i].mean(), right[place == i].mean(), np.mean(place == i))
        for i in range(bins)
        if (place == i).any()
    ]
    table = np.array(rows)
    return float(np.sum(table[:, 2] * np.abs(table[:, 0] - table[:, 1]))), table


def digits(run: script.Script) -> None:
    """A network on digits with wrong labels: IVON beside the mode of the same posterior by Adam."""
    run.section(
        "Digits: a network of 64-64-10 on 1200 digits, a fifth of their labels drawn at random"
    )
    data = load_digits()
    rng = run.rng()
    order = rng.permutation(len(data.target))
    x = (data.data / 16).astype("float32")[order]
    wrong = rng.random(len(order)) < 0.2
    labels = np.where(wrong, rng.integers(0, 10, len(order)), data.target[order])
    count, batch, decay = 1200, 100, 1e-3
    given, truth = jnp.asarray(x[:count]), jnp.asarray(labels[:count])
    held, answers = jnp.asarray(x[count:]), labels[count:]
    predict = lambda params, x: CLASSES.natural_from_params(logits=applied(params, x))
    loss = lambda params, rows: (
        -jnp.mean(CLASSES.log_density(predict(params, given[rows]), truth[rows]))
    )
    start = layers(run.key(), (64, 64, 10))
    steps = 1000 if run.quick else 4000
    rule = optax.cosine_decay_schedule(0.2, steps)
    warm, cold = (
        optim.ivon(rule, ess=factor * count, weight_decay=decay, b2=0.999) for factor in (1, 4)
    )
    rate = optax.cosine_decay_schedule(3e-3, steps)
    likelihood, mode = (
        optax.adam(rate),
        optax.chain(optax.add_decayed_weights(decay), optax.adam(rate)),
    )

    def trained(tx: Any, variational: bool) -> tuple[Any, Any, float]:
        def step(carry: Any, key: Any) -> tuple[Any, None]:
            params, state = carry
            draw, choose = jax.random.split(key)
            rows = jax.random.choice(choose, count, (batch,), replace=False)
            if variational:
                sample = optim.sample_posterior(draw, state, params)
                grads = jax.grad(loss)(sample, rows)
                updates, state = tx.update(grads, state, params, sample=sample)
            else:
                updates, state = tx.update(jax.grad(loss)(params, rows), state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(run.key(1), steps)
        walk = jax.jit(lambda start: jax.lax.scan(step, (start, tx.init(start)), keys)[0])
        compiled = walk.lower(start).compile()
        began = time.perf_counter()
        params, state = jax.block_until_ready(compiled(start))
        return params, state, time.perf_counter() - began

    log_probs = jax.jit(lambda params: jax.nn.log_softmax(applied(params, held)))
    largest, _, seconds = trained(likelihood, variational=False)
    point, _, mode_seconds = trained(mode, variational=False)

    def averaged(tx: Any) -> tuple[Any, float]:
        params, state, seconds = trained(tx, variational=True)
        draws = optim.sample_posterior(run.key(2), state, params, (64,))
        return logsumexp(jax.lax.map(log_probs, draws), axis=0) - np.log(64), seconds

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    rows, found = (
        [],
        {
            "Adam, likelihood": (log_probs(largest), seconds),
            "Adam, mode": (log_probs(point), mode_seconds),
            "IVON": averaged(warm),
            "IVON, 4 N": averaged(cold),
        },
    )
    for ax, (name, (values, seconds)) in zip(figure.subplots(1, 4), found.items(), strict=True):
        probs = np.exp(np.asarray(values, float))
        error, table = calibration(probs, answers)
        accuracy = np.mean(probs.argmax(axis=1) == answers)
        mean = np.mean(np.asarray(values)[np.arange(len(answers)), answers])
        numbers = (accuracy, probs.max(axis=1).mean(), mean, error)
        rows.append((name, *(f"{number:.4f}" for number in numbers), f"{seconds:.2f}"))
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        ax.bar(table[:, 0], table[:, 2], width=0.05, color="C0", alpha=0.3)
        ax.plot(table[:, 0], table[:, 1], "o-", markersize=4)
        ax.set(title=f"{name}: ECE {error:.3f}", xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
    figure.axes[0].set_ylabel("accuracy (bars: share of digits)")
    run.save(figure, "reliability")
    headings = ("network", "accuracy", "confidence", "log-probability", "ECE", "seconds")
    run.table("597 digits held out", headings, rows)


def autoencoder(run: script.Script) -> None:
    """A variational autoencoder of binarized digits."""
    run.section("Digits: a variational autoencoder with a code of 8 numbers")
    x = (load_digits().data / 16 > 0.5).astype("float32")
    order = run.rng().permutation(len(x))
    given, held = jnp.asarray(x[order[:1500]]), jnp.asarray(x[order[1500:]])
    keys = jax.random.split(run.key())
    start = {"in": layers(keys[0], (64, 64, 16)), "out": layers(keys[1], (8, 64, 64))}
    prior = CODE.natural_from_params(jnp.zeros(8, "float32"), jnp.ones(8, "float32"))

    def bound(params: Any, key: Any, x: Any) -> tuple[Any, Any]:
        """Mean log-likelihood and mean divergence of an image."""
        location, width = jnp.split(applied(params["in"], x), 2, axis=1)
        code = CODE.natural_from_params(location, jax.nn.softplus(width) + 1e-3)
        logits = applied(params["out"], CODE.sample(key, code))
        fit = PIXELS.log_density(PIXELS.Point(logits), x).sum(axis=1)
        wide = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, location.shape), prior)
        return fit.mean(), kl(CODE, code, wide).mean()

    steps = 500 if run.quick else 6000
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    def loss(params: Any, key: Any, x: Any) -> Any:
        fit, cost = bound(params, key, x)
        return cost - fit

    def step(carry: Any, key: Any) -> tuple[Any, None]:
        params, state = carry
        noise, choose = jax.random.split(key)
        rows = given[jax.random.choice(choose, len(given), (100,), replace=False)]
        updates, state = tx.update(jax.grad(loss)(params, noise, rows), state)
        return (optax.apply_updates(params, updates), state), None

    walk = jax.jit(lambda start, keys: jax.lax.scan(step, (start, tx.init(start)), keys)[0][0])
    params = walk(start, jax.random.split(run.key(1), steps))
    rows = []
    for name, images in (("trained on", given), ("held out", held)):
        fit, cost = map(float, bound(params, run.key(2), images))
        rows.append((name, f"{fit - cost:.2f}", f"{fit:.2f}", f"{cost:.2f}"))
    run.table("Nats an image", ("digits", "ELBO", "likelihood", "divergence"), rows)
    code = jax.random.normal(run.key(3), (40, 8), "float32")
    drawn = np.asarray(jax.nn.sigmoid(applied(params["out"], code)))
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for ax, image in zip(figure.subplots(4, 10).ravel(), drawn, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
    run.save(figure, "autoencoder")


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="fewer steps and draws")
    jax.config.update("jax_enable_x64", True)
    for part in run.track((tumors, digits, autoencoder), "parts"):
        part(run)
    run.end()


if __name__ == "__main__":
    main()
