"""One day of the simulated market as an exchange would publish it: a LOBSTER pair of message and order-book files.

`python -m difffinance.simulation.synthetic_day OUT.zip` writes the day that the package ships as SYNTH. It is
synthetic: background flow and four scripted participants in `MarketEnvironment`, fixed seed.
"""

import bisect
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from difffinance.agents.factory import AgentFactory
from difffinance.config import FlowConfig, MarketConfig
from difffinance.data.store import atomic_file
from difffinance.errors import InputError
from difffinance.market.environment import MarketEnvironment
from difffinance.market.matching import CANCEL, LIMIT
from difffinance.records import Array

SYMBOL, DATE, SEED, LEVELS = "SYNTH", "2020-01-02", 20200102, 5
KINDS = ("market_maker", "speculator", "arbitrageur", "informed")
OPEN_S, CLOSE_S = 34200, 57600
NEW, PARTIAL_CANCEL, DELETE, EXECUTION = 1, 2, 3, 4
_NO_LEVEL = {1: (-9999999999, 0), -1: (9999999999, 0)}
_README = """Synthetic data. Written by DiffFinance's own simulator (python -m difffinance.simulation.synthetic_day);
no exchange, no real instrument. Columns and units are those of LOBSTER's message and order-book files.
"""

Message = tuple[int, int, int, int, int, int]  # nanoseconds since the opening, type, id, size, ticks, resting side


class _Ladder:
    """Quantity by price of both sides, with the best prices at hand."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.keys: dict[int, list[int]] = {1: [], -1: []}  # -side * price, best first
        self.quantity: dict[tuple[int, int], int] = {}

    def change(self, side: int, price: int, by: int) -> bool:
        """Add to a level; return whether it is or was among the best `levels`."""
        keys, key = self.keys[side], -side * price
        rank = bisect.bisect_left(keys, key)
        left = self.quantity.get((side, price), 0) + by
        if left == by:
            keys.insert(rank, key)
        if left:
            self.quantity[side, price] = left
        else:
            del self.quantity[side, price], keys[rank]
        return rank < self.levels

    def row(self, ticks: int) -> str:
        """Return the order-book row: ask price, ask size, bid price, bid size, level by level; price x 10000."""
        cells = []
        for level in range(self.levels):
            for side in (-1, 1):
                if level < len(self.keys[side]):
                    price = -side * self.keys[side][level]
                    cells += [price * ticks, self.quantity[side, price]]
                else:
                    cells += _NO_LEVEL[side]
        return ",".join(map(str, cells))


def messages_of(events: Array, fills: Array, resting: dict[int, list[int]]) -> Iterator[Message]:
    """Turn one step's log into changes of the visible book, one per order touched.

    `resting` maps the id of each resting order to [side, ticks, lots] and is kept up to date.
    """
    taker = fills["taker"].tolist()
    made = list(zip(fills["maker"].tolist(), fills["price"].tolist(), fills["quantity"].tolist(), strict=True))
    columns = ("ts", "kind", "side", "order_id", "price", "quantity", "done", "first_fill")
    for ts, kind, side, order_id, price, quantity, done, at in zip(*(events[c].tolist() for c in columns), strict=True):
        if done == 0 and (kind != LIMIT or order_id in resting):
            continue
        if kind == CANCEL:
            order = resting[order_id]
            order[2] -= done
            yield ts, PARTIAL_CANCEL if order[2] else DELETE, order_id, done, order[1], order[0]
            if not order[2]:
                del resting[order_id]
            continue
        while at < len(made) and taker[at] == order_id:
            maker, traded_at, traded = made[at]
            order = resting[maker]
            order[2] -= traded
            yield ts, EXECUTION, maker, traded, traded_at, order[0]
            if not order[2]:
                del resting[maker]
            at += 1
        if kind == LIMIT and quantity > done:
            resting[order_id] = [side, price, quantity - done]
            yield ts, NEW, order_id, quantity - done, price, side


def lobster_rows(env: MarketEnvironment, seed: int, levels: int = LEVELS) -> Iterator[tuple[str, str]]:
    """Run a session of `env` with scripted participants; yield (message row, order-book row) as LOBSTER writes them.

    As in the official files, only messages that touch the best `levels` levels are there; the book row is the state
    after the message.
    """
    ticks = round(env.config.tick_size * 10_000)
    if abs(ticks / 10_000 - env.config.tick_size) > 1e-12 or env.config.lot_size != 1:
        raise InputError("a LOBSTER file needs a tick of whole 1/10000 and a lot of 1 unit.")
    agents = AgentFactory.create_population(env.kinds, seed=seed)
    state, ladder, resting, last = env.reset(seed=seed), _Ladder(levels), {}, 0
    orders = env.venue.floor.orders
    for order_id in np.flatnonzero(orders["quantity"]).tolist():
        side, price, lots = (int(orders[order_id][name]) for name in ("side", "price", "quantity"))
        resting[order_id] = [side, price, lots]
        ladder.change(side, price, lots)
    done = False
    while not done:
        state, _, done, _ = env.step([agent.act(state, {}) for agent in agents])
        for ts, kind, order_id, size, price, side in messages_of(env.events, env.fills, resting):
            if ladder.change(side, price, size if kind == NEW else -size):
                last = max(last, ts)
                row = f"{_seconds(last)},{kind},{order_id + 1},{size},{price * ticks},{side}"
                yield row, ladder.row(ticks)


def _seconds(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{OPEN_S + whole}.{rest:09d}".rstrip("0").rstrip(".")


def synthetic_pair(
    *, seed: int = SEED, session_seconds: float = CLOSE_S - OPEN_S, levels: int = LEVELS
) -> tuple[bytes, bytes]:
    """Return the bytes of the message and of the order-book file of one day (or of its first `session_seconds`)."""
    # As shipped: seats teach the value nothing, and the book is filled for 900 s.
    config = MarketConfig(symbol=SYMBOL, flow=FlowConfig(worth=0.0, warm_up_lives=11.7))
    steps = max(int(session_seconds / config.step_seconds), 1)
    env = MarketEnvironment(num_agents=len(KINDS), config=config, kinds=KINDS, num_steps=steps)
    messages, books = zip(*lobster_rows(env, seed, levels), strict=True)
    return ("\n".join(messages) + "\n").encode(), ("\n".join(books) + "\n").encode()


def write_synthetic_day(path: Path, *, seed: int = SEED) -> Path:
    """Write the shipped day as a zip with fixed time stamps; the csv bytes depend on `seed` alone."""
    stem = f"{SYMBOL}_{DATE}_{OPEN_S}000_{CLOSE_S}000"
    message, book = synthetic_pair(seed=seed)
    files = {f"{stem}_message_{LEVELS}.csv": message, f"{stem}_orderbook_{LEVELS}.csv": book}
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in {**files, "SYNTHETIC.txt": _README.encode()}.items():
            entry = zipfile.ZipInfo(name, date_time=(2020, 1, 2, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m difffinance.simulation.synthetic_day OUT.zip")
    write_synthetic_day(Path(sys.argv[1]))
