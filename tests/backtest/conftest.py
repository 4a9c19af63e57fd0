import numpy as np
import polars as pl
import pytest

from difffinance.records import BarsTable, CostLaw, Instrument


@pytest.fixture
def law() -> CostLaw:
    """The published metaorder law (Almgren et al. 2005)."""
    return CostLaw("metaorder_prior", 0.142, 0.6, 0.314, (0.13, 0.154), (0.52, 0.68), (0.23, 0.39), "Almgren 2005")


def random_walk(count: int, seed: int = 0, drift: float = 3e-4) -> dict[str, np.ndarray]:
    """Open, close and volume of a random walk with overnight gaps."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(drift, 0.01, count)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.003, count))
    volume = np.exp(rng.normal(13.8, 0.3, count)).round()
    return {"open": open_, "close": close, "volume": volume}


def make_bars(count: int, seed: int = 0, drift: float = 3e-4, is_index: bool = False) -> BarsTable:
    walk = random_walk(count, seed, drift)
    start = np.datetime64("2001-01-01", "ns")
    frame = pl.DataFrame(
        {
            "symbol": ["WALK"] * count,
            "ts": start + np.arange(count) * np.timedelta64(1, "D"),
            "open": walk["open"],
            "high": np.maximum(walk["open"], walk["close"]),
            "low": np.minimum(walk["open"], walk["close"]),
            "close": walk["close"],
            "volume": walk["volume"],
        }
    ).with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    return BarsTable(Instrument("WALK"), frame, source="random walk", is_index=is_index)


@pytest.fixture
def bars() -> BarsTable:
    """Six hundred bars of a random walk."""
    return make_bars(600)
