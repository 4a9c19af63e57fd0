"""A simulated market of bars: a fading signal, moving volatility and volume, other traders, and our own impact.

The price of a bar moves by `sigma (f + drift + D_k - D_{k-1} + noise)`: the signal `f` (what others trade on it is how
it comes true, so it is inside f), the drift of the other traders' persistent flow, and the displacement D that our own
trades cause. What a trade is charged is the `CostLaw` plus a linear cost; others who follow our flow add a transient
displacement. A table of opponents that is all zero means: unknown, and they respond as the cost law has it on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from difffinance.diffusion.features import EMA_KEPT, FLOW_KEPT, FLOW_PERSISTENCE, pooled_flow
from difffinance.errors import InputError
from difffinance.market.costs import check_cost_law
from difffinance.market.observation import (
    NO_LIMIT,
    OPPONENT_INDEX,
    STATE_INDEX,
    constraint_vector,
    opponent_vector,
    state_vector,
)
from difffinance.records import Array, Conditions, CostLaw
from difffinance.simulation.bar_parameters import BarParameters, estimate_bar_parameters

__all__ = [
    "BarOutcome",
    "BarParameters",
    "BarSimulation",
    "Outlook",
    "Scenario",
    "charge_scenarios",
    "draw_scenarios",
    "estimate_bar_parameters",
    "opponent_outlook",
    "plan_response",
    "quadratic_scenarios",
]

FLOW_NOISE = 0.03  # step volumes per trader and bar
FOLLOWING = 0.5  # largest part of our flow that others buy alongside and unwind later
_KINDS = ("speculator", "informed")


@dataclass(frozen=True)
class Scenario:
    """One row per episode: who trades, at which costs, under which rules; `(B,)` arrays."""

    capital: Array  # wealth over the money value of a long-run step volume
    risk_aversion: Array
    temporary: Array
    exponent: Array
    permanent: Array
    linear_cost: Array  # sigma
    signal_strength: Array  # sd of the signal, sigma
    signal_decay: Array
    max_participation: Array
    max_leverage: Array
    max_position: Array  # fraction of wealth; NO_LIMIT for none
    cash_account: Array  # True: buys only what the cash pays
    short_allowed: Array
    t_plus_one: Array
    makers: Array  # numbers of other traders; all 0: unknown
    speculators: Array
    arbitrageurs: Array
    informed: Array
    history_known: Array  # False: past returns, flows and volumes are 0

    def __len__(self) -> int:
        return len(self.capital)

    def rows(self, index: Array) -> "Scenario":
        """Return some of the rows."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})


def draw_scenarios(parameters: BarParameters, batch: int, rng: np.random.Generator) -> Scenario:
    """Return scenarios as wide as an agent may meet: capitals of 1e-5 to 1e2 step volumes, all kinds of rules."""

    def log_uniform(low: float, high: float) -> Array:
        return np.exp(rng.uniform(np.log(low), np.log(high), batch))

    def sometimes(probability: float) -> Array:
        return rng.random(batch) < probability

    strength = parameters.signal_strength * log_uniform(0.3, 5.0)
    usual_position = log_uniform(0.1, 10.0)  # frictionless position at a usual signal, fraction of wealth
    short_allowed, known = sometimes(0.5), sometimes(0.5)
    leverage = np.where(sometimes(0.3) & (usual_position < 3.0), NO_LIMIT, rng.choice([0.5, 1.0, 1.5, 2.0, 3.0], batch))
    exponent = np.select(
        [sometimes(0.4), sometimes(0.4)], [np.full(batch, 0.6), np.ones(batch)], rng.uniform(0.5, 1.0, batch)
    )
    counts = np.where(known, rng.integers(0, 6, (4, batch)), 0)
    return Scenario(
        capital=log_uniform(1e-5, 1e2),
        risk_aversion=strength / (parameters.volatility * usual_position),
        temporary=log_uniform(0.04, 2.0),
        exponent=exponent,
        permanent=np.where(sometimes(0.15), 0.0, log_uniform(0.03, 1.5)),
        linear_cost=np.where(sometimes(0.2), 0.0, log_uniform(3e-4, 0.1)),
        signal_strength=strength,
        signal_decay=np.where(sometimes(0.1), 0.0, np.clip(parameters.signal_decay * log_uniform(0.1, 12.0), 0.0, 0.6)),
        max_participation=np.where(sometimes(0.3), NO_LIMIT, log_uniform(0.01, 1.0)),
        max_leverage=leverage,
        max_position=np.where(sometimes(0.8), NO_LIMIT, rng.uniform(0.2, 2.0, batch)),
        cash_account=~short_allowed & (leverage <= 1.0) & sometimes(0.8),
        short_allowed=short_allowed,
        t_plus_one=sometimes(0.3),
        makers=counts[0],
        speculators=counts[1],
        arbitrageurs=counts[2],
        informed=counts[3],
        history_known=sometimes(0.5),
    )


def charge_scenarios(scenario: Scenario, laws: Sequence[CostLaw]) -> Scenario:
    """Return the scenarios with row i charged by law i (modulo their number): one law, or draws of it.

    What a step leaves in the price of later ones is linear here, so a law that fades is refused.
    """
    laws = [check_cost_law(law) for law in laws]
    if not laws or any(law.decay is not None for law in laws):
        raise InputError("simulated bars take one cost law or more, without decay. Allowed: load_costs(symbol), draws.")
    rows = np.arange(len(scenario)) % len(laws)
    return replace(
        scenario,
        **{
            name: np.array([getattr(law, name) for law in laws])[rows]
            for name in ("temporary", "exponent", "permanent")
        },
    )


def quadratic_scenarios(parameters: BarParameters, batch: int, rng: np.random.Generator) -> Scenario:
    """Return scenarios inside Garleanu and Pedersen's assumptions: quadratic costs, no binding rule, nobody else.

    Capitals run from 0.01 to 3 step volumes: below, costs vanish and every rule is the frictionless one; above, the
    naive rule moves the price by whole bars and the comparison says nothing.
    """
    wide = draw_scenarios(parameters, batch, rng)
    none, zero = np.full(batch, NO_LIMIT), np.zeros(batch)
    yes, no = np.ones(batch, dtype=bool), np.zeros(batch, dtype=bool)
    strength = parameters.signal_strength * np.exp(rng.uniform(-0.5, 0.5, batch))
    return replace(
        wide,
        capital=np.exp(rng.uniform(np.log(0.01), np.log(3.0), batch)),
        risk_aversion=strength / (parameters.volatility * np.exp(rng.uniform(np.log(0.3), np.log(3.0), batch))),
        exponent=np.ones(batch),
        linear_cost=zero,
        signal_strength=strength,
        max_participation=none,
        max_leverage=none,
        max_position=none,
        cash_account=no,
        short_allowed=yes,
        t_plus_one=no,
        **dict.fromkeys(("makers", "speculators", "arbitrageurs", "informed"), zero),
    )


@dataclass(frozen=True)
class Outlook:
    """What the opponent table tells about the next bars, `(B,)`: see `opponent_outlook`."""

    drift: Array
    drift_kept: float
    following: Array
    following_kept: Array


def opponent_outlook(opponents: Array, permanent: Array) -> Outlook:
    """Return what others will do: drift of the next bar (sigma) and how they follow our flow.

    Their persistent flow is forecast from its exponential mean and moves the price by the permanent law. Speculators
    trade a part `following` of our flow alongside us; per bar a part `following_kept` of that stays, less with more
    arbitrageurs. More makers dilute both. An all-zero table gives zeros.
    """
    number = {name: np.asarray(opponents)[:, i] for name, i in OPPONENT_INDEX.items()}
    makers, speculators = number["market_maker_count"], number["speculator_count"]
    return Outlook(
        drift=np.asarray(permanent) * FLOW_PERSISTENCE * pooled_flow(opponents),
        drift_kept=FLOW_KEPT,
        following=FOLLOWING * speculators / (1.0 + speculators + makers),
        following_kept=0.8 / (1.0 + 0.2 * number["arbitrageur_count"]),
    )


def plan_response(conditions: Conditions, plan: Array) -> tuple[Array, Array]:
    """Return the price each trade of a plan meets (sigma, against no plan) and the others' pooled flow, `(B, H)`.

    The counterfactual twin of the simulation at constant volatility and volume: what the plan itself changes.
    """
    table = _numbers(conditions)
    outlook = opponent_outlook(conditions.opponents, table["permanent_impact"])
    followed, moved = np.zeros(len(plan)), np.zeros(len(plan))
    prices, flows = np.empty_like(plan), np.empty_like(plan)
    for k in range(plan.shape[1]):
        trade = plan[:, k]
        size = np.abs(trade)
        met = moved + table["permanent_impact"] * (
            trade / 2 + followed * outlook.following_kept + outlook.following * trade / 2
        )
        prices[:, k] = met + table["temporary_impact"] * np.sign(trade) * size ** table["temporary_exponent"]
        before, followed = followed, followed * outlook.following_kept + outlook.following * trade
        flows[:, k] = followed - before
        moved = moved + table["permanent_impact"] * trade
    return prices, flows


def _numbers(conditions: Conditions) -> dict[str, Array]:
    return {name: np.asarray(conditions.state)[:, i] for name, i in STATE_INDEX.items()}


@dataclass(frozen=True)
class BarOutcome:
    """What one bar brought, `(B,)` each; utility, profit and cost are fractions of wealth."""

    utility: Array  # w E[r] - a/2 (w sigma)^2 - cost
    profit: Array  # realised, after cost
    cost: Array
    price_return: Array
    opponent_flow: Array  # step volumes
    displacement: Array  # sigma, that our own trades have caused so far


class BarSimulation:
    """Episodes side by side. All random numbers are drawn at the start, so two traders can meet the same ones.

    Wealth is held at its starting value (profits are paid out), so that a long episode stays one problem; the value
    of the position moves with the price.
    """

    def __init__(self, parameters: BarParameters, scenario: Scenario, rng: np.random.Generator, num_bars: int) -> None:
        batch, p = len(scenario), parameters
        self.parameters, self.scenario, self.bar = parameters, scenario, 0
        shocks = rng.standard_normal((num_bars + 1, 6, batch))
        self._shocks, first = shocks[:-1], shocks[-1]
        self.signal = scenario.signal_strength * first[0]
        self.log_volatility, self.log_volume = p.volatility_variation * first[1], p.volume_variation * first[2]
        self.price, self.position = np.ones(batch), np.zeros(batch)  # position in long-run step volumes
        self.followed, self.displacement = np.zeros(batch), np.zeros(batch)
        self._flow, self._activity = np.zeros((2, batch)), np.full((2, batch), FLOW_NOISE * 0.8)
        self._last = np.zeros((2, batch))  # per-trader flow of the last bar
        self._returns, self._flows = np.zeros((10, batch)), np.zeros((5, batch))
        self._outside = np.zeros((10, batch))  # past returns less what our own trades moved, sigma
        self._volumes = np.ones((3, batch))

    @property
    def volatility(self) -> Array:
        """Standard deviation of the next bar's return, fraction."""
        return self.parameters.volatility * np.exp(self.log_volatility)

    @property
    def volume(self) -> Array:
        """Expected volume of the next bar over its long-run mean."""
        return np.exp(self.log_volume)

    @property
    def weight(self) -> Array:
        """Value of the position, fraction of wealth."""
        return self.position * self.price / self.scenario.capital

    def conditions(self) -> Conditions:
        """Return what the trader sees: the published tables at bar frequency."""
        s, volume = self.scenario, self.volume
        batch = len(s)
        position, capital = self.position / volume, s.capital / (self.price * volume)
        history = np.concatenate([self._returns, self._flows, self._volumes]) * s.history_known
        names = [f"return_{i}" for i in range(1, 11)] + [f"flow_{i}" for i in range(1, 6)]
        names += [f"volume_{i}" for i in range(1, 4)]
        state = state_vector(
            batch,
            signal=self.signal,
            signal_decay=s.signal_decay,
            volatility=self.volatility,
            relative_volume=volume,
            position=position,
            capital=capital,
            risk_aversion=s.risk_aversion,
            temporary_impact=s.temporary,
            temporary_exponent=s.exponent,
            permanent_impact=s.permanent,
            linear_cost=s.linear_cost,
            steps_left=1.0,
            cash=1.0 - self.weight,
            upper_limit=NO_LIMIT,
            lower_limit=NO_LIMIT,
            **dict(zip(names, history, strict=True)),
        )
        cash = np.maximum(1.0 - self.weight, 0.0) * capital
        rules = constraint_vector(
            batch,
            max_participation=s.max_participation,
            max_position=np.where(s.max_position < NO_LIMIT, s.max_position * capital, NO_LIMIT),
            min_position=np.where(s.short_allowed, -NO_LIMIT, 0.0),
            sellable=np.where(s.short_allowed, NO_LIMIT, np.maximum(position, 0.0)),
            buyable=np.where(s.cash_account, cash, NO_LIMIT),
            t_plus_one=s.t_plus_one,
            short_allowed=s.short_allowed,
            max_leverage=s.max_leverage,
        )
        return Conditions(state, self._opponents(), rules)

    def _opponents(self) -> Array:
        s = self.scenario
        numbers: dict[str, Array] = {"market_maker_count": s.makers, "arbitrageur_count": s.arbitrageurs}
        for i, (kind, count) in enumerate(zip(_KINDS, (s.speculators, s.informed), strict=True)):
            here = (count > 0).astype(float)
            numbers |= {
                f"{kind}_count": count,
                f"{kind}_flow": self._flow[i] * here,
                f"{kind}_activity": self._activity[i] * here,
                f"{kind}_buy_volume": np.maximum(self._last[i], 0.0) * here,
                f"{kind}_sell_volume": np.maximum(-self._last[i], 0.0) * here,
            }
        made = (s.makers > 0).astype(float)
        pooled = self._flows[0] / np.maximum(s.makers, 1)
        numbers |= {
            "market_maker_passive_share": made,
            "market_maker_buy_volume": np.maximum(-pooled, 0.0) * made,
            "market_maker_sell_volume": np.maximum(pooled, 0.0) * made,
        }
        return opponent_vector(len(s), **numbers)

    def step(self, participation: Array) -> BarOutcome:
        """Trade `participation` (step volumes, `(B,)`) in this bar, let the bar pass, and return what it brought."""
        s, shock, sigma, volume = self.scenario, self._shocks[self.bar], self.volatility, self.volume
        outlook = opponent_outlook(self._opponents(), s.permanent)
        size = np.abs(participation)
        met = s.permanent * (
            participation / 2 + self.followed * outlook.following_kept + outlook.following * participation / 2
        )
        per_unit = sigma * (np.sign(participation) * (s.temporary * size**s.exponent + s.linear_cost) + met)
        cost = participation * volume * self.price * per_unit / s.capital
        self.position = self.position + participation * volume
        weight = self.weight
        flows, others = self._others_trade(shock, participation, outlook)
        moved = s.permanent * (participation + others)
        expected = self.signal + outlook.drift
        own_return = sigma * (expected + moved + shock[3])
        utility = weight * sigma * expected - s.risk_aversion / 2 * (weight * sigma) ** 2 - cost
        # The trade itself has met its own displacement in `cost`; the rest of the position is marked to it.
        profit = weight * sigma * (expected + shock[3]) + (weight - participation * volume * self.price / s.capital) * (
            sigma * moved
        )
        self.displacement = self.displacement + moved
        self.price = self.price * np.exp(own_return)
        self._remember(own_return / sigma, expected + shock[3], flows, participation + others)
        self._move_on(shock)
        return BarOutcome(utility, profit - cost, cost, own_return, flows.sum(axis=0) + others, self.displacement)

    def _others_trade(self, shock: Array, participation: Array, outlook: Outlook) -> tuple[Array, Array]:
        """Return pooled flow of speculators and informed traders, and the part that follows our own flow."""
        s = self.scenario
        trend = np.tanh(self._outside.mean(axis=0))  # their answer to our own trades is `following`, not this
        news = self.signal / s.signal_strength
        reaction = FLOW_NOISE * np.stack([0.5 * trend + shock[4], 0.5 * news + shock[5]])
        per_trader = FLOW_PERSISTENCE * self._flow + reaction
        self._last = per_trader
        self._flow = EMA_KEPT * self._flow + (1 - EMA_KEPT) * per_trader
        self._activity = EMA_KEPT * self._activity + (1 - EMA_KEPT) * np.abs(per_trader)
        before = self.followed
        self.followed = before * outlook.following_kept + outlook.following * participation
        return per_trader * np.stack([s.speculators, s.informed]), self.followed - before

    def _remember(self, scaled_return: Array, outside: Array, flows: Array, ours: Array) -> None:
        pooled = flows.sum(axis=0) + ours
        self._outside = np.concatenate([outside[None], self._outside[:-1]])
        self._returns = np.concatenate([scaled_return[None], self._returns[:-1]])
        self._flows = np.concatenate([pooled[None], self._flows[:-1]])
        volume = np.maximum(1.0, np.abs(flows).sum(axis=0) + np.abs(ours))
        self._volumes = np.concatenate([volume[None], self._volumes[:-1]])

    def _move_on(self, shock: Array) -> None:
        """Let signal, volatility and volume move to the next bar, and restate what is counted in step volumes."""
        p, s, before = self.parameters, self.scenario, self.volume
        kept = 1.0 - s.signal_decay
        self.signal = kept * self.signal + s.signal_strength * np.sqrt(1 - kept**2) * shock[0]
        v, u = p.volatility_persistence, p.volume_persistence
        self.log_volatility = v * self.log_volatility + p.volatility_variation * np.sqrt(1 - v**2) * shock[1]
        self.log_volume = u * self.log_volume + p.volume_variation * np.sqrt(1 - u**2) * shock[2]
        self.followed = self.followed * before / self.volume
        self.bar += 1
