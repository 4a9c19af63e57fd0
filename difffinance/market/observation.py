"""The published tables of the 50 state, 10 action, 40 opponent and 20 constraint numbers, with units.

They are scale-free, so that an agent that learned on daily bars can sit in an order book: quantities are in *step
volumes* (the expected volume of one step or bar), price moves in *sigmas* (the expected volatility of one step).
A number that a market cannot know (book shape on bars, opponents in historical data) is 0. "No limit" is `NO_LIMIT`.
"""

from dataclasses import dataclass

import numpy as np

NO_LIMIT = 1e3
MOST_SEATS = 10_000  # of one market
KINDS = ("market_maker", "speculator", "arbitrageur", "informed", "diffusion")


@dataclass(frozen=True)
class Number:
    """One number of a published table."""

    name: str
    unit: str
    meaning: str


STATE: tuple[Number, ...] = (
    Number("signal", "sigma", "forecast return of the next step; private to the seat"),
    Number("signal_decay", "fraction", "part of the signal lost per step"),
    Number("volatility", "fraction", "standard deviation of the return of one step"),
    Number("relative_volume", "ratio", "expected volume of one step over its long-run mean"),
    Number("position", "step volumes", "own signed inventory"),
    Number("capital", "step volumes", "own wealth over the money value of one step's volume"),
    Number(
        "risk_aversion", "1", "a in the utility of a step: w f - a/2 (w volatility)^2 - costs, w = position / wealth"
    ),
    Number("temporary_impact", "sigma", "cost law: temporary impact at participation 1"),
    Number("temporary_exponent", "1", "cost law: exponent of participation"),
    Number("permanent_impact", "sigma", "cost law: permanent impact at participation 1"),
    Number("linear_cost", "sigma", "half spread plus fees of one unit traded"),
    Number("steps_left", "fraction", "of the episode; 1 where it has no end"),
    Number("cash", "fraction", "cash over own wealth"),
    Number("profit", "fraction", "wealth over starting wealth, minus 1"),
    Number("open_buys", "step volumes", "own resting buy quantity"),
    Number("open_sells", "step volumes", "own resting sell quantity"),
    Number("spread", "sigma", "best ask minus best bid"),
    Number("microprice", "spread", "quantity-weighted mid minus mid"),
    Number("imbalance", "fraction", "(bid - ask) / (bid + ask) quantity at the touch"),
    *(Number(f"bid_depth_{i}", "step volumes", f"quantity on bid level {i}") for i in range(1, 6)),
    *(Number(f"ask_depth_{i}", "step volumes", f"quantity on ask level {i}") for i in range(1, 6)),
    *(Number(f"return_{i}", "sigma", f"log return of the mid, {i} steps ago") for i in range(1, 11)),
    *(Number(f"flow_{i}", "step volumes", f"signed market volume, {i} steps ago") for i in range(1, 6)),
    *(Number(f"volume_{i}", "step volumes", f"market volume, {i} steps ago") for i in range(1, 4)),
    Number("upper_limit", "sigma", "distance from the mid up to the daily price limit"),
    Number("lower_limit", "sigma", "distance from the mid down to the daily price limit"),
    Number("halted", "0 or 1", "trading is halted"),
)

ACTION: tuple[Number, ...] = (
    Number("participation", "step volumes", "market order now; positive buys"),
    Number("bid_offset_1", "ticks", "first quote: distance below the mid"),
    Number("bid_quantity_1", "step volumes", "first quote: quantity; 0 for none"),
    Number("ask_offset_1", "ticks", "first quote: distance above the mid"),
    Number("ask_quantity_1", "step volumes", "first quote: quantity; 0 for none"),
    Number("bid_offset_2", "ticks", "second quote: distance below the mid"),
    Number("bid_quantity_2", "step volumes", "second quote: quantity; 0 for none"),
    Number("ask_offset_2", "ticks", "second quote: distance above the mid"),
    Number("ask_quantity_2", "step volumes", "second quote: quantity; 0 for none"),
    Number("cancel", "0 or 1", "above one half: cancel own resting orders first"),
)

_OPPONENT_NUMBERS = (
    ("count", "traders", "how many others of this kind; 0 also where opponents are unknown"),
    ("buy_volume", "step volumes", "bought by this kind in the last step, mean per trader"),
    ("sell_volume", "step volumes", "sold by this kind in the last step, mean per trader"),
    ("flow", "step volumes", "signed volume, exponential mean (half-life 5 steps), per trader"),
    ("activity", "step volumes", "unsigned volume, exponential mean (half-life 5 steps), per trader"),
    ("bid_quantity", "step volumes", "resting buy quantity, mean per trader"),
    ("ask_quantity", "step volumes", "resting sell quantity, mean per trader"),
    ("passive_share", "fraction", "part of this kind's volume that was traded by resting orders, exponential mean"),
)
OPPONENTS: tuple[Number, ...] = tuple(
    Number(f"{kind}_{name}", unit, meaning) for kind in KINDS for name, unit, meaning in _OPPONENT_NUMBERS
)

CONSTRAINTS: tuple[Number, ...] = (
    Number("max_participation", "step volumes", "largest market order of one step"),
    Number("min_position", "step volumes", "lowest inventory allowed; 0 forbids short selling"),
    Number("max_position", "step volumes", "highest inventory allowed"),
    Number("sellable", "step volumes", "may be sold in this step (T+1: not what was bought today)"),
    Number("buyable", "step volumes", "what the cash still buys"),
    Number("upper_limit", "sigma", "distance from the mid up to the daily price limit"),
    Number("lower_limit", "sigma", "distance from the mid down to the daily price limit"),
    Number("lot", "step volumes", "smallest quantity step"),
    Number("tick", "sigma", "smallest price step"),
    Number("t_plus_one", "0 or 1", "shares bought today cannot be sold today"),
    Number("short_allowed", "0 or 1", "inventory may go below 0"),
    Number("buy_fee_bps", "bps", "fees on a buy"),
    Number("sell_fee_bps", "bps", "fees and stamp duty on a sell"),
    Number("max_order", "step volumes", "largest single order"),
    Number("max_open", "step volumes", "largest resting quantity a side"),
    Number("max_leverage", "ratio", "gross position over wealth"),
    Number("price_limit", "0 or 1", "a daily price limit is in force"),
    Number("can_buy", "0 or 1", "buying is possible now (not halted, not locked at the upper limit)"),
    Number("can_sell", "0 or 1", "selling is possible now (not halted, not locked at the lower limit)"),
    Number("halted", "0 or 1", "trading is halted"),
)

STATE_INDEX = {n.name: i for i, n in enumerate(STATE)}
ACTION_INDEX = {n.name: i for i, n in enumerate(ACTION)}
OPPONENT_INDEX = {n.name: i for i, n in enumerate(OPPONENTS)}
CONSTRAINT_INDEX = {n.name: i for i, n in enumerate(CONSTRAINTS)}
assert (len(STATE), len(ACTION), len(OPPONENTS), len(CONSTRAINTS)) == (50, 10, 40, 20)


def mixed_kinds(num_agents: int) -> list[str]:
    """Return the kinds of a mixed population: those of `KINDS` in their order, repeating."""
    return [KINDS[i % len(KINDS)] for i in range(num_agents)]


def state_vector(batch: int, **numbers: object) -> np.ndarray:
    """Return a `(batch, 50)` state with the named numbers set (scalars or `(batch,)` arrays) and the rest 0."""
    return _vector(batch, STATE_INDEX, numbers, 0.0)


def opponent_vector(batch: int, **numbers: object) -> np.ndarray:
    """Return a `(batch, 40)` opponent table with the named numbers set and the rest 0 (unknown)."""
    return _vector(batch, OPPONENT_INDEX, numbers, 0.0)


def constraint_vector(batch: int, **numbers: object) -> np.ndarray:
    """Return a `(batch, 20)` constraint table: no limit, no fee, trading allowed, but for the named numbers."""
    free = {n.name: NO_LIMIT for n in CONSTRAINTS} | {"min_position": -NO_LIMIT, "lot": 0.0, "tick": 0.0}
    free |= {"t_plus_one": 0.0, "short_allowed": 1.0, "buy_fee_bps": 0.0, "sell_fee_bps": 0.0}
    free |= {"price_limit": 0.0, "can_buy": 1.0, "can_sell": 1.0, "halted": 0.0}
    return _vector(batch, CONSTRAINT_INDEX, free | numbers, 0.0)


def _vector(batch: int, index: dict[str, int], numbers: dict, default: float) -> np.ndarray:
    table = np.full((batch, len(index)), default)
    for name, value in numbers.items():
        table[:, index[name]] = value
    return table
