import json
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.config import MarketConfig
from difffinance.errors import InputError
from difffinance.market import steps
from difffinance.market.bursts import AHEAD, PARTIAL, TAKE, answer_seats
from difffinance.market.environment import MarketEnvironment
from difffinance.market.floor import submit, withdraw
from difffinance.market.flow_fits import flow_fit_from_json, flow_fit_to_json, load_flow_fit
from difffinance.market.flow_state import ANSWERED, LOG_VALUE, NOW, TAKES_AHEAD, VALUE_SD
from difffinance.market.matching import CANCEL, LIMIT, MARKET
from difffinance.market.rules import session_rules
from difffinance.market.scale import measure_flow
from difffinance.market.seat_lessons import learn_from_seat
from difffinance.market.settlement import EVENTS, LAST_ASK, LAST_BID, MID
from difffinance.market.venue import Venue
from tests.market.fitted_twin import FittedTwin, bucket
from tests.market.queue_reactive_twin import QueueReactiveTwin

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


def answered(venue, rng, *messages):
    """Let a seat send (kind, side, lots), a cancellation of its oldest quote that stands; return the children."""
    venue.clear_step()
    venue.make_room(1000)
    now, floor, marks = (
        int(max(venue.flow.clock[NOW] * 1e9, venue.flow.clock[ANSWERED])),
        venue.floor_handle,
        venue.floor.marks,
    )
    for k, (kind, side, lots) in enumerate(messages):
        if kind == CANCEL:
            orders = venue.floor.orders
            mine = np.flatnonzero((orders["owner"] == 0) & (orders["quantity"] > 0) & (orders["side"] == side))
            withdraw(floor, now + 1 + k, mine[0], 0)
        else:
            submit(floor, now + 1 + k, kind, side, int(marks[LAST_BID if side > 0 else LAST_ASK]), lots, 0)
    before = int(venue.flow.due[0])
    answer_seats(floor, venue.flow_handle, rng, np.int64(1))
    venue.flow.clock[ANSWERED] = now + len(messages)
    return int(venue.flow.due[0]) - before


def children_of_a_seat(tables, source):
    """Return the expected children of its market order, which sets off no market orders."""
    taking = np.diff(tables["children"][source], prepend=0.0).reshape(3, -1)[TAKE].sum()
    return tables["mean"][source] * (1.0 - taking)


@pytest.fixture
def beside_a_seat():
    venue, rng = market("fitted", seats=1), np.random.default_rng(4)
    venue.run_flow(rng, 900.0)
    return venue, rng


@pytest.mark.parametrize("source, left", [(TAKE, 0), (PARTIAL, 1)])
def test_a_seat_that_acts_excites_the_flow_once(beside_a_seat, source, left):
    """One that takes the whole queue as such an order of the background does, one that leaves a lot of it too."""
    venue, rng = beside_a_seat
    children = []
    while len(children) < 200:
        side = 1 if len(children) % 2 else -1
        queue = int(venue.book.depth(1)[1 if side > 0 else 0, 0, 1])
        if queue > left:
            children.append(answered(venue, rng, (MARKET, side, queue - left)))
        venue.run_flow(rng, float(venue.flow.clock[NOW]) + 10.0)
        assert venue.flow.clock[TAKES_AHEAD] == 0.0  # one order in ten seconds is slower than the day's
    expected = children_of_a_seat(venue.flow.tables[0], source)
    assert np.mean(children) == pytest.approx(expected, abs=4 * (expected / 200) ** 0.5)
    assert answered(venue, rng) == 0  # no second answer to the same orders


def test_a_quote_that_is_renewed_tells_nothing(beside_a_seat):
    venue, rng = beside_a_seat
    assert answered(venue, rng, *[(LIMIT, 1, 10)] * 30) > 5
    renewed = [(CANCEL, 1, 0)] * 30 + [(LIMIT, 1, 20)] * 30
    assert answered(venue, rng, *renewed) == 0
    assert answered(venue, rng, *[(CANCEL, 1, 0)] * 30, *[(LIMIT, -1, 20)] * 30) > 10  # bids became offers


def test_market_orders_excite_no_faster_than_the_day_has_them(beside_a_seat):
    venue, rng = beside_a_seat
    day = load_flow_fit("GOOG").market_orders
    children, steps = 0, 100
    for _ in range(steps):  # ten orders in ten seconds, four times as many as the day has
        children += answered(venue, rng, *[(MARKET, 1, 1), (MARKET, -1, 1)] * 5)
        venue.run_flow(rng, float(venue.flow.clock[NOW]) + 10.0)
    expected = (day * 10.0 * steps + 0.5 * AHEAD) * children_of_a_seat(venue.flow.tables[0], PARTIAL)
    assert children == pytest.approx(expected, abs=5 * expected**0.5)


def test_the_queue_reactive_price_follows_a_value_that_learns_from_seats():
    venue, rng = market("queue_reactive", seats=1), np.random.default_rng(6)
    venue.run_flow(rng, 900.0)
    venue.flow.p[VALUE_SD] = 0.0  # no news from here on
    clock, marks = venue.flow.clock, venue.floor.marks
    for move in (0.004, -0.008):
        clock[LOG_VALUE] += move
        known, mid = float(clock[LOG_VALUE]), np.log(marks[MID])
        venue.run_flow(rng, float(clock[NOW]) + 300.0)
        assert clock[LOG_VALUE] == known  # the background's orders tell it nothing
        assert np.log(marks[MID]) - mid == pytest.approx(move, abs=0.0015)
    venue.clear_step()
    venue.make_room(100)
    submit(venue.floor_handle, int(clock[NOW] * 1e9) + 1, MARKET, 1, 0, 80, 0)
    done, expected = float(venue.floor.events[0]["done"]), np.zeros_like(clock)
    learn_from_seat(expected, venue.flow.p, 1.0, done)
    venue.run_flow(rng, float(clock[NOW]))
    assert clock[LOG_VALUE] - known == pytest.approx(expected[LOG_VALUE], rel=1e-9) and done > 0
    worth = load_flow_fit("GOOG").value_of("queue_reactive")[3]
    assert expected[LOG_VALUE] == pytest.approx(worth * done / load_flow_fit("GOOG").order_size, rel=0.3)
    assert 0.0 < forgotten(venue, rng) < expected[LOG_VALUE]


def forgotten(venue, rng):
    """Return by how much the log value falls while ten market orders or so come."""
    before = float(venue.flow.clock[LOG_VALUE])
    venue.run_flow(rng, float(venue.flow.clock[NOW]) + 40.0)
    return before - venue.flow.clock[LOG_VALUE]


@pytest.mark.slow
def test_twenty_seats_leave_the_flow_near_the_rate_of_the_day():
    """Seats that take over twice what the background takes make it come 1.4 times as fast: the book is refilled."""
    kinds = ["market_maker", "speculator", "arbitrageur", "informed"] * 5
    config, steps, seeds = MarketConfig(flow_model="fitted", start_price=572.0), 200, range(1, 7)
    env, agents = MarketEnvironment(20, config, kinds=kinds, num_steps=steps), AgentFactory.create_population(kinds)
    sent = {True: 0, False: 0}
    for seed, acting in product(seeds, sent):
        state = env.reset(seed=seed)
        for _ in range(steps):
            actions = np.array([agent.act(state) for agent in agents])
            state = env.step(actions if acting else np.zeros_like(actions)).state
            sent[acting] += (env.events["owner"] == 20).sum()
    assert 1.2 < sent[True] / sent[False] < 1.65  # measured: 1.37, with a standard error of .04 on six seeds


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
        ("size", np.ones((3, 40)).tolist(), "earlier version anew"),
    ):
        with pytest.raises(InputError, match=words):
            flow_fit_from_json({**good, "tables_by_name": {**good["tables_by_name"], table: value}})
    with pytest.raises(InputError, match=r"missing or unknown: decay.*calibrate SYMBOL --flow"):
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


def test_a_wave_picks_each_order_with_its_share_of_the_chances():
    """Of the twin, which the kernel follows to the draw: size, age and place decide, far orders stay."""
    tables, count = load_flow_fit("GOOG").tables_by_name, 20_000
    twin, picked = FittedTwin(tables, market("fitted").flow.p, 57_200.0, np.random.default_rng(3)), Counter()
    twin.remove = lambda order: picked.update([order])
    far = int(tables["window"][0]) + 1
    sent = [(1, 0, 100, 0.1), (1, 0, 100, 300.0), (1, 10, 1000, 5.0), (1, 1, 1, 0.1), (1, far, 9, 0.1), (-1, 0, 9, 0.1)]
    for side, behind, lots, age in sent:
        order = twin.send(LIMIT, side, 57_190 - behind if side > 0 else 57_210, lots)
        twin.live.append(order)
        twin.born[order] = -age
    twin.book.cancel(3)
    for _ in range(count):
        twin.leave(1)
    chances = []
    for _, behind, lots, age in sent[:3]:
        where = 0 if behind < 1 else 1 + bucket(tables["life_edges"], behind)
        chances.append(tables["picked"][where][bucket(tables["life_sizes"], lots)][bucket(tables["pick_ages"], age)])
    expected = count * np.array(chances) / sum(chances)
    assert set(picked) == {0, 1, 2} and 3 not in twin.live
    assert np.array([picked[k] for k in range(3)]) == pytest.approx(expected, abs=4.5 * expected.max() ** 0.5)


@pytest.mark.parametrize("walls", [0, 10_000_000])
@pytest.mark.parametrize("model, plain", [("fitted", FittedTwin), ("queue_reactive", QueueReactiveTwin)])
def test_the_kernel_does_what_its_plain_twin_does(model, plain, walls):
    venue, rng = market(model), np.random.default_rng(11)
    twin = plain(venue.flow.tables[0], venue.flow.p, 57_200.0, np.random.default_rng(11))
    for side in (1, -1) if walls else ():
        submit(venue.floor_handle, 0, LIMIT, side, 57_200 - 2 * side, walls, 0)
        twin.send(LIMIT, side, 57_200 - 2 * side, walls)
    venue.run_flow(rng, 240.0)
    twin.run(240.0)
    events = venue.floor.events[: venue.floor.counts[EVENTS]]
    found = [events[name].tolist() for name in ("ts", "kind", "side", "order_id", "price", "quantity", "done")]
    assert list(zip(*found, strict=True)) == twin.events
    assert len(events) > 500 and {LIMIT, CANCEL, MARKET} == set(found[1])
    assert venue.flow.clock[LOG_VALUE] == pytest.approx(twin.value, abs=1e-12)


@pytest.mark.parametrize("model", ["fitted", "queue_reactive"])
@pytest.mark.parametrize("side", [1, -1])
def test_no_single_order_takes_a_wall_and_bursts_on_it_end(model, side):
    """A queue larger than every order of the fitted day: a limit price that all want, or somebody who leans."""
    usual, venue, rng = messages(model, seed=4)[0], market(model, seats=1), np.random.default_rng(4)
    venue.run_flow(rng, 900.0)
    venue.clear_step()
    venue.make_room(1)
    best = int(venue.floor.marks[LAST_BID if side > 0 else LAST_ASK])
    wall = submit(venue.floor_handle, int(900e9), LIMIT, side, best, 1_000_000, 0)
    venue.run_flow(rng, 2700.0)
    events, tables = venue.floor.events[: venue.floor.counts[EVENTS]], venue.flow.tables[0]
    largest = max(tables["take_size"].max(), tables["size"].max())
    taken = events[(events["kind"] == MARKET) & (events["side"] == -side)]["quantity"]
    assert len(taken) > 50 and taken.max() <= 2 * largest
    assert 800_000 < venue.floor.orders[wall]["quantity"] < 1_000_000
    assert 0.5 * len(usual) < len(events) < 2.0 * len(usual)


def test_bursts_end_where_no_spread_holds_them():
    """In call auctions quotes cross, and after hours all orders have one price."""
    config = MarketConfig(flow_model="fitted", rulebook="cn.star", start_price=20.0, opening_auction_seconds=300,
                          step_seconds=100.0)  # fmt: skip
    env = MarketEnvironment(1, config, num_steps=165)
    env.reset(seed=1)
    session, phases = env.session, set()
    for _ in range(165):
        for _ in range(20):  # each time with room for twice as many messages
            if steps.advance(session.handle):
                break
            session.make_room()
        phases.add(session.phase)
        assert len(session.events) < 5000
    assert phases == {"reopening_auction", "open", "closing_auction", "fixed_price", "closed"}
