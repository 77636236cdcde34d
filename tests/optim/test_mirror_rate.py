"""On the simplex mirror descent beats projected gradient where gradients are bounded by entries.

`min max_i |A x - b|_i` over probability vectors, `A` of random signs, `b = A x*`: subgradients have
largest entry 1 and norm `sqrt(d)`, so that the bounds of Beck and Teboulle (2003) are
`sqrt(log d / T)` and `sqrt(d / T)`. The least value is 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from igeojax import optim

ROWS, STEPS = 100, 100
RATES = 2.0 ** np.arange(-18, 5)
METHODS = {
    "mirror": optim.scale_by_mirror_descent(optim.NegativeEntropy()),
    "projected": optim.scale_by_mirror_descent(
        optim.Euclidean(), optax.projections.projection_simplex
    ),
}


def final_losses(tx, dim, seed, smooth=False):
    """The loss after the last step, a rate an entry."""
    rng = np.random.default_rng(seed)
    matrix = jnp.asarray(rng.choice([-1.0, 1.0], size=(ROWS, dim)))
    best = np.zeros(dim)
    best[rng.choice(dim, 3, replace=False)] = [0.5, 0.3, 0.2]
    target = matrix @ best

    def loss(x):
        residual = matrix @ x - target
        return 0.5 * jnp.mean(residual**2) if smooth else jnp.max(jnp.abs(residual))

    def run(rate):
        def advance(x, _):
            updates, _ = tx.update(-rate * jax.grad(loss)(x), tx.init(x), x)
            return optax.apply_updates(x, updates), None

        return loss(jax.lax.scan(advance, jnp.full(dim, 1 / dim), length=STEPS)[0])

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(RATES)))


def tuned(name, dim, seed=0, smooth=False):
    losses = final_losses(METHODS[name], dim, seed, smooth)
    best = int(losses.argmin())
    assert 0 < best < len(RATES) - 1, "the best rate lies inside the grid"
    return losses[best]


def test_mirror_descent_beats_projected_gradient_in_the_largest_residual():
    found = {dim: [tuned(name, dim) for name in ("mirror", "projected")] for dim in (100, 1000)}
    # Measured: 0.022 and 0.110 at 100, 0.030 and 0.735 at 1000; both start above 1.
    assert found[1000][0] < 0.1 < 0.6 < found[1000][1]
    # The gap grows with the dimension.
    assert found[1000][1] / found[1000][0] > 2 * found[100][1] / found[100][0]


def test_projected_gradient_wins_the_least_squares_of_the_same_data():
    # The other half of the advice: smooth, and solved exactly by a face of the simplex.
    mirror, projected = (tuned(name, 1000, smooth=True) for name in ("mirror", "projected"))
    assert projected < 1e-12 < 1e-6 < mirror
