"""A cart that balances a pole and a pendulum that stands up: TRPO beside plain policy gradients.

    python examples/natural_policy_gradient.py

The policies are a categorical and a normal law whose parameters a small network gives. The natural
gradient knows how far a step moves those laws: `optim.trust_region` goes as far as a bound on the
Kullback-Leibler divergence allows, and no rate is tuned. The plain gradient beside it, by SGD and
by Adam, has rates that were searched. Five seeds each; the environments are those of gymnax.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import script
from igeojax import families, optim


class Task(NamedTuple):
    """An environment, the family of its actions, and the mean return that is asked for.

    `rates` are those of SGD and Adam, each the best of four, a factor of 3 apart, on three seeds.
    """

    name: str
    family: Any
    outputs: int
    action: Callable[[jax.Array], Any]
    discount: float
    solved: float
    rates: dict[str, float]


class Batch(NamedTuple):
    """What a rollout saw, step by step and environment by environment."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    terminated: jax.Array
    ended: jax.Array
    score: jax.Array


class Carry(NamedTuple):
    """Everything that training hands on."""

    policy: Any
    value: Any
    policy_state: Any
    value_state: Any
    environment: Any
    observation: jax.Array
    score: jax.Array
    key: jax.Array


TASKS = {
    "CartPole-v1": Task(
        "CartPole-v1", families.Categorical(2), 2, lambda x: x, 0.99, 475.0,
        {"SGD": 1.0, "Adam": 0.003},
    ),
    "Pendulum-v1": Task(
        "Pendulum-v1", families.Normal(), 1, lambda x: x[..., None], 0.95, -500.0,
        {"SGD": 0.1, "Adam": 0.003},
    ),
}  # fmt: skip
ENVIRONMENTS, STEPS, VALUE_STEPS = 16, 64, 20
METHODS = ("TRPO", "Adam", "SGD")


def network(key: jax.Array, sizes: tuple[int, ...], last: float) -> list[dict[str, jax.Array]]:
    """Weights of a network, small in the last layer."""
    keys = jax.random.split(key, len(sizes) - 1)
    layers = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        scale = (last if index == len(sizes) - 2 else 1.0) / np.sqrt(fan_in)
        weight = scale * jax.random.normal(keys[index], (fan_in, fan_out))
        layers.append({"weight": weight, "bias": jnp.zeros(fan_out)})
    return layers


def apply(layers: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    """Outputs of the network."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["weight"] + layer["bias"])
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


def law(task: Task, policy: Any, x: jax.Array) -> Any:
    """The law of actions given observations: a point of the family."""
    outputs = apply(policy["layers"], x)
    if isinstance(task.family, families.Categorical):
        return task.family.natural_from_params(logits=outputs)
    scale = jnp.broadcast_to(jnp.exp(policy["log_scale"]), outputs[..., 0].shape)
    return task.family.natural_from_params(loc=outputs[..., 0], scale=scale)


def transforms(task: Task, method: str) -> tuple[Any, Any]:
    """The optimizers of the policy and of the value function."""
    value = optax.adam(3e-3)
    if method == "TRPO":
        predict = lambda policy, x: law(task, policy, x)
        return optim.trust_region(predict, task.family, max_kl=0.01, damping=0.01), value
    rate = task.rates[method]
    return (optax.adam(rate) if method == "Adam" else optax.sgd(rate)), value


def start(task: Task, method: str, key: jax.Array) -> Carry:
    """Fresh networks in fresh environments."""
    environment, params = gymnax.make(task.name)
    keys = jax.random.split(key, 4)
    observation, state = jax.vmap(environment.reset, (0, None))(
        jax.random.split(keys[0], ENVIRONMENTS), params
    )
    width = observation.shape[-1]
    policy = {"layers": network(keys[1], (width, 64, 64, task.outputs), 0.01)}
    if not isinstance(task.family, families.Categorical):
        policy["log_scale"] = jnp.zeros(())
    value = network(keys[2], (width, 64, 64, 1), 1.0)
    first, second = transforms(task, method)
    states = first.init(policy), second.init(value)
    return Carry(policy, value, *states, state, observation, jnp.zeros(ENVIRONMENTS), keys[3])


def rollout(task: Task, carry: Carry) -> tuple[Carry, Batch]:
    """`STEPS` steps in every environment."""
    environment, params = gymnax.make(task.name)

    def step(carry: Carry, _: None) -> tuple[Carry, Batch]:
        key, *keys = jax.random.split(carry.key, 3)
        theta = law(task, carry.policy, carry.observation)
        sampled = task.family.sample(keys[0], theta)
        observation, state, reward, terminated, truncated, info = jax.vmap(
            environment.step, (0, 0, 0, None)
        )(jax.random.split(keys[1], ENVIRONMENTS), carry.environment, task.action(sampled), params)
        ended, score = terminated | truncated, carry.score + reward
        batch = Batch(
            carry.observation, sampled, reward, info["final_observation"],
            terminated, ended, score,
        )  # fmt: skip
        score = jnp.where(ended, 0.0, score)
        return (
            carry._replace(environment=state, observation=observation, score=score, key=key),
            batch,
        )

    return jax.lax.scan(step, carry, None, length=STEPS)


def iteration(task: Task, method: str, carry: Carry) -> tuple[Carry, tuple[jax.Array, jax.Array]]:
    """One rollout, one step of the policy, some of the value; scores of episodes that ended."""
    carry, batch = rollout(task, carry)
    values = lambda value, x: apply(value, x)[..., 0]
    discounts = task.discount * (1.0 - batch.terminated)
    advantages = optim.generalized_advantages(
        batch.reward,
        values(carry.value, batch.observation),
        values(carry.value, batch.next_observation),
        discounts,
        batch.ended,
    )
    targets = (advantages + values(carry.value, batch.observation)).ravel()
    weights = ((advantages - advantages.mean()) / (advantages.std() + 1e-8)).ravel()
    x = batch.observation.reshape(-1, batch.observation.shape[-1])
    actions = batch.action.ravel()
    before = task.family.log_density(law(task, carry.policy, x), actions)

    def surrogate(policy: Any) -> jax.Array:
        now = task.family.log_density(law(task, policy, x), actions)
        return -jnp.mean(weights * jnp.exp(now - before))

    first, second = transforms(task, method)
    gradient = jax.grad(surrogate)(carry.policy)
    extra = {"inputs": x, "value_fn": surrogate} if method == "TRPO" else {}
    updates, policy_state = first.update(gradient, carry.policy_state, carry.policy, **extra)
    policy = optax.apply_updates(carry.policy, updates)

    def fit(state: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        value, value_state = state
        loss = lambda value: jnp.mean((values(value, x) - targets) ** 2)
        updates, value_state = second.update(jax.grad(loss)(value), value_state, value)
        return (optax.apply_updates(value, updates), value_state), None

    (value, value_state), _ = jax.lax.scan(
        fit, (carry.value, carry.value_state), None, length=VALUE_STEPS
    )
    carry = carry._replace(
        policy=policy, value=value, policy_state=policy_state, value_state=value_state
    )
    return carry, (batch.score, batch.ended)


def curves(
    task: Task, method: str, iterations: int, keys: jax.Array, advance: Callable[[], None]
) -> np.ndarray:
    """The mean score of the last 100 episodes after each iteration, for each key."""
    seeds = len(keys)
    carry = jax.jit(jax.vmap(lambda key: start(task, method, key)))(keys)
    advanced = jax.jit(jax.vmap(lambda carry: iteration(task, method, carry)))
    finished: list[list[float]] = [[] for _ in range(seeds)]
    means = np.full((seeds, iterations), np.nan)
    for index in range(iterations):
        carry, (score, ended) = advanced(carry)
        score, ended = np.asarray(score), np.asarray(ended)
        for seed in range(seeds):
            finished[seed] += score[seed][ended[seed]].tolist()
            if finished[seed]:
                means[seed, index] = np.mean(finished[seed][-100:])
        advance()
    return means


def steps_to(means: np.ndarray, level: float) -> np.ndarray:
    """Environment steps until the mean of 100 episodes reaches a level; inf where it never does."""
    reached = means >= level
    first = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)
    return first * ENVIRONMENTS * STEPS


def picture(found: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Means over the seeds, shaded from the worst to the best."""
    figure = Figure(figsize=(5.5 * len(found), 4), layout="constrained")
    axes = figure.subplots(1, len(found))
    for ax, (name, runs) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for method, means in runs.items():
            known = ~np.isnan(means).any(axis=0)  # every seed has ended an episode
            steps = np.arange(1, means.shape[1] + 1)[known] * ENVIRONMENTS * STEPS / 1000
            (line,) = ax.plot(steps, means[:, known].mean(axis=0), label=method)
            low, high = means[:, known].min(axis=0), means[:, known].max(axis=0)
            ax.fill_between(steps, low, high, alpha=0.2, color=line.get_color())
        ax.axhline(TASKS[name].solved, color="0.4", linewidth=1, linestyle=":")
        ax.set(
            title=name, xlabel="environment steps, thousands", ylabel="return, last 100 episodes"
        )
        ax.legend(frameon=False)
    return figure


def main() -> None:
    """Train, print a table, draw the curves."""
    run = script.start(__file__, __doc__, quick="one task, two seeds, fewer steps")
    tasks = ["CartPole-v1"] if run.quick else list(TASKS)
    seeds, iterations = (2, 60) if run.quick else (5, 200)
    keys = jax.random.split(run.key(), seeds)
    found: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    with run.progress() as progress:
        bar = progress.add_task("training", total=len(tasks) * len(METHODS) * iterations)
        advance = lambda: progress.advance(bar)
        for name in tasks:
            found[name] = {}
            for method in METHODS:
                begin = time.perf_counter()
                means = found[name][method] = curves(TASKS[name], method, iterations, keys, advance)
                steps = steps_to(means, TASKS[name].solved)
                median = np.median(steps)
                rows.append((
                    name, method, f"{np.isfinite(steps).sum()} of {seeds}",
                    f"{median:,.0f}" if np.isfinite(median) else "-",
                    f"{np.mean(means[:, -1]):.0f}", f"{time.perf_counter() - begin:.0f}",
                ))  # fmt: skip
    headings = ("task", "method", "solved", "steps, median", "return at the end", "seconds")
    run.table("Environment steps until a task is solved", headings, rows)
    run.save(picture(found), "returns")
    run.end()


if __name__ == "__main__":
    main()
