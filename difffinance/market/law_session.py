"""The `law` mode behind the environment: seats trade with the law of `market.law`, under the rules that need no book.

In a step every seat's market order is checked against the rules, all of them trade at the one price of the step's
total flow (noise traders included), each pays half the spread and its fees, and then the fundamental moves. The
fundamental is a martingale, so no seat is shown a signal. Quotes are refused: they need a book. Money is in floats.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from difffinance.config import LawConfig, MarketConfig
from difffinance.errors import InputError
from difffinance.market import law_views, reasons
from difffinance.market.costs import check_cost_law
from difffinance.market.law import ImpactLaw, LawMarket, check_law
from difffinance.market.law_views import Accounts
from difffinance.market.observation import ACTION, ACTION_INDEX, CONSTRAINTS, KINDS, OPPONENTS, STATE
from difffinance.market.rules import session_rules
from difffinance.market.session import Public, Seating
from difffinance.market.snapshot import inside, refuse_unless
from difffinance.market.transient import Kernel, TransientLaw
from difffinance.market.views import Tables, pools
from difffinance.participants import PARTICIPANTS
from difffinance.records import Array, CostLaw, Instrument

_QUOTES = [ACTION_INDEX[f"{side}_quantity_{k}"] for side in ("bid", "ask") for k in (1, 2)]
_MARKET = ("traded", "impacts", "fundamental")
_ACCOUNTS = ("cash", "lots", "bought_today", "fees", "start_wealth", "bought", "sold", "memory",
             "returns", "flow", "volume")  # fmt: skip


def law_of(config: MarketConfig) -> ImpactLaw:
    """Return the law in quote currency, units and steps; one that can be milked is refused with the reason."""
    return _law_of(config.law or LawConfig(), config.start_price)


@lru_cache(maxsize=32)
def _law_of(given: LawConfig, start: float) -> ImpactLaw:
    sigma = given.volatility * start
    transient = None
    if given.transient > 0 and sigma > 0:
        kernel = Kernel(given.kernel, given.decay, given.kernel_scale)
        amplitude = given.transient * sigma / given.volume**given.transient_exponent
        transient = TransientLaw(amplitude / float(kernel.double_integral(1.0)), given.transient_exponent, kernel)
    law = ImpactLaw(
        given.permanent * sigma / given.volume,
        given.temporary * sigma / given.volume**given.exponent,
        given.exponent,
        given.half_spread_bps / 1e4 * start,
        transient,
    )
    return check_law(law)


def law_of_costs(law: CostLaw, config: MarketConfig) -> LawConfig:
    """Return what one step's trading does to the price under a cost law whose period is the session.

    A step is the share T of a session: its volume is T times the session's, its sigma sqrt(T) times. So in a step's own
    participation and sigma the temporary part is 1 / sqrt(T) times the law's, the permanent one sqrt(T) times, and
    one that fades as lag^-b is T^(1/2 - b) times it. Spread, noise and scales stay those of `config.law`.
    """
    law, given = check_cost_law(law), config.law or LawConfig()
    share = config.step_seconds / config.session_seconds
    if law.decay is None:
        found = {"temporary": law.temporary / share**0.5, "exponent": law.exponent, "transient": 0.0}
        return given.model_copy(update={**found, "permanent": law.permanent * share**0.5})
    fading = {"kernel": "power", "decay": law.decay, "transient_exponent": law.exponent}
    own = {"transient": law.temporary * share ** (0.5 - law.decay), "temporary": 0.0, "permanent": 0.0}
    return given.model_copy(update={**fading, **own})


class LawSession:
    """A `session.Session` of one instrument without a book."""

    def __init__(self, config: MarketConfig, seating: Seating) -> None:
        if any(seating.latency):
            raise InputError("latency belongs to mode 'book': in law mode all trade at once. Allowed: 0.")
        self.config, self.seating = config, seating
        drawn = [config.model_copy(update={"law": law_of_costs(law, config)}) for law in seating.cost_laws]
        self.laws = [law_of(c) for c in drawn or [config]]
        self.law, self.parameters = self.laws[0], config.law or LawConfig()
        self.instrument = Instrument(config.symbol, config.tick_size, config.lot_size)
        self.rules, n = session_rules(config), len(seating.kinds)
        self.pools = np.array([KINDS.index(PARTICIPANTS[k].pool) for k in seating.kinds])
        self.actions, self.valid = np.zeros((n, len(ACTION))), np.zeros(n, np.bool_)
        self.refused, self.rewards = np.zeros((n, len(reasons.NAMES)), np.int64), np.zeros(n)
        self.tables = Tables(
            np.zeros((n, len(STATE))), np.zeros((n, len(OPPONENTS))), np.zeros((n, len(CONSTRAINTS))),
            np.zeros((2, 5, 2)), np.zeros(n), *pools(),
        )  # fmt: skip

    def start(self, sequence: np.random.SeedSequence) -> None:
        """Begin an episode at the start price, accounts as configured."""
        self.rng_price, self.rng_noise = (np.random.default_rng(s) for s in sequence.spawn(2))
        if len(self.laws) > 1:
            self.law = self.laws[np.random.default_rng(sequence.spawn(1)[0]).integers(len(self.laws))]
        agents, n, config = self.seating.agents, len(self.seating.kinds), self.config
        variance = (self.parameters.volatility * config.start_price) ** 2
        self.market = LawMarket(
            self.law, start=config.start_price, covariance=variance, tau=1.0, steps=self.seating.num_steps, checked=True
        )
        self.accounts = Accounts.open(n, agents.capital, self.instrument.to_lots(agents.inventory))
        self.accounts.start_wealth[:] = self._wealth()
        self._volume, self.trades = 0.0, 0
        self._look()

    def advance(self) -> None:
        """Carry out one step."""
        accounts, lot = self.accounts, self.config.lot_size
        before, mid = self.tables.wealth.copy(), self.mid
        self.refused[:] = 0
        lots = self._orders()
        noise = self.parameters.noise * self.parameters.volume * self.rng_noise.standard_normal()
        price = self._within_the_band(lots, noise)
        paid = price + np.sign(lots) * self.half_spread
        value = lots * lot * paid
        accounts.settle(lots, value, np.where(lots > 0, self.rules.buy_fee, self.rules.sell_fee) * np.abs(value))
        self._volume, self.trades = float(np.abs(lots).sum() * lot + abs(noise)), int(np.count_nonzero(lots))
        self.market.advance([lots.sum() * lot + noise], self.rng_price)
        accounts.remember(np.log(self.mid / mid), (lots.sum() * lot + noise) / lot, self._volume / lot)
        self._look()
        self.rewards[:] = self.tables.wealth - before

    def _orders(self) -> Array:
        """Return the signed lots that the rules let each seat trade, and count what they refuse."""
        accounts, rules, n = self.accounts, self.rules, len(self.valid)
        wanted = np.where(self.valid, self.actions[:, ACTION_INDEX["participation"]], 0.0) * self.step_volume
        lots = (np.sign(wanted) * np.floor(np.abs(wanted) + 1e-6)).astype(np.int64)
        quotes = (self.actions[:, _QUOTES] > 0).sum(axis=1) * self.valid
        self.refused[:, reasons.NEEDS_BOOK] += quotes
        wealth, mid = self._wealth(), self.mid
        for seat in range(n):
            code, held = reasons.OK, int(accounts.lots[seat])
            quantity, after = abs(int(lots[seat])), held + int(lots[seat])
            if quantity == 0:
                continue
            if quantity > rules.max_order:
                code = reasons.MAX_ORDER
            elif not rules.min_position <= after <= rules.max_position and abs(after) >= abs(held):
                code = reasons.POSITION_LIMIT
            elif lots[seat] < 0 and rules.t_plus_one and quantity > held - accounts.bought_today[seat]:
                code = reasons.NOT_SELLABLE
            elif abs(after) > abs(held) and (
                abs(after) * self.config.lot_size * mid > rules.max_leverage * max(wealth[seat], 0.0)
            ):
                code = reasons.LEVERAGE
            if code != reasons.OK:
                self.refused[seat, code] += 1
                lots[seat] = 0
        return lots

    def _within_the_band(self, lots: Array, noise: float) -> float:
        """Return the step's price; a side that would pay or get one beyond the daily limit is refused as a whole."""
        (lower, upper), half = self.band, self.half_spread
        for side in (1, -1, 1):  # taking one side out may bring the other beyond its limit
            price = float(self.market.price([lots.sum() * self.config.lot_size + noise])[0])
            beyond = (
                price + half > upper or self.mid >= upper if side > 0 else price - half < lower or self.mid <= lower
            )
            if beyond:
                blocked = np.sign(lots) == side
                self.refused[blocked, reasons.PRICE_LIMIT] += 1
                lots[blocked] = 0
        price = float(self.market.price([lots.sum() * self.config.lot_size + noise])[0])
        return min(max(price, lower), upper)

    @property
    def band(self) -> tuple[float, float]:
        """The daily price limits, quote currency; without one the price stays above one tick."""
        if self.rules.lower_ticks is None or self.rules.upper_ticks is None:
            return self.config.tick_size, np.inf
        return self.rules.lower_ticks * self.config.tick_size, self.rules.upper_ticks * self.config.tick_size

    @property
    def half_spread(self) -> float:
        """What an order pays beside the price of its step, quote currency."""
        return float(np.asarray(self.law.half_spread)[0])

    @property
    def mid(self) -> float:
        """The mid, held inside the daily limits."""
        lower, upper = self.band
        return float(min(max(self.market.mid[0], lower), upper))

    def _wealth(self) -> Array:
        return self.accounts.cash - self.accounts.fees + self.accounts.lots * self.config.lot_size * self.mid

    def _look(self) -> None:
        self.tables.wealth[:] = self._wealth()
        law_views.observe(self)

    def public(self) -> Public:
        """Return what everybody sees now; the depth is empty, for there is no book."""
        half = self.half_spread
        return Public(self.mid, self.mid - half, self.mid + half, self.tables.depth.copy(), self._volume, False)

    @property
    def steps_done(self) -> int:
        """Steps of the episode so far."""
        return int(self.market.done)

    @property
    def phase(self) -> str:
        """Nobody halts this market."""
        return "open"

    @property
    def special_quote(self) -> float | None:
        """None: there is no book."""
        return None

    @property
    def step_volume(self) -> float:
        """Volume of a step, lots: the unit of actions."""
        return self.parameters.volume / self.config.lot_size

    @property
    def value(self) -> float:
        """The fundamental value, quote currency."""
        return float(self.market.fundamental[0])

    def __getattr__(self, name: str) -> Any:
        if name in ("venue", "events", "fills", "scale"):
            raise InputError(f"{name} belongs to mode 'book': in law mode there is no book.")
        raise AttributeError(name)

    def save(self) -> dict[str, Any]:
        """Return arrays and states of generators by name (copies)."""
        saved: dict[str, Any] = {f"market.{name}": getattr(self.market, name).copy() for name in _MARKET}
        saved |= {f"accounts.{name}": getattr(self.accounts, name).copy() for name in _ACCOUNTS}
        which = next(k for k, law in enumerate(self.laws) if law is self.law)
        saved["numbers"] = np.array([self.market.done, self._volume, self.trades, which], float)
        saved["rewards"], saved["refused"] = self.rewards.copy(), self.refused.copy()
        saved["actions"], saved["valid"] = self.actions.copy(), self.valid.copy()
        return saved | {name: getattr(self, name).bit_generator.state for name in ("rng_price", "rng_noise")}

    def check(self, saved: dict[str, Any]) -> None:
        """Refuse what `save` cannot have returned."""
        done, volume, trades, which = saved["numbers"]
        refuse_unless(inside(done, 0, self.seating.num_steps) and done % 1 == 0, "the number of steps")
        refuse_unless(inside(which, 0, len(self.laws) - 1) and which % 1 == 0, "the law")
        refuse_unless(inside(volume, 0, 1e300) and inside(trades, 0, len(self.valid)), "what was traded")
        for name in (name for name, array in saved.items() if isinstance(array, np.ndarray)):
            refuse_unless(bool(np.isfinite(saved[name]).all()), name)

    def load(self, saved: dict[str, Any]) -> None:
        """Go back to what `save` returned."""
        for part, names in (("market", _MARKET), ("accounts", _ACCOUNTS)):
            for name in names:
                getattr(getattr(self, part), name)[:] = saved[f"{part}.{name}"]
        for name in ("rewards", "refused", "actions", "valid"):
            getattr(self, name)[:] = saved[name]
        self.law = self.laws[int(saved["numbers"][3])]
        self.market.use(self.law)
        self.market.done, self.trades = int(saved["numbers"][0]), int(saved["numbers"][2])
        self._volume = float(saved["numbers"][1])
        for name in ("rng_price", "rng_noise"):
            getattr(self, name).bit_generator.state = saved[name]
        self._look()
