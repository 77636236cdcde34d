"""Posteriors three ways: python examples/bayesian_updates.py.

1. Wine: mean and deviation of the alcohol of one cultivar. The conjugate posterior is exact; the
   grid agrees with it, and Laplace's approximation comes nearer with every observation.
2. Breast cancer: logistic regression has no conjugate prior. Grid and Laplace, and the estimates
   of maximum likelihood, of largest posterior density and of the posterior mean.
3. A network on wine: which prior precision the evidence asks for, and how averages over the
   posterior predict held-out wines beside the mode, for each structure of the curvature: worse
   here, where the mode is right and the averages doubt it.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_wine

import script
from igeojax import bayes, families

NORMAL, PRIOR = families.Normal(), families.NormalInverseGamma()
BERNOULLI, CULTIVARS = families.Bernoulli(), families.Categorical(3)


def climbed(log_joint: Any, start: Any, steps: int = 200) -> Any:
    """The mode, by L-BFGS."""
    loss = lambda params: -log_joint(params)
    optimizer = optax.lbfgs()

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        value, gradient = optax.value_and_grad_from_state(loss)(params, state=state)
        updates, state = optimizer.update(
            gradient, state, params, value=value, grad=gradient, value_fn=loss
        )
        return (optax.apply_updates(params, updates), state), value

    walk = jax.jit(lambda start: jax.lax.scan(step, (start, optimizer.init(start)), length=steps))
    return walk(start)[0][0]


def alcohol(run: script.Script) -> None:
    """Mean and log-variance of a normal law: conjugate, grid, Laplace."""
    run.section("Alcohol of a cultivar: mean m and deviation s")
    wine = load_wine()
    data = wine.data[wine.target == 0, 0]
    prior = PRIOR.Params(loc=12.0, concentration=0.1, shape=2.0, scale=1.0)
    theta = PRIOR.natural_from_params(*prior)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    sizes = (4, 12, len(data))
    print("  n  method         E[m]    sd[m]   E[log s]  sd[log s]  log evidence")
    for ax, size in zip(figure.subplots(1, 3), sizes, strict=True):
        x = jnp.asarray(data[:size])
        exact = bayes.posterior(NORMAL, prior, x)
        law = PRIOR.natural_from_params(*exact)

        def log_joint(loc: Any, log_v: Any, x: Any = x) -> Any:
            v = jnp.exp(log_v)
            normal = NORMAL.natural_from_params(loc=loc, scale=jnp.sqrt(v))
            # The density of log v: that of v times v.
            own = PRIOR.log_density(theta, jnp.stack([loc, v])) + log_v
            return own + NORMAL.log_density(normal, x).sum()

        of_vector = lambda z, f=log_joint: f(z[0], z[1])
        mode = climbed(of_vector, jnp.array([x.mean(), jnp.log(x.var())]))
        normal = bayes.laplace_approximation(of_vector, mode)
        loc, log_v = float(exact.loc), float(jnp.log(exact.scale / exact.shape))
        width = 14 * float(jnp.sqrt(exact.scale / exact.shape / exact.concentration))
        spread = 10 / float(jnp.sqrt(exact.shape))
        points = 121 if run.quick else 241
        axes = [
            jnp.linspace(loc - width, loc + width, points),
            jnp.linspace(log_v - spread, log_v + spread, points),
        ]
        grid = bayes.grid_posterior(log_joint, axes)
        inverse_gamma = families.InverseGamma().natural_from_params(exact.shape, exact.scale)
        log_variance = float(families.InverseGamma().mean_from_natural(inverse_gamma).log_x)
        trigamma = float(jax.scipy.special.polygamma(1, exact.shape))
        evidence = bayes.log_evidence(NORMAL, prior, x)
        covariance = families.MultivariateNormal(2).params_from_natural(normal.theta).covariance
        rows = {
            "conjugate": (
                (loc, log_variance),
                (float(jnp.sqrt(PRIOR.variance(law)[0])), trigamma**0.5),
                evidence,
            ),
            "grid": (grid.mean(), jnp.sqrt(jnp.diag(grid.covariance())), grid.log_evidence),
            "Laplace": (mode, jnp.sqrt(jnp.diag(covariance)), normal.log_evidence),
        }
        for name, (mean, deviation, log_evidence) in rows.items():
            print(
                f"{size:3d}  {name:<10} {mean[0]:9.4f}{deviation[0]:9.4f}{mean[1] / 2:11.4f}"
                f"{deviation[1] / 2:11.4f}{float(log_evidence):14.4f}"
            )
        mesh = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
        density = jnp.exp(grid.log_weights)
        other = jnp.exp(families.MultivariateNormal(2).log_density(normal.theta, mesh))
        deviations = jnp.exp(axes[1] / 2)
        for values, style, color in ((density, "solid", "C0"), (other, "dashed", "C1")):
            levels = np.asarray(values.max()) * np.exp([-4.5, -2.0, -0.5])
            ax.contour(axes[0], deviations, values.T, levels, linestyles=style, colors=color)
        ax.plot([], [], "C0", label="exact")
        ax.plot([], [], "C1--", label="Laplace")
        ax.set(title=f"{size} wines", xlabel="mean (% alcohol)", ylabel="standard deviation")
        ax.set_yscale("log")
        ax.set_xlim(loc - 0.3 * width, loc + 0.3 * width)
    figure.axes[0].legend(frameon=False)
    run.save(figure, "normal")


def tumors(run: script.Script) -> None:
    """Logistic regression on two features and an intercept: three parameters."""
    run.section("Breast cancer: benign or malignant by two features")
    data = load_breast_cancer()
    columns = [list(data.feature_names).index(name) for name in ("mean radius", "mean texture")]
    z = data.data[:, columns]
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    rows = slice(0, 40)
    x = jnp.asarray(np.concatenate([np.ones((len(z), 1)), z], axis=1)[rows])
    y = jnp.asarray(1.0 - data.target[rows])
    predict = lambda w, x: BERNOULLI.Point(x @ w)
    likelihood = lambda w: BERNOULLI.log_density(predict(w, x), y).sum()
    deviation = 2.0
    log_joint = lambda w: norm.logpdf(w, 0.0, deviation).sum() + likelihood(w)
    largest, mode = (climbed(f, jnp.zeros(3)) for f in (likelihood, log_joint))
    began = time.perf_counter()
    law = bayes.laplace_approximation(log_joint, mode)
    laplace_seconds = time.perf_counter() - began
    covariance = families.MultivariateNormal(3).params_from_natural(law.theta).covariance
    deviations = jnp.sqrt(jnp.diag(covariance))
    points = 41 if run.quick else 101
    axes = [
        jnp.linspace(m - 7 * s, m + 9 * s, points) for m, s in zip(mode, deviations, strict=True)
    ]
    began = time.perf_counter()
    grid = bayes.grid_posterior(lambda *w: log_joint(jnp.stack(w)), axes, chunk_size=20000)
    mean = grid.mean()
    grid_seconds = time.perf_counter() - began
    print(f"{len(y)} tumors, prior deviation {deviation}")
    print("                   intercept    radius   texture")
    for name, values in {
        "likelihood": largest,
        "mode": mode,
        "mean": mean,
        "Laplace sd": deviations,
        "grid sd": jnp.sqrt(jnp.diag(grid.covariance())),
    }.items():
        print(f"{name:<17}" + "".join(f"{float(value):10.3f}" for value in values))
    print(f"log evidence: grid {grid.log_evidence:.3f}, Laplace {law.log_evidence:.3f}")
    print(f"seconds: grid of {points}^3 {grid_seconds:.1f}, Laplace {laplace_seconds:.1f}")
    print(f"mass at the border of the grid: {grid.edge_mass:.1e}")
    figure = Figure(figsize=(9, 3), layout="constrained")
    for i, (ax, name) in enumerate(
        zip(figure.subplots(1, 3), ("intercept", "radius", "texture"), strict=True)
    ):
        ax.plot(axes[i], grid.marginal_density(i), label="grid")
        ax.plot(axes[i], norm.pdf(axes[i], mode[i], deviations[i]), "--", label="Laplace")
        ax.axvline(float(largest[i]), color="0.5", linewidth=1, label="maximum likelihood")
        ax.set(title=name, yticks=[])
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=3, frameon=False)
    run.save(figure, "logistic")


def network(params: Any, x: Any) -> Any:
    """Two layers, to a point of the categorical family."""
    hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"][None])
    logits = hidden @ params["last"]["kernel"] + params["last"]["bias"][None]
    return CULTIVARS.natural_from_params(logits=logits)


def averaged(key: Any, law: bayes.ModelLaplace, predict: Any, x: Any, y: Any) -> float:
    """Mean log-probability of the labels under the average of linearized outputs."""
    outputs = bayes.linearized_outputs(law, predict, x)
    draws = outputs.sample(key, (500,))
    each = CULTIVARS.log_density(draws, y)
    return float(jnp.mean(jax.nn.logsumexp(each, axis=0) - np.log(500)))


def cultivars(run: script.Script) -> None:
    """A network with a Laplace approximation of each structure."""
    run.section("A network on wine: curvature, evidence, held-out wines")
    wine = load_wine()
    order = run.rng().permutation(len(wine.target))
    x = (wine.data - wine.data.mean(axis=0)) / wine.data.std(axis=0)
    train, test = order[:60], order[60:]
    keys = jax.random.split(run.key())
    start = {
        "first": {"kernel": 0.3 * jax.random.normal(keys[0], (13, 6)), "bias": jnp.zeros(6)},
        "last": {"kernel": 0.3 * jax.random.normal(keys[1], (6, 3)), "bias": jnp.zeros(3)},
    }
    given, labels = jnp.asarray(x[train]), jnp.asarray(wine.target[train])
    held, truth = jnp.asarray(x[test]), jnp.asarray(wine.target[test])
    precisions = (0.1, 1.0) if run.quick else (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    found: dict[str, list[float]] = {}
    print("precision  structure    log evidence  dimension  held-out: mode  average")
    for tau in precisions:

        def log_joint(params: Any, tau: float = tau) -> Any:
            square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
            return CULTIVARS.log_density(network(params, given), labels).sum() - tau / 2 * square

        params = climbed(log_joint, start, 100 if run.quick else 300)
        plain = float(CULTIVARS.log_density(network(params, held), truth).mean())
        last = bayes.restricted(network, params, lambda path: path.startswith("last"))
        for name, (model, some) in {
            "dense": (network, params),
            "kronecker": (network, params),
            "diagonal": (network, params),
            "last layer": last,
        }.items():
            structure: Any = "dense" if name == "last layer" else name
            law = bayes.model_laplace(
                model, CULTIVARS, some, given, labels, prior_precision=tau, structure=structure
            )
            average = averaged(run.key(1), law, model, held, truth)
            found.setdefault(name, []).append(float(law.log_evidence))
            print(
                f"{tau:9.2f}  {name:<11}{float(law.log_evidence):14.2f}"
                f"{float(law.effective_dimension):11.1f}{plain:16.4f}{average:9.4f}"
            )
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    ax = figure.subplots()
    for name, values in found.items():
        if name != "last layer":
            ax.plot(precisions, values, "o-", label=name)
    ax.set(xscale="log", xlabel="prior precision", ylabel="log evidence (nats)")
    ax.legend(frameon=False)
    run.save(figure, "evidence")


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="coarser grids, fewer networks")
    jax.config.update("jax_enable_x64", True)
    for part in run.track((alcohol, tumors, cultivars), "parts"):
        part(run)
    run.end()


if __name__ == "__main__":
    main()
