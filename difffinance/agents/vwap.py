"""Execution in proportion to the volume that is expected: volume-weighted average price."""

from collections.abc import Sequence

import numpy as np

from difffinance.agents.execution import ScheduledAgent
from difffinance.errors import InputError
from difffinance.market.options import check_count, is_finite
from difffinance.records import Array


def u_shape(steps: int, depth: float) -> Array:
    """Return the relative volume of each of `steps` steps of a session, mean 1: that of the background flow.

    `depth` is `FlowConfig.intraday`; the intensity is `1 + depth * (12 (x - 1/2)^2 - 1)` at the fraction x of the day.
    """
    if not 0.0 <= depth < 1.0:
        raise InputError(f"depth = {depth} is not allowed. Allowed: 0 or more, below 1.")
    edges = np.linspace(-0.5, 0.5, check_count(steps, "steps") + 1)
    return 1.0 + depth * (4.0 * np.diff(edges**3) * steps - 1.0)


class VwapAgent(ScheduledAgent):
    """Trades `quantity` mean step volumes in parts proportional to `profile`, the volume expected in each step.

    Without a profile it is the U-shape of a session of `steps` steps.
    """

    kind = "vwap"

    def __init__(
        self, seat: int = 0, *, quantity: float = 10.0, steps: int = 50, profile: Sequence[float] | None = None
    ) -> None:
        given = [0.0] if profile is None else profile
        if np.ndim(given) != 1 or len(given) < 1 or not all(is_finite(part) and part >= 0 for part in given):
            raise InputError(f"profile must hold one volume per step, 0 or more; got {str(profile)[:80]}.")
        volume = u_shape(steps, 0.4) if profile is None else np.array(profile, float)
        if not volume.sum() > 0:
            raise InputError("profile holds no volume at all. Allowed: at least one step above 0.")
        super().__init__(seat, quantity=quantity, done_by=np.cumsum(volume) / volume.sum())
