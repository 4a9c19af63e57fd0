"""Was the best strategy picked by luck? Probability of backtest overfitting and superior predictive ability."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from difffinance.errors import InputError
from difffinance.records import Array


def probability_of_backtest_overfitting(returns: Array, blocks: int = 16) -> float:
    """Return the share of splits in which the in-sample winner is at or below the median out of sample.

    `returns` is (T, N), one column per strategy. Combinatorially symmetric cross-validation (Bailey, Borwein,
    Lopez de Prado & Zhu 2017): rows beyond a multiple of `blocks` are dropped from the start.
    """
    return float(np.mean(overfitting_logits(returns, blocks) <= 0.0))


def overfitting_logits(returns: Array, blocks: int = 16) -> Array:
    """Return `ln(w / (1 - w))` of every split, `w` the out-of-sample rank of the in-sample winner over N + 1."""
    table = _check_table(returns)
    if blocks < 2 or blocks % 2 or blocks > 20:
        raise InputError(f"blocks is {blocks}. Allowed: an even number from 2 to 20.")
    length = len(table) // blocks
    if length < 1 or blocks * length < 4 or table.shape[1] < 2:
        raise InputError(
            f"returns of shape {table.shape} are too few for {blocks} blocks. Allowed: at least two strategies and "
            f"{max(4, blocks)} periods."
        )
    parts = table[len(table) - blocks * length :].reshape(blocks, length, -1)
    halves = np.zeros((_count_halves(blocks), blocks))
    for row, chosen in enumerate(combinations(range(blocks), blocks // 2)):
        halves[row, list(chosen)] = 1.0
    shift = parts.mean(axis=(0, 1))  # moments about a common centre: sums of squares keep their digits
    sums, squares = (parts - shift).sum(axis=1), ((parts - shift) ** 2).sum(axis=1)
    n = length * blocks // 2
    inside = _sharpe_of_sums(halves @ sums, halves @ squares, n, shift)
    outside = _sharpe_of_sums((1.0 - halves) @ sums, (1.0 - halves) @ squares, n, shift)
    winner = np.argmax(inside, axis=1)
    ranks = rankdata(outside, axis=1)
    w = ranks[np.arange(len(winner)), winner] / (table.shape[1] + 1.0)
    return np.log(w / (1.0 - w))


def _count_halves(blocks: int) -> int:
    from math import comb

    return comb(blocks, blocks // 2)


def _sharpe_of_sums(total: Array, squares: Array, n: int, shift: Array) -> Array:
    mean = total / n
    variance = (squares - n * mean**2) / max(n - 1, 1)
    flat = variance <= 1e-24 * (shift + mean) ** 2
    return np.where(flat, 0.0, (shift + mean) / np.sqrt(np.where(flat, 1.0, variance)))


@dataclass(frozen=True)
class SuperiorAbility:
    """P-values of "no strategy beats the benchmark"; small ones speak for skill. `lower <= consistent <= upper`."""

    statistic: float
    lower: float
    consistent: float
    upper: float
    best: int

    def __str__(self) -> str:
        return (
            f"superior predictive ability: statistic {self.statistic:.3f}, p-values lower {self.lower:.3f}, "
            f"consistent {self.consistent:.3f}, upper {self.upper:.3f}"
        )


def superior_predictive_ability(
    losses_or_returns: Array,
    benchmark: Array,
    *,
    kind: Literal["returns", "losses"] = "returns",
    block: float | None = None,
    replications: int = 1000,
    studentize: bool = True,
    rng: np.random.Generator | None = None,
) -> SuperiorAbility:
    """Test whether any column beats the benchmark (Hansen 2005; `upper`, not studentized, is White's reality check).

    `losses_or_returns` is (T, N), `benchmark` (T,), of the stated `kind`. Stationary bootstrap (Politis & Romano
    1994) with mean length `block` (default `sqrt(T)`). Studentized by the variance of that bootstrap; columns worse
    than `-sqrt(2 ln ln T)` of their error are left out of the null in `consistent`. `rng` defaults to seed 0.
    """
    table, base = _check_table(losses_or_returns), np.asarray(benchmark, dtype=float)
    if base.shape != (len(table),) or not np.isfinite(base).all():
        raise InputError(f"benchmark must be {len(table)} finite numbers, one per row; got shape {base.shape}.")
    if kind not in ("returns", "losses"):
        raise InputError(f"kind is '{kind}'. Allowed: 'returns', 'losses'.")
    n = len(table)
    block = float(np.sqrt(n)) if block is None else float(block)
    if n < 10 or not 1.0 <= block <= n or replications < 1:
        raise InputError(
            f"{n} rows, block {block:g}, {replications} replications. Allowed: 10 rows or more, a block from 1 to "
            "the number of rows, one replication or more."
        )
    better = table - base[:, None] if kind == "returns" else base[:, None] - table
    error = np.sqrt(_bootstrap_variance(better, 1.0 / block) / n)
    usable = error > 1e-12 * np.abs(better).max()  # a column equal to the benchmark can beat nothing
    if not usable.any():
        raise InputError("every column equals the benchmark up to a constant. Allowed: columns that differ from it.")
    kept = np.flatnonzero(usable)
    better, error = better[:, kept], error[kept]
    mean = better.mean(axis=0)
    scale = error if studentize else np.full(len(error), 1.0 / np.sqrt(n))
    draws = _bootstrap_means(better, block, replications, rng or np.random.default_rng(0))
    statistic = max(float(np.max(mean / scale)), 0.0)
    bound = -error * np.sqrt(2.0 * np.log(np.log(n)))
    centres = {"lower": np.maximum(mean, 0.0), "consistent": np.where(mean >= bound, mean, 0.0), "upper": mean}
    values = {
        name: float(np.mean(np.maximum(((draws - centre) / scale).max(axis=1), 0.0) >= statistic))
        for name, centre in centres.items()
    }
    return SuperiorAbility(statistic, best=int(kept[np.argmax(mean / scale)]), **values)


def stationary_indices(n: int, block: float, rng: np.random.Generator) -> Array:
    """Return one stationary-bootstrap resample of `range(n)`: runs of geometric length with mean `block`, wrapping."""
    starts = rng.integers(0, n, n)
    fresh = rng.random(n) < 1.0 / block
    fresh[0] = True
    begin = np.maximum.accumulate(np.where(fresh, np.arange(n), 0))
    return (starts[begin] + np.arange(n) - begin) % n


def _bootstrap_means(table: Array, block: float, replications: int, rng: np.random.Generator) -> Array:
    n = len(table)
    weights = (np.bincount(stationary_indices(n, block, rng), minlength=n) for _ in range(replications))
    return np.array([w @ table for w in weights]) / n


def _bootstrap_variance(table: Array, p: float) -> Array:
    """Return the variance of `sqrt(T) mean` under the stationary bootstrap (Politis & Romano 1994, lemma 1)."""
    n = len(table)
    centred = table - table.mean(axis=0)
    padded = np.fft.rfft(centred, 2 * n, axis=0)
    covariance = np.fft.irfft(np.abs(padded) ** 2, axis=0)[:n] / n
    lag = np.arange(1, n)[:, None]
    kernel = (1.0 - lag / n) * (1.0 - p) ** lag + (lag / n) * (1.0 - p) ** (n - lag)
    return np.maximum(covariance[0] + 2.0 * np.sum(kernel * covariance[1:], axis=0), 0.0)


def _check_table(returns: Array) -> Array:
    table = np.asarray(returns, dtype=float)
    if table.ndim != 2 or not table.size:
        raise InputError(f"a table (periods, strategies) is needed; got shape {table.shape}.")
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise InputError(f"row {row}, column {column} is {table[row, column]}. Allowed: finite numbers.")
    return table
