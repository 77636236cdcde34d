"""What K-FAC carries from step to step: averaged factors and their inverses."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from igeojax._core import checks
from igeojax.fisher._layout import Layout
from igeojax.fisher._statistics import Sharing, in_bases
from igeojax.fisher.kronecker import (
    Factor,
    eigenbasis_moments,
    kronecker_factors,
    kronecker_layout,
)
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output, require_output
from igeojax.optim._kronecker_inverse import (
    EigenInverse,
    Inverse,
    InverseMethod,
    applied,
    bases_of,
    inverted,
)
from igeojax.optim._model import completed, model_of, require_predict


class KroneckerState(NamedTuple):
    """Factors of the Fisher matrix as they are carried.

    `step`: updates so far; `num_skipped`: in how many of them the update or new factors were left
    out because something was not finite; `weight`: of what the averages hold; `factors`: averages
    times their weight; `inverses`: of the damped factors, as of the last `update_every` steps.
    """

    step: Int[Array, ""]
    num_skipped: Int[Array, ""]
    weight: Float[Array, ""]
    factors: tuple[Factor, ...]
    inverses: tuple[Inverse, ...]


def all_finite(tree: Any) -> Array:
    """Whether every floating entry is finite."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(finite)) if finite else jnp.ones((), bool)


def chosen(condition: Array, new: Any, old: Any) -> Any:
    """One of two pytrees alike."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def shapes_of(example_inputs: Any) -> Any:
    """Shapes of inputs, for the layout of a state.

    Raises:
      ValueError: there are none.
    """
    if example_inputs is None:
        raise ValueError(
            "example_inputs must be inputs of the model, arrays or their shapes; got None. Pass "
            "example_inputs=x[:1]: the state is laid out before the first batch comes."
        )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), example_inputs
    )


class Batch(NamedTuple):
    """What an update needs beyond the gradient; `predict` completes masked parameters."""

    inputs: Any
    weights: Any
    key: Key[Array, ""]
    predict: Predict


@dataclasses.dataclass(frozen=True)
class Kronecker:
    """How the factors are estimated, averaged and inverted; a static description.

    Args:
      predict: the model.
      family: its output family.
      update_every: steps between new factors and inverses.
      decay: of the averages, per step.
      sharing: how positions that share parameters are summed over.
      inverse: how a factor is inverted.
      corrected: EKFAC: the curvature along the eigenvectors is measured, not a product.
      chunk_size: examples at a time.
      dense_limit: entries up to which a block without factors is dense.
      factor_limit: rows up to which a factor is dense.
    """

    predict: Predict
    family: Output
    update_every: int
    decay: float
    sharing: Sharing
    inverse: InverseMethod
    corrected: bool
    chunk_size: int | None
    dense_limit: int
    factor_limit: int

    def __post_init__(self):
        require_output(self.family)
        require_predict(self.predict)
        checks.require_count("update_every", self.update_every)
        checks.require_number("decay", self.decay, "It is a rate per step.")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1; got {self.decay}. Try 0.95.")
        for name, found, known in (
            ("sharing", self.sharing, ("expand", "reduce")),
            ("inverse", self.inverse, ("cholesky", "eigen", "newton_schulz")),
        ):
            if found not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {found!r}.")

    def batch(
        self, step: Array, seed: int, inputs: Any, weights: Any, key: Any, full_params: Any
    ) -> Batch:
        """What an update needs beyond the gradient; without a key one follows from the step."""
        whole = model_of(self.predict, inputs, full_params)
        if key is None:
            key = jax.random.fold_in(jax.random.key(seed), step)
        checks.require_key(key)
        return Batch(inputs, weights, key, whole)

    def init(self, params: Any, example_inputs: Any, full_params: Any) -> KroneckerState:
        """The state before the first step: all zeros."""

        def first(params: Any, inputs: Any, full_params: Any) -> Any:
            remedy = "Pass example_params=params where the transform is made."
            predict = lambda p, x: self.predict(completed(p, full_params, remedy), x)
            batch = Batch(inputs, None, jax.random.key(0), predict)
            layout = self._layout(params, batch)
            factors = self._factors(layout, params, batch)
            damping = jnp.ones((), jnp.result_type(jnp.float32, *jax.tree.leaves(params)))
            return damping, factors, self._inverses(layout, factors, damping)

        shapes = jax.eval_shape(first, params, example_inputs, full_params)
        weight, factors, inverses = optax.tree.zeros_like(shapes)
        count = jnp.zeros((), int)
        return KroneckerState(count, count, weight, factors, inverses)

    def is_due(self, state: KroneckerState) -> Array:
        """Whether this step takes new factors: every `update_every` steps, or where it has none."""
        return (state.step % self.update_every == 0) | (state.weight == 0)

    def direction(
        self, state: KroneckerState, params: Any, gradient: Any, batch: Batch, damping: Array
    ) -> tuple[Any, KroneckerState, Array]:
        """The inverse of the approximation times the gradient.

        Where it is due the factors of this batch are averaged in first; where these are not finite
        the old ones stay.

        Returns:
          The direction, the new state, and whether no factors were left out.
        """
        layout = self._layout(params, batch)
        self._require_layout(state, layout, params, batch)
        state, sound = jax.lax.cond(
            self.is_due(state),
            lambda state: self._refreshed(state, layout, params, batch, damping),
            lambda state: (state, jnp.ones((), bool)),
            state,
        )
        return applied(layout, state.inverses, damping, gradient), state, sound

    def _layout(self, params: Any, batch: Batch) -> Layout:
        limits = {"dense_limit": self.dense_limit, "factor_limit": self.factor_limit}
        return kronecker_layout(batch.predict, params, batch.inputs, **limits)

    def _require_layout(
        self, state: KroneckerState, layout: Layout, params: Any, batch: Batch
    ) -> None:
        shapes = jax.eval_shape(lambda: self._factors(layout, params, batch))
        found, expected = (
            [leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (state.factors, shapes)
        )
        if found != expected:
            raise ValueError(
                f"the state must be laid out for these params and inputs, factors {expected}; got "
                f"{found}. The parameters changed since init, or example_inputs were of another "
                "kind: call tx.init again."
            )

    def _refreshed(
        self, state: KroneckerState, layout: Layout, params: Any, batch: Batch, damping: Array
    ) -> tuple[KroneckerState, Array]:
        past = jnp.asarray(self.decay, state.weight.dtype) ** self.update_every
        new = self._factors(layout, params, batch)
        factors = jax.tree.map(lambda o, n: past * o + (1 - past) * n, state.factors, new)
        weight = past * state.weight + (1 - past)
        means = jax.tree.map(lambda leaf: leaf / weight, factors)
        inverses = self._inverses(layout, means, damping)
        if self.corrected:
            moments = self._moments(layout, params, batch, inverses)
            share = past * state.weight / weight
            inverses = tuple(
                _averaged(*each, share)
                for each in zip(inverses, state.inverses, moments, strict=True)
            )
        sound = all_finite((weight, factors, inverses))
        updated = state._replace(weight=weight, factors=factors, inverses=inverses)
        return chosen(sound, updated, state), sound

    def _factors(self, layout: Layout, params: Any, batch: Batch) -> tuple[Factor, ...]:
        factors = kronecker_factors(
            layout,
            batch.predict,
            self.family,
            params,
            batch.inputs,
            key=batch.key,
            sharing=self.sharing,
            weights=batch.weights,
            chunk_size=self.chunk_size,
        )
        # Of the parameters, whatever that of the inputs: the state keeps its dtypes.
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        return jax.tree.map(lambda leaf: leaf.astype(dtype), factors)

    def _inverses(self, layout: Layout, factors: Any, damping: Array) -> tuple[Inverse, ...]:
        if self.corrected:
            return inverted(layout, factors, damping, "eigen", splits=True)
        return inverted(layout, factors, damping, self.inverse)

    def _moments(
        self, layout: Layout, params: Any, batch: Batch, inverses: tuple[Inverse, ...]
    ) -> tuple[Array, ...]:
        return eigenbasis_moments(
            layout,
            batch.predict,
            self.family,
            params,
            batch.inputs,
            bases_of(inverses),
            key=batch.key,
            weights=batch.weights,
            chunk_size=self.chunk_size,
        )


def _averaged(inverse: Inverse, old: Inverse, moment: Array, share: Array) -> Inverse:
    """The curvatures measured in a new basis, averaged with the old ones brought to it."""
    if not (isinstance(inverse, EigenInverse) and isinstance(old, EigenInverse)):
        return inverse
    # The diagonal of a matrix that was diagonal in the old basis, by squared cosines.
    cosines = tuple(
        None if was is None or new is None else (was.mT @ new) ** 2
        for was, new in ((old.rows, inverse.rows), (old.columns, inverse.columns))
    )
    kept = in_bases(old.values, cosines)
    values = share * kept + (1 - share) * moment.astype(kept.dtype)
    return inverse._replace(values=values)
