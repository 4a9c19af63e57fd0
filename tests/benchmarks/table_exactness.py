"""The exactness table: every order book and bar file of ../shared/data through its connector, one line a file.

Run: python tests/benchmarks/table_exactness.py [part of a name ...]. Columns: rows written per table, one-step and
resync exactness (CONTRACT 2; a dash where the file has no messages of its own to be held against), repairs, messages
verified per second. A file that is refused says why.
"""

import sys
import tempfile
from pathlib import Path

from difffinance.config import DataConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.store import Lake
from difffinance.errors import DiffFinanceError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PATTERNS = {
    "lobster": ("lobster/*.zip",),
    "databento": ("databento_dbn/*mb*.dbn*",),
    "lean": ("lean_us_equity/tick/*", "lean_us_equity/minute/*", "lean_us_equity/hour/*", "lean_us_equity/daily/*"),
    "tushare": ("ashare_daily_raw/*.csv", "ashare_daily_qfq/*.csv.gz", "ashare_minute/*.csv.gz"),
    "csv": ("yahoo_csv/*.csv",),
    "binance": ("binance_vision/*.zip", "binance_ws_raw/*.gz"),
    "bitstamp": ("bitstamp_l3/*.xz",),
    "coinbase": ("coinbase_ws_raw/*.zst",),
    "tardis": ("tardis_csv/*.csv*",),
}


def line(source: str, path: Path) -> str:
    """Import one file into a lake of its own and describe what came of it."""
    name = f"{source:<10}{path.relative_to(DATA)!s:<78}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = fetch_tables(source, [str(path)], lake=Lake(folder), config=DataConfig())
        except DiffFinanceError as error:
            return f"{name} refused: {' '.join(str(error).split())[:150]}"
    rows: dict[str, int] = {}
    for table in answer["tables"]:
        rows[table["schema"]] = rows.get(table["schema"], 0) + table["rows"]
    counts = " ".join(f"{schema} {count}" for schema, count in rows.items())
    seen = answer.get("verification") or {}
    exact = " ".join(f"{fraction(seen.get(key)):>9}" for key in ("one_step_exact", "resync_exact"))
    speed = f"{seen['messages_per_second']:,.0f}/s" if seen.get("messages_per_second") else "-"
    repairs = "; ".join(f"{r['rows']} {r['rule']}" for r in answer["repairs"]) or "no repairs"
    return f"{name}{exact} {speed:>13}  {counts}; {repairs}"


def fraction(value: float | None) -> str:
    """Return a fraction with six decimals, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.6f}"


if __name__ == "__main__":
    print(f"{'source':<10}{'file':<78}{'one-step':>9} {'resync':>9} {'verified':>13}  rows; repairs")
    for source, patterns in PATTERNS.items():
        for path in (p for pattern in patterns for p in sorted(DATA.glob(pattern))):
            if all(word in str(path) for word in sys.argv[1:]):
                print(line(source, path), flush=True)
