"""nGPT beside the usual transformer: python examples/ngpt_characters.py.

Both learn the characters of Python's own help texts (`pydoc_data.topics`), with the same width,
depth, batches and number of steps.

1. Train both, with a progress bar. Stopped with Ctrl-C and started again, it goes on from the last
   fifty steps; a folder with all steps is only drawn again.
2. Losses on a part of the text that neither has seen, and how far the weights are from the sphere.
3. Text that each writes.
4. A picture: losses over steps, and the steps that the normalized model learned to take on the
   sphere in each block.
"""

import pydoc_data.topics
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from matplotlib.figure import Figure

import script
from igeojax import discrete, manifolds, nn, optim, viz

FEATURES, LAYERS, HEADS, CONTEXT, BATCH, EVERY = 64, 3, 4, 64, 16, 50
RATES = {"usual": 2e-3, "normalized": 8e-3}
"""The best for 1000 steps, of the search in benchmarks/normalized_transformers.py."""
PROMPT = "The "


class Text(NamedTuple):
    """The characters there are, and the codes of the text to learn and of that to test on."""

    alphabet: list[str]
    learned: np.ndarray
    unseen: np.ndarray


def help_texts() -> Text:
    """All topics of `help()`, one after another; the last tenth is not learned."""
    topics = pydoc_data.topics.topics
    whole = "\n".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(whole))
    number = {character: index for index, character in enumerate(alphabet)}
    codes = np.array([number[character] for character in whole], np.int32)
    cut = len(codes) * 9 // 10
    return Text(alphabet, codes[:cut], codes[cut:])


def network(kind: str, text: Text) -> Any:
    """The model of that kind."""
    made = {"usual": nn.linen.Transformer, "normalized": nn.linen.NormalizedTransformer}[kind]
    return made(len(text.alphabet), FEATURES, LAYERS, HEADS)


def optimizer(kind: str, params: Any, steps: int) -> optax.GradientTransformation:
    """Adam; the usual model needs warm-up and decay of weights, the other unit weights."""
    if kind == "usual":
        rate = optax.warmup_cosine_decay_schedule(0.0, RATES[kind], steps // 20, steps, 4e-4)
        matrices = jax.tree.map(lambda leaf: leaf.ndim > 1, params)
        return optax.adamw(rate, b2=0.95, weight_decay=0.1, mask=matrices)
    rate = optax.cosine_decay_schedule(RATES[kind], steps, 0.1)
    return optax.chain(optax.adam(rate, b2=0.95), optim.project_onto(nn.unit_manifolds(params)))


def rows_of(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Characters from each start on, one more than the model reads."""
    return codes[starts[..., None] + np.arange(CONTEXT + 1)]


def loss(model: Any, params: Any, rows: Any) -> jax.Array:
    """Mean cross-entropy of the next character, nats."""
    logits = model.apply(params, rows[:, :-1])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:]))


class Training(NamedTuple):
    """Parameters after training, and losses on unseen text after each `EVERY` steps."""

    params: Any
    losses: np.ndarray


def train(kind: str, text: Text, steps: int, run: script.Script, advance: Any) -> Training:
    """Train, or go on with training, and save every `EVERY` steps."""
    model = network(kind, text)
    params = jax.jit(model.init)(run.key(), jnp.zeros((1, CONTEXT), jnp.int32))
    tx = optimizer(kind, params, steps)

    @jax.jit
    def trained(params: Any, state: Any, batches: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            gradient = jax.grad(partial(loss, model))(params, rows)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), batches)[0]

    evaluated = jax.jit(partial(loss, model))
    test = rows_of(text.unseen, np.arange(0, len(text.unseen) - CONTEXT, CONTEXT))[:256]
    carry = {"params": params, "state": tx.init(params), "losses": np.zeros(steps // EVERY)}
    saved = run.folder / f"{kind}-{steps}-steps-seed-{run.seed}"
    with ocp.CheckpointManager(saved.resolve()) as manager:
        done = manager.latest_step() or 0
        if done:
            carry = manager.restore(done, args=ocp.args.StandardRestore(carry))
        advance(done)
        for first in range(done, steps, EVERY):
            # Batches by the number of the step: the same ones whether it was stopped or not.
            rng = run.rng(first)
            starts = rng.integers(0, len(text.learned) - CONTEXT, (EVERY, BATCH))
            params, state = trained(carry["params"], carry["state"], rows_of(text.learned, starts))
            carry = {"params": params, "state": state, "losses": carry["losses"].copy()}
            carry["losses"][first // EVERY] = float(evaluated(params, test))
            manager.save(first + EVERY, args=ocp.args.StandardSave(carry))
            advance(EVERY)
    return Training(carry["params"], np.asarray(carry["losses"]))


def written(key: Any, kind: str, params: Any, text: Text, count: int) -> str:
    """Characters that a model writes after the prompt, from the likeliest nine tenths."""
    model = network(kind, text)

    def step(context: Any, key: Any) -> Any:
        logits = model.apply(params, context)[-1]
        code = discrete.sample(key, logits, temperature=0.8, top_p=0.9)
        return jnp.append(context[1:], code), code

    prompt = (" " * CONTEXT + PROMPT)[-CONTEXT:]
    start = jnp.array([text.alphabet.index(character) for character in prompt])
    _, codes = jax.lax.scan(step, start, jax.random.split(key, count))
    return PROMPT + "".join(text.alphabet[code] for code in np.asarray(codes))


def off_sphere(params: Any) -> float:
    """How far the unit rows and columns of the weights are from length one, at most."""

    def farthest(place: Any, weight: jax.Array) -> float:
        if place is None:
            return 0.0
        return float(jnp.max(jnp.abs(jnp.linalg.norm(weight, axis=place.axis) - 1)))

    leaf = lambda node: node is None or isinstance(node, manifolds.Manifold)
    found = jax.tree.map(farthest, nn.unit_manifolds(params), params, is_leaf=leaf)
    return max(jax.tree.leaves(found))


def learned_steps(params: Any) -> dict[str, np.ndarray]:
    """Mean steps on the sphere that each block takes, by attention and by its gated layer."""
    blocks = [params["params"][f"block_{layer}"] for layer in range(LAYERS)]
    # Stored in units in which they start at 1 / sqrt(d), for a step of `min(0.05, 1 / layers)`.
    first = min(0.05, 1 / LAYERS) * FEATURES**0.5
    return {
        name: np.array([float(jnp.mean(jnp.abs(first * block[key]["step"]))) for block in blocks])
        for name, key in (("attention", "to_attention"), ("gated layer", "to_mlp"))
    }


def picture(runs: dict[str, Training]) -> Figure:
    """Losses of both, and learned steps of the normalized model."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = {
        f"{kind} transformer": (EVERY * np.arange(1, len(run.losses) + 1), run.losses)
        for kind, run in runs.items()
    }
    viz.loss_curves(left, curves, y_label="loss on unseen text (nats a character)")
    left.set_yticks([1.5, 2, 2.5, 3], ["1.5", "2", "2.5", "3"])
    left.minorticks_off()
    left.set_title("Same data, width, depth and steps")
    places = np.arange(LAYERS)
    sizes = learned_steps(runs["normalized"].params)
    for shift, name in zip((-0.2, 0.2), sizes, strict=True):
        right.bar(places + shift, sizes[name], 0.4, label=name)
    right.axhline(min(0.05, 1 / LAYERS), color="0.5", linestyle="--", linewidth=1, label="at first")
    right.set(xticks=places, xticklabels=[f"block {place + 1}" for place in places])
    right.set(ylabel="mean step on the sphere")
    right.set_title("How far each block moves a token")
    right.legend()
    return figure


def main() -> None:
    """Train, print and draw."""
    run = script.start(__file__, __doc__, quick="fewer steps")
    steps, text = 200 if run.quick else 1000, help_texts()
    runs = {}
    with run.progress() as progress:
        for kind in RATES:
            task = progress.add_task(f"{kind} transformer", total=steps)
            runs[kind] = train(kind, text, steps, run, partial(progress.advance, task))
    shown = [step for step in (100, 200, 500, 1000) if step <= steps]
    rows = [
        (kind, *(f"{trained.losses[step // EVERY - 1]:.3f}" for step in shown))
        for kind, trained in runs.items()
    ]
    run.table("Loss on unseen text", ("transformer", *(f"{s} steps" for s in shown)), rows)
    run.console.print(
        f"Nats a character, of {len(text.alphabet)} kinds; {len(text.learned)} were learned from. "
        f"Unit weights are 1 long to {off_sphere(runs['normalized'].params):.0e}."
    )
    for kind, trained in runs.items():
        run.section(f"Written by the {kind} transformer")
        words = written(run.key(1), kind, trained.params, text, 300)
        run.console.print(words, markup=False, highlight=False)
    run.save(picture(runs), "ngpt_characters")
    run.end()


if __name__ == "__main__":
    main()
