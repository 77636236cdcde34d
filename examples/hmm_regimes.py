"""Regimes of an economy: python examples/hmm_regimes.py.

On the quarterly macroeconomic data of the United States, 1959-2009, that ship with statsmodels.

1. Hidden Markov models of one to four states, fitted to growth and the change of unemployment.
2. The regimes beside the recessions that were announced years later, of which no fit was told.
3. The same where a third of the entries is hidden.
4. A forecast of the next two years, and a picture.
"""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from statsmodels.datasets import macrodata

import script
from igeojax import em, families

FAMILY = families.MultivariateNormal(2)
# First and last quarters of recessions, as dated by the National Bureau of Economic Research.
RECESSIONS = (
    (1960.25, 1961.0),
    (1969.75, 1970.75),
    (1973.75, 1975.0),
    (1980.0, 1980.5),
    (1981.5, 1982.75),
    (1990.5, 1991.0),
    (2001.0, 2001.75),
    (2007.75, 2009.25),
)
AHEAD = 8


def economy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quarters, growth (percent a year) beside change of unemployment (points), and recessions."""
    data = macrodata.load_pandas().data
    quarter = data["year"].to_numpy() + (data["quarter"].to_numpy() - 1) / 4
    growth = 400 * np.diff(np.log(data["realgdp"].to_numpy()))
    change = np.diff(data["unemp"].to_numpy())
    quarter = quarter[1:]
    bad = np.any([(quarter >= low) & (quarter <= high) for low, high in RECESSIONS], axis=0)
    return quarter, np.stack([growth, change], axis=1), bad


def fitted(num_states: int, x: np.ndarray, run: script.Script, *, missing: bool = False):
    """A model and its best fit, the states ordered by growth."""
    model = em.HiddenMarkovModel(FAMILY, num_states, missing=missing)
    # Recessions last: each state is believed to have stayed four times of five beforehand.
    prior = em.HiddenMarkovPrior(transition=1 + 0.5 * (1 + 3 * np.eye(num_states)))
    result = model.fit(
        x,
        key=run.key(),
        num_restarts=2 if run.quick else 8,
        prior=prior,
        max_iterations=300,
    )
    order = jnp.argsort(FAMILY.mean(result.params.emissions)[:, 0])
    initial, transition, emissions = result.params
    emissions = jax.tree.map(lambda leaf: leaf[order], emissions)
    params = em.HiddenMarkovPoint(initial[order], transition[order][:, order], emissions)
    return model, result._replace(params=params)


def regimes(model, params) -> list[tuple[str, ...]]:
    """A row of each regime: means and deviations, correlation, how long it lasts."""
    mean, covariance = FAMILY.params_from_natural(params.emissions)
    deviation = jnp.sqrt(jnp.diagonal(covariance, axis1=1, axis2=2))
    rows = []
    for state in range(model.num_states):
        stay = float(jnp.exp(params.log_transition[state, state]))
        correlation = covariance[state, 0, 1] / jnp.prod(deviation[state])
        spread = (f"{m:.2f} ± {s:.2f}" for m, s in zip(mean[state], deviation[state], strict=True))
        row = (f"{correlation:.2f}", f"{stay:.3f}", f"{1 / (1 - stay):.1f}")
        rows.append((str(state), *spread, *row))
    return rows


def agreement(name: str, states: np.ndarray, bad: np.ndarray) -> tuple[str, ...]:
    """How the regime of least growth meets the recessions."""
    slow = states[:, 0] > 0.5
    return (
        name,
        f"{np.mean(slow[bad]):.3f}",
        f"{np.mean(slow[~bad]):.3f}",
        f"{np.mean(slow == bad):.3f}",
    )


def picture(quarter, x, states, forecast) -> Figure:
    """Growth, recessions and the probability of the slow regime, and what is to come."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for low, high in RECESSIONS:
        for axes in (upper, lower):
            axes.axvspan(low - 0.125, high + 0.125, color="0.85", lw=0)
    ahead = quarter[-1] + np.arange(1, AHEAD + 1) / 4
    mean, deviation = forecast.mean[:, 0], np.sqrt(forecast.variance[:, 0])
    upper.plot(quarter, x[:, 0], color="0.4", lw=1)
    upper.scatter(quarter, x[:, 0], c=states[:, 0], cmap="coolwarm", s=16, zorder=3, vmin=0, vmax=1)
    upper.plot(ahead, mean, color="C2", label="forecast, one standard deviation")
    upper.fill_between(ahead, mean - deviation, mean + deviation, color="C2", alpha=0.25, lw=0)
    upper.axhline(0, color="0.6", lw=0.5)
    upper.set_ylabel("growth of GDP (% a year)")
    upper.legend(loc="lower left")
    upper.set_title("Two regimes of the United States; announced recessions in gray")
    lower.fill_between(quarter, states[:, 0], color="C3", alpha=0.6, lw=0, step="mid")
    lower.plot(ahead, forecast.states[:, 0], color="C2")
    lower.set_ylabel("probability of\nthe slow regime")
    lower.set_ylim(0, 1)
    lower.set_xlim(quarter[0] - 0.5, ahead[-1] + 0.5)
    return figure


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="two models, fewer restarts")
    jax.config.update("jax_enable_x64", True)

    quarter, x, bad = economy()
    numbers = (1, 2) if run.quick else (1, 2, 3, 4)
    fits = {states: fitted(states, x, run) for states in run.track(numbers, "models")}
    rows = [
        (states, f"{fit.log_likelihood:.2f}", f"{fit.bic:.1f}", fit.num_iterations, fit.converged)
        for states, (_, fit) in fits.items()
    ]
    headings = ("states", "log-likelihood", "BIC", "steps", "converged")
    run.table("How many regimes", headings, rows)
    model, result = fits[2]
    headings = ("regime", "growth (% a year)", "change of unemployment", "correlation", "stays")
    run.table("Regimes", (*headings, "quarters"), regimes(model, result.params))

    states = np.asarray(model.smooth(result.params, x).states)
    hidden = run.rng().random(x.shape) < 1 / 3
    partial = np.where(hidden, np.nan, x)
    able, found = fitted(2, partial, run, missing=True)
    seen = np.asarray(able.smooth(found.params, partial).states)
    rows = [agreement("all entries", states, bad), agreement("a third hidden", seen, bad)]
    run.table("Called slow", ("data", "of recessions", "of other quarters", "agree"), rows)

    forecast = jax.tree.map(np.asarray, model.forecast(result.params, x, AHEAD))
    run.console.print(
        f"After the third quarter of 2009 the slow regime has probability {states[-1, 0]:.2f}; "
        f"in two years {forecast.states[-1, 0]:.2f}, and growth is {forecast.mean[-1, 0]:.1f} ± "
        f"{np.sqrt(forecast.variance[-1, 0]):.1f} % a year."
    )
    run.save(picture(quarter, x, states, forecast), "regimes")
    run.end()


if __name__ == "__main__":
    main()
