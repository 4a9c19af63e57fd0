"""Least squares for a law with memory: `y_t = c * sum_l K_b(l) s_a(t - l) + noise`, profiled over two exponents.

For every pair (size exponent a, decay b) of a grid the regressor is one convolution and c is one ratio of sums. The
sums are kept by contiguous blocks of time, so that a block bootstrap of (c, a, b) is one matrix product: resampling
whole blocks keeps the serial dependence inside them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from difffinance.errors import RefusedFit
from difffinance.records import Array

_BLOCKS = 60
_COARSE, _FINE = 15, 21  # points of a grid, each way


@dataclass(frozen=True)
class LaggedFit:
    """The best pair, its coefficient and R2, and the bootstrap draws (R, 3) of (c, a, b)."""

    coefficient: float
    size_exponent: float
    decay: float
    r2: float
    at_edge: bool  # the best pair lies on the edge of the grid: nothing to report
    draws: Array
    resolution: tuple[float, float, float]  # half a step of the grid, of (c, a, b)

    def interval(self, column: int, confidence: float = 0.95) -> tuple[float, float]:
        """Return the central interval of the draws of c (0), a (1) or b (2), half a step of the grid wider."""
        low, high = np.quantile(self.draws[:, column], [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence])
        return float(low - self.resolution[column]), float(high + self.resolution[column])


@dataclass(frozen=True)
class LaggedSums:
    """Block sums of regressor times y and of its square at every pair: (A, B, blocks)."""

    sizes: Array  # (A,)
    decays: Array  # (B,)
    cross: Array
    square: Array
    total: float  # sum of y squared

    def fit(self, *, replications: int, rng: np.random.Generator) -> LaggedFit:
        """Return the best pair, with c above 0, and its bootstrap."""
        pairs = np.argwhere(np.ones(self.cross.shape[:2], dtype=bool))
        cross, square = (sums.reshape(len(pairs), -1) for sums in (self.cross, self.square))  # (pairs, blocks)
        blocks = cross.shape[1]
        xy, xx = cross.sum(axis=1), square.sum(axis=1)
        gain = np.where(xy > 0.0, xy**2 / xx, 0.0)
        best = int(np.argmax(gain))
        times = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=replications).astype(float)
        drawn_xy, drawn_xx = times @ cross.T, times @ square.T
        chosen = np.argmax(np.where(drawn_xy > 0.0, drawn_xy**2 / drawn_xx, 0.0), axis=1)
        rows = np.arange(replications)
        draws = np.column_stack(
            [
                drawn_xy[rows, chosen] / drawn_xx[rows, chosen],
                self.sizes[pairs[chosen, 0]],
                self.decays[pairs[chosen, 1]],
            ]
        )
        a, b = pairs[best]
        ends = _at_end(a, self.sizes) or _at_end(b, self.decays)
        return LaggedFit(
            coefficient=float(xy[best] / xx[best]),
            size_exponent=float(self.sizes[a]),
            decay=float(self.decays[b]),
            r2=float(gain[best] / self.total),
            at_edge=ends,
            draws=draws,
            resolution=(0.0, 0.5 * _step(self.sizes), 0.5 * _step(self.decays)),
        )


def _at_end(index: int, grid: Array) -> bool:
    return len(grid) > 1 and index in (0, len(grid) - 1)


def _step(grid: Array) -> float:
    return float(grid[1] - grid[0]) if len(grid) > 1 else 0.0


def search_law(
    y: Array,
    quantity: Array,
    kernel: Callable[[float], Array],
    *,
    sizes: tuple[float, float],
    decays: tuple[float, float],
    replications: int,
    rng: np.random.Generator,
) -> LaggedFit:
    """Return the best law in the ranges, on a coarse grid and then on a fine one as wide as the coarse bootstrap.

    `kernel(b)` gives the weights (n,) of lags 0, 1, ...; a range of no width holds its exponent where it is.
    """
    if not y.any() or not quantity.any():
        raise RefusedFit("no flow, or a price that does not move: there is no law with memory to fit.")
    ranges, edge = [sizes, decays], False
    for points in (_COARSE, _FINE):
        grids = [np.unique(np.linspace(*each, points)) for each in ranges]
        sums = sum_blocks(y, signed_powers(quantity, grids[0]), kernel, *grids)
        fit = sums.fit(replications=replications, rng=rng)
        edge = edge or (points == _COARSE and fit.at_edge)
        spans = [(np.quantile(fit.draws[:, i], [0.0005, 0.9995]), _step(grids[i - 1])) for i in (1, 2)]
        ranges = [
            (max(float(ends[0] - step), low), min(float(ends[1] + step), high))
            for (ends, step), (low, high) in zip(spans, (sizes, decays), strict=True)
        ]
    return replace(fit, at_edge=edge)


def sum_blocks(y: Array, shapes: Array, kernel: Callable[[float], Array], sizes: Array, decays: Array) -> LaggedSums:
    """Return the block sums; `shapes` (A, n) are the signed sizes."""
    n = len(y)
    length = 1 << (2 * n - 1).bit_length()
    kernels = np.fft.rfft(np.stack([kernel(float(b)) for b in decays]), length)
    starts = np.linspace(0, n, min(_BLOCKS, n) + 1).astype(int)[:-1]
    cross, square = (np.empty((len(sizes), len(decays), len(starts))) for _ in range(2))
    for i, shape in enumerate(shapes):
        regressor = np.fft.irfft(np.fft.rfft(shape, length) * kernels, length)[:, :n]
        cross[i] = np.add.reduceat(regressor * y, starts, axis=1)
        square[i] = np.add.reduceat(regressor**2, starts, axis=1)
    return LaggedSums(sizes, decays, cross, square, float(y @ y))


def signed_powers(quantity: Array, exponents: Array) -> Array:
    """Return `sign(q) |q|^a` (A, n); zero quantities stay zero."""
    size = np.abs(quantity)
    logs = np.log(np.where(size > 0.0, size, 1.0))
    return np.sign(quantity) * np.exp(np.outer(exponents, logs))
