"""The likelihood of the impact law under four noise models: what the data become, what a fit says (SCIENCE 2.4).

`dp = m + noise`, `m = a * sign(q) * exp(gamma * l)`, `l = ln|q| - mean ln|q|`. The noise has squared scale
`v = floor^2 + exp(t0 + t1 z + t2 z^2)` with `z` the standardised `l` (`t1 = t2 = 0` unless the noise depends on size)
and is normal, or Student-t with `nu` degrees of freedom. `maximum` finds the top.

`gamma` is not bounded. Instead the likelihood is multiplied by the length element `sd_w(l)` (weights `x^2`) of the
curve of normalised shapes `x_gamma / |x_gamma|`: a prior that is flat along the curve. It falls to zero where gamma
runs off to infinity and all weight sits on one size, so an interior maximum always exists and no bound can be
reported as an estimate; where data tell gamma it moves the estimate by a small fraction of a standard error. `t1` and
`t2` have a normal prior of standard deviation 3: where the tick is most of the noise the data do not tell them, and
without it the log-variance may bend around a handful of sizes.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from difffinance.records import Array

NOISES = ("gaussian", "student_t", "size_dependent", "both")

GAMMAS = np.linspace(-1.5, 3.0, 31)  # where the search for the maximum starts, not bounds


@dataclass(frozen=True)
class Sample:
    """Orders made ready: signs, centred log sizes, scaled price changes, the basis of the log-variance."""

    sign: Array  # (n,) -1, +1
    log_size: Array  # (n,) ln|q| minus its mean
    change: Array  # (n,) price change over its root mean square
    basis: Array  # (3, n) 1, z, z^2
    step: float  # of the grid of the price changes, in units of `change`; 1e-8 where there is none
    log_centre: float  # mean ln|q|
    change_scale: float  # root mean square of the price change, quote currency

    @cached_property
    def shapes(self) -> Array:
        """`|q| ** gamma` (31, n) at the starting gammas, shared by the noise models."""
        grown = np.empty((len(GAMMAS), len(self.log_size)))
        grown[0], ratio = np.exp(GAMMAS[0] * self.log_size), np.exp((GAMMAS[1] - GAMMAS[0]) * self.log_size)
        for row, last in zip(grown[1:], grown, strict=False):
            np.multiply(last, ratio, out=row)
        return grown

    @cached_property
    def lengths(self) -> Array:
        """Length elements `ln sd_w(ln|q|)` at the starting gammas."""
        return np.array([0.5 * math.log(size_moments(self.log_size, size)[0] + 1e-300) for size in self.shapes])

    @cached_property
    def squares(self) -> Array:
        """`|q| ** (2 gamma)` (31, n) at the starting gammas."""
        return self.shapes**2

    @cached_property
    def powers(self) -> Array:
        """1, l, l^2 (3, n): what the derivatives in gamma are made of."""
        return np.stack([np.ones_like(self.log_size), self.log_size, self.log_size**2])

    @cached_property
    def products(self) -> Array:
        """1, z, ..., z^4 (5, n): the products of the columns of the basis."""
        return np.concatenate([self.basis, self.basis[1] * self.basis[2:], self.basis[2:] ** 2])

    def floor(self, heavy: bool) -> float:
        """Return the smallest noise scale, in units of `change`.

        Student-t keeps a whole step (mids move in half ticks): a smaller scale lets it pile up on the unmoved prices.
        Normal noise cannot, and keeps what rounding to the grid adds, its standard deviation step / sqrt(12): a higher
        floor hides which sizes have little noise.
        """
        return self.step if heavy else self.step / math.sqrt(12.0)

    def predict(self, amplitude: float, gamma: float) -> Array:
        """Return the law's price changes, in units of `change`."""
        return amplitude * self.sign * np.exp(np.minimum(gamma * self.log_size, 300.0))

    def take(self, rows: Array) -> "Sample":
        """Return the sample of some rows, in the units of this one."""
        return Sample(
            self.sign[rows],
            self.log_size[rows],
            self.change[rows],
            self.basis[:, rows],
            self.step,
            self.log_centre,
            self.change_scale,
        )


@dataclass(frozen=True)
class Fit:
    """A maximum: the law, the noise, and the log likelihood without the length element."""

    noise: str
    amplitude: float
    gamma: float
    theta: Array  # (3,) log-variance coefficients
    nu: float
    log_likelihood: float
    bic: float


def prepare(quantity: Array, price_change: Array) -> Sample:
    """Return the sample of checked arrays without zero quantities."""
    logs = np.log(np.abs(quantity))
    centred = logs - logs.mean()
    z = centred / centred.std()
    largest = float(np.abs(price_change).max())
    scale = largest * float(np.sqrt(np.mean((price_change / largest) ** 2)))
    # A law without any noise has an unbounded likelihood; 1e-8 of the data's size stands for rounding.
    step = max(resolution(price_change) / scale, 1e-8)
    basis = np.stack([np.ones_like(z), z, z**2])
    return Sample(np.sign(quantity), centred, price_change / scale, basis, step, float(logs.mean()), scale)


def resolution(price_change: Array) -> float:
    """Return the grid step of the price changes, 0 where they lie on no grid.

    Mid prices move in half ticks, so for changes of the mid the step is half a tick. A grid is believed when at
    least half of the changes repeat an earlier one and all are whole multiples of the smallest gap.
    """
    largest = float(np.abs(price_change).max())
    sizes = np.unique(np.round(np.abs(price_change) / largest, 10))
    sizes = sizes[np.diff(sizes, prepend=-1.0) > 1e-8]  # mids of 60,000 carry noise of the twelfth decimal
    if len(sizes) < 2 or len(sizes) > len(price_change) / 2:
        return 0.0
    step = float(np.diff(sizes, prepend=0.0)[sizes > 1e-8].min())
    step = 1.0 / max(round(1.0 / step), 1)  # the largest is a whole multiple too: many small steps add up no error
    multiples = sizes / step
    on_grid = np.abs(multiples - np.round(multiples)) < 1e-3
    return step * largest if bool(on_grid.all()) else 0.0


def derivatives(sample: Sample, fit: Fit, *, normal: bool = False) -> tuple[Array, Array]:
    """Return per-order scores (n, 2) and expected information (n, 3) of (a, gamma) as (aa, ag, gg).

    `normal` keeps the noise scale of the fit and replaces Student-t by the normal density: the weighted least-squares
    equations, which hold for the mean whatever the shape of the noise.
    """
    x, pull, curvature = working(sample, fit, normal=normal)
    slope = fit.amplitude * x * sample.log_size
    score = np.column_stack([pull * x, pull * slope])
    return score, np.column_stack([curvature * x**2, curvature * x * slope, curvature * slope**2])


def working(sample: Sample, fit: Fit, *, normal: bool = False) -> tuple[Array, Array, Array]:
    """Return the shape `sign(q) |q|^gamma`, the slope of the log density in the mean and its expected curvature."""
    x = sample.sign * np.exp(np.minimum(fit.gamma * sample.log_size, 300.0))
    v = sample.floor(math.isfinite(fit.nu)) ** 2 + np.exp(fit.theta @ sample.basis)
    residual = sample.change - fit.amplitude * x
    pull, curvature = residual / v, 1.0 / v
    if math.isfinite(fit.nu) and not normal:
        pull = (fit.nu + 1) * residual / (fit.nu * v + residual**2)
        curvature = (fit.nu + 1) / (fit.nu + 3) / v
    return x, pull, curvature


def explained(sample: Sample, fit: Fit) -> float:
    """Return R2, the share of the squared price changes that a law explains; negative where it does harm."""
    residual = sample.change - sample.predict(fit.amplitude, fit.gamma)
    return 1.0 - float(residual @ residual) / float(sample.change @ sample.change)


def influences(score: Array, information: Array) -> Array:
    """Return each order's pull (n, 2) on the estimate of (a, gamma)."""
    aa, ag, gg = information.sum(axis=0)
    return score @ np.linalg.inv([[aa, ag], [ag, gg]])


def size_moments(log_size: Array, size: Array) -> tuple[float, float]:
    """Return variance and third central moment of `log_size`, weights `size^2`."""
    weight = size / size.max()
    weight *= weight
    weight /= weight.sum()
    deviation = log_size - weight @ log_size
    weight *= deviation
    return float(weight @ deviation), float(weight @ (deviation * deviation))
