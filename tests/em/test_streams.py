"""Chunks, acceleration, batches: the same answer on other ways."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.em import _data
from igeojax.em._maximization import framed
from igeojax.em.acceleration import squarem

MIXTURE = em.Mixture(families.DiagonalNormal(2), 2)
GENERATOR = np.random.default_rng(0)
X = np.concatenate([GENERATOR.normal(size=(150, 2)), GENERATOR.normal([4.0, 1.0], size=(90, 2))])
START = MIXTURE.point([0.5, 0.5], MIXTURE.family.natural_from_params([[0.0, 0.5], [2.0, 0.5]], 2.0))
OPTIONS = {"initialization": START, "tolerance": 0.0, "max_iterations": 6}


def _pieces(size=60):
    return [X[i : i + size] for i in range(0, len(X), size)]


def test_chunks_are_the_whole():
    whole = MIXTURE.fit(jnp.asarray(X), **OPTIONS)
    for source in (_pieces(), lambda: iter(_pieces())):
        found = MIXTURE.fit(em.Chunks(source), **OPTIONS)
        np.testing.assert_allclose(found.log_likelihoods, whole.log_likelihoods, rtol=1e-12)
        np.testing.assert_allclose(found.bic, whole.bic, rtol=1e-12)
    drawn = MIXTURE.fit(em.Chunks(_pieces()), key=jax.random.key(0), num_restarts=2)
    assert drawn.converged
    best = MIXTURE.fit(jnp.asarray(X), key=jax.random.key(0), num_restarts=2)
    np.testing.assert_allclose(drawn.log_likelihood, best.log_likelihood, rtol=1e-5)


def test_chunks_bring_their_weights():
    weights = np.linspace(0.1, 2.0, len(X))
    whole = MIXTURE.fit(jnp.asarray(X), weights=weights, **OPTIONS)
    pairs = [(X[i : i + 80], weights[i : i + 80]) for i in range(0, len(X), 80)]
    found = MIXTURE.fit(em.Chunks(pairs, weighted=True), **OPTIONS)
    np.testing.assert_allclose(found.log_likelihoods, whole.log_likelihoods, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: em.Chunks(iter(_pieces())), TypeError, "passed many times"),
        (lambda: em.Chunks(3), TypeError, "Pass the function that makes"),
        (lambda: MIXTURE.fit(em.Chunks([]), **OPTIONS), ValueError, "got no chunk with any"),
        (
            lambda: MIXTURE.fit(em.Chunks(_pieces()), weights=np.ones(len(X)), **OPTIONS),
            ValueError,
            "weighted=True",
        ),
        (
            lambda: MIXTURE.fit(em.Chunks([np.full((3, 2), np.nan)]), **OPTIONS),
            ValueError,
            "support",
        ),
        (lambda: MIXTURE.fit(X, acceleration="anderson", **OPTIONS), ValueError, "'squarem'"),
        (lambda: em.stepwise_em(MIXTURE, START, [], decay=0.5), ValueError, "1/2, 1"),
        (lambda: em.stepwise_em(MIXTURE, START, []), ValueError, "at least one batch"),
    ],
)
def test_bad_chunks_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_squarem_is_monotone_and_arrives_sooner():
    family = families.Poisson()
    mixture = em.Mixture(family, 2)
    # Overlapping components: plain EM creeps.
    x = jnp.asarray(np.random.default_rng(3).poisson(np.repeat([2.0, 4.0], 200)))
    start = mixture.point([0.5, 0.5], family.natural_from_params([2.8, 3.4]))
    options = {"initialization": start, "tolerance": 1e-10, "max_iterations": 20000}
    plain = mixture.fit(x, **options)
    fast = mixture.fit(x, acceleration="squarem", **options)
    assert plain.converged
    assert fast.converged
    values = np.asarray(fast.log_likelihoods[: int(fast.num_iterations) + 1])
    assert (np.diff(values) >= -1e-13).all()
    # Two E-steps each.
    assert 4 * 2 * int(fast.num_iterations) < int(plain.num_iterations)
    assert float(fast.log_likelihood) >= float(plain.log_likelihood) - 1e-6


def test_stepwise_em_comes_near_the_batch_answer():
    family = families.Normal()
    mixture = em.Mixture(family, 2)
    truth = mixture.point([0.3, 0.7], family.natural_from_params([-3.0, 2.0], 1.0))
    x = mixture.sample(jax.random.key(0), truth, (20000,))
    start = mixture.point([0.5, 0.5], family.natural_from_params([-1.0, 1.0], 2.0))
    state = em.stepwise_em(mixture, start, x[:10000].reshape(100, 100))
    again = em.stepwise_em(mixture, start, x[10000:].reshape(100, 100), state=state)
    assert int(again.step) == 200
    best = mixture.fit(x, initialization=start)
    gap = best.log_likelihood - jnp.sum(mixture.log_density(again.params, x))
    # Half a nat for each of five parameters is what an estimate from all data costs.
    assert 0 <= float(gap) < 30


COUNTS = em.Mixture(families.Poisson(), 1)
LOW = COUNTS.point([1.0], families.Poisson().natural_from_params([1.0]))


def test_stepwise_batches_may_have_weights_and_wait_for_the_first_step():
    rate = lambda state: float(jnp.exp(state.params.components.x[0]))
    x, weights = jnp.array([2, 8]), jnp.array([3.0, 1.0])
    state = em.stepwise_em(COUNTS, LOW, [(x, weights)] * 30)
    np.testing.assert_allclose(rate(state), 3.5, rtol=1e-9)
    waiting = em.stepwise_em(COUNTS, LOW, [x] * 3, warmup=3)
    np.testing.assert_allclose(rate(waiting), 1.0, rtol=1e-12)
    moved = em.stepwise_em(COUNTS, LOW, [x] * 4, warmup=3)
    np.testing.assert_allclose(rate(moved), 5.0, rtol=1e-9)
    with pytest.raises(ValueError, match=r"must have shape \(N,\) \+ \(\); got \(2, 2\)"):
        em.stepwise_em(COUNTS, LOW, [jnp.array([[2, 8], [3, 1]])])


def test_the_sample_is_of_all_rows(monkeypatch):
    monkeypatch.setattr(_data, "SAMPLE_ROWS", 400)
    pieces = [np.arange(400 * i, 400 * (i + 1)) for i in range(10)]
    for source in (em.Chunks(pieces), np.concatenate(pieces)):
        seen = _data.survey(COUNTS, source, None)
        rows = np.asarray(seen.sample)
        assert len(set(rows.tolist())) == 400
        # Five standard errors of the mean of a uniform law, fewer without replacement.
        assert abs(rows.mean() - 2000) < 5 * 4000 / np.sqrt(12 * 400)
        assert (seen.num_data, float(seen.total)) == (4000, 4000.0)


def test_the_sample_is_of_rows_that_count(monkeypatch):
    monkeypatch.setattr(_data, "SAMPLE_ROWS", 40)
    rows = np.arange(500)
    weights = np.where(rows % 5 == 3, 2.0, 0.0)
    pieces = [(rows[i : i + 90], weights[i : i + 90]) for i in range(0, 500, 90)]
    for source, given in ((rows, weights), (em.Chunks(pieces, weighted=True), None)):
        seen = _data.survey(COUNTS, source, given)
        assert set(np.asarray(seen.sample) % 5) == {3}
        assert len(set(np.asarray(seen.sample).tolist())) == 40
        assert (np.asarray(seen.weights) == 2).all()
        assert (seen.num_data, float(seen.total)) == (500, 200.0)
    # Fewer count than the sample could hold.
    seen = _data.survey(COUNTS, rows, np.where(rows < 7, 1.0, 0.0))
    assert np.asarray(seen.sample).tolist() == list(range(7))
    with pytest.raises(ValueError, match="sum of weights must be positive"):
        _data.survey(COUNTS, em.Chunks([(rows, 0.0 * weights)], weighted=True), None)


def test_squarem_stays_in_the_domain():
    family = families.Normal()
    mixture = em.Mixture(family, 1)
    at = lambda xx: mixture.point([1.0], family.Point(jnp.zeros(1), jnp.array([xx])))
    point = lambda xx: framed(family, at(xx))
    # Twice as far is 0, no precision.
    found = squarem(mixture, point(-1.0), point(-0.5), point(-0.25))
    np.testing.assert_allclose(found.components.xx, -0.25)
    np.testing.assert_allclose(found.frames.scale, 2**0.5)
    found = squarem(mixture, point(-1.0), point(-0.8), point(-0.66))
    np.testing.assert_allclose(found.components.xx, -1 / 3)
    np.testing.assert_allclose(found.frames.scale, 1.5**0.5)


def test_incremental_em_needs_fewer_passes():
    pieces = [jnp.asarray(piece) for piece in _pieces(40)]
    params, values = em.incremental_em(MIXTURE, START, pieces, num_passes=3)
    batch = MIXTURE.fit(jnp.asarray(X), **OPTIONS | {"max_iterations": 3})
    ends = [float(jnp.sum(MIXTURE.log_density(p, jnp.asarray(X)))) for p in (params, batch.params)]
    assert ends[0] > ends[1]
    assert (jnp.diff(values) > 0).all()


def test_a_fit_goes_on_to_more_steps(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    fit = lambda steps, mixture=MIXTURE, **more: mixture.fit(
        em.Chunks(_pieces()),
        checkpoint=tmp_path / "fit",
        **OPTIONS | {"max_iterations": steps} | more,
    )
    short, whole = fit(3), MIXTURE.fit(em.Chunks(_pieces()), **OPTIONS)
    assert int(short.num_iterations) == 3
    longer = fit(6)
    np.testing.assert_array_equal(longer.log_likelihoods, whole.log_likelihoods)
    for a, b in zip(*map(jax.tree.leaves, (longer.params, whole.params)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"max_iterations must be at least 6.*got 4\. Raise it"):
        fit(4)
    other = em.Mixture(MIXTURE.family, 3)
    words = r"checkpoint must be an empty folder.* other mixture: .*components=2.*components=3"
    with pytest.raises(ValueError, match=words):
        fit(6, other, initialization="random", key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"other acceleration: None, which here is squarem"):
        fit(6, acceleration="squarem")


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from igeojax import em, families

family = families.MultivariateNormal(3)
mixture = em.Mixture(family, 2)
x = np.random.default_rng(0).normal(size=(4096, 3))
x[:2000] += 3
start = mixture.point([0.5, 0.5], family.natural_from_params(x[[0, -1]], np.stack([np.eye(3)] * 2)))
options = {"initialization": start, "tolerance": 0.0, "max_iterations": 8, "chunk_size": 100}
alone = mixture.fit(jnp.asarray(x), **options)
mesh = Mesh(np.array(jax.devices()), "data")
assert mesh.size == 8
there = jax.device_put(x, NamedSharding(mesh, P("data")))
found = mixture.fit(there, **options)
np.testing.assert_allclose(found.log_likelihoods, alone.log_likelihoods, rtol=1e-12)

print("sharded equals single")
"""

STREAMED = """
import sys, time
import numpy as np
from igeojax import em, families
sys.path.insert(0, {root!r})
from tests.em.test_streams import MIXTURE, OPTIONS, _pieces

def pieces():
    time.sleep({pause})
    return iter(_pieces())

found = MIXTURE.fit(
    em.Chunks(pieces), checkpoint={folder!r}, progress=True, **OPTIONS | {{"max_iterations": 30}}
)
print(repr(np.asarray(found.log_likelihoods).tolist()))
"""


def _environment(**more):
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "True"} | more


@pytest.mark.slow
def test_sharded_data_give_the_same_fit():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SHARDED],
        env=_environment(XLA_FLAGS=flags.strip()),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "sharded equals single" in process.stdout


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_answer(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    root = str(Path(__file__).parents[2])
    folder = str(tmp_path / "fit")
    run = lambda pause: subprocess.Popen(
        [sys.executable, "-c", STREAMED.format(root=root, pause=pause, folder=folder)],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    first = run(0.2)
    # Killed in the middle of the 30 steps: when the fifth is reported.
    for line in first.stderr:
        if "EM step    5" in line:
            break
    time.sleep(0.3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.communicate()
    second = run(0.0)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    steps = [
        int(line.split("step")[1].split(":")[0]) for line in err.splitlines() if "EM step" in line
    ]
    assert min(steps) >= 5
    whole = MIXTURE.fit(em.Chunks(_pieces()), **OPTIONS | {"max_iterations": 30})
    np.testing.assert_array_equal(eval(out), np.asarray(whole.log_likelihoods).tolist())
