"""Execution at equal pace: time-weighted average price."""

import numpy as np

from difffinance.agents.execution import ScheduledAgent
from difffinance.market.options import check_count


class TwapAgent(ScheduledAgent):
    """Trades `quantity` mean step volumes in `steps` equal parts."""

    kind = "twap"

    def __init__(self, seat: int = 0, *, quantity: float = 10.0, steps: int = 50) -> None:
        steps = check_count(steps, "steps")
        super().__init__(seat, quantity=quantity, done_by=np.arange(1, steps + 1) / steps)
