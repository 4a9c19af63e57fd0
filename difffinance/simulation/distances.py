"""Distances between scores of two order-book days, as LOB-Bench defines them, with intervals over blocks of the day.

Wasserstein-1: values are standardised by mean and standard deviation of both samples pooled (LOB-Bench's code), or by
those of the real one alone (`scale="real"`, which does not reward a model for spreading its own values out).
L1: half the summed difference of the shares of each bin; bins come from the real sample alone (each value where it is
discrete, Freedman-Diaconis otherwise), with one more bin below and one above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from difffinance.errors import InputError
from difffinance.records import Array
from difffinance.simulation.book_scores import DISCRETE, Score

METRICS = ("wasserstein", "wasserstein_real", "l1")
_MOST_BINS = 1000
_SUPPORT = 2048  # points of the resampled distributions; the distance itself is exact


@dataclass(frozen=True)
class Distance:
    """A distance and its resamples over blocks, for intervals and paired comparisons."""

    value: float
    resamples: Array  # (B,)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the percentile interval."""
        low, high = np.quantile(self.resamples, [0.5 - confidence / 2, 0.5 + confidence / 2])
        return float(low), float(high)


def wasserstein(real: Array, generated: Array, *, scale: str = "pooled") -> float:
    """Return the Wasserstein-1 distance of two samples after standardisation; 0 where the scale is 0."""
    support, cumulative = _distribution(real, generated)
    deviation = _deviation(real, generated, scale)
    if deviation == 0.0:
        return 0.0 if np.array_equal(np.unique(real), np.unique(generated)) else float("inf")
    return float(np.abs(cumulative[0] - cumulative[1])[:-1] @ np.diff(support) / deviation)


def l1(real: Array, generated: Array, *, discrete: bool = False) -> float:
    """Return half the summed difference of the bins' shares, from 0 to 1."""
    edges = l1_edges(real, discrete=discrete)
    shares = [np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) / len(x)
              for x in (_checked(real), _checked(generated))]  # fmt: skip
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())


def l1_edges(real: Array, *, discrete: bool = False) -> Array:
    """Return the edges between bins, from the real sample."""
    real = _checked(real)
    if discrete:
        values = np.unique(real)
        return np.append(values, np.nextafter(values[-1], np.inf))
    low, high = np.quantile(real, [0.25, 0.75])
    width, span = 2.0 * (high - low) / len(real) ** (1 / 3), float(np.ptp(real))
    count = int(np.clip(np.ceil(span / width), 1, _MOST_BINS)) if width > 0.0 else 1
    return np.linspace(real.min(), np.nextafter(real.max(), np.inf), count + 1)


def _checked(values: Array) -> Array:
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise InputError("a distance needs samples of one dimension, not empty, without NaN or infinite values.")
    return values


def _distribution(real: Array, generated: Array) -> tuple[Array, Array]:
    real, generated = np.sort(_checked(real)), np.sort(_checked(generated))
    support = np.unique(np.concatenate([real, generated]))
    cumulative = [np.searchsorted(x, support, side="right") / len(x) for x in (real, generated)]
    return support, np.array(cumulative)


def _deviation(real: Array, generated: Array, scale: str) -> float:
    if scale not in ("pooled", "real"):
        raise InputError(f"scale '{scale}' is not known. Allowed: pooled, real.")
    return float(np.std(real if scale == "real" else np.concatenate([real, generated])))


def score_distances(
    real: Score, generated: Score, *, discrete: bool, draws: tuple[Array, Array], blocks: tuple[Array, Array]
) -> dict[str, Distance]:
    """Return every metric of one score with its resamples.

    `blocks` are the real and the generated blocks, `draws` (B, n) how often each of them is drawn in each resample.
    """
    r, g = real.on(blocks[0]), generated.on(blocks[1])
    support, edges = _thinned(r.values, g.values), l1_edges(r.values, discrete=discrete)
    values, counts, shares = {}, [], []
    for score, chosen, drawn in ((r, blocks[0], draws[0]), (g, blocks[1], draws[1])):
        counts.append(drawn @ _table(score, chosen, np.searchsorted(support, score.values), len(support)))
        bins = np.searchsorted(edges, score.values, side="right")
        shares.append(_normalised(drawn @ _table(score, chosen, bins, len(edges) + 1)))
    apart = np.abs(np.cumsum(_normalised(counts[0]) - _normalised(counts[1]), axis=1))[:, :-1] @ np.diff(support)
    for name, scale in (("wasserstein", "pooled"), ("wasserstein_real", "real")):
        deviation = _deviation(r.values, g.values, scale) or 1.0
        values[name] = Distance(wasserstein(r.values, g.values, scale=scale), apart / deviation)
    exact = l1(r.values, g.values, discrete=discrete)
    values["l1"] = Distance(exact, 0.5 * np.abs(shares[0] - shares[1]).sum(axis=1))
    return values


def _thinned(real: Array, generated: Array) -> Array:
    support = np.unique(np.concatenate([real, generated]))
    if len(support) <= _SUPPORT:
        return support
    pooled = np.sort(np.concatenate([real, generated]))
    return np.unique(pooled[np.linspace(0, len(pooled) - 1, _SUPPORT).round().astype(int)])


def _table(score: Score, blocks: Array, place: Array, width: int) -> Array:
    rows = np.searchsorted(blocks, score.blocks)
    flat = np.bincount(rows * width + place, minlength=len(blocks) * width)
    return flat.reshape(len(blocks), width).astype(float)


def _normalised(counts: Array) -> Array:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)


def resample_blocks(count: int, resamples: int, rng: np.random.Generator) -> Array:
    """Return how often each of `count` blocks is drawn in each resample, (B, count)."""
    return rng.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(float)


def all_distances(
    real: Mapping[str, Score],
    generated: Mapping[str, Score],
    real_blocks: Sequence[int] | Array,
    generated_blocks: Sequence[int] | Array,
    draws: tuple[Array, Array],
) -> dict[str, dict[str, Distance]]:
    """Return metric -> score -> distance, on the given blocks of each day."""
    blocks = (np.unique(real_blocks), np.unique(generated_blocks))
    answer: dict[str, dict[str, Distance]] = {metric: {} for metric in METRICS}
    for name, score in real.items():
        found = score_distances(score, generated[name], discrete=name in DISCRETE, draws=draws, blocks=blocks)
        for metric, distance in found.items():
            answer[metric][name] = distance
    return answer
