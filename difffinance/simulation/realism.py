"""The realism judgement: how far simulated days are from held-out blocks of a real one, against floor and baseline.

The floor is the distance between the training and the held-out half of the real day's five-minute blocks, drawn at
random. Models simulate whole days freely, not from real books, and are judged on the clock times of the held-out
blocks. Intervals resample blocks; comparisons of models draw the same real blocks for both.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from difffinance.calibration.visible_day import VisibleDay, visible_day
from difffinance.records import Array, BookDay
from difffinance.simulation.book_scores import BLOCK_SECONDS, Score, book_scores
from difffinance.simulation.distances import Distance, all_distances, resample_blocks, wasserstein

FLOOR, MEAN = "floor", "mean"
_DAY = 1_000_000  # blocks of the k-th simulated day are numbered from k times this


def joined_scores(days: Sequence[VisibleDay]) -> dict[str, Score]:
    """Return the scores of several simulated days as one, their blocks told apart."""
    parts = [book_scores(day) for day in days]
    return {
        name: Score(
            np.concatenate([part[name].values for part in parts]),
            np.concatenate([part[name].blocks + k * _DAY for k, part in enumerate(parts)]),
        )
        for name in parts[0]
    }


def _same_times(blocks: Array, scores: Mapping[str, Score], days: int) -> Array:
    there = np.unique(scores["spread"].blocks)
    wanted = np.concatenate([np.asarray(blocks) + k * _DAY for k in range(days)])
    return np.asarray(np.intersect1d(wanted, there))


def compare_days(
    real: BookDay,
    simulated: Mapping[str, Sequence[BookDay]],
    training: Array,
    held_out: Array,
    rng: np.random.Generator,
    *,
    resamples: int = 200,
) -> dict[str, dict[str, dict[str, Distance]]]:
    """Return model -> metric -> score -> distance on the held-out blocks; `floor` stands for the training blocks."""
    scores = book_scores(visible_day(real))
    held_out = np.unique(held_out)
    draw = resample_blocks(len(held_out), resamples, rng)
    training = np.unique(training)
    answer = {
        FLOOR: all_distances(scores, scores, held_out, training, (draw, resample_blocks(len(training), resamples, rng)))
    }
    for model, days in simulated.items():
        generated = joined_scores([visible_day(day) for day in days])
        blocks = _same_times(held_out, generated, len(days))
        answer[model] = all_distances(
            scores, generated, held_out, blocks, (draw, resample_blocks(len(blocks), resamples, rng))
        )
    return answer


def mean_distance(distances: Mapping[str, Distance]) -> Distance:
    """Return the mean over scores."""
    return Distance(
        float(np.mean([d.value for d in distances.values()])),
        np.mean([d.resamples for d in distances.values()], axis=0),
    )


def improvement(model: Mapping[str, Distance], baseline: Mapping[str, Distance]) -> Distance:
    """Return how much lower the mean distance of a model is than that of a baseline, fraction; paired resamples."""
    ours, theirs = mean_distance(model), mean_distance(baseline)
    return Distance(1.0 - ours.value / theirs.value, 1.0 - ours.resamples / theirs.resamples)


def realism_table(
    compared: Mapping[str, Mapping[str, Mapping[str, Distance]]],
    *,
    metric: str = "wasserstein",
    baseline: str = "santa_fe",
) -> pl.DataFrame:
    """Return one row a score and model: distance, 95% interval; last the means and the improvement on the baseline."""
    rows = []
    for model, metrics in compared.items():
        named = {**metrics[metric], MEAN: mean_distance(metrics[metric])}
        if baseline in compared and model not in (baseline, FLOOR):
            named["improvement"] = improvement(metrics[metric], compared[baseline][metric])
        for score, distance in named.items():
            rows.append((metric, model, score, distance.value, *distance.interval()))
    return pl.DataFrame(rows, schema=["metric", "model", "score", "distance", "low", "high"], orient="row")


def conditional_distance(real: tuple[Array, Array], generated: tuple[Array, Array], *, buckets: int = 10) -> float:
    """Return the Wasserstein distance of (values, condition) inside buckets of the condition, weighted by real counts.

    Bucket edges are quantiles of the real condition. One that the model never reaches counts as the distance of the
    whole samples.
    """
    edges = np.unique(np.quantile(real[1], np.linspace(0, 1, buckets + 1)[1:-1]))
    place = [np.searchsorted(edges, x[1], side="right") for x in (real, generated)]
    total = 0.0
    for b in np.unique(place[0]):
        one, other = real[0][place[0] == b], generated[0][place[1] == b]
        pair = (one, other) if len(other) else (real[0], generated[0])
        total += len(one) / len(real[0]) * wasserstein(*pair)
    return total


def conditional_distances(real: VisibleDay, generated: VisibleDay, blocks: Array) -> dict[str, float]:
    """Return LOB-Bench's conditional distances on the blocks: quantity at the ask by spread, spread by time of day."""
    rows = [np.isin(day.blocks, blocks) for day in (real, generated)]
    days = (real, generated)
    pairs = {
        "ask_touch_by_spread": [(day.depth[r, 1, 0], day.spread[r]) for day, r in zip(days, rows, strict=True)],
        "spread_by_time": [(day.spread[r], day.seconds[r]) for day, r in zip(days, rows, strict=True)],
    }
    return {name: conditional_distance(*pair) for name, pair in pairs.items()}


def drift(
    real: Mapping[str, Score], days: Sequence[VisibleDay], *, hours: Sequence[float] = (0.5, 1, 2, 4, 6.5)
) -> pl.DataFrame:
    """Return the mean Wasserstein distance by time since the start: does it grow with the length of the roll-out."""
    generated, rows, start = joined_scores(days), [], 0.0
    for end in hours:
        low, high = start * 3600.0 / BLOCK_SECONDS, end * 3600.0 / BLOCK_SECONDS
        chosen = {name: s.blocks % _DAY for name, s in generated.items()}
        found = []
        for name, score in real.items():
            now = generated[name].values[(chosen[name] >= low) & (chosen[name] < high)]
            then = score.values[(score.blocks >= low) & (score.blocks < high)]
            if len(now) and len(then):
                found.append(wasserstein(then, now))
        rows.append((start, end, float(np.mean(found))))
        start = end
    return pl.DataFrame(rows, schema=["from_hours", "to_hours", "distance"], orient="row")
