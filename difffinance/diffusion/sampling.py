"""Samplers: plain functions of a denoiser, a schedule and random numbers. The network knows nothing about them.

With `x_t = a_t x_0 + s_t e` and the predicted noise `e`, every method first forms `x0 = (x_t - s_t e) / a_t`:

- `ddpm` (Ho, Jain & Abbeel 2020): draws from the Gaussian posterior of the next time given x_t and x0 (variance
  beta-tilde; on a strided grid, that of the strided chain), no noise in the last step;
- `ddim` (Song, Meng & Ermon 2021, eta 0): `a_next x0 + s_next e`; first order;
- `dpmsolver++2m` (Lu et al. 2022, algorithm 2): second order in log-SNR from two predictions of x0; its first and last
  step are first order, as nothing is known before the first and log-SNR ends at infinity.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from difffinance.diffusion.constraints import PlanConstraints, project
from difffinance.diffusion.schedule import NoiseSchedule
from difffinance.errors import InputError

METHODS = ("ddpm", "ddim", "dpmsolver++2m")


def check_method(method: str) -> None:
    """Refuse a sampling method that is not known."""
    if method not in METHODS:
        raise InputError(f"sampling method '{method}' is not known. Allowed: {', '.join(METHODS)}.")


def sample(
    denoiser: Callable[[Any, int, Any], Any],
    shape: Sequence[int],
    *,
    schedule: NoiseSchedule,
    method: str,
    steps: int,
    rng: Any,
    conditions: Any = None,
    guidance: float | None = None,
    constraints: PlanConstraints | None = None,
) -> Any:
    """Return samples of `shape`: an array for a numpy `Generator`, a tensor for a torch `Generator`.

    `denoiser(x_t, t, conditions)` predicts the noise; t is a whole number, 0 .. T-1. `guidance` w > 0 calls it a
    second time with conditions None and uses `(1 + w) e_c - w e_u`: this claims the law of the guided probability
    flow, not the tilted density `p_c^(1+w) p_u^(-w)` (SCIENCE 7). `constraints` are met by one projection at the end,
    exactly; that is not conditioning (SCIENCE 8).
    """
    check_method(method)
    times = schedule.grid(steps, "log_snr" if method == "dpmsolver++2m" else "time")
    alphabar = schedule.alphabar
    draw = _normal(rng, tuple(int(n) for n in shape))
    x, before = draw(), None
    for i, t in enumerate(times):
        noise = _predict(denoiser, x, int(t), conditions, guidance)
        here = float(alphabar[t])
        there = float(alphabar[times[i + 1]]) if i + 1 < steps else 1.0
        clean = (x - (1 - here) ** 0.5 * noise) / here**0.5
        if method == "ddpm":
            x = _ddpm(x, clean, here, there, draw)
        elif method == "ddim":
            x = there**0.5 * clean + (1 - there) ** 0.5 * noise
        else:
            older = float(alphabar[times[i - 1]]) if i else None
            x = _second_order(x, clean, before, older, here, there)
            before = clean
    return x if constraints is None else project(x, constraints)


def _normal(rng: Any, shape: tuple[int, ...]) -> Callable[[], Any]:
    """Return a function that draws standard normal numbers of `shape` from either kind of generator."""
    if isinstance(rng, np.random.Generator):
        return lambda: rng.standard_normal(shape)
    if type(rng).__module__.startswith("torch"):
        import torch

        return lambda: torch.randn(shape, generator=rng, device=rng.device)
    raise InputError(f"rng must be a numpy Generator or a torch Generator; got {type(rng).__name__}.")


def _predict(denoiser: Callable, x: Any, t: int, conditions: Any, guidance: float | None) -> Any:
    noise = denoiser(x, t, conditions)
    if guidance:
        noise = (1.0 + guidance) * noise - guidance * denoiser(x, t, None)
    if isinstance(x, np.ndarray) and hasattr(noise, "detach"):
        noise = noise.detach().cpu().numpy()
    return noise


def _ddpm(x: Any, clean: Any, here: float, there: float, draw: Callable[[], Any]) -> Any:
    alpha = here / there
    mean = there**0.5 * (1 - alpha) / (1 - here) * clean + alpha**0.5 * (1 - there) / (1 - here) * x
    if there == 1.0:
        return mean
    return mean + ((1 - alpha) * (1 - there) / (1 - here)) ** 0.5 * draw()


def _second_order(x: Any, clean: Any, before: Any, older: float | None, here: float, there: float) -> Any:
    if there == 1.0:
        return clean
    step = _log_snr(there) - _log_snr(here)
    if before is not None and older is not None:
        ratio = (_log_snr(here) - _log_snr(older)) / step
        clean = clean + (clean - before) / (2 * ratio)
    return ((1 - there) / (1 - here)) ** 0.5 * x - there**0.5 * np.expm1(-step) * clean


def _log_snr(alphabar: float) -> float:
    """Return lambda = log(a / s)."""
    return 0.5 * float(np.log(alphabar) - np.log1p(-alphabar))
