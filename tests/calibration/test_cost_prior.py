import pytest

from difffinance.calibration.costs import load_costs
from difffinance.config import CalibrationConfig
from difffinance.errors import InputError


def test_prior_is_the_published_one_with_its_intervals(lake):
    law = load_costs("SPX", lake=lake)
    assert (law.kind, law.temporary, law.exponent, law.permanent) == ("metaorder_prior", 0.142, 0.6, 0.314)
    assert law.permanent_ci == pytest.approx((0.314 - 1.96 * 0.041, 0.314 + 1.96 * 0.041), abs=1e-5)
    assert law.temporary_ci == pytest.approx((0.142 - 1.96 * 0.0062, 0.142 + 1.96 * 0.0062), abs=1e-5)
    assert law.exponent_ci == pytest.approx((0.6 - 1.96 * 0.038, 0.6 + 1.96 * 0.038), abs=1e-5)
    assert law.volume_base == ""


def test_inverse_turnover_enters_with_the_power_of_a_quarter(lake):
    law = load_costs("IBM", lake=lake, config=CalibrationConfig(inverse_turnover_days=256.0))
    assert law.permanent == pytest.approx(4 * 0.314)
    assert law.temporary == 0.142


def test_symbol_must_be_a_name(lake):
    with pytest.raises(InputError, match="symbol"):
        load_costs("../x", lake=lake)
