"""How much signal is left at each step of the forward process: `x_t = a_t x_0 + s_t e`, `a_t^2 = alphabar_t`."""

from dataclasses import dataclass

import numpy as np

from difffinance.errors import InputError
from difffinance.records import Array


@dataclass(frozen=True)
class NoiseSchedule:
    """`alphabar[t]` for t = 0 .. T-1, falling; t = -1 stands for the clean sample (alphabar 1)."""

    kind: str
    betas: Array

    @classmethod
    def linear(cls, start: float = 1e-4, end: float = 0.02, steps: int = 1000) -> "NoiseSchedule":
        """Return betas on a straight line (Ho, Jain & Abbeel 2020)."""
        _check(steps)
        if not 0 < start <= end < 1:
            raise InputError(f"betas must satisfy 0 < start <= end < 1; got {start} and {end}.")
        return cls("linear", np.linspace(start, end, steps))

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008) -> "NoiseSchedule":
        """Return the cosine schedule (Nichol & Dhariwal 2021, eq. 17), betas at most 0.999."""
        _check(steps)
        angle = (np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2
        curve = np.cos(angle) ** 2
        return cls("cosine", np.minimum(1.0 - curve[1:] / curve[:-1], 0.999))

    @property
    def alphabar(self) -> Array:
        """The share of signal variance left, `(T,)`."""
        return np.cumprod(1.0 - self.betas)

    def __len__(self) -> int:
        return len(self.betas)

    def grid(self, steps: int, spacing: str = "time") -> Array:
        """Return `steps` distinct times from T-1 downwards: evenly spaced in `time` or in `log_snr`."""
        total = len(self)
        if not 1 <= steps <= total:
            raise InputError(f"steps must be 1 to {total} (the length of the noise schedule); got {steps}.")
        if spacing == "time":
            return np.rint(total * np.arange(steps, 0, -1) / steps).astype(int) - 1
        level = np.log(self.alphabar) - np.log1p(-self.alphabar)
        wanted = np.linspace(level[-1], level[0], steps + 1)[:-1] if steps < total else level[::-1]
        times = np.rint(np.interp(wanted, level[::-1], np.arange(total)[::-1])).astype(int)
        times = np.maximum(times, np.arange(steps - 1, -1, -1))
        for i in range(1, steps):
            times[i] = min(times[i], times[i - 1] - 1)
        return times


def _check(steps: int) -> None:
    if steps < 2:
        raise InputError(f"a noise schedule needs at least 2 steps; got {steps}.")
