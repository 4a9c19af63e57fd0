"""The page: one offline HTML file, `metrics.json`, the tables behind the pictures, and quantstats' tear sheet."""

import os
import re
from importlib import resources
from pathlib import Path

import polars as pl

from difffinance.config import Config
from difffinance.data.store import atomic_file, write_json
from difffinance.reporting.manifest import make_manifest, write_manifest
from difffinance.reporting.study import Study, Table

NOTEBOOK = "07_report.ipynb"
TEAR_SHEET = "tearsheet.html"
MANIFEST = "manifest.json"


def write_page(
    study: Study, folder: str | os.PathLike[str], *, config: Config, preset: str, overrides: list[str]
) -> Path:
    """Write the page of a study and everything it links to into `folder`; return the page's path."""
    import jinja2

    folder = Path(folder)
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for picture in study.pictures:
        picture.table.write_parquet(tables / f"{picture.name}.parquet")
    for section in study.sections:
        for item in section.evidence:
            if isinstance(item, Table):
                pl.DataFrame(item.rows, schema=list(item.headings), orient="row").write_parquet(
                    tables / f"{item.name}.parquet"
                )
    write_json(folder / "metrics.json", study.metrics)
    manifest = make_manifest(config, data_hashes=study.data_hashes, seconds=study.seconds)
    write_manifest(manifest, folder / MANIFEST)
    has_tear_sheet = study.returns is not None and _write_tear_sheet(study.returns, folder / TEAR_SHEET, study.symbol)
    template = resources.files("difffinance.reporting").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    html = environment.from_string(template).render(
        study=study,
        seed=config.seed,
        preset=preset,
        overrides=[o for o in overrides if not o.startswith("seed=")],
        dpi=config.report.dots_per_inch,
        tear_sheet=TEAR_SHEET if has_tear_sheet else None,
        notebook=NOTEBOOK,
    )
    page = folder / "report.html"
    with atomic_file(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def _write_tear_sheet(returns: pl.DataFrame, path: Path, symbol: str) -> bool:
    """Write quantstats' page; it needs returns that vary."""
    import logging
    import warnings

    if returns["strategy"].std() == 0:
        return False
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # one line per missing Arial otherwise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 and matplotlib deprecations inside quantstats
        import matplotlib as mpl
        import quantstats

        frame = returns.to_pandas().set_index("ts").tz_localize(None)
        with mpl.rc_context({"svg.hashsalt": "difffinance"}):
            quantstats.reports.html(
                frame["strategy"],
                # A ticker string would be downloaded, and silently be zeros offline: always a series.
                benchmark=frame["benchmark"],
                title=f"{symbol}: diffusion agent on momentum, with impact",
                benchmark_title=f"{symbol} buy and hold",
                output=str(path),
                periods_per_year=252,
                match_dates=False,
            )
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"<link[^>]+https?://[^>]*>", "", text), encoding="utf-8")
    return True
