"""What pytorch-crf, hmmlearn and dynamax answer about small chains, in float64.

`python -m tests.parity.chain_peers`, where all three are installed, writes `chain_peers.json`, so
that the tests have these answers where they are not.
"""

import json
from pathlib import Path

import numpy as np

STORED = Path(__file__).with_name("chain_peers.json")
LENGTHS = [6, 4, 1]


def crf_problem():
    """Scores and tags of three sequences, padded at the end."""
    draws = np.random.default_rng(0)
    normal = lambda *shape: np.round(draws.normal(size=shape), 2)
    return {
        "unary": normal(3, 6, 4),
        "transition": normal(4, 4),
        "start": normal(4),
        "end": normal(4),
        "tags": draws.integers(0, 4, (3, 6)),
        "mask": np.arange(6) < np.array(LENGTHS)[:, None],
    }


def hmm_problem():
    """A model of normal observations, and three series of them, padded at the end."""
    draws = np.random.default_rng(1)
    law = lambda *shape: np.round(draws.dirichlet(np.full(3, 8.0), shape), 1)
    moves = law(3)
    moves[:, 2] = 1 - moves[:, :2].sum(1)
    return {
        "initial": np.array([0.5, 0.3, 0.2]),
        "transition": moves,
        "means": np.array([-1.0, 0.5, 2.0]),
        "scales": np.array([0.5, 1.0, 0.7]),
        "observations": np.round(draws.normal(size=(3, 6)) * 1.5, 2),
    }


def log_emission(problem):
    """Normal log-densities of the observations under each state."""
    z = (problem["observations"][..., None] - problem["means"]) / problem["scales"]
    return -0.5 * z**2 - np.log(problem["scales"]) - 0.5 * np.log(2 * np.pi)


def pytorch_crf():
    """Log-likelihoods, their gradients and the decoded tags."""
    import torch
    import torchcrf

    given = {name: torch.from_numpy(value) for name, value in crf_problem().items()}
    model = torchcrf.CRF(4, batch_first=True).double()
    with torch.no_grad():
        model.transitions.copy_(given["transition"])
        model.start_transitions.copy_(given["start"])
        model.end_transitions.copy_(given["end"])
    unary = given["unary"].requires_grad_()
    values = model(unary, given["tags"], mask=given["mask"], reduction="none")
    values.sum().backward()
    return {
        "log_likelihood": values.tolist(),
        "unary_gradient": unary.grad.tolist(),
        "transition_gradient": model.transitions.grad.tolist(),
        "start_gradient": model.start_transitions.grad.tolist(),
        "end_gradient": model.end_transitions.grad.tolist(),
        "tags": model.decode(unary, mask=given["mask"]),
    }


def hmmlearn():
    """Log-likelihoods, smoothed states and the decoded ones."""
    from hmmlearn.hmm import GaussianHMM

    problem = hmm_problem()
    model = GaussianHMM(3, "diag", init_params="", params="")
    model.n_features = 1
    model.startprob_, model.transmat_ = problem["initial"], problem["transition"]
    model.means_, model.covars_ = problem["means"][:, None], problem["scales"][:, None] ** 2
    series = [x[:n, None] for x, n in zip(problem["observations"], LENGTHS, strict=True)]
    return {
        "log_likelihood": [model.score(x) for x in series],
        "states": [model.predict_proba(x).tolist() for x in series],
        "log_density": [model.decode(x)[0] for x in series],
        "path": [model.decode(x)[1].tolist() for x in series],
    }


def dynamax():
    """Filtered and smoothed states, the decoded ones and expected transitions."""
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import hmm_posterior_mode, hmm_two_filter_smoother

    problem = hmm_problem()
    given = jnp.asarray(problem["initial"]), jnp.asarray(problem["transition"])
    found = [
        (hmm_two_filter_smoother(*given, e[:n]), hmm_posterior_mode(*given, e[:n]))
        for e, n in zip(jnp.asarray(log_emission(problem)), LENGTHS, strict=True)
    ]
    return {
        "log_likelihood": [float(law.marginal_loglik) for law, _ in found],
        "filtered": [law.filtered_probs.tolist() for law, _ in found],
        "states": [law.smoothed_probs.tolist() for law, _ in found],
        "transitions": [law.trans_probs.tolist() for law, _ in found],
        "path": [path.tolist() for _, path in found],
    }


PEERS = {"torchcrf": pytorch_crf, "hmmlearn": hmmlearn, "dynamax": dynamax}


def main():
    """Write the answers of all peers."""
    import jax

    jax.config.update("jax_enable_x64", True)
    found = {name: answers() for name, answers in PEERS.items()}
    STORED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
