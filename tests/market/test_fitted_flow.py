import json
from dataclasses import replace

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market.floor import EVENTS, submit
from difffinance.market.flow_fits import flow_fit_from_json, flow_fit_to_json, load_flow_fit
from difffinance.market.flow_state import ANSWERED, LOG_VALUE
from difffinance.market.matching import CANCEL, LIMIT, MARKET
from difffinance.market.rules import session_rules
from difffinance.market.scale import measure_flow
from difffinance.market.venue import Venue
from tests.market.fitted_twin import FittedTwin

MODELS = ("fitted", "queue_reactive", "santa_fe")


def market(model, seats=0, fit=None):
    config = MarketConfig(flow_model=model, start_price=572.0, price_limit=None)
    venue = Venue(config, session_rules(config), np.full(seats, 1e9), np.zeros(seats, np.int64), fit=fit)
    return venue


def messages(model, seconds=1800.0, seed=1, fit=None):
    venue, rng = market(model, fit=fit), np.random.default_rng(seed)
    venue.run_flow(rng, 900.0)
    venue.clear_step()
    venue.run_flow(rng, 900.0 + seconds)
    return venue.floor.events[: venue.floor.counts[EVENTS]].copy(), venue


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_decides_and_the_book_is_sound(model):
    events, venue = messages(model)
    assert np.array_equal(events, messages(model)[0])
    assert len(events) != len(messages(model, seed=2)[0])
    assert set(np.unique(events["kind"])) == {LIMIT, CANCEL, MARKET}
    assert (np.diff(events["ts"]) >= 0).all() and (events["code"] == 0).mean() > 0.99
    assert venue.book.best_bid < venue.book.best_ask
    assert venue.floor.cash.sum() == venue.floor.inventory.sum() == 0


def test_only_the_fitted_flow_comes_in_bursts():
    def variation(model):
        gaps = np.diff(np.unique(messages(model, 3600.0)[0]["ts"]))
        return gaps.std() / gaps.mean()

    assert variation("fitted") > 2.0
    assert variation("queue_reactive") == pytest.approx(1.0, abs=0.15)
    assert variation("santa_fe") == pytest.approx(1.0, abs=0.1)


def test_rates_and_distances_of_the_unit_model_are_those_planted():
    tables = json.loads(json.dumps(load_flow_fit("GOOG").tables_by_name))
    tables["unit"] = [1.5, 0.2, 60.0]
    tables["unit_limit"] = np.cumsum(np.where(np.arange(300) < 50, 1 / 50, 0.0)).clip(max=1.0).tolist()
    tables["unit_cancel"] = [0.05] * 300
    events, venue = messages("santa_fe", 6000.0, fit=replace(load_flow_fit("GOOG"), tables_by_name=tables))
    limit, taken = events[events["kind"] == LIMIT], events[events["kind"] == MARKET]
    assert len(limit) == pytest.approx(18_000, abs=4 * 18_000**0.5)
    assert len(taken) == pytest.approx(2400, abs=4 * 2400**0.5)
    assert (limit["quantity"] == 60).all()
    # 2.6 orders a second more arrive than are taken, and each is cancelled at a rate of 0.05.
    alive = np.count_nonzero(venue.floor.orders["quantity"])
    assert alive == pytest.approx(2.6 / 0.05, abs=4 * 52**0.5)


def test_a_seat_that_acts_excites_the_flow_once():
    venue, rng = market("fitted", seats=1), np.random.default_rng(4)
    venue.run_flow(rng, 900.0)
    waits = []
    for side in (1, -1, 1, -1, 1, -1, 1, -1):
        venue.clear_step()
        now = float(venue.flow.clock[0])
        for k in range(20):
            submit(venue.floor_handle, int(now * 1e9) + 1 + k, MARKET, side, 0, 10, 0)
        before = int(venue.flow.due[0])
        venue.run_flow(rng, now)
        waits.append(int(venue.flow.due[0]) - before)
        assert venue.flow.clock[ANSWERED] == int(now * 1e9) + 20
        due = int(venue.flow.due[0])
        venue.run_flow(rng, now)
        assert venue.flow.due[0] <= due  # no second answer to the same orders
        venue.run_flow(rng, now + 5.0)
    assert np.mean(waits) > 5.0


@pytest.mark.slow
def test_units_of_agents_are_measured_under_every_model():
    for model in MODELS:
        scale = measure_flow(MarketConfig(flow_model=model, start_price=572.0))
        assert scale.volume > 10 and 1e-5 < scale.volatility < 1e-2
        assert scale.temporary > 0 and scale.permanent >= 0


def test_a_fit_survives_its_file(tmp_path):
    fit, path = load_flow_fit("GOOG"), tmp_path / "flow.json"
    path.write_text(json.dumps(flow_fit_to_json(fit)))
    assert load_flow_fit(str(path)) == fit
    assert fit.branching_ratio < 1.0 and "GOOG" in str(fit)


def test_fits_that_make_no_sense_are_refused(tmp_path):
    good = flow_fit_to_json(load_flow_fit("GOOG"))
    with pytest.raises(InputError, match="Allowed: GOOG"):
        load_flow_fit("XYZ")
    (tmp_path / "cut.json").write_text('{"symbol": ')
    with pytest.raises(InputError, match="no JSON"):
        load_flow_fit(str(tmp_path / "cut.json"))
    earlier = {name: value for name, value in good.items() if name != "order_size"}
    for bad in ({"symbol": "X"}, earlier):
        with pytest.raises(InputError, match=r"fields.*calibrate SYMBOL --flow"):
            flow_fit_from_json(bad)
    for table, value, words in (
        ("decay", [1.0], "finite numbers"),
        ("unit", [1.0, float("nan"), 1.0], "finite"),
        ("mean", [9.0, 9, 9, 9], "branching"),
    ):
        with pytest.raises(InputError, match=words):
            flow_fit_from_json({**good, "tables_by_name": {**good["tables_by_name"], table: value}})
    with pytest.raises(InputError, match="missing or unknown: decay"):
        flow_fit_from_json(
            {**good, "tables_by_name": {k: v for k, v in good["tables_by_name"].items() if k != "decay"}}
        )


def test_what_a_gap_brings_is_handed_down_by_the_branching():
    """Market orders alone: children on their parent's side keep its lean, those on either side dilute it."""
    fit = load_flow_fit("GOOG")
    tables = json.loads(json.dumps(fit.tables_by_name))
    missed = fit.value_lean * (1.0 - sum(tables["sign_weight"]))
    for same, expected in ((1.0, missed), (0.5, 0.6 * missed)):
        shares = np.zeros((4, 3, 2, 7))
        shares[:, 2, 0, 0], shares[:, 2, 1, 0] = same, 1.0 - same
        changed = {"children": np.cumsum(shares.reshape(4, 42), axis=1).tolist(), "mean": [0.0, 0.0, 0.4, 0.4],
                   "met": [1.0, 1.0, 1.0], "base": [0.0, 0.0, 0.2]}  # fmt: skip
        assert replace(fit, tables_by_name=tables | changed).gap_sign == pytest.approx(expected, rel=1e-9)


def test_the_kernel_does_what_its_plain_twin_does():
    venue, rng = market("fitted"), np.random.default_rng(11)
    venue.run_flow(rng, 240.0)
    twin = FittedTwin(venue.flow.tables[0], venue.flow.p, 57_200.0, np.random.default_rng(11))
    twin.run(240.0)
    events = venue.floor.events[: venue.floor.counts[EVENTS]]
    found = [events[name].tolist() for name in ("ts", "kind", "side", "order_id", "price", "quantity", "done")]
    assert list(zip(*found, strict=True)) == twin.events
    assert len(events) > 500 and {LIMIT, CANCEL, MARKET} == set(found[1])
    assert venue.flow.clock[LOG_VALUE] == pytest.approx(twin.value, abs=1e-12)
