"""What K-FAC carries from step to step: averaged factors and their inverses."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from igeojax.fisher._layout import Layout
from igeojax.fisher._statistics import Sharing
from igeojax.fisher.kronecker import (
    Factor,
    eigenbasis_moments,
    in_bases,
    kronecker_factors,
    kronecker_layout,
)
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.optim._kronecker_inverse import (
    EigenInverse,
    Inverse,
    InverseMethod,
    applied,
    inverted,
)
from igeojax.optim._model import completed


class KroneckerState(NamedTuple):
    """Factors of the Fisher matrix as they are carried.

    `step`: updates so far; `num_skipped`: of these, how many were left out because something was
    not finite; `weight`: of what the averages hold; `factors`: averages times their weight;
    `inverses`: of the damped factors, as of the last `update_every` steps.
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

    def layout(self, params: Any, inputs: Any, predict: Predict) -> Layout:
        """The blocks of the parameters."""
        return kronecker_layout(
            predict,
            params,
            inputs,
            dense_limit=self.dense_limit,
            factor_limit=self.factor_limit,
        )

    def init(self, params: Any, inputs: Any, full_params: Any) -> KroneckerState:
        """The state before the first step: all zeros."""

        def first(params: Any, inputs: Any, full_params: Any) -> Any:
            remedy = "Pass example_params=params where the transform is made."
            predict = lambda p, x: self.predict(completed(p, full_params, remedy), x)
            layout = self.layout(params, inputs, predict)
            factors = self._factors(layout, params, inputs, jax.random.key(0), None, predict)
            damping = jnp.ones((), jnp.result_type(jnp.float32, *jax.tree.leaves(params)))
            return damping, factors, self._inverses(layout, factors, damping)

        shapes = jax.eval_shape(first, params, inputs, full_params)
        weight, factors, inverses = optax.tree.zeros_like(shapes)
        count = jnp.zeros((), int)
        return KroneckerState(count, count, weight, factors, inverses)

    def is_due(self, state: KroneckerState) -> Array:
        """Whether this step takes new factors: every `update_every` steps, or where it has none."""
        return (state.step % self.update_every == 0) | (state.weight == 0)

    def refreshed(
        self,
        state: KroneckerState,
        layout: Layout,
        params: Any,
        inputs: Any,
        key: Key[Array, ""],
        weights: Any,
        damping: Array,
        predict: Predict,
    ) -> KroneckerState:
        """The state with the factors of this batch averaged in where it is due.

        Where the new ones are not finite the old ones stay.
        """
        past = jnp.asarray(self.decay, state.weight.dtype) ** self.update_every

        def fresh(_: None) -> KroneckerState:
            new = self._factors(layout, params, inputs, key, weights, predict)
            factors = jax.tree.map(lambda o, n: past * o + (1 - past) * n, state.factors, new)
            weight = past * state.weight + (1 - past)
            means = jax.tree.map(lambda leaf: leaf / weight, factors)
            inverses = self._inverses(layout, means, damping)
            if self.corrected:
                inverses = self._corrected(
                    state, inverses, layout, params, inputs, key, weights, predict, past
                )
            found = weight, factors, inverses
            return chosen(
                all_finite(found),
                state._replace(weight=weight, factors=factors, inverses=inverses),
                state,
            )

        return jax.lax.cond(self.is_due(state), fresh, lambda _: state, None)

    def direction(
        self, state: KroneckerState, layout: Layout, gradient: Any, damping: Array
    ) -> Any:
        """The inverse of the approximation times the gradient."""
        return applied(layout, state.inverses, damping, gradient)

    def _factors(
        self, layout: Layout, params: Any, inputs: Any, key: Any, weights: Any, predict: Predict
    ) -> tuple[Factor, ...]:
        factors = kronecker_factors(
            layout,
            predict,
            self.family,
            params,
            inputs,
            key=key,
            sharing=self.sharing,
            weights=weights,
            chunk_size=self.chunk_size,
        )
        # Of the parameters, whatever that of the inputs: the state keeps its dtypes.
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        return jax.tree.map(lambda leaf: leaf.astype(dtype), factors)

    def _inverses(self, layout: Layout, factors: Any, damping: Array) -> tuple[Inverse, ...]:
        method = "eigen" if self.corrected else self.inverse
        return inverted(layout, factors, damping, method)

    def _corrected(
        self,
        state: KroneckerState,
        inverses: tuple[Inverse, ...],
        layout: Layout,
        params: Any,
        inputs: Any,
        key: Any,
        weights: Any,
        predict: Predict,
        past: Array,
    ) -> tuple[Inverse, ...]:
        """Curvatures measured in the new bases, averaged with the old ones brought to them."""
        bases = tuple(
            (inverse.rows, inverse.columns) if isinstance(inverse, EigenInverse) else None
            for inverse in inverses
        )
        moments = eigenbasis_moments(
            layout,
            predict,
            self.family,
            params,
            inputs,
            bases,
            key=key,
            weights=weights,
            chunk_size=self.chunk_size,
        )
        weight = past * state.weight + (1 - past)
        found = []
        for inverse, old, moment in zip(inverses, state.inverses, moments, strict=True):
            if isinstance(inverse, EigenInverse) and isinstance(old, EigenInverse):
                # Squared cosines bring a diagonal from the old basis to the new one.
                pairs = zip(old[:2], inverse[:2], strict=True)
                cosines = tuple(
                    None if was is None or new is None else (was.mT @ new) ** 2
                    for was, new in pairs
                )
                kept = in_bases(old.values, cosines)
                values = (past * state.weight * kept + (1 - past) * moment) / weight
                values = values.astype(kept.dtype)
                inverse = inverse._replace(values=values)
            found.append(inverse)
        return tuple(found)
