"""calibrate: the impact law from order-book data, and the cost law that may be charged."""

from difffinance.calibration.impact import calibrate_impact, fit_impact_law

__all__ = ["calibrate_impact", "fit_impact_law"]
