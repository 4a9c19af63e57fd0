"""The trader who forgets that trading moves prices."""

import numpy as np

from difffinance.agents.base import BarTrader
from difffinance.diffusion.constraints import project
from difffinance.diffusion.rules import plan_rules, position_limits
from difffinance.market.observation import STATE_INDEX
from difffinance.records import Array, Conditions


class NaiveTrader(BarTrader):
    """Jumps in one bar to the frictionless optimum `w* = f / (a sigma^2)`, as far as the rules allow."""

    name = "naive"

    def participation(self, conditions: Conditions, rng: np.random.Generator) -> Array:
        """Return the trade that reaches the frictionless aim at once, `(B,)` step volumes."""
        number = {name: conditions.state[:, i] for name, i in STATE_INDEX.items()}
        # f is in sigmas, so f sigma / (a sigma^2) = f / (a sigma)
        aim = number["signal"] / (number["risk_aversion"] * number["volatility"]) * number["capital"]
        target = np.clip(aim, *position_limits(conditions))
        return project((target - number["position"])[:, None], plan_rules(conditions, 1))[:, 0]
