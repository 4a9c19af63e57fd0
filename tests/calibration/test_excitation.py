import numpy as np
import pytest

from difffinance.calibration.excitation import AGE_EDGES, EventStream, fit_excitation

DECAYS = np.array([300.0, 2.0])
MU = np.array([0.8, 0.0, 0.2])


def planted(rng, blocks=30, seconds=300.0):
    """Simulate limit and market orders by branching, in plain Python: 0.4 quick children of the same side and so on.

    Every other market order leaves some of its queue (source 3) and has children of its own.
    """
    alpha = np.zeros((4, 3, 2, 3))
    alpha[0, 0, 0, 1], alpha[0, 0, 1, 2] = 0.4, 0.15
    alpha[2, 0, 1, 1], alpha[2, 2, 0, 2], alpha[0, 2, 0, 0] = 0.5, 0.3, 0.1
    alpha[3, 0, 1, 1], alpha[3, 2, 0, 2] = 0.2, 0.5
    rows = []
    for block in range(blocks):
        start = block * seconds
        waiting = [(start + rng.random() * seconds, kind, rng.choice([-1, 1]))
                   for kind in (0, 2) for _ in range(rng.poisson(MU[kind] * seconds))]  # fmt: skip
        while waiting:
            time, kind, side = waiting.pop()
            if time >= start + seconds:
                continue
            source = 3 if kind == 2 and rng.random() < 0.5 else kind
            rows.append((time, kind, source, side, block))
            for target, other, k in np.argwhere(alpha[source] > 0):
                for _ in range(rng.poisson(alpha[source, target, other, k])):
                    delay = 0.0 if k == 0 else rng.exponential(1.0 / DECAYS[k - 1])
                    waiting.append((time + delay, target, -side if other else side))
    order = sorted(range(len(rows)), key=lambda i: rows[i][0])
    return alpha, *(np.array([rows[i][c] for i in order]) for c in range(5))


@pytest.mark.slow
def test_a_planted_process_is_recovered():
    rng = np.random.default_rng(11)
    alpha, time, kind, source, side, block = planted(rng)
    n = len(time)
    stream = EventStream(
        time, kind, source, side, block, np.zeros(n, int), np.zeros((n, 2, 3), int), np.ones(n), np.ones(n),
        np.full(n, np.nan), np.full(n, -1), {b: (b + 1) * 300.0 for b in range(30)},
    )  # fmt: skip
    found = fit_excitation(stream, np.ones((5, 1, len(AGE_EDGES))), 1, decays=DECAYS)
    events = np.bincount(source, minlength=4)
    for parent in (0, 2, 3):
        error = 3.5 * np.sqrt(np.maximum(alpha[parent], 0.03) / events[parent])
        assert (np.abs(found.alpha[parent] - alpha[parent]) < error + 0.01).all()
    assert found.mu[[0, 2]] == pytest.approx(MU[[0, 2]], rel=0.12)
    assert found.partial == pytest.approx(0.5, abs=0.05)
    # Largest eigenvalue of [[.55, .1], [.35, .4]], children by kind: (.95 + sqrt(.95**2 - 4 * .185)) / 2.
    assert found.branching_ratio == pytest.approx(0.677, abs=0.04)
