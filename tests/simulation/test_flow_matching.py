import numpy as np
import pytest

from difffinance.calibration.visible_day import visible_day
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.flow_fits import load_flow_fit
from difffinance.simulation.flow_matching import FACTORS, adjusted, flow_loss, match_flow, target_of
from difffinance.simulation.realism import compare_days, improvement, realism_table
from difffinance.simulation.simulated_day import simulate_day

CONFIG = MarketConfig(flow_model="fitted", start_price=572.0, price_limit=None, session_seconds=2400.0)


def factors(**values):
    return np.array([values.get(name, 0.0) for name in FACTORS])


def test_factors_move_what_they_name():
    fit = load_flow_fit("GOOG")
    same, moved = (
        adjusted(fit, factors()),
        adjusted(fit, factors(inside=np.log(2), lives=1.0, market_orders=np.log(3), pull=0.5)),
    )
    assert np.abs(same.table("place") - fit.table("place")).max() < 1e-9 and same.value_lean == pytest.approx(
        fit.value_lean
    )

    def odds(which):
        inside = which.table("place")[:, 0]
        return inside / (1.0 - which.table("place")[:, 1])

    assert odds(moved) / odds(fit) == pytest.approx(2.0, rel=1e-6)
    assert moved.table("life") - fit.table("life") == pytest.approx(1.0)
    assert moved.value_pull / fit.value_pull == pytest.approx(np.exp(0.5)) and same.value_pull == fit.value_pull
    assert moved.table("base") / np.array([1, 1, 3.0]) == pytest.approx(fit.table("base"), abs=1e-9)


@pytest.mark.parametrize("given", [{"rounds": 0}, {"seeds": ()}, {"factors": ()}, {"factors": ("inside", "speed")}])
def test_a_search_for_nothing_is_refused(given):
    with pytest.raises(
        InputError, match=r"rounds must be 1 or more|factors are .*Allowed: one or more of inside, lives"
    ):
        match_flow(load_flow_fit("GOOG"), None, np.arange(3), CONFIG, **given)


@pytest.mark.slow
def test_matching_brings_a_bent_fit_back_towards_the_day():
    """Short days differ much: of six such searches one came to .87 of the bent fit's loss, the others to .27 to .67."""
    fit, blocks, losses = load_flow_fit("GOOG"), np.arange(8), []
    bent, fresh = adjusted(fit, factors(inside=1.5)), (11, 12, 13, 14)  # days that no search sees
    for seed, searched in ((77, (1, 2, 3)), (78, (41, 42, 43))):
        day = simulate_day(CONFIG, seed, fit=fit)
        found = match_flow(bent, day, blocks, CONFIG, factors=("inside", "touch_lives"), rounds=1, seeds=searched)
        losses.append([flow_loss(which, target_of(day, blocks), CONFIG, fresh) for which in (found, bent)])
        assert (found.table("place") <= bent.table("place") + 1e-9).all()
    matched, before = np.sum(losses, axis=0)
    assert matched < 0.8 * before


@pytest.mark.slow
def test_the_judgement_tells_a_model_from_itself_and_from_another():
    fit, blocks = load_flow_fit("GOOG"), np.arange(8)
    real = simulate_day(CONFIG, 77, fit=fit)
    other = CONFIG.model_copy(update={"flow_model": "santa_fe"})
    days = {"fitted": [simulate_day(CONFIG, 5, fit=fit)], "santa_fe": [simulate_day(other, 5, fit=fit)]}
    compared = compare_days(real, days, blocks[::2], blocks[1::2], np.random.default_rng(0), resamples=50)
    better = improvement(compared["fitted"]["wasserstein"], compared["santa_fe"]["wasserstein"])
    assert better.interval()[0] > 0.2
    table = realism_table(compared)
    assert set(table["model"]) == {"floor", "fitted", "santa_fe"} and table.null_count().sum_horizontal().item() == 0
    assert visible_day(real).blocks.max() == 7
