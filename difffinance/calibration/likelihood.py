"""Maximum likelihood of the impact law under four noise models, and the choice between them (SCIENCE 2.4).

`dp = m + noise`, `m = a * sign(q) * exp(gamma * l)`, `l = ln|q| - mean ln|q|`. The noise has squared scale
`v = floor^2 + exp(t0 + t1 z + t2 z^2)` with `z` the standardised `l` (`t1 = t2 = 0` unless the noise depends on size)
and is normal, or Student-t with `nu` degrees of freedom. Fisher scoring with step halving, started from a profile
over gamma that already carries the weights of the noise.

`gamma` is not bounded. Instead the likelihood is multiplied by the length element `sd_w(l)` (weights `x^2`) of the
curve of normalised shapes `x_gamma / |x_gamma|`: a prior that is flat along the curve. It falls to zero where gamma
runs off to infinity and all weight sits on one size, so an interior maximum always exists and no bound can be
reported as an estimate; where data tell gamma it moves the estimate by a small fraction of a standard error.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from difffinance.records import Array

NOISES = ("gaussian", "student_t", "size_dependent", "both")

_GAMMAS = np.linspace(-1.5, 3.0, 31)  # starts of the climb, not bounds
_LOG_NU = (math.log(2.0), math.log(300.0))
_NORMAL = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Sample:
    """Orders made ready: signs, centred log sizes, scaled price changes, the basis of the log-variance."""

    sign: Array  # (n,) -1, +1
    log_size: Array  # (n,) ln|q| minus its mean
    change: Array  # (n,) price change over its root mean square
    basis: Array  # (n, 3) 1, z, z^2
    floor: float  # smallest noise scale, in units of `change`
    log_centre: float  # mean ln|q|
    change_scale: float  # root mean square of the price change, quote currency

    @cached_property
    def shapes(self) -> Array:
        """`|q| ** gamma` (31, n) at the starting gammas, shared by the noise models."""
        return np.exp(np.outer(_GAMMAS, self.log_size))

    @cached_property
    def lengths(self) -> Array:
        """Length elements at the starting gammas, as logarithms."""
        return np.array([log_length(self.log_size, float(gamma)) for gamma in _GAMMAS])

    def predict(self, amplitude: float, gamma: float) -> Array:
        """Return the law's price changes, in units of `change`."""
        return amplitude * self.sign * np.exp(np.minimum(gamma * self.log_size, 300.0))

    def take(self, rows: Array) -> "Sample":
        """Return the sample of some rows, in the units of this one."""
        return Sample(
            self.sign[rows],
            self.log_size[rows],
            self.change[rows],
            self.basis[rows],
            self.floor,
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
    floor = max(resolution(price_change) / scale, 1e-8)
    basis = np.column_stack([np.ones_like(z), z, z**2])
    return Sample(np.sign(quantity), centred, price_change / scale, basis, floor, float(logs.mean()), scale)


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


def fit_noise_model(sample: Sample, noise: str, *, near: Fit | None = None) -> Fit:
    """Maximise the likelihood under one noise model.

    `near`, a fit of the same noise to most of the same data, gives its noise as the start; gamma is searched anew.
    """
    return _Maximiser(sample, noise).run(near)


def derivatives(sample: Sample, fit: Fit, *, normal: bool = False) -> tuple[Array, Array]:
    """Return per-order scores (n, 2) and expected information (n, 3) of (a, gamma) as (aa, ag, gg).

    `normal` keeps the noise scale of the fit and replaces Student-t by the normal density: the weighted least-squares
    equations, which hold for the mean whatever the shape of the noise.
    """
    x = sample.sign * np.exp(np.minimum(fit.gamma * sample.log_size, 300.0))
    v = sample.floor**2 + np.exp(sample.basis @ fit.theta)
    residual = sample.change - fit.amplitude * x
    pull, curvature = residual / v, 1.0 / v
    if math.isfinite(fit.nu) and not normal:
        pull = (fit.nu + 1) * residual / (fit.nu * v + residual**2)
        curvature = (fit.nu + 1) / (fit.nu + 3) / v
    slope = fit.amplitude * x * sample.log_size
    score = np.column_stack([pull * x, pull * slope])
    return score, np.column_stack([curvature * x**2, curvature * x * slope, curvature * slope**2])


def explained(sample: Sample, fit: Fit) -> float:
    """Return R2, the share of the squared price changes that a law explains; negative where it does harm."""
    residual = sample.change - sample.predict(fit.amplitude, fit.gamma)
    return 1.0 - float(residual @ residual) / float(sample.change @ sample.change)


def influences(score: Array, information: Array) -> Array:
    """Return each order's pull (n, 2) on the estimate of (a, gamma)."""
    aa, ag, gg = information.sum(axis=0)
    return score @ np.linalg.inv([[aa, ag], [ag, gg]])


class _Maximiser:
    """Fisher scoring for one sample and one noise model; the state vector is (a, gamma, theta..., log nu)."""

    def __init__(self, sample: Sample, noise: str) -> None:
        self.sample, self.noise = sample, noise
        self.heavy = noise in ("student_t", "both")
        self.columns = 3 if noise in ("size_dependent", "both") else 1
        self.basis = sample.basis[:, : self.columns]
        self._last: tuple[bytes, tuple[Array, Array, Array, Array]] | None = None  # state, its parts
        self._moments: tuple[float, tuple[float, float]] | None = None  # gamma, its weighted moments

    def run(self, near: Fit | None) -> Fit:
        state = np.zeros(2 + self.columns + self.heavy)
        if near is None:
            state[2] = math.log(float(np.mean(self.sample.change**2)) * (0.5 if self.heavy else 1.0))
            if self.heavy:
                state[-1] = math.log(5.0)
            state = self._climb(state, mean=False)
        else:
            state[2 : 2 + self.columns] = near.theta[: self.columns]
            if self.heavy:
                state[-1] = math.log(near.nu)
        state[:2] = self._profile_start(state)
        state = self._climb(state, mean=True)
        value = self._value(state) - self._log_length(state)
        theta = np.zeros(3)
        theta[: self.columns] = state[2 : 2 + self.columns]
        bic = -2.0 * value + len(state) * math.log(len(self.sample.change))
        nu = math.exp(state[-1]) if self.heavy else math.inf
        return Fit(self.noise, float(state[0]), float(state[1]), theta, nu, value, bic)

    def _profile_start(self, state: Array) -> tuple[float, float]:
        """Best (a, gamma) on a grid, weighting as the noise of the data without impact would."""
        sample = self.sample
        _, v, u, _ = self._parts(state)
        weight = u / v
        cross = sample.shapes @ (weight * sample.change * sample.sign)
        square = sample.shapes**2 @ weight
        best = int(np.argmax(0.5 * cross**2 / square + sample.lengths))
        return float(cross[best] / square[best]), float(_GAMMAS[best])

    def _climb(self, state: Array, *, mean: bool) -> Array:
        value = self._value(state)
        for _ in range(100):  # ordinary data need about twenty; a law without noise would climb for ever
            score, information = self._score(state)
            free = np.ones(len(state), dtype=bool)
            free[:2] = mean
            if self.heavy:
                at_end = state[-1] <= _LOG_NU[0] if score[-1] < 0 else state[-1] >= _LOG_NU[1]
                free[-1] = not at_end
            step = np.zeros(len(state))
            block = information[np.ix_(free, free)]
            # The ridge matters only where the floor is all the noise there is and theta is free to fall.
            step[free] = np.linalg.solve(block + 1e-9 * np.trace(block) * np.eye(len(block)), score[free])
            step = np.clip(step, -2.0, 2.0)
            gain = float(score @ step)
            if gain < 1e-6:
                break
            length = 1.0
            while length > 1e-6:
                trial = state + length * step
                if self.heavy:
                    trial[-1] = min(max(trial[-1], _LOG_NU[0]), _LOG_NU[1])
                reached = self._value(trial)
                if reached > value:
                    break
                length *= 0.5
            else:
                break
            state, value = trial, reached
        return state

    def _log_length(self, state: Array) -> float:
        return 0.5 * math.log(self._moments_at(float(state[1]))[0] + 1e-300)

    def _length_slope(self, state: Array) -> float:
        variance, third = self._moments_at(float(state[1]))
        return third / (variance + 1e-300)

    def _moments_at(self, gamma: float) -> tuple[float, float]:
        if self._moments is None or self._moments[0] != gamma:
            self._moments = gamma, _weighted_moments(self.sample.log_size, gamma)
        return self._moments[1]

    def _parts(self, state: Array) -> tuple[Array, Array, Array, Array]:
        """Return size, squared scale, weight and residual of each order; those of the last state are kept."""
        key = state.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._parts_at(state)
        return self._last[1]

    def _parts_at(self, state: Array) -> tuple[Array, Array, Array, Array]:
        sample = self.sample
        size = np.exp(np.minimum(state[1] * sample.log_size, 300.0))
        excess = np.exp(np.clip(self.basis @ state[2 : 2 + self.columns], -200.0, 200.0))
        v = sample.floor**2 + excess
        residual = sample.change - state[0] * sample.sign * size
        u = np.ones_like(v)
        if self.heavy:
            nu = math.exp(state[-1])
            u = (nu + 1.0) / (nu + residual**2 / v)
        return size, v, u, residual

    def _value(self, state: Array) -> float:
        _, v, _, residual = self._parts(state)
        square = residual**2 / v
        length = self._log_length(state)
        if not self.heavy:
            return float(-0.5 * np.sum(np.log(v) + square)) - len(v) * _NORMAL + length
        nu = math.exp(state[-1])
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        return float(np.sum(-0.5 * np.log(v) - (nu + 1) / 2 * np.log1p(square / nu))) + len(v) * constant + length

    def _score(self, state: Array) -> tuple[Array, Array]:
        """Return the gradient and the expected information (Lange, Little and Taylor 1989 for Student-t)."""
        sample = self.sample
        size, v, u, residual = self._parts(state)
        slope = np.column_stack([sample.sign * size, state[0] * sample.sign * size * sample.log_size])
        log_v = self.basis * ((v - sample.floor**2) / v)[:, None]
        square = residual**2 / v
        k = 2 + self.columns
        score, information = np.zeros(len(state)), np.zeros((len(state), len(state)))
        score[:2] = slope.T @ (u * residual / v)
        score[1] += self._length_slope(state)
        score[2:k] = 0.5 * (log_v.T @ (u * square - 1.0))
        nu = math.exp(state[-1]) if self.heavy else math.inf
        shrink = (nu + 1) / (nu + 3) if self.heavy else 1.0
        information[:2, :2] = shrink * (slope / v[:, None]).T @ slope
        information[1, 1] += 1e-3  # keeps a step where nothing tells gamma
        information[2:k, 2:k] = (0.5 * nu / (nu + 3) if self.heavy else 0.5) * log_v.T @ log_v
        if self.heavy:
            score[-1], own = _nu_terms(square, nu)
            information[-1, -1] = len(v) * own
            cross = -nu / ((nu + 1) * (nu + 3)) * log_v.sum(axis=0)
            information[-1, 2:k] = information[2:k, -1] = cross
        return score, information


def _nu_terms(square: Array, nu: float) -> tuple[float, float]:
    """Return score and expected information per observation of ln nu."""
    from scipy.special import digamma, polygamma

    constant = 0.5 * float(digamma((nu + 1) / 2) - digamma(nu / 2)) - 0.5 / nu
    terms = -0.5 * np.log1p(square / nu) + 0.5 * (nu + 1) / nu * square / (nu + square)
    score = float(np.sum(terms)) + len(square) * constant
    own = 0.25 * float(polygamma(1, nu / 2) - polygamma(1, (nu + 1) / 2)) - (nu + 5) / (2 * nu * (nu + 1) * (nu + 3))
    return nu * score, max(nu**2 * own, 1e-12)


def _weighted_moments(log_size: Array, gamma: float) -> tuple[float, float]:
    exponent = 2.0 * gamma * log_size
    weight = np.exp(exponent - exponent.max())
    weight /= weight.sum()
    deviation = log_size - weight @ log_size
    square = deviation * deviation
    return float(weight @ square), float(weight @ (square * deviation))


def log_length(log_size: Array, gamma: float) -> float:
    """Return `ln sd_w(ln|q|)`, weights `|q|^(2 gamma)`: the log length element of the curve of shapes."""
    return 0.5 * math.log(_weighted_moments(log_size, gamma)[0] + 1e-300)
