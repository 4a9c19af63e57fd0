"""What the fit would look like if flow said nothing, and what it says about data it has not seen."""

import numpy as np

from difffinance.calibration.intervals import optimal_block
from difffinance.calibration.likelihood import Fit, Sample
from difffinance.calibration.maximum import fit_noise_model

_BATCH = 32  # shuffles at a time


def shuffle_placebo(sample: Sample, r2: float, *, permutations: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95th percentile of R2 with flow shuffled in blocks, and the permutation p-value of `r2`.

    Blocks as long as the memory of flow and of price changes ask (at most a twentieth of the sample) are put in
    random order, which keeps both memories and breaks the link. Each placebo takes the gamma with the largest R2, so it
    errs on the side of refusing. With B shuffles the p-value is (1 + #{R2* >= r2}) / (B + 1).
    """
    n = len(sample.change)
    x = sample.sign * np.exp(0.5 * sample.log_size)
    block = min(max(optimal_block(x), optimal_block(sample.change)), max(n // 20, 1))
    count = -(-n // block)
    shapes = sample.shapes * sample.sign
    shapes /= np.sqrt(np.sum(shapes**2, axis=1))[:, None]
    total = float(sample.change @ sample.change)
    found, steps = np.empty(permutations), np.arange(block)
    for start in range(0, permutations, _BATCH):
        shuffled = np.empty((n, min(_BATCH, permutations - start)))
        for column in shuffled.T:
            # Moving blocks of changes past the flow is the same as moving blocks of flow past the changes.
            rows = (rng.permutation(count)[:, None] * block + steps).ravel()
            column[:] = sample.change[rows[rows < n] - rng.integers(n)]  # an index below 0 counts from the end
        found[start : start + _BATCH] = np.max((shapes @ shuffled) ** 2, axis=0) / total
    p_value = (1 + int(np.sum(found >= r2))) / (permutations + 1)
    return float(np.quantile(found, 0.95)), p_value


def out_of_sample_r2(sample: Sample, whole: Fit, *, folds: int) -> float:
    """Return 1 - squared error / squared change, each contiguous fold predicted from the others.

    `whole` is the fit to all of the sample: it names the noise model and where its search may start.

    The benchmark is "no impact", so a law that only fits noise comes out negative.
    """
    n = len(sample.change)
    error = 0.0
    for held in np.array_split(np.arange(n), folds):
        rest = np.delete(np.arange(n), held)
        fit = fit_noise_model(sample.take(rest), whole.noise, near=whole)
        miss = sample.change[held] - sample.take(held).predict(fit.amplitude, fit.gamma)
        error += float(miss @ miss)
    return 1.0 - error / float(sample.change @ sample.change)
