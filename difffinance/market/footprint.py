"""What an agent's own trading left in the price, in `book` mode: measured, not charged."""

import numpy as np

from difffinance.records import Array


def impact_bps(filled: Array, mid_before: Array, mid_after: Array) -> float | None:
    """Return the mean move of the mid in the direction of own fills, weighted by their value, bps; None without fills.

    `1e4 * sum(filled * (mid_after - mid_before)) / sum(|filled| * mid_before)` over steps, `filled` signed units.
    It holds what others did in the same step, and is negative for who sells into rises (a market maker).
    """
    value = float(np.sum(np.abs(filled) * mid_before))
    return 1e4 * float(np.sum(filled * (mid_after - mid_before))) / value if value > 0 else None
