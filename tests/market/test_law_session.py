import numpy as np
import pytest

from difffinance.agents.factory import AgentFactory
from difffinance.agents.twap import TwapAgent
from difffinance.config import AgentsConfig, FlowConfig, LawConfig, MarketConfig, load_config
from difffinance.errors import ConfigError, CostLawError, InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.law import expected_cost
from difffinance.market.law_session import law_of
from difffinance.market.observation import ACTION_INDEX, CONSTRAINT_INDEX, OPPONENT_INDEX, STATE_INDEX
from difffinance.market.utility import Shortfall, Trajectory
from difffinance.participants import PARTICIPANTS

CALM = LawConfig(volatility=0.0005, permanent=0.2, temporary=0.4, exponent=0.6, half_spread_bps=1.0)


def law_market(seats=1, num_steps=20, law=CALM, accounts=None, **config):
    market = MarketConfig(mode="law", law=law, **config)
    return MarketEnvironment(seats, market, kinds=["speculator"] * seats, num_steps=num_steps, agents=accounts)


def orders(*participation):
    table = np.zeros((len(participation), 10))
    table[:, 0] = participation
    return table


def test_a_fixed_programme_costs_its_closed_form_and_twins_differ_by_exactly_that():
    env, still = law_market(fee_bps=0.0), law_market(fee_bps=0.0)
    plan = np.array([0.5, 0.25, 0.0, -0.125, 0.3])
    env.reset(3), still.reset(3)
    for q in plan:
        env.step(orders(q)), still.step(orders(0.0))
    lots = np.round(plan * 1000)
    cost = expected_cost(law_of(env.config), lots[:, None], 1.0)
    impact = law_of(env.config).permanent[0, 0] * lots.sum()
    assert env.state().mid - still.state().mid == pytest.approx(impact, abs=1e-10)
    # Both pay the same fundamental: what is left is the programme's cost and the impact on what is held.
    fundamental = still_values(still, 3, len(plan))
    gain = np.sum(lots * (fundamental[-1] - fundamental[:-1])) + lots.sum() * impact
    assert env.wealth[0] - 1e6 == pytest.approx(gain - cost, abs=1e-6)


def still_values(env, seed, steps):
    env.reset(seed)
    values = [env.value]
    for _ in range(steps):
        env.step(orders(0.0))
        values.append(env.value)
    return np.array(values)


def test_an_execution_agents_utility_is_minus_its_programmes_cost():
    law = CALM.model_copy(update={"volatility": 1e-4, "noise": 0.0})
    env = MarketEnvironment(1, MarketConfig(mode="law", law=law, fee_bps=0.0), kinds=["twap"], num_steps=12)
    agent, state = TwapAgent(0, quantity=4.0, steps=8), env.reset(1)
    wealth, held, mid, done = [env.wealth[0]], [0.0], [state.mid], False
    while not done:
        state, _, done, _ = env.step([agent.act(state)])
        wealth.append(env.wealth[0]), mid.append(state.mid)
        held.append(state.views[0][STATE_INDEX["position"]] * 1000)
    assert agent.completion(state.view(0)).remaining == 0
    total = Shortfall(quantity=4000.0).rewards(Trajectory(wealth, held, mid, 0.0)).sum()
    moves = np.diff(still_values(env, 1, 12))
    left = 4000 - np.array(held)[1:]
    expected = expected_cost(law_of(env.config), np.diff(held)[:, None], 1.0) + left @ moves
    assert total == pytest.approx(-expected, abs=1e-6)


def test_the_tables_are_published_ones_and_pool_the_others():
    env = law_market(3, fee_bps=2.0)
    env.reset(1)
    state = env.step(orders(0.5, -0.2, 0.3)).state
    see = {name: state.views[0][i] for name, i in STATE_INDEX.items()}
    assert see["position"] == pytest.approx(0.5) and see["flow_1"] == pytest.approx(0.6)
    assert see["volume_1"] == pytest.approx(1.0) and see["relative_volume"] == 1
    assert see["permanent_impact"] == pytest.approx(0.2, rel=1e-3) and see["temporary_exponent"] == 0.6
    assert see["volatility"] * state.mid == pytest.approx(0.05)
    assert see["steps_left"] == pytest.approx(0.95) and see["signal"] == 0
    assert see["linear_cost"] * see["volatility"] == pytest.approx(3e-4, rel=1e-3)
    others = {name: state.opponents[0][i] for name, i in OPPONENT_INDEX.items()}
    assert others["speculator_count"] == 2
    assert others["speculator_buy_volume"] == pytest.approx(0.15)
    assert others["speculator_sell_volume"] == pytest.approx(0.1)
    limits = {name: state.constraints[0][i] for name, i in CONSTRAINT_INDEX.items()}
    assert limits["lot"] == pytest.approx(1e-3) and limits["sell_fee_bps"] == pytest.approx(2.0)
    assert limits["buyable"] == pytest.approx(2 * env.wealth[0] / state.mid / 1000 - 0.5)


def test_every_kind_of_agent_trades_in_it_and_quotes_are_refused():
    kinds = [kind for kind in PARTICIPANTS if kind not in ("diffusion", "pairs")]
    law = CALM.model_copy(update={"noise": 0.5})
    env = MarketEnvironment(len(kinds), MarketConfig(mode="law", law=law), kinds=kinds, num_steps=30)
    agents, state, done = AgentFactory.create_population(kinds, seed=1), env.reset(3), False
    while not done:
        state, _, done, _ = env.step([agent.act(state) for agent in agents])
    assert set(env.refusals) <= {"quotes_need_a_book"}
    action = np.zeros((len(kinds), 10))
    env.reset(1)
    action[0, ACTION_INDEX["bid_quantity_1"]] = action[0, ACTION_INDEX["ask_quantity_2"]] = 0.1
    assert env.step(action).info["refused"] == [{"seat": 0, "reason": "quotes_need_a_book", "count": 2}]


@pytest.mark.parametrize(
    ("config", "participation", "reason"),
    [
        ({"max_order": 100.0}, [0.2], "max_order"),
        ({"max_position": 300.0}, [0.5], "position_limit"),
        ({"short_allowed": False}, [-0.1], "position_limit"),
        ({"t_plus_one": True}, [0.5, -0.5], "not_sellable"),
        ({"max_leverage": 1.0}, [15.0], "leverage"),
        ({"price_limit": 0.01}, [900.0], "price_limit"),
    ],
)
def test_rules_are_enforced(config, participation, reason):
    rich = AgentsConfig(capital=1e10) if reason == "price_limit" else None
    env = law_market(accounts=rich, **config)
    env.reset(1)
    for q in participation:
        step = env.step(orders(q))
    assert [r["reason"] for r in step.info["refused"]] == [reason]


def test_a_price_at_its_limit_locks_one_side():
    env = law_market(law=CALM.model_copy(update={"volatility": 0.02}), price_limit=0.01, num_steps=200)
    state = env.reset(2)
    while state.views[0][STATE_INDEX["upper_limit"]] > 0:
        state = env.step(orders(0.0)).state
        assert 99.0 - 1e-9 <= state.mid <= 101.0 + 1e-9
    limits = state.constraints[0]
    assert (limits[CONSTRAINT_INDEX["can_buy"]], limits[CONSTRAINT_INDEX["can_sell"]]) == (0, 1)
    assert env.step(orders(0.1)).info["refused"][0]["reason"] == "price_limit"


def test_nobody_pays_a_price_beyond_the_limit_whatever_the_spread():
    wide = CALM.model_copy(update={"volatility": 0.002, "half_spread_bps": 50.0})
    env = law_market(law=wide, price_limit=0.01, fee_bps=0.0, num_steps=60)
    env.reset(2)
    paid, near = [], 0
    while env.steps_done < 60:
        before, view = env.session.accounts.cash[0], env.state()
        can_buy = view.constraints[0][CONSTRAINT_INDEX["can_buy"]]
        env.step(orders(0.2))
        bought = env.session.accounts.bought[0]
        paid += [(before - env.session.accounts.cash[0]) / bought] if bought else []
        assert can_buy or not bought
        near += not can_buy and view.mid < 101.0
    assert 100.9 < max(paid) <= 101.0 + 1e-9 and env.refusals["price_limit"] > 0 and near > 0


def test_same_seed_same_bytes_and_a_snapshot_goes_on():
    law = LawConfig(noise=0.3, transient=0.3, kernel="exponential", decay=0.5)

    def paths(env, n):
        return np.array([np.append(env.step(orders(0.1, -0.2)).state.mid, env.wealth) for _ in range(n)])

    first, second = law_market(2, law=law), law_market(2, law=law)
    first.reset(5), second.reset(5)
    assert np.array_equal(paths(first, 8), paths(second, 8))
    saved = first.snapshot()
    rest = paths(first, 8)
    second.reset(9)
    second.restore(saved)
    assert np.array_equal(paths(second, 8), rest)


def test_modes_never_mix():
    with pytest.raises(ConfigError, match="belongs to mode 'law'"):
        load_config(overrides=["market.law.permanent=0.2"])
    with pytest.raises(ConfigError, match="belongs to mode 'book'"):
        load_config(overrides=["market.mode=law", "market.flow.market_rate=0.2"])
    with pytest.raises(ConfigError, match="mode"):
        load_config(overrides=["market.mode=auction"])
    assert load_config(overrides=["market.mode=law", "market.law.permanent=0.2"]).market.law.permanent == 0.2
    with pytest.raises(ValueError, match="belongs to mode 'book'"):
        MarketConfig(mode="law", flow=FlowConfig(market_rate=1.0))
    env = law_market()
    env.reset(0)
    with pytest.raises(InputError, match="no book"):
        _ = env.venue
    with pytest.raises(InputError, match="latency"):
        MarketEnvironment(1, MarketConfig(mode="law"), latency=0.5)


def test_a_law_that_can_be_milked_does_not_open():
    law = LawConfig(transient=0.5, transient_exponent=0.5, kernel="power", decay=0.3)
    with pytest.raises(CostLawError, match="cannot be charged"):
        law_market(law=law)


@pytest.mark.parametrize("bad", [{"volume": 0.0}, {"volatility": -1.0}, {"permanent": np.nan}, {"exponent": 3.0},
                                 {"kernel": "square"}, {"noise": np.inf}])  # fmt: skip
def test_bad_laws_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LawConfig(**bad)
