"""What a person reads after a verb."""

import pytest

from difffinance import summaries


@pytest.mark.parametrize(
    ("one_step", "resync", "said"),
    [
        (1.0, 1.0, "book verified: one-step 1.000000, resync 1.000000 of 7 messages"),
        (None, 1.0, "book verified: one-step not defined, resync 1.000000 of 7 messages"),
        (None, None, "nothing to verify in 7 messages"),
        (1.0, 0.25, "book NOT explained by its messages: one-step 1.000000, resync 0.250000 of 7 messages"),
    ],
)
def test_a_book_is_called_verified_only_where_its_messages_explain_it(one_step, resync, said):
    verification = {"one_step_exact": one_step, "resync_exact": resync, "messages": 7}
    text = summaries.fetched({"source": "lobster", "tables": [], "repairs": [], "verification": verification})
    assert said in text


def test_calibrated_shows_what_was_fitted_and_what_was_refused():
    fit = {
        "unit": "aggregate", "horizon_s": 10.0, "flow": "visible", "lam": 0.01, "lam_se": 0.002, "gamma": 0.4,
        "gamma_ci95": [0.3, 0.5], "r2": 0.35, "n_obs": 1324, "placebo": {"r2_95": 0.005},
        "rivals_r2_oos": {"power": 0.34, "linear": 0.21, "no_impact": 0.0},
    }  # fmt: skip
    splits = [{"horizon_s": 10.0, "inside_trades": 0.88, "standard_error": 0.1}]
    slopes = [{"name": "order-flow imbalance", "horizon_s": 10.0, "r2": 0.16}]
    levels = [{"horizon_s": 10.0, "levels": k, "r2_oos": 0.05 * k} for k in (1, 10)]
    answer = {
        "symbol": "TINY", "date": "2020-01-02", "synthetic": True, "fits": [fit],
        "refused": [{"unit": "bars", "horizon_s": None, "flow": None, "reason": "bars do not say"}],
        "by_trades": {"fits": [{**fit, "unit": "trades", "horizon_trades": 50}], "refused": []},
        "associations": {"slope_split": splits, "slopes": slopes, "imbalance_levels": levels},
        "costs": {
            "kind": "metaorder_prior", "source": "a paper", "temporary": 0.142, "exponent": 0.6, "permanent": 0.314,
            "decay": None,
        },
    }  # fmt: skip
    lines = summaries.calibrated(answer).splitlines()
    assert lines[0].startswith("TINY (synthetic), 2020-01-02")
    assert "gamma 0.400 [0.300, 0.500]" in lines[1]
    assert lines[2].strip().startswith("50 orders")
    assert lines[3] == "  refused: bars: bars do not say"
    assert lines[4] == "  R2 out of sample, 10 s: power 0.340, linear 0.210"
    assert lines[5].endswith("10 s 88% +/- 10%")
    assert lines[6].endswith("R2: 10 s 0.160")
    assert lines[7].endswith("10 levels, R2 out of sample: 10 s 0.500")
    assert "temporary 0.142 |q/V|^0.6, permanent 0.314 q/V" in lines[-1]
