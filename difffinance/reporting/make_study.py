"""Make the study of a symbol from what the lake holds: bars, an order-book day, or both."""

import time
from dataclasses import replace

from difffinance.config import Config
from difffinance.data.loading import has_bars, has_book
from difffinance.data.store import Lake, Progress, no_progress
from difffinance.errors import NotInLakeError
from difffinance.reporting.study import Study

SAMPLES = ("SPX", "SYNTH")


def find_data(symbol: str, *, lake: Lake, config: Config) -> list[str]:
    """Fetch the offline samples that a report of `symbol` needs; return what was done, a line each.

    Raises `NotInLakeError`, which names the verb that brings the data.
    """
    from difffinance.data.fetching import fetch_tables

    done = []
    here = has_bars(symbol, lake=lake) or has_book(symbol, lake=lake)
    if not here and symbol not in SAMPLES:
        raise NotInLakeError(
            f"no bars and no order-book day of {symbol} are in the lake {lake.root}. Bring some with: difffinance "
            f"fetch yahoo {symbol}, fetch csv PATH --symbol {symbol} or fetch lobster PATH; "
            f"{' and '.join(SAMPLES)} are offline samples."
        )
    needed = [] if here else [symbol]
    if not has_book(symbol, lake=lake) and "SYNTH" not in needed and not has_book("SYNTH", lake=lake):
        needed.append("SYNTH")  # the order-book sections of a symbol that has bars only
    for name in needed:
        fetch_tables("sample", [name], lake=lake, config=config.data)
        done.append(f"fetched sample {name}")
    return done


def make_study(symbol: str, *, config: Config, lake: Lake | None = None, progress: Progress = no_progress) -> Study:
    """Return all that a report of `symbol` says; fetches, calibrates and trains what it needs and does not find.

    Bars give the full report, with the symbol's own order-book day, or else the synthetic one, for the market
    sections; an order-book day alone gives the impact and market sections, and its Sharpe ratio is None.
    """
    started = time.monotonic()
    lake = lake or Lake()
    find_data(symbol, lake=lake, config=config)
    if has_bars(symbol, lake=lake):
        from difffinance.reporting.bars_study import make_bars_study

        study = make_bars_study(symbol, config=config, lake=lake, progress=progress)
    else:
        from difffinance.reporting.book_study import make_book_study

        study = make_book_study(symbol, config=config, lake=lake, progress=progress)
    return replace(study, seconds=round(time.monotonic() - started, 2))
