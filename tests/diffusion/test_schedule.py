import numpy as np
import pytest

from difffinance.diffusion import NoiseSchedule
from difffinance.errors import InputError


def test_linear_schedule_ends_at_the_published_level():
    assert NoiseSchedule.linear(1e-4, 0.02, 1000).alphabar[-1] == pytest.approx(4.04e-5, rel=2e-3)


def test_cosine_schedule_is_the_paper_formula_before_the_clip():
    schedule = NoiseSchedule.cosine(1000)
    curve = np.cos((np.array([0, 500]) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    assert schedule.alphabar[499] == pytest.approx(curve[1] / curve[0], rel=1e-12)
    assert (np.diff(schedule.alphabar) < 0).all() and schedule.betas.max() <= 0.999


@pytest.mark.parametrize("spacing", ["time", "log_snr"])
@pytest.mark.parametrize("steps", [1, 3, 50, 999, 1000])
def test_grids_hold_distinct_falling_times_from_the_top(spacing, steps):
    times = NoiseSchedule.linear().grid(steps, spacing)
    assert len(times) == steps and times[0] == 999 and times[-1] >= 0 and (np.diff(times) < 0).all()


@pytest.mark.parametrize("steps", [0, 1001])
def test_too_few_or_too_many_steps_are_refused(steps):
    with pytest.raises(InputError, match="1 to 1000"):
        NoiseSchedule.linear().grid(steps)
