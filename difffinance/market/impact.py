"""Two tests that any law offered for costs must pass (SCIENCE 2.1b).

Slicing: the cost of a fixed programme converges, to something above zero, as it is cut finer. Round trips: no
programme that ends flat has positive expected profit (Huberman & Stanzl 2004; Gatheral 2010).

A law is a pair of functions of signed quantities: `permanent(q)` moves the price for everything after a trade of q
(half of it on the trade itself), `temporary(rate)` is paid on the trade alone, with the rate in units per period.
Impact that is forgotten little by little has its own form in `market.transient`.
"""

from collections.abc import Callable

import numpy as np

from difffinance.errors import CostLawError
from difffinance.market.admissibility import Admissibility
from difffinance.market.costs import check_cost_law, permanent_impact, temporary_impact
from difffinance.market.transient import check_transient, transient_law
from difffinance.records import Array, CostLaw

Impact = Callable[[Array], Array]

_SLICES = (1, 4, 16, 64, 256, 1024)
_PIECES = (1, 2, 5, 10, 20, 50, 100)
_SEARCHED = 2000


def programme_cost(trades: Array, permanent: Impact, temporary: Impact, *, duration: float = 1.0) -> Array:
    """Return the expected cost of programmes (K, N) of N trades, equally spaced over `duration` periods."""
    shift = permanent(trades)
    before = np.cumsum(shift, axis=1) - shift
    paid = before + 0.5 * shift + temporary(trades * (trades.shape[1] / duration))
    return np.sum(trades * paid, axis=1)


def probe_law(permanent: Impact, temporary: Impact, *, quantity: float, rng: np.random.Generator) -> Admissibility:
    """Put a law through both tests at programmes of up to `quantity` units."""
    costs = tuple(
        float(programme_cost(np.full((1, n), quantity / n), permanent, temporary)[0] / quantity) for n in _SLICES
    )
    # Costs converge when the change per refinement dies out; a power law in the slices changes by a constant factor.
    last, before = abs(costs[-1] - costs[-2]), abs(costs[-2] - costs[-3])
    converges = costs[-1] > 0.0 and (last <= 1e-6 * costs[-1] or (last < 0.5 * before and last < 0.05 * costs[-1]))
    profit, trades = _search_round_trips(permanent, temporary, quantity, rng)
    return Admissibility(_SLICES, costs, converges, profit, trades)


def check_admissible(law: CostLaw, *, rng: np.random.Generator | None = None) -> CostLaw:
    """Return a cost law that passes both tests for programmes of up to a period's volume; raise otherwise."""
    law = check_cost_law(law)
    rng = np.random.default_rng(0) if rng is None else rng
    if law.decay is not None:
        check_transient(transient_law(law))
        return law
    found = probe_law(
        lambda v: permanent_impact(law, v, 1.0),
        lambda v: temporary_impact(law, v, 1.0),
        quantity=1.0,
        rng=rng,
    )
    if not found.admissible:
        what = "its cost does not converge under finer slicing"
        if found.free_money:
            what = f"a round trip earns {found.round_trip_profit:.3g} sigma per unit"
        raise CostLawError(f"{law} cannot be charged: {what}. Allowed: permanent impact linear in quantity.")
    return law


def _search_round_trips(
    permanent: Impact, temporary: Impact, quantity: float, rng: np.random.Generator
) -> tuple[float, tuple[float, ...]]:
    """Return the best profit per unit bought over buy-then-sell (and the mirror), and over random round trips."""
    best, best_trades = -np.inf, np.zeros(0)
    for size in quantity * np.array([1e-3, 1e-2, 0.1, 1.0]):
        for trades in [*_two_legged(), rng.standard_normal((_SEARCHED, 12)), rng.standard_cauchy((_SEARCHED, 5))]:
            trades = trades - trades.mean(axis=1, keepdims=True)
            bought = np.clip(trades, 0.0, None).sum(axis=1, keepdims=True)
            trades = size * trades / bought
            profit = -programme_cost(trades, permanent, temporary) / size
            k = int(np.argmax(profit))
            if profit[k] > best:
                best, best_trades = float(profit[k]), trades[k]
    return best, tuple(float(q) for q in best_trades)


def _two_legged() -> list[Array]:
    legs = []
    for first in _PIECES:
        for second in _PIECES:
            trip = np.concatenate([np.full(first, 1.0 / first), np.full(second, -1.0 / second)])
            legs.append(np.stack([trip, -trip]))
    return legs
