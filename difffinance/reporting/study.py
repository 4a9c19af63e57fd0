"""What a report says: sections of sentences, pictures and tables, and the metrics; made for bars or for a book day."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from difffinance.reporting.picture import Picture

METRIC_KEYS = (
    "total_return cagr sharpe sharpe_se probabilistic_sharpe deflated_sharpe sortino calmar max_drawdown "
    "longest_drawdown win_rate profit_factor volatility skew kurtosis var95 cvar95 turnover fees slippage_bps "
    "impact_bps trades exposure periods_per_year n_obs"
).split()
"""Keys that every `metrics.json` holds; None where a symbol has no such number."""


@dataclass(frozen=True)
class Table:
    """A small table as it is shown: a caption, headings, and rows of texts."""

    name: str
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in self.headings)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f"<table><caption>{self.caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True)
class Section:
    """One question, its answer in a sentence or two, and the evidence."""

    key: str
    title: str
    text: str
    evidence: tuple[Picture | Table, ...] = ()

    def _ipython_display_(self) -> None:
        from IPython.display import Markdown, display

        display(Markdown(f"### {self.title}\n\n{self.text}"))
        for item in self.evidence:
            display(item)
            if isinstance(item, Picture):
                display(Markdown(f"*{item.caption}*"))


@dataclass(frozen=True)
class Study:
    """All that a report of one symbol says; `metrics` becomes `metrics.json`."""

    symbol: str
    title: str
    verdict: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    metrics: dict[str, Any]
    data_hashes: dict[str, str]
    seconds: float
    returns: pl.DataFrame | None = field(default=None, repr=False)  # ts, strategy, benchmark: for the tear sheet

    def section(self, key: str) -> Section:
        """Return a section by key, or one that says why this symbol has none."""
        for section in self.sections:
            if section.key == key:
                return section
        known = ", ".join(section.key for section in self.sections)
        return Section(key, key.replace("_", " ").capitalize(), f"Does not apply to {self.title}. It has: {known}.")

    @property
    def pictures(self) -> Iterator[Picture]:
        """Every picture, in order."""
        for section in self.sections:
            yield from (item for item in section.evidence if isinstance(item, Picture))
