"""sample: what works offline. SPX is the real S&P 500 history that `arch` ships; SYNTH is a simulated order-book day.

SPX is read from the installed package's file, without importing the package (which takes seconds). It is an index:
nobody trades it, its volume is that of its members. SYNTH was exported by this project's own simulator in LOBSTER's
format, and is marked synthetic wherever it shows.
"""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from difffinance.data.bars import bars_table
from difffinance.data.connectors import lobster
from difffinance.data.connectors.base import Fetched, Request, add_repairs, describe, digests
from difffinance.data.connectors.csv_bars import read_bars
from difffinance.errors import InputError, NotInLakeError

TAKES = ()
NAMES = ("SPX", "SYNTH")
FOLDER = Path(__file__).resolve().parents[1] / "sample"


def fetch(request: Request) -> Fetched:
    """Return the samples asked for, both when none is named."""
    wanted = list(dict.fromkeys(request.what)) or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise InputError(f"sample {', '.join(unknown)} is not known. Allowed: {', '.join(NAMES)}.")
    parts = [_spx(request) if name == "SPX" else _synth(request) for name in wanted]
    repairs = add_repairs(*(part.repairs for part in parts))
    verification = next((p.verification for p in parts if p.verification is not None), None)
    return Fetched(tuple(table for part in parts for table in part.tables), repairs, verification)


def _spx(request: Request) -> Fetched:
    spec = find_spec("arch")
    path = Path(*(spec.submodule_search_locations or [""])[:1], "data", "sp500", "sp500.csv.gz") if spec else None
    if path is None or not path.is_file():
        raise NotInLakeError(
            "the S&P 500 sample comes with the package arch, which is not installed here. Run: make setup."
        )
    bars, repairs = read_bars(path, "SPX", config=request.config, date_format="%m/%d/%Y")
    metadata = describe(
        digests([path]), currency="USD", tick_size=0.01, lot_size=1.0, repairs=repairs, is_index=True,
        adjustment="none (an index)", source="sample (S&P 500 history shipped by arch)",
    )  # fmt: skip
    return Fetched((bars_table("SPX", bars.drop("adjusted_close"), "1d", "", metadata),), repairs)


def _synth(request: Request) -> Fetched:
    paths = sorted(FOLDER.glob("SYNTH_*.zip"))
    if not paths:
        raise NotInLakeError(f"the synthetic day is missing from {FOLDER}. Install the package again.")
    fetched = lobster.import_pair(paths[-1], request)
    marks = {"synthetic": True, "source": "sample (synthetic)", "volume_base": "synthetic, whole market"}
    tables = tuple(replace(table, metadata={**table.metadata, **marks}) for table in fetched.tables)
    return replace(fetched, tables=tables, raw_files=())
