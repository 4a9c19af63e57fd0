"""The reference simulator: orders at the open, own impact in the price path, wealth at the close; columns side by side.

A column is one portfolio in its own world. Its price path is `raw price x (1 + shift)`, where `shift` accumulates
the permanent impact of its own orders: each order of participation `v` (signed, of the expected volume V) adds
`permanent * sigma * v`. The shift adds up in fractions of the raw price and is linear in `v`, so at constant sigma
and V buying and selling back leaves no profit (Huberman & Stanzl 2004), and it ends where it began. A fill is

    path open x (1 + side x (half spread + temporary * sigma * |v|^exponent)) + raw open x permanent * sigma * v / 2

(Almgren et al. 2005: the trade itself pays half of its own permanent impact; of the raw price, like the shift: half
of the path's price would leave a second-order profit to whoever sells first and buys back). Under a propagator there
is no permanent part: the temporary one fades over the bars after the trade as its kernel says, a trade meets the mean
of what is left during its bar, and the close shows what is left at its end. Holdings are marked at
the column's own path, so a holder gains on paper what his buying moved (`Ledger.paper_gain`); selling takes it back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from difffinance.errors import InputError
from difffinance.market.costs import check_cost_law
from difffinance.market.transient import period_kernels
from difffinance.records import Array, CostLaw


@dataclass(frozen=True)
class Charges:
    """What each column pays: fractions of value, and the law where the column's world has impact (else 0)."""

    fee: float
    half_spread: float
    temporary: Array  # (N,)
    permanent: Array  # (N,)
    exponent: Array  # (N,)
    fading: tuple[CostLaw, ...] = ()  # N propagators, or none

    @classmethod
    def of_law(cls, law: CostLaw | None, impact: Array, *, fee_bps: float, half_spread_bps: float) -> "Charges":
        """Return the charges of columns that feel `law` where `impact` is true; only a price list is accepted."""
        impact = np.asarray(impact, dtype=bool)
        if law is None:
            if impact.any():
                raise InputError("columns with impact need a cost law. Allowed: costs=load_costs(symbol).")
            law, impact = _FREE, np.zeros(len(impact), dtype=bool)
        charges = cls.of_laws([law] * len(impact), fee_bps=fee_bps, half_spread_bps=half_spread_bps)
        felt = np.where(impact, 1.0, 0.0)
        return replace(charges, temporary=felt * charges.temporary, permanent=felt * charges.permanent)

    @classmethod
    def of_laws(cls, laws: Sequence[CostLaw], *, fee_bps: float, half_spread_bps: float) -> "Charges":
        """Return the charges of columns that each feel their own law (draws of one law, all with a decay or none)."""
        laws = [check_cost_law(law) for law in laws]
        decays = {law.decay is None for law in laws}
        if len(decays) > 1:
            raise InputError("columns of one market must all fade or all not. Allowed: draws of one cost law.")
        columns = {
            name: np.array([getattr(law, name) for law in laws]) for name in ("temporary", "permanent", "exponent")
        }
        fading = tuple(laws) if decays == {False} else ()
        return cls(fee_bps / 1e4, half_spread_bps / 1e4, **columns, fading=fading)


_FREE = CostLaw("metaorder_prior", 0.0, 1.0, 0.0, (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), "no impact")


@dataclass(frozen=True)
class Ledger:
    """What happened, bar by bar and column by column; all arrays are (T, N)."""

    quantity: Array  # signed units
    participation: Array  # signed, of the expected volume
    path_open: Array
    path_close: Array
    fill_price: Array
    fees: Array  # quote currency, as are the three below
    spread_cost: Array
    temporary_cost: Array
    permanent_cost: Array  # half of the order's own permanent impact
    shift: Array  # accumulated permanent impact after the bar, fraction of the raw price
    cash: Array
    position: Array
    equity: Array

    @property
    def slippage(self) -> Array:
        """What a fill was worse than the path's open, as a fraction of it; 0 without a trade."""
        return np.abs(self.fill_price / self.path_open - 1.0)

    def paper_gain(self, raw_open: Array, raw_close: Array) -> Array:
        """Return what the columns' own moved price added to wealth by each bar, before the costs of the fills.

        `equity(no impact, same orders) - equity` is the accumulated temporary and permanent costs and extra fees
        minus this.
        """
        met = self.path_open - raw_open[:, None]
        paid = np.cumsum(self.quantity * met, axis=0)
        return self.position * raw_close[:, None] * self.shift - paid


class ReferenceMarket:
    """Walks all columns through the bars, one `trade` per bar."""

    def __init__(self, raw_open: Array, raw_close: Array, *, capital: Array, charges: Charges) -> None:
        shape = (len(raw_open), len(capital))
        if len(raw_close) != len(raw_open):
            raise InputError(f"open and close must have equal length; got {len(raw_open)} and {len(raw_close)}.")
        self.raw_open, self.raw_close, self.charges = raw_open, raw_close, charges
        self.cash = np.array(capital, dtype=float)
        self.position, self.shift = np.zeros(shape[1]), np.zeros(shape[1])
        self._residue = _Residue(charges.fading, shape)
        self.bar = 0
        self.ledger = Ledger(**{f.name: np.zeros(shape) for f in fields(Ledger)})

    def wealth(self, raw_price: float) -> Array:
        """Return cash and holdings at the columns' paths, `(N,)`."""
        return self.cash + self.position * raw_price * (1.0 + self.shift)

    def trade(self, quantity: Array, *, sigma: float, volume: float) -> None:
        """Fill signed `quantity` `(N,)` at the next bar's open and mark the wealth at its close.

        `sigma` and `volume` are the expectations held when the order was decided. Fills equal orders: what cash and
        rules forbid must have been taken off before; an order that would ruin its column is an error.
        """
        charges, row = self.charges, self.bar
        v = quantity / volume
        side = np.sign(quantity)
        met = self._residue.during(row) if charges.fading else self.shift
        path_open = self.raw_open[row] * (1.0 + met)
        temporary = charges.temporary * sigma * np.abs(v) ** charges.exponent
        own = 0.5 * charges.permanent * sigma * np.abs(v) / (1.0 + met)  # fraction of the path's open
        fill = path_open * (1.0 + side * (charges.half_spread + temporary + own))
        value = np.abs(quantity) * path_open
        fees = charges.fee * np.abs(quantity) * fill
        self.cash = self.cash - quantity * fill - fees
        self.position = self.position + quantity
        if charges.fading:
            self.shift = self._residue.after(row, side * temporary)
        else:
            self.shift = self.shift + charges.permanent * sigma * v
        wealth = self.wealth(self.raw_close[row])
        self._check(fill, wealth)
        entries = {
            "quantity": quantity,
            "participation": v,
            "path_open": path_open,
            "path_close": self.raw_close[row] * (1.0 + self.shift),
            "fill_price": fill,
            "fees": fees,
            "spread_cost": value * charges.half_spread,
            "temporary_cost": value * temporary,
            "permanent_cost": value * own,
            "shift": self.shift,
            "cash": self.cash,
            "position": self.position,
            "equity": wealth,
        }
        for name, entry in entries.items():
            getattr(self.ledger, name)[row] = entry
        self.bar += 1

    def _check(self, fill: Array, wealth: Array) -> None:
        bad = np.flatnonzero(~(fill > 0) | ~(wealth > 0) | ~(self.shift > -1.0))
        if len(bad):
            raise InputError(
                f"column {bad[0]} is ruined in bar {self.bar}: fill price {fill[bad[0]]:g}, wealth {wealth[bad[0]]:g}. "
                "Allowed: orders that leave both above 0; lower backtest.max_leverage or backtest.max_participation."
            )


class _Residue:
    """What past trades left in the price under propagators; (T, N) pushes and kernels."""

    def __init__(self, laws: tuple[CostLaw, ...], shape: tuple[int, int]) -> None:
        if laws:
            self.pushes = np.zeros(shape)
            kernels = {law: period_kernels(law, shape[0]) for law in set(laws)}
            self.in_bar = np.stack([kernels[law][0] for law in laws], axis=1)
            self.at_close = np.stack([kernels[law][1] for law in laws], axis=1)

    def during(self, row: int) -> Array:
        """Return the mean displacement during bar `row` that earlier bars left, as a fraction of the raw price."""
        return np.einsum("tn,tn->n", self.pushes[:row], self.in_bar[row:0:-1])

    def after(self, row: int, push: Array) -> Array:
        """Take in the bar's own temporary impact; return the displacement at its close."""
        self.pushes[row] = push
        return np.einsum("tn,tn->n", self.pushes[: row + 1], self.at_close[row::-1])


def replay_orders(
    quantity: Array, raw_open: Array, raw_close: Array, sigma: Array, volume: Array, *, capital: Array, charges: Charges
) -> Ledger:
    """Return the ledger of given orders: `quantity` (T, N) signed units, filled in their own bar's open.

    `sigma` and `volume` (T,) are the expectations of the bar before, known when the order was decided.
    """
    market = ReferenceMarket(raw_open, raw_close, capital=capital, charges=charges)
    for row in range(len(raw_open)):
        market.trade(quantity[row], sigma=sigma[row], volume=volume[row])
    return market.ledger
