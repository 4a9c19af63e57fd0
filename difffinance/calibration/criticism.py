"""Model criticism: what other shapes of impact would have predicted of data they have not seen.

Every shape `sign(q) h(|q|)` is fitted by least squares on all contiguous folds but one and predicts that one; the
benchmark of R2 is "no impact" (a prediction of 0). The power law is the likelihood fit that is reported.
"""

import numpy as np

from difffinance.calibration.likelihood import Fit, Sample
from difffinance.calibration.placebo import out_of_sample_r2
from difffinance.records import Array


def compare_shapes(sample: Sample, fit: Fit, *, folds: int) -> dict[str, float]:
    """Return the out-of-sample R2 of the power law and of its rivals.

    `linear` is h = |q|, `square_root` h = |q|^(1/2), `logarithmic` h = ln(1 + |q| / geometric mean of sizes),
    `constant` h = 1 (the sign alone), `no_impact` 0.
    """
    size = np.exp(sample.log_size)  # over the geometric mean
    shapes = {
        "linear": size,
        "square_root": np.sqrt(size),
        "logarithmic": np.log1p(size),
        "constant": np.ones_like(size),
    }
    found = {"power": out_of_sample_r2(sample, fit, folds=folds)}
    found |= {name: _predict(sample.sign * h, sample.change, folds) for name, h in shapes.items()}
    return {**found, "no_impact": 0.0}


def _predict(x: Array, y: Array, folds: int) -> float:
    error = 0.0
    for held in np.array_split(np.arange(len(y)), folds):
        rest = np.delete(np.arange(len(y)), held)
        slope = float(x[rest] @ y[rest]) / float(x[rest] @ x[rest])
        error += float(np.sum((y[held] - slope * x[held]) ** 2))
    return 1.0 - error / float(y @ y)
