"""Execution that weighs impact against risk: the optimal schedule of Almgren & Chriss (J. Risk 3(2), 2000)."""

import math
from dataclasses import dataclass

import numpy as np

from difffinance.agents.execution import ScheduledAgent
from difffinance.errors import InputError
from difffinance.market.options import check_count, check_not_negative, check_positive
from difffinance.records import Array


@dataclass(frozen=True)
class AlmgrenChrissSchedule:
    """The schedule, `kappa` per unit of time, and its expected cost and variance of cost, money."""

    kappa: float
    holdings: Array  # (N+1,) left to trade at t_0..t_N
    trades: Array  # (N,)
    expected_cost: float
    variance: float


def almgren_chriss_schedule(
    X: float, T: float, N: int, *, sigma: float, eta: float, gamma: float, risk: float, epsilon: float = 0.0
) -> AlmgrenChrissSchedule:
    """Return the schedule that minimises `E + risk * V` (the paper's eqs. 17-20).

    X units in N steps over T; `sigma` price per root unit of time, `eta` and `epsilon` temporary impact
    `epsilon sign(n) + eta n / tau`, `gamma` permanent impact per unit, `risk` per unit of money.
    """
    N = check_count(N, "N")
    check_positive(T=T, eta=eta)
    check_not_negative(sigma=sigma, gamma=gamma, risk=risk, epsilon=epsilon)
    if not np.isfinite(X):
        raise InputError(f"X = {X} is not allowed. Allowed: finite.")
    tau = T / N
    eta_tilde = eta - gamma * tau / 2
    if eta_tilde <= 0:
        raise InputError(f"eta - gamma tau / 2 = {eta_tilde:g} must be above 0; take more steps than N = {N}.")
    kappa = math.acosh(1 + risk * sigma**2 / eta_tilde * tau**2 / 2) / tau
    holdings = X * remaining_fractions(kappa * tau, N)
    trades = -np.diff(holdings)
    cost = gamma * X**2 / 2 + epsilon * np.abs(trades).sum() + eta_tilde / tau * (trades**2).sum()
    variance = sigma**2 * tau * (holdings[1:] ** 2).sum()
    return AlmgrenChrissSchedule(kappa, holdings, trades, float(cost), float(variance))


def remaining_fractions(kappa: float, steps: int) -> Array:
    """Return `sinh(kappa (N - j)) / sinh(kappa N)`, `(N+1,)`, with `kappa` per step; a straight line for 0."""
    left = np.arange(steps, -1, -1)
    if kappa * steps < 1e-6:
        return left / steps
    # exp(-kappa j) (1 - exp(-2 kappa (N-j))) / (1 - exp(-2 kappa N)): no overflow for a hurried trader.
    return np.exp(-kappa * (steps - left)) * np.expm1(-2 * kappa * left) / np.expm1(-2 * kappa * steps)


class AlmgrenChrissAgent(ScheduledAgent):
    """Trades `quantity` mean step volumes in `steps`, fast at first: `kappa` per step, 0 for equal pace.

    `almgren_chriss_schedule` gives kappa from impact, volatility and risk aversion.
    """

    kind = "almgren_chriss"

    def __init__(self, seat: int = 0, *, quantity: float = 10.0, steps: int = 50, kappa: float = 0.05) -> None:
        steps = check_count(steps, "steps")
        check_not_negative(kappa=kappa)
        super().__init__(seat, quantity=quantity, done_by=1.0 - remaining_fractions(kappa, steps)[1:])
        self.kappa = kappa
