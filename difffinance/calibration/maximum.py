"""Maximum likelihood of the impact law under one noise model (`likelihood` says which likelihood).

Newton's steps with halving, started from a profile over gamma that already carries the weights of the noise.
"""

import math
from dataclasses import dataclass

import numpy as np

from difffinance.calibration.likelihood import GAMMAS, Fit, Sample, size_moments
from difffinance.records import Array

_LOG_NU = (math.log(2.0), math.log(300.0))
_GAIN, _ROUGH_GAIN = 1e-6, 0.1  # of log likelihood: less ends the climb, and the search for where to start it
_STIFF = 1.0 / 9.0  # over the variance of the slopes' prior: next to nothing beside the n / 2 that orders tell of each
_NORMAL = 0.5 * math.log(2.0 * math.pi)


def fit_noise_model(sample: Sample, noise: str, *, near: Fit | None = None) -> Fit:
    """Maximise the likelihood under one noise model.

    `near`, a fit of the same noise to most of the same data, gives its noise as the start; gamma is searched anew.
    """
    return _Maximiser(sample, noise).run(near)


@dataclass(frozen=True)
class _Point:
    """The likelihood at one state, with what its gradient needs. Scales are single numbers where all are alike."""

    x: Array  # (n,) sign(q) |q|^gamma
    v: Array | float  # squared scale
    excess: Array | float  # share of `v` above the floor
    residual: Array
    square: Array  # residual^2 / v
    base: Array | None  # 1 + square / nu, for Student-t
    log_base: float  # sum of its logarithms
    length: tuple[float, float]  # variance of l under weights x^2, and its third central moment
    value: float


class _Maximiser:
    """Newton's climb for one sample and one noise model; the state vector is (a, gamma, theta..., log nu)."""

    def __init__(self, sample: Sample, noise: str) -> None:
        self.sample, self.noise = sample, noise
        self.heavy = noise in ("student_t", "both")
        self.floor = sample.floor(self.heavy) ** 2
        self.columns = 3 if noise in ("size_dependent", "both") else 1
        self._shape: tuple[float, Array, tuple[float, float]] | None = None  # gamma, x, moments of l under x^2

    def run(self, near: Fit | None) -> Fit:
        state = np.zeros(2 + self.columns + self.heavy)
        if near is None:
            state[2] = math.log(float(np.mean(self.sample.change**2)) * (0.5 if self.heavy else 1.0))
            if self.heavy:
                state[-1] = math.log(5.0)
            state, _ = self._climb(state, mean=False)
        else:
            state[2 : 2 + self.columns] = near.theta[: self.columns]
            if self.heavy:
                state[-1] = math.log(near.nu)
        state[:2] = self._profile_start(state)
        state, point = self._climb(state, mean=True)
        value = point.value - self._prior(state, point.length)
        theta = np.zeros(3)
        theta[: self.columns] = state[2 : 2 + self.columns]
        bic = -2.0 * value + len(state) * math.log(len(self.sample.change))
        nu = math.exp(state[-1]) if self.heavy else math.inf
        return Fit(self.noise, float(state[0]), float(state[1]), theta, nu, value, bic)

    def _profile_start(self, state: Array) -> tuple[float, float]:
        """Best (a, gamma) on a grid, weighting as the noise of the data without impact would."""
        sample, point = self.sample, self._at(state)
        weight = np.broadcast_to(self._weight(point, state) / point.v, len(sample.change))
        cross = sample.shapes @ (weight * sample.change * sample.sign)
        square = sample.squares @ weight
        best = int(np.argmax(0.5 * cross**2 / square + sample.lengths))
        return float(cross[best] / square[best]), float(GAMMAS[best])

    def _climb(self, state: Array, *, mean: bool) -> tuple[Array, _Point]:
        point = self._at(state)
        for _ in range(100):  # ordinary data need about six; a law without noise would climb for ever
            score = self._gradient(state, point)
            free = np.ones(len(state), dtype=bool)
            free[:2] = mean
            if self.heavy:
                at_end = state[-1] <= _LOG_NU[0] if score[-1] < 0 else state[-1] >= _LOG_NU[1]
                free[-1] = not at_end
            step = np.zeros(len(state))
            step[free] = self._step(score, free, state, point)
            # Shortened as a whole: cut one by one, the parts may point downhill and end the climb far from the top.
            step /= max(1.0, 0.5 * float(np.abs(step).max()))
            gain = float(score @ step)
            if gain < (_GAIN if mean else _ROUGH_GAIN):
                break
            length = 1.0
            while length > 1e-6:
                trial = state + length * step
                if self.heavy:
                    trial[-1] = min(max(trial[-1], _LOG_NU[0]), _LOG_NU[1])
                reached = self._at(trial)
                if reached.value > point.value:
                    break
                length *= 0.5
            else:
                break
            state, point = trial, reached
        return state, point

    def _step(self, score: Array, free: Array, state: Array, point: _Point) -> Array:
        """Return Newton's step of the free parameters, or that of Fisher scoring where the surface bends upwards."""
        block = self._observed(state, point)[np.ix_(free, free)]
        try:
            np.linalg.cholesky(block)
        except np.linalg.LinAlgError:
            block = self._expected(state, point)[np.ix_(free, free)]
            # The ridge matters only where the floor is all the noise there is and theta is free to fall.
            block += 1e-9 * np.trace(block) * np.eye(len(block))
        return np.linalg.solve(block, score[free])

    def _at(self, state: Array) -> _Point:
        sample, n = self.sample, len(self.sample.change)
        gamma = float(state[1])
        if self._shape is None or self._shape[0] != gamma:
            size = np.exp(np.minimum(gamma * sample.log_size, 300.0))
            self._shape = gamma, sample.sign * size, size_moments(sample.log_size, size)
        _, x, moments = self._shape
        above, v, log_v = self._scale(state[2 : 2 + self.columns])
        residual = sample.change - state[0] * x
        square = residual * residual
        square /= v
        value = -0.5 * log_v + self._prior(state, moments)
        base, log_base = None, 0.0
        if self.heavy:
            nu = math.exp(state[-1])
            base = 1.0 + square / nu
            constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
            log_base = _sum_logs(base)
            value += n * constant - (nu + 1) / 2 * log_base
        else:
            value -= 0.5 * float(square.sum()) + n * _NORMAL
        return _Point(x, v, above / v, residual, square, base, log_base, moments, value)

    def _prior(self, state: Array, moments: tuple[float, float]) -> float:
        """Return the logarithm of the length element and of the prior of the two slopes of the log-variance."""
        bend = state[3 : 2 + self.columns]
        return 0.5 * math.log(moments[0] + 1e-300) - 0.5 * _STIFF * float(bend @ bend)

    def _scale(self, theta: Array) -> tuple[Array | float, Array | float, float]:
        """Return the squared scale above the floor, the squared scale, and the sum of its logarithm."""
        floor = self.floor
        if self.columns == 1:
            above = math.exp(min(max(theta[0], -200.0), 200.0))
            return above, floor + above, len(self.sample.change) * math.log(floor + above)
        logs = np.clip(theta @ self.sample.basis, -200.0, 200.0)
        each = np.exp(logs)
        below = floor / each
        # Where the floor hardly counts its first order is exact to rounding, and spares the logarithms.
        log_v = float(logs.sum() + below.sum()) if below.max() < 1e-8 else float(np.log(floor + each).sum())
        return each, floor + each, log_v

    def _weight(self, point: _Point, state: Array) -> Array | float:
        """Return the weight of each residual, which Student-t lowers where it is large."""
        if point.base is None:
            return 1.0
        nu = math.exp(state[-1])
        return (nu + 1.0) / nu / point.base

    def _gradient(self, state: Array, point: _Point) -> Array:
        sample, k, score = self.sample, 2 + self.columns, np.zeros(len(state))
        weight = self._weight(point, state)
        pull = sample.powers[:2] @ (weight * point.residual / point.v * point.x)
        score[0], score[1] = pull[0], state[0] * pull[1] + point.length[1] / (point.length[0] + 1e-300)
        # With z the columns of the basis, the log-variance moves by z times the share above the floor.
        score[2:k] = 0.5 * sample.basis[: self.columns] @ (point.excess * (weight * point.square - 1.0))
        score[3:k] -= _STIFF * state[3:k]
        if point.base is not None:
            nu = math.exp(state[-1])
            pulled = 0.5 * (nu + 1) / nu * float(np.sum(point.square / point.base))
            score[-1] = pulled - 0.5 * nu * point.log_base + len(sample.change) * nu * _constant_slopes(nu)[0]
        return score

    def _observed(self, state: Array, point: _Point) -> Array:
        """Return minus the second derivatives, but for that of the length element.

        Fisher scoring crawls where the noise is not of the model's kind; Newton's steps do not.
        """
        sample, amplitude, k = self.sample, float(state[0]), 2 + self.columns
        rows, information = sample.basis[: self.columns], np.zeros((len(state), len(state)))
        weight, base = self._weight(point, state), 1.0 if point.base is None else point.base
        pull = weight * point.residual / point.v  # of the mean
        bent = weight / point.v * (2.0 / base - 1.0)  # minus its slope in the mean
        square, first = sample.powers @ (bent * point.x * point.x), sample.powers @ (pull * point.x)
        cross = amplitude * square[1] - first[1]
        information[:2, :2] = [[square[0], cross], [cross, amplitude**2 * square[2] - amplitude * first[2]]]
        slope = pull / base * point.excess * point.x
        information[0, 2:k] = rows @ slope
        information[1, 2:k] = amplitude * (rows @ (slope * sample.log_size))
        share = point.excess
        information[2:k, 2:k] = 0.5 * self._by_basis(
            weight * point.square / base * share**2 - (weight * point.square - 1.0) * share * (1.0 - share)
        )
        information[range(3, k), range(3, k)] += _STIFF
        if point.base is not None:
            nu, n = math.exp(state[-1]), len(sample.change)
            turn = (point.square - 1.0) / (nu * point.base**2)  # slope of the weight in ln nu
            moved = turn * point.residual / point.v * point.x
            information[:2, -1] = -(sample.powers[:2] @ moved) * [1.0, amplitude]
            information[2:k, -1] = -0.5 * (rows @ (turn * point.square * share))
            tail = point.square / point.base
            own = float(np.sum(tail / nu**2 - 0.5 * (nu + 1) / nu**3 * tail * (1.0 + 1.0 / point.base)))
            steep = 0.5 * (nu + 1) / nu**2 * float(tail.sum()) - 0.5 * point.log_base
            slopes = _constant_slopes(nu)
            information[-1, -1] = -(nu**2) * (own + n * slopes[1]) - nu * (steep + n * slopes[0])
        upper = np.triu(information, 1)
        return np.diag(information.diagonal()) + upper + upper.T

    def _expected(self, state: Array, point: _Point) -> Array:
        """Return the expected information (Lange, Little and Taylor 1989 for Student-t), which is always positive."""
        sample, amplitude, k = self.sample, float(state[0]), 2 + self.columns
        n, information = len(sample.change), np.zeros((len(state), len(state)))
        nu = math.exp(state[-1]) if self.heavy else math.inf
        shrink = (nu + 1) / (nu + 3) if self.heavy else 1.0
        aa, ag, gg = shrink * (sample.powers @ (point.x * point.x / point.v))
        # The small addition keeps a step where nothing tells gamma.
        information[:2, :2] = [[aa, amplitude * ag], [amplitude * ag, amplitude**2 * gg + 1e-3]]
        share = np.broadcast_to(point.excess, n)
        information[2:k, 2:k] = (0.5 * nu / (nu + 3) if self.heavy else 0.5) * self._by_basis(share**2)
        information[range(3, k), range(3, k)] += _STIFF
        if self.heavy:
            own = -_constant_slopes(nu)[1] + 0.5 / nu**2 - (nu + 5) / (2 * nu * (nu + 1) * (nu + 3))
            information[-1, -1] = n * max(nu**2 * own, 1e-12)
            cross = -nu / ((nu + 1) * (nu + 3)) * (sample.basis[: self.columns] @ share)
            information[-1, 2:k] = information[2:k, -1] = cross
        return information

    def _by_basis(self, values: Array) -> Array:
        """Return the sums of values times the products of the columns of the basis."""
        if self.columns == 1:
            return np.array([[values.sum()]])
        sums = self.sample.products @ values
        return sums[np.add.outer(np.arange(3), np.arange(3))]


def _constant_slopes(nu: float) -> tuple[float, float]:
    """Return first and second derivative in nu of the constant of Student-t's log density."""
    from scipy.special import digamma, polygamma

    first = 0.5 * float(digamma((nu + 1) / 2) - digamma(nu / 2)) - 0.5 / nu
    return first, 0.25 * float(polygamma(1, (nu + 1) / 2) - polygamma(1, nu / 2)) + 0.5 / nu**2


def _sum_logs(values: Array) -> float:
    """Return the sum of the logarithms of values from 1 up: of products of four, which spares three quarters."""
    even = len(values) - len(values) % 4
    return float(np.log(values[:even].reshape(4, -1).prod(axis=0)).sum() + np.log(values[even:]).sum())
