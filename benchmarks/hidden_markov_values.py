"""What hmmlearn and dynamax say of small hidden Markov models: the values that the tests compare.

Run where both are installed; igeojax is not needed:

    python benchmarks/hidden_markov_values.py tests/em/hidden_markov_peers.json
"""

import json
import sys
import warnings
from pathlib import Path

import dynamax.hidden_markov_model as dynamax
import hmmlearn.hmm as hmmlearn
import jax
import jax.numpy as jnp
import numpy as np

STEPS = 12
LENGTHS = (40, 25)
INITIAL = np.array([0.5, 0.3, 0.2])
TRANSITION = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]])


def path(generator):
    """States of all sequences, as if they were one."""
    states = [generator.choice(3, p=INITIAL)]
    for _ in range(sum(LENGTHS) - 1):
        states.append(generator.choice(3, p=TRANSITION[states[-1]]))
    return np.array(states)


def cases():
    """Data and the parameters of each kind of emission to start from."""
    generator = np.random.default_rng(0)
    states = path(generator)
    means = np.array([[0.0, 0.0], [2.0, -1.0], [-1.0, 2.5]])
    covariances = np.array(
        [[[1.0, 0.3], [0.3, 0.8]], [[0.5, -0.1], [-0.1, 1.2]], [[1.5, 0.0], [0.0, 0.6]]]
    )
    factors = np.linalg.cholesky(covariances)
    noise = generator.normal(size=(len(states), 2, 1))
    points = means[states] + (factors[states] @ noise)[..., 0]
    probs = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.2, 0.6]])
    labels = np.array([generator.choice(4, p=probs[state]) for state in states])
    rates = np.array([1.0, 5.0, 12.0])
    counts = generator.poisson(rates[states])
    diagonal = np.stack([np.diag(matrix) for matrix in covariances])
    return {
        "diagonal": (points, {"means": means, "variances": diagonal}),
        "full": (points, {"means": means, "covariances": covariances}),
        "categorical": (labels, {"probs": probs}),
        "poisson": (counts, {"rates": rates}),
    }


def hmmlearn_model(kind, emissions, steps):
    """The model at its start, without priors, where hmmlearn can do without."""
    options = {"init_params": "", "n_iter": steps, "tol": -np.inf}
    if kind in ("diagonal", "full"):
        model = hmmlearn.GaussianHMM(
            3, "diag" if kind == "diagonal" else "full", covars_prior=0, covars_weight=1, **options
        )
        model.n_features = 2
        model.means_ = emissions["means"]
        model.covars_ = emissions["variances" if kind == "diagonal" else "covariances"]
    elif kind == "categorical":
        model = hmmlearn.CategoricalHMM(3, **options)
        model.n_features = 4
        model.emissionprob_ = emissions["probs"]
    else:
        model = hmmlearn.PoissonHMM(3, **options)
        model.n_features = 1
        model.lambdas_ = emissions["rates"][:, None]
    model.startprob_, model.transmat_ = INITIAL, TRANSITION
    return model


def hmmlearn_values(kind, data, emissions):
    """Likelihood, posteriors, best path, and Baum-Welch from the start."""
    x = data if data.ndim == 2 else data[:, None]
    start = hmmlearn_model(kind, emissions, STEPS)
    score, posteriors = start.score_samples(x, LENGTHS)
    joint, states = start.decode(x, LENGTHS)
    fitted = hmmlearn_model(kind, emissions, STEPS).fit(x, LENGTHS)
    found = {
        "log_likelihood": score,
        "posteriors": posteriors,
        "viterbi": joint,
        "states": states,
        "trajectory": list(fitted.monitor_.history),
        "initial": fitted.startprob_,
        "transition": fitted.transmat_,
    }
    if kind in ("diagonal", "full"):
        found["means"] = fitted.means_
        full = fitted.covars_
        found["spread"] = full if kind == "full" else np.stack([np.diag(m) for m in full])
    else:
        found["spread"] = fitted.emissionprob_ if kind == "categorical" else fitted.lambdas_[:, 0]
    return found


def dynamax_model(kind):
    """The model, with flat priors."""
    flat = {"initial_probs_concentration": 1.0, "transition_matrix_concentration": 1.0}
    if kind == "full":
        return dynamax.GaussianHMM(3, 2, **flat)
    if kind == "diagonal":
        return dynamax.DiagonalGaussianHMM(3, 2, **flat)
    if kind == "categorical":
        return dynamax.CategoricalHMM(3, 1, 4, emission_prior_concentration=1.0, **flat)
    return dynamax.PoissonHMM(
        3, 1, emission_prior_concentration=1.0, emission_prior_rate=0.0, **flat
    )


def dynamax_start(kind, model, emissions):
    """Its parameters at the start."""
    names = {
        "diagonal": {"emission_means": "means", "emission_scale_diags": "variances"},
        "full": {"emission_means": "means", "emission_covariances": "covariances"},
        "categorical": {"emission_probs": "probs"},
        "poisson": {"emission_rates": "rates"},
    }[kind]
    values = {name: jnp.asarray(emissions[key]) for name, key in names.items()}
    if kind == "diagonal":
        values["emission_scale_diags"] = jnp.sqrt(values["emission_scale_diags"])
    if kind == "categorical":
        values["emission_probs"] = values["emission_probs"][:, None, :]
    if kind == "poisson":
        values["emission_rates"] = values["emission_rates"][:, None]
    return model.initialize(
        initial_probs=jnp.asarray(INITIAL), transition_matrix=jnp.asarray(TRANSITION), **values
    )


def dynamax_values(kind, data, emissions):
    """Of the first sequence: dynamax takes a batch of equal lengths only."""
    model = dynamax_model(kind)
    params, props = dynamax_start(kind, model, emissions)
    x = jnp.asarray(data if data.ndim == 2 else data[:, None])[: LENGTHS[0]]
    found = {
        "log_likelihood": model.marginal_log_prob(params, x),
        "posteriors": model.smoother(params, x).smoothed_probs,
        "states": model.most_likely_states(params, x),
    }
    if kind in ("categorical", "poisson"):
        fitted, _ = model.fit_em(params, props, x[None], num_iters=STEPS, verbose=False)
        found["initial"] = fitted.initial.probs
        found["transition"] = fitted.transitions.transition_matrix
        if kind == "categorical":
            found["spread"] = fitted.emissions.probs[:, 0]
        else:
            found["spread"] = fitted.emissions.rates[:, 0]
    return found


def missing_values(data, emissions):
    """What each says of the first sequence with one entry missing."""
    x = data[: LENGTHS[0]].copy()
    x[7, 0] = np.nan
    found = {}
    try:
        found["hmmlearn"] = repr(float(hmmlearn_model("diagonal", emissions, 1).score(x)))
    except ValueError as error:
        found["hmmlearn"] = f"ValueError: {error}".splitlines()[0]
    model = dynamax_model("diagonal")
    params, _ = dynamax_start("diagonal", model, emissions)
    found["dynamax"] = repr(float(model.marginal_log_prob(params, jnp.asarray(x))))
    return found


def rounded(tree):
    """Arrays as lists."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    return tree if isinstance(tree, str) else np.asarray(tree).tolist()


def main():
    """Write the file."""
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")
    values = {
        "lengths": LENGTHS,
        "steps": STEPS,
        "initial": INITIAL,
        "transition": TRANSITION,
        "cases": {
            kind: {
                "data": data,
                "emissions": emissions,
                "hmmlearn": hmmlearn_values(kind, data, emissions),
                "dynamax": dynamax_values(kind, data, emissions),
            }
            for kind, (data, emissions) in cases().items()
        },
    }
    values["missing"] = missing_values(*cases()["diagonal"])
    Path(sys.argv[1]).write_text(json.dumps(rounded(values)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
