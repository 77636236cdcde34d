"""Everything a chain is asked, against the list of all its paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.chains import crf
from tests.chains.enumeration import listed

LENGTH, STATES, FEW = 5, 3, 40
MASKS = np.array(
    [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1],
        [1, 0, 1, 1, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ],
    bool,
)
BATCH = len(MASKS)


@jax.jit
def answers(unary, transition, start, end, tags, mask):
    """All that is asked, compiled once for each form of the transitions and dtype."""
    more = {"mask": mask, "start": start, "end": end}
    total = lambda u, a, s, e: jnp.sum(crf.log_partition(u, a, mask=mask, start=s, end=e))
    loss = lambda u, a, s, e: jnp.sum(
        jnp.where(jnp.isinf(v := crf.log_likelihood(u, a, tags, mask=mask, start=s, end=e)), 0, v)
    )
    return {
        "log_partition": crf.log_partition(unary, transition, **more),
        "log_likelihood": crf.log_likelihood(unary, transition, tags, **more),
        "marginals": crf.marginals(unary, transition, **more),
        "pairs": crf.pair_marginals(unary, transition, **more),
        "viterbi": crf.viterbi(unary, transition, **more),
        "k_best": crf.k_best(unary, transition, FEW, **more),
        "entropy": crf.entropy(unary, transition, **more),
        "gradient": jax.grad(total, argnums=(0, 1, 2, 3))(unary, transition, start, end),
        "likelihood_gradient": jax.grad(loss, argnums=(0, 1, 2, 3))(unary, transition, start, end),
    }


def problem(shape, scale, *, forbid=0.0, seed=0, dtype=np.float64):
    """Scores of a batch, some of them forbidden; and tags."""
    draws = np.random.default_rng(seed)
    normal = lambda *size: (scale * draws.normal(size=size)).astype(dtype)
    unary, start, end = normal(BATCH, LENGTH, STATES), normal(STATES), normal(STATES)
    transition = normal(*shape, STATES, STATES)
    transition[draws.uniform(size=transition.shape) < forbid] = -np.inf
    unary[draws.uniform(size=unary.shape) < forbid / 3] = -np.inf
    tags = draws.integers(0, STATES, (BATCH, LENGTH))
    return unary, transition, start, end, tags


def lists(unary, transition, start, end):
    own = transition.ndim == 4
    return [
        listed(unary[b], transition[b] if own else transition, mask=MASKS[b], start=start, end=end)
        for b in range(BATCH)
    ]


SHAPES = {"constant": (), "own": (BATCH, LENGTH - 1)}


@pytest.mark.parametrize("scale", [1.0, 30.0, 2000.0])
@pytest.mark.parametrize("forbid", [0.0, 0.4])
@pytest.mark.parametrize(
    ("form", "dtype"),
    [("constant", np.float64), ("constant", np.float32), ("own", np.float64)],
)
def test_everything(form, dtype, forbid, scale):
    unary, transition, start, end, tags = problem(
        SHAPES[form], scale, forbid=forbid, seed=len(form), dtype=dtype
    )
    found = answers(unary, transition, start, end, tags, MASKS)
    real = [leaf for leaf in jax.tree.leaves(found) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in real} == {np.dtype(dtype)}
    # Rounding of sums of 16 scores; of probabilities, that of the scores in their exponents.
    exact = 16 * float(np.finfo(dtype).eps) * (1 + 3 * scale)
    close = lambda mine, true, tolerance=exact: np.testing.assert_allclose(
        mine, true, rtol=0, atol=tolerance
    )
    laws = lists(unary, transition, start, end)
    close(found["log_partition"], [law.log_partition for law in laws], exact * LENGTH)
    marginals = np.stack([law.marginals(LENGTH, STATES) for law in laws])
    pairs = np.stack([law.pairs(LENGTH, STATES) for law in laws])
    close(found["marginals"], marginals)
    close(found["pairs"], pairs)
    close(found["entropy"], [law.entropy for law in laws], 5 * exact)
    gradient = found["gradient"]
    close(gradient[0], marginals)
    close(gradient[1], pairs if form == "own" else pairs.sum((0, 1)), BATCH * exact)
    firsts = sum(m[mask.argmax()] for m, mask in zip(marginals, MASKS, strict=True))
    close(gradient[2], firsts, BATCH * exact)
    lasts = sum(
        m[LENGTH - 1 - mask[::-1].argmax()] for m, mask in zip(marginals, MASKS, strict=True)
    )
    close(gradient[3], lasts, BATCH * exact)
    for b, law in enumerate(laws):
        _check_decoding(found, b, law, exact)
        path_score = law.score_of(tags[b])
        if path_score == -np.inf:
            assert found["log_likelihood"][b] == -np.inf
        else:
            truth = path_score - law.log_partition
            close(found["log_likelihood"][b], truth, exact * LENGTH)
            assert found["log_likelihood"][b] <= 0
    possible = np.array([law.score_of(t) > -np.inf for law, t in zip(laws, tags, strict=True)])
    onehot = np.eye(STATES)[tags] * MASKS[..., None]
    change = np.where(possible[:, None, None], onehot - marginals, 0.0)
    close(found["likelihood_gradient"][0], change)
    assert all(np.isfinite(leaf).all() for leaf in found["likelihood_gradient"])


def _check_decoding(found, b, law, exact):
    """Best paths of one chain."""
    absent = np.setdiff1d(np.arange(LENGTH), law.present)
    tags, score = found["viterbi"].tags[b], found["viterbi"].score[b]
    best = law.scores.max()
    np.testing.assert_allclose(score, best, rtol=0, atol=exact * LENGTH)
    assert (np.asarray(tags)[absent] == -1).all()
    if best == -np.inf:
        assert (np.asarray(tags) == -1).all()
    else:
        assert law.score_of(tags) == pytest.approx(best, rel=0, abs=exact * LENGTH)
    few, scores = np.asarray(found["k_best"].tags[b]), np.asarray(found["k_best"].score[b])
    true = np.sort(law.scores[law.scores > -np.inf])[::-1][:FEW]
    np.testing.assert_allclose(scores[: len(true)], true, rtol=0, atol=exact * LENGTH)
    assert (scores[len(true) :] == -np.inf).all()
    assert (few[len(true) :] == -1).all()
    assert (few[: len(true)][:, absent] == -1).all()
    assert len({tuple(path) for path in few[: len(true)]}) == len(true)
    for path, own in zip(few[: len(true)], scores, strict=False):
        assert law.score_of(path) == pytest.approx(own, rel=0, abs=exact * LENGTH)


def test_transitions_that_vary_alike_for_all():
    unary, transition, start, end, _ = problem((LENGTH - 1,), 1.0, forbid=0.2)
    found = several(unary, transition, start, end)
    laws = lists(unary, transition, start, end)
    pairs = sum(law.pairs(LENGTH, STATES) for law in laws)
    np.testing.assert_allclose(found[0][1], pairs, rtol=0, atol=1e-14)
    for b, law in enumerate(laws):
        assert law.score_of(found[1].tags[b]) == law.scores.max()


@jax.jit
def several(unary, transition, start, end):
    more = {"mask": MASKS, "start": start, "end": end}
    total = lambda u, a: jnp.sum(crf.log_partition(u, a, **more))
    gradient = jax.grad(total, argnums=(0, 1))(unary, transition)
    return gradient, crf.viterbi(unary, transition, **more)


def test_ties_of_all_paths_give_different_paths():
    zeros = np.zeros((BATCH, LENGTH, STATES)), np.zeros((STATES, STATES))
    found = answers(*zeros, *np.zeros((2, STATES)), np.zeros((BATCH, LENGTH), int), MASKS)
    for b, law in enumerate(lists(*zeros, *np.zeros((2, STATES)))):
        _check_decoding(found, b, law, 0.0)
    assert (found["viterbi"].tags[0] == 0).all()


def test_a_chain_without_any_path():
    unary, transition, start, end, tags = problem((), 1.0)
    unary[:, 2] = -np.inf
    found = answers(unary, transition, start, end, tags, MASKS)
    dead = MASKS[:, 2]
    assert (found["log_partition"][dead] == -np.inf).all()
    assert np.isfinite(found["log_partition"][~dead]).all()
    assert (found["viterbi"].tags[dead] == -1).all()
    assert (found["viterbi"].score[dead] == -np.inf).all()
    assert (found["k_best"].score[dead] == -np.inf).all()
    assert (found["marginals"][dead] == 0).all()
    assert (found["entropy"][dead] == 0).all()
    assert (found["log_likelihood"][dead] == -np.inf).all()
    for name in ("gradient", "likelihood_gradient"):
        assert all(np.isfinite(leaf).all() for leaf in found[name])
        assert (found[name][0][dead] == 0).all()


kl = jax.jit(crf.kl)
kl_gradient = jax.jit(
    jax.grad(lambda *given, **more: jnp.sum(crf.kl(*given, **more)), (0, 1, 2, 3))
)


@pytest.mark.parametrize(("forbid", "scale"), [(0.0, 1.0), (0.0, 100.0), (0.3, 1.0)])
def test_divergence(forbid, scale):
    first = problem((), scale, seed=1, forbid=forbid)[:4]
    second = problem((), scale, seed=2, forbid=forbid)[:4]
    for p, q in ((first, second), (first, (first[0], second[1], *first[2:])), (first, first)):
        p_laws, q_laws = lists(*p), lists(*q)
        more = {"mask": MASKS, "start": p[2], "end": p[3], "other_start": q[2], "other_end": q[3]}
        found = kl(*p[:2], *q[:2], **more)
        true = np.array([a.kl(b) for a, b in zip(p_laws, q_laws, strict=True)])
        np.testing.assert_allclose(found, true, rtol=1e-13, atol=1e-12 * scale)
        assert not (found < 0).any()
    equal = np.isfinite(found)
    assert (found[equal] == 0).all()
    gradient = kl_gradient(*first[:2], *first[:2], **more)
    assert all(np.isfinite(leaf).all() for leaf in gradient)


def test_near_laws_have_a_divergence_of_all_digits():
    unary, transition, start, end, _ = problem((), 1.0)
    step = 1e-9 * np.random.default_rng(3).normal(size=unary.shape)
    more = {"mask": MASKS, "start": start, "end": end, "other_start": start, "other_end": end}
    found = kl(unary, transition, unary + step, transition, **more)
    # Second order: half the variance of the step's score under the law.
    for b, law in enumerate(lists(unary, transition, start, end)):
        moved = (unary + step)[b] - unary[b]
        score = moved[law.present, law.paths].sum(axis=-1)
        mean = (law.probs * score).sum()
        half = 0.5 * (law.probs * (score - mean) ** 2).sum()
        assert found[b] == pytest.approx(half, rel=1e-6, abs=1e-30)
