"""The dynamic rule of Garleanu & Pedersen (J. Finance 68(6) 2013) for one asset: the yardstick on bars.

In units of `sigma * wealth` a bar is worth `w f - kappa/2 w^2 - lam/2 y^2` with w the position after the trade y
(both fractions of wealth), f the signal in sigmas that keeps `phi = 1 - signal_decay` per bar, `kappa = a sigma`.
The value function is `-A/2 w^2 + B w f + ...` with `A^2 + kappa A - lam kappa = 0` and
`B = lam / (kappa + lam + A - lam phi)` (the Riccati equations of Proposition 1 without discounting), so that

    y = (kappa + A) / (kappa + lam + A) * (aim - w),   aim = (1 + B phi) f / (kappa + A).
"""

import numpy as np

from difffinance.agents.base import BarTrader
from difffinance.diffusion.constraints import project
from difffinance.diffusion.rules import plan_rules, position_limits
from difffinance.market.observation import STATE_INDEX
from difffinance.records import Array, Conditions


class GarleanuPedersenTrader(BarTrader):
    """Trades each bar a fixed part of the way to an aim that is smaller for signals that fade.

    Where the state's cost exponent is not 1, the quadratic cost that equals the power law at
    `reference_participation` takes its place. Linear costs are outside the rule. The aim is held inside the position
    limits and the trade inside the rules.
    """

    name = "garleanu_pedersen"

    def __init__(self, reference_participation: float = 0.01) -> None:
        self.reference_participation = reference_participation

    def participation(self, conditions: Conditions, rng: np.random.Generator) -> Array:
        """Return the trade of the next bar, `(B,)` step volumes."""
        rate, aim = self.rate_and_aim(conditions)
        capital = conditions.state[:, STATE_INDEX["capital"]]
        position = conditions.state[:, STATE_INDEX["position"]]
        target = np.clip(aim * capital, *position_limits(conditions))
        return project((rate * (target - position))[:, None], plan_rules(conditions, 1))[:, 0]

    def rate_and_aim(self, conditions: Conditions) -> tuple[Array, Array]:
        """Return the part of the way traded per bar and the aim (fraction of wealth), `(B,)` each, before rules."""
        number = {name: conditions.state[:, i] for name, i in STATE_INDEX.items()}
        kappa = number["risk_aversion"] * number["volatility"]
        steepness = number["temporary_impact"] * self.reference_participation ** (number["temporary_exponent"] - 1.0)
        lam = number["capital"] * (2.0 * steepness + number["permanent_impact"])
        phi = 1.0 - number["signal_decay"]
        a = (np.sqrt(kappa**2 + 4.0 * lam * kappa) - kappa) / 2.0
        total = kappa + lam + a
        b = lam / (total - lam * phi)
        return (kappa + a) / total, (1.0 + b * phi) * number["signal"] / (kappa + a)
