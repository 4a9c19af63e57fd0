"""A picture with the table behind it; it shows itself in a notebook and saves itself in a report folder."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "naive": "#8c8c8c",
    "garleanu_pedersen": "#1f6fb2",
    "diffusion": "#d9541e",
    "buy_and_hold": "#3f8f5f",
    "buy": "#1a7f5a",
    "sell": "#b0263a",
    "ink": "#22303c",
}
LABELS = {
    "naive": "naive",
    "garleanu_pedersen": "Gârleanu-Pedersen",
    "diffusion": "diffusion agent",
    "buy_and_hold": "buy and hold (naive)",
}
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e7ea",
    "axes.axisbelow": True,
    "axes.edgecolor": "#7a8791",
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Picture:
    """A figure, the sentence under it, and the table it was drawn from."""

    name: str
    title: str
    caption: str
    table: pl.DataFrame = field(repr=False)
    figure: "Figure" = field(repr=False)

    def png(self, dots_per_inch: int = 110) -> bytes:
        """Return the figure as PNG; the same figure gives the same bytes."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
        return buffer.getvalue()

    def data_uri(self, dots_per_inch: int = 110) -> str:
        """Return the PNG as a `data:` address that an offline page can hold."""
        return "data:image/png;base64," + base64.b64encode(self.png(dots_per_inch)).decode()

    def _repr_png_(self) -> bytes:
        return self.png()


def house_style(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Run a drawing function in the house style, whatever the caller's own matplotlib settings are."""

    @wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Picture:
        import matplotlib as mpl

        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            return draw(*arguments, **options)

    return styled


def new_figure(
    width: float = 9.0, height: float = 3.8, rows: int = 1, columns: int = 1, **options: Any
) -> "tuple[Figure, list[Axes]]":
    """Return a figure with its axes in reading order; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def thousands(axis: "Axes", which: str = "y", unit: str = "") -> None:
    """Write an axis' numbers as 1 k, 20 M, 3 bn."""
    from matplotlib.ticker import FuncFormatter

    getattr(axis, f"{which}axis").set_major_formatter(FuncFormatter(lambda value, _: short(value) + unit))


def short(value: float) -> str:
    """Return a number as people write large ones: 950, 20 k, 3.5 M, 10 bn."""
    for size, name in ((1e12, " tn"), (1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def on_dates(axis: "Axes", times: pl.Series) -> np.ndarray:
    """Make the x axis one of dates and return `times` as its numbers.

    Explicit, because libraries that register their own date converters change what an axis makes of a column.
    """
    from matplotlib.dates import date2num

    axis.xaxis_date()
    return date2num(times.dt.replace_time_zone(None).to_numpy())
