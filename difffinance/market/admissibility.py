"""What the two tests of a law offered for costs found (SCIENCE 2.1b)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Admissibility:
    """What the two tests found."""

    slices: tuple[int, ...]
    slicing_costs: tuple[float, ...]  # price per unit traded, for each number of slices
    slicing_converges: bool
    round_trip_profit: float  # the best found, price per unit bought; positive means free money
    round_trip: tuple[float, ...]  # its trades (its rates, for a transient law; none if it is a limit)
    round_trip_share: float = np.nan  # of a transient law: that profit over the cost of buying evenly in the same time

    @property
    def admissible(self) -> bool:
        """Tell whether trades may be charged by the law."""
        return self.slicing_converges and not self.free_money

    @property
    def free_money(self) -> bool:
        """Tell whether a round trip pays, beyond rounding."""
        if np.isfinite(self.round_trip_share):
            return self.round_trip_share > 1e-6
        return self.round_trip_profit > 1e-9 * abs(self.slicing_costs[0])
