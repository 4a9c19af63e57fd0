"""Metaorders in the book market: what a large order does to the price while it trades, and what is left afterwards.

Each replication is a pair of twins: the same market with the same random numbers, with and without the metaorder. Under
every `flow_model`: the value's own move comes at the start of each step and is the same in both, what a value learns
from orders is not, and the background's generator is set anew for each
step, so that what the order shifts in one step does not shift the random numbers of the next. Impact is the log mid
with less the log mid without, signed by the order, in units of the daily volatility; sizes in units of daily volume.
Sizes are drawn at one participation P, so duration grows with size: the usual square-root law is
`I = Y sigma_D (Q / V_D) ** exponent` (Sato & Kanazawa, PRL 135 (2025): 0.489; SCIENCE 2.1). Real metaorders show little
of P; here Y hardly depends on it (`market.seat_lessons`), and the exponent is a little lower at a higher one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from difffinance.config import AgentsConfig, MarketConfig
from difffinance.data.store import Progress, no_progress
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.flow import INTRADAY, LOG_VALUE, VALUE_SD
from difffinance.market.observation import ACTION, ACTION_INDEX
from difffinance.market.settlement import MID
from difffinance.records import Array

SIZES = (0.001, 0.003, 0.01, 0.03, 0.1)
# What real metaorders show: SCIENCE 2.1.
AIMS = {"exponent": (0.4, 0.6), "prefactor": (0.5, 1.5), "relaxation_1": (0.5, 0.8), "relaxation_2": (0.5, 0.8)}
_CAPITAL = 1e10  # the order meets no limit of its own account
_BOOTSTRAP = 999
_EXPONENTS = np.linspace(-1.0, 3.0, 4001)  # far outside anything measured


@dataclass(frozen=True)
class MetaorderStudy:
    """Impact by size with the fitted law; `ci` holds 95% intervals from resampled replications and days.

    `table` has one row per size: size (fraction of daily volume, as traded), steps, peak and its standard error (at
    the end of the order, daily sigmas), after_1 and after_2 (one and two durations after the end) with theirs.
    `relaxation_1` and `relaxation_2` are the parts of the peak left then, over all sizes.
    """

    table: pl.DataFrame
    exponent: float
    prefactor: float
    relaxation_1: float
    relaxation_2: float
    ci: dict[str, tuple[float, float]]
    participation: float
    daily_volatility: float
    daily_volume: float  # units
    replications: int
    impacts: list[Array] = field(repr=False)  # per size (R, 3): peak, one and two durations later, daily sigmas

    @property
    def misses(self) -> dict[str, float]:
        """The figures that lie outside what real metaorders show (`AIMS`)."""
        return {n: getattr(self, n) for n, (low, high) in AIMS.items() if not low <= getattr(self, n) <= high}


def measure_metaorders(
    market: MarketConfig | None = None,
    *,
    sizes: Sequence[float] = SIZES,
    participation: float = 0.3,
    replications: int = 100,
    volatility_days: int = 200,
    seed: int = 7,
    progress: Progress = no_progress,
) -> MetaorderStudy:
    """Trade metaorders of `sizes` (fractions of a session's volume) at `participation` of the flow, buys and sells.

    The intraday pattern is switched off, so that equal steps are equal volumes. The market opens at the start of a
    session and runs on for two durations after the order's end, past the close if need be. `volatility_days`
    sessions without any order measure the daily volatility.
    """
    market = market or MarketConfig()
    market = market.model_copy(
        update={"flow": market.flow.model_copy(update={"intraday": 0.0}), "price_limit": None, "max_position": None}
    )
    days = round(market.session_seconds / market.step_seconds)
    _check(market, sizes, participation, replications, volatility_days, days)
    first, *streams = np.random.SeedSequence(seed).spawn(1 + len(sizes))
    returns, volume = _daily(market, days, volatility_days, first)
    sigma = _root_mean_square(returns)
    rows, impacts = [], []
    for i, (size, stream) in enumerate(zip(sizes, streams, strict=True)):
        progress("metaorders", i, len(sizes))
        steps = max(round(size * days / participation), 1)
        found, traded = _replicate(market, participation, steps, replications, stream)
        impacts.append(found / sigma)
        rows.append({"size": traded / volume, "steps": steps} | _row(found / sigma))
    progress("metaorders", len(sizes), len(sizes))
    table = pl.DataFrame(rows)
    estimate = _estimate(table["size"].to_numpy(), impacts)
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(len(sizes) + 2)[-1])
    draws = []
    for _ in range(_BOOTSTRAP):
        again = sigma / _root_mean_square(returns[rng.integers(0, len(returns), len(returns))])
        resampled = [x[rng.integers(0, len(x), len(x))] * again for x in impacts]
        draws.append(list(_estimate(table["size"].to_numpy(), resampled).values()))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    ci = {name: (float(low[k]), float(high[k])) for k, name in enumerate(estimate)}
    return MetaorderStudy(table, **estimate, ci=ci, participation=participation, daily_volatility=sigma,
                          daily_volume=volume, replications=replications, impacts=impacts)  # fmt: skip


def twin_mids(env: MarketEnvironment, orders: Array, sequence: np.random.SeedSequence) -> tuple[Array, Array, float]:
    """Return log mids (2, T+1) with and without `orders` (T,), step volumes, and the units traded with them."""
    start, background, values = sequence.spawn(3)
    seed = int(start.generate_state(1, np.uint64)[0])
    states = [np.random.PCG64(s).state for s in background.spawn(len(orders))]
    normal = np.random.default_rng(values).standard_normal(len(orders))
    mids, traded = np.empty((2, len(orders) + 1)), 0.0
    for twin, sent in enumerate((orders, np.zeros(len(orders)))):
        _begin(env, seed)
        session, flow = env.session, env.venue.flow
        move = float(flow.p[VALUE_SD]) * np.sqrt(env.config.step_seconds)
        flow.p[VALUE_SD] = 0.0
        mids[twin, 0] = np.log(env.venue.floor.marks[MID])
        for t, quantity in enumerate(sent):
            env.venue.flow.clock[LOG_VALUE] += move * normal[t]
            session.market.rng_flow.bit_generator.state = states[t]
            session.actions[:] = _order(quantity)
            session.valid[:] = True
            session.advance()
            mids[twin, t + 1] = np.log(env.venue.floor.marks[MID])
        if twin == 0:
            traded = float(env.venue.floor.inventory[0]) * env.config.lot_size
    return mids[0], mids[1], traded


def _begin(env: MarketEnvironment, seed: int) -> None:
    """Reset the market and switch its intraday pattern off, whichever flow it has."""
    env.reset(seed)
    env.venue.flow.p[INTRADAY] = 0.0


def _order(quantity: float) -> Array:
    action = np.zeros((1, len(ACTION)))
    action[0, ACTION_INDEX["participation"]] = quantity
    return action


def _market(market: MarketConfig, steps: int) -> MarketEnvironment:
    return MarketEnvironment(1, market, kinds=["twap"], num_steps=steps, agents=AgentsConfig(capital=_CAPITAL))


def _root_mean_square(returns: Array) -> float:
    return float(np.sqrt(np.mean(np.square(returns))))


def _daily(market: MarketConfig, days: int, sessions: int, sequence: np.random.SeedSequence) -> tuple[Array, float]:
    """Return the log returns of sessions without orders, and the mean volume of one in units."""
    env = _market(market, days)
    returns = []
    for child in sequence.spawn(sessions):
        _begin(env, int(child.generate_state(1, np.uint64)[0]))
        first = np.log(env.venue.floor.marks[MID])
        env.session.actions[:], env.session.valid[:] = 0.0, True
        for _ in range(days):
            env.session.advance()
        returns.append(np.log(env.venue.floor.marks[MID]) - first)
    return np.array(returns), float(env.session.scale.volume * days * market.lot_size)


def _replicate(
    market: MarketConfig, participation: float, steps: int, replications: int, sequence: np.random.SeedSequence
) -> tuple[Array, float]:
    """Return (R, 3) signed impacts at the end and one and two durations later, and the mean size, units."""
    env, found, traded = _market(market, 3 * steps), np.empty((replications, 3)), 0.0
    for r, child in enumerate(sequence.spawn(replications)):
        side = 1.0 if r % 2 == 0 else -1.0
        orders = np.where(np.arange(3 * steps) < steps, side * participation, 0.0)
        with_order, without, units = twin_mids(env, orders, child)
        found[r] = side * (with_order - without)[[steps, 2 * steps, 3 * steps]]
        traded += abs(units) / replications
    return found, traded


def _row(impacts: Array) -> dict[str, float]:
    error = impacts.std(axis=0, ddof=1) / np.sqrt(len(impacts))
    names = ("peak", "after_1", "after_2")
    return {n: float(v) for n, v in zip(names, impacts.mean(axis=0), strict=True)} | {
        f"{n}_se": float(v) for n, v in zip(names, error, strict=True)
    }


def _estimate(sizes: Array, impacts: list[Array]) -> dict[str, float]:
    """Fit `Y * size ** exponent` to the mean peaks by weighted least squares, exponents on a grid."""
    mean = np.array([x.mean(axis=0) for x in impacts])
    error = np.array([x[:, 0].std(ddof=1) / np.sqrt(len(x)) for x in impacts])
    error = np.maximum(error, 1e-12)
    powers = sizes ** _EXPONENTS[:, None]
    prefactors = (powers / error**2) @ mean[:, 0] / np.sum((powers / error) ** 2, axis=1)
    best = int(np.argmin(np.sum(((mean[:, 0] - prefactors[:, None] * powers) / error) ** 2, axis=1)))
    # What is left, as a part of the peak: sizes count as much as their peak is known.
    left = mean[:, 0] / error**2 @ mean[:, 1:] / np.sum((mean[:, 0] / error) ** 2)
    return {
        "exponent": float(_EXPONENTS[best]), "prefactor": float(prefactors[best]),
        "relaxation_1": float(left[0]), "relaxation_2": float(left[1]),
    }  # fmt: skip


def _check(
    market: MarketConfig, sizes: Sequence[float], participation: float, replications: int, sessions: int, days: int
) -> None:
    if market.mode != "book":
        raise InputError("metaorders are measured in a book. Allowed: market.mode=book; a law states its own impact.")
    if not 0.0 < participation <= 1.0:
        raise InputError(f"participation is {participation}. Allowed: above 0, at most 1 of the flow.")
    if len(sizes) < 2 or not all(0.0 < s <= 1.0 for s in sizes) or len(set(sizes)) < len(sizes):
        raise InputError(f"sizes are {list(sizes)}. Allowed: two or more different fractions of daily volume.")
    if min(sizes) * days / participation < 0.5:
        raise InputError(
            f"size {min(sizes)} is less than one step at participation {participation}. Allowed: from "
            f"{participation / days:.2g}."
        )
    if replications < 2 or sessions < 2:
        raise InputError(f"replications are {replications}, volatility_days {sessions}. Allowed: 2 or more each.")
