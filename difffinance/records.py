"""Every object passed between packages. Newcomers start here.

Records hold data and print themselves; they never plot, save or fit. Letters for shapes: B batch, H horizon,
A action, S state, O opponents, C constraints, L book levels, N agents.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from difffinance.errors import InputError

Array = np.ndarray


@dataclass(frozen=True)
class Instrument:
    """What is traded. Only this class converts between prices and ticks, quantities and lots."""

    symbol: str
    tick_size: float = 0.01
    lot_size: float = 1.0
    currency: str = "USD"

    def to_price(self, ticks: int) -> float:
        """Return the price of a whole number of ticks, in quote currency."""
        return float(np.round(ticks * self.tick_size, 10))

    def to_lots(self, quantity: float) -> int:
        """Return `quantity` in whole lots; raise `InputError` off the grid."""
        return _on_grid("quantity", quantity, self.lot_size)


def _on_grid(what: str, value: float, step: float) -> int:
    if not np.isfinite(value):
        raise InputError(f"{what} must be finite; got {value}.")
    whole = round(value / step)
    if abs(whole * step - value) > 1e-6 * step:
        raise InputError(
            f"{what} {value} is off the grid of {step}. Allowed: multiples of {step}, e.g. {whole * step}."
        )
    return whole


@dataclass(frozen=True)
class ImpactParameters:
    """A fitted law `dp = lam * price_scale * sign(q) * |q / quantity_scale| ** gamma`.

    It is an association between signed flow and price, in the stated unit and horizon; it is not a price list
    (cost functions take a `CostLaw`). `lam` is in quote currency at `|q| = quantity_scale` when `price_scale` is 1.
    """

    lam: float
    gamma: float
    lam_se: float
    gamma_se: float
    lam_ci: tuple[float, float]
    gamma_ci: tuple[float, float]
    r2: float
    n_obs: int
    noise: str
    unit: str = ""
    horizon_s: float = 0.0
    flow: str = ""
    volume_base: str = ""
    price_scale: float = 1.0
    quantity_scale: float = 1.0
    r2_oos: float | None = None
    placebo_r2_95: float | None = None
    placebo_p_value: float | None = None
    lam_gamma_corr: float = 0.0
    rivals_r2_oos: dict[str, float] | None = None  # out-of-sample R2 of other shapes of impact, by name
    largest_leverage: float = 0.0  # of one order on its own fit, 0 to 1: above a half that order decides

    def __str__(self) -> str:
        one = f"; one order decides, leverage {self.largest_leverage:.2f}" if self.largest_leverage > 0.5 else ""
        where = f"{self.unit or 'impact'}, {self.horizon_s:g} s, {self.flow or 'flow not stated'}"
        return (
            f"{where}: lam {self.lam:.3g} +/- {self.lam_se:.2g}, gamma {self.gamma:.3f} +/- {self.gamma_se:.3f}, "
            f"r2 {self.r2:.3f}, n {self.n_obs} ({self.noise} noise{one})"
        )


@dataclass(frozen=True)
class CostLaw:
    """What may be charged to an order, in participation units (SCIENCE 2.1b): the only thing cost functions accept.

    For a trade of signed participation `v = q / V` (fraction of one period's volume `V`) at volatility `sigma`
    (fraction per period): temporary impact `temporary * sigma * sign(v) * |v| ** exponent` of price on the trade
    itself, permanent impact `permanent * sigma * v` of price on everything after (linear, so that no round trip
    pays), half of it on the trade itself.

    With a `decay` b (a propagator: `permanent` is 0, `exponent` 1) the temporary part is not gone with the trade: it
    is what a trade spread evenly over one period pays when every bit of it fades with the power `lag ** -b`, and the
    rest stays in the price for what follows (`market.transient`).
    """

    kind: Literal["propagator", "metaorder_prior"]
    temporary: float
    exponent: float
    permanent: float
    temporary_ci: tuple[float, float]
    exponent_ci: tuple[float, float]
    permanent_ci: tuple[float, float]
    source: str
    volume_base: str = ""
    decay: float | None = None
    decay_ci: tuple[float, float] | None = None
    correlation: float = 0.0  # of the errors of ln(temporary) and decay

    def __str__(self) -> str:
        rest = f"permanent {self.permanent:g} sigma q/V" if self.decay is None else f"fading as lag^-{self.decay:g}"
        return f"{self.kind} (from {self.source}): temporary {self.temporary:g} sigma |q/V|^{self.exponent:g}, {rest}"


@dataclass(frozen=True)
class Order:
    """One order; no price means a market order. `quantity` is unsigned, in units of the asset."""

    side: int
    quantity: float
    price: float | None = None
    order_id: int | None = None


@dataclass(frozen=True)
class MarketState:
    """What the market shows after a step. Each seat has its own view; private signals stay in that seat's view."""

    step: int
    mid: float
    spread: float
    bid: float
    ask: float
    depth: Array  # (2, L, 2): bid/ask, level, (price, quantity), quote currency and units
    last_volume: float
    halted: bool
    views: tuple[Array, ...] = field(repr=False)  # N of (S,)
    opponents: tuple[Array, ...] = field(repr=False)  # N of (O,)
    constraints: tuple[Array, ...] = field(repr=False)  # N of (C,)

    def view(self, seat: int) -> "SeatView":
        """Return what the trader in `seat` sees."""
        if seat not in range(len(self.views)):
            raise InputError(f"seat {seat} is not in this market. Allowed: 0 to {len(self.views) - 1}.")
        return SeatView(self, seat, self.views[seat], self.opponents[seat], self.constraints[seat])


@dataclass(frozen=True)
class SeatView:
    """The public market and one seat's own 50 state, 40 opponent and 20 constraint numbers (market.observation)."""

    public: MarketState = field(repr=False)
    seat: int
    state: Array  # (S,)
    opponents: Array  # (O,)
    constraints: Array  # (C,)


@dataclass(frozen=True)
class Step:
    """One step of the environment; unpacks as `(state, rewards, done, info)`."""

    state: MarketState
    rewards: Array  # (N,) quote currency
    done: bool
    info: dict[str, Any]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.state, self.rewards, self.done, self.info))


@dataclass(frozen=True)
class Conditions:
    """What a strategy is conditioned on, as batches of the published tables (market.observation)."""

    state: Array  # (B, S)
    opponents: Array  # (B, O)
    constraints: Array  # (B, C)

    def __len__(self) -> int:
        return len(self.state)


@dataclass(frozen=True)
class Strategy:
    """A batch of plans: signed participation (fraction of a step's expected volume) over the next H steps."""

    plan: Array  # (B, H, A)


@dataclass(frozen=True)
class BookDay:
    """One day of order-book data as its tables, with the instrument that converts ticks and lots."""

    instrument: Instrument
    events: pl.DataFrame
    depth: pl.DataFrame
    levels: int
    date: str
    synthetic: bool
    volume_base: str
    # Mids and market orders, kept once computed (`calibration.order_flow`): every fit of the day asks for them.
    derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


@dataclass(frozen=True)
class BarsTable:
    """Bars of one symbol with what their file's metadata says."""

    instrument: Instrument
    frame: pl.DataFrame
    source: str
    is_index: bool = False
    adjusted: bool = False


@dataclass(frozen=True)
class BacktestResult:
    """One backtest in one world, with impact or without: equity (`schemas.EQUITY`), filled orders, metrics.

    `orders` has ts, side, quantity, participation, price, path_open, value, and in quote currency fees, spread_cost,
    temporary_cost and permanent_cost (half of the order's own permanent impact). `notes` say what was assumed.
    """

    symbol: str
    strategy: str
    capital: float
    equity: pl.DataFrame
    orders: pl.DataFrame
    periods_per_year: int
    metrics: dict[str, float | int | None]
    impact: bool = True
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        world = "with its own impact" if self.impact else "in a world without impact"
        sharpe, se = self.metrics.get("sharpe"), self.metrics.get("sharpe_se")
        ratio = "no Sharpe ratio" if sharpe is None else f"Sharpe {sharpe:.2f} +/- {se:.2f}"
        strategy = f"{self.strategy} on {self.symbol} with {self.capital:,.0f}, {world}"
        return f"{strategy}: {ratio}, {self.orders.height} orders"

    @property
    def returns(self) -> Array:
        """Simple returns per bar, the first bar against the starting capital."""
        wealth = np.concatenate([[self.capital], self.equity["equity"].to_numpy()])
        return wealth[1:] / wealth[:-1] - 1.0


@dataclass(frozen=True)
class Manifest:
    """What reproduces an artefact."""

    seed: int
    config: dict[str, Any]
    versions: dict[str, str]
    data_hashes: dict[str, str]
    git_revision: str | None
    seconds: float
