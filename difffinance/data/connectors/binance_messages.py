"""Lines of a Binance capture: messages of the combined stream and REST snapshots to one table per stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from difffinance.data.decimals import Scaled, read_decimals
from difffinance.data.lines import decode, line_blocks
from difffinance.errors import DataError
from difffinance.records import Array

_LEVELS = pl.List(pl.List(pl.String))
_WHOLE = dict.fromkeys(("E", "T", "U", "u", "pu"), pl.Int64)
SHAPES: dict[str, pl.Struct] = {
    "depth": pl.Struct({"data": pl.Struct({"s": pl.String, **_WHOLE, "b": _LEVELS, "a": _LEVELS})}),
    "bookTicker": pl.Struct(
        {"data": pl.Struct({"s": pl.String, "u": pl.Int64, "T": pl.Int64} | dict.fromkeys("bBaA", pl.String))}
    ),
    "trade": pl.Struct(
        {
            "data": pl.Struct(
                {"s": pl.String, "T": pl.Int64, "t": pl.Int64, "p": pl.String, "q": pl.String, "m": pl.Boolean}
            )
        }
    ),
    "snapshot": pl.Struct({"lastUpdateId": pl.Int64, "E": pl.Int64, "T": pl.Int64, "bids": _LEVELS, "asks": _LEVELS}),
}
_NEEDED = {
    "depth": ("s", "E", "U", "u", "b", "a"),
    "bookTicker": ("s", "u", "b", "B", "a", "A"),
    "trade": ("s", "T", "t", "p", "q", "m"),
    "snapshot": ("lastUpdateId", "bids", "asks"),
}  # fmt: skip


@dataclass(frozen=True)
class Levels:
    """Levels of the messages of one stream, sorted by `owner`, the message's row in its stream."""

    owner: Array
    side: Array  # 1 bid, 0 ask
    price: Scaled
    quantity: Scaled


@dataclass(frozen=True)
class Capture:
    """What some lines say: one table per stream with `row` and `received`, and the levels of updates and snapshots."""

    tables: dict[str, pl.DataFrame]
    levels: dict[str, Levels]
    prices: dict[str, Scaled]  # of trades and best quotes


def read_capture(path: Path, limit: int) -> Iterator[Capture]:
    """Parse a capture by blocks of lines; `DataError` names the row of one that is no message of these streams."""
    for first, block in line_blocks(path, limit=limit):
        parsed = _parse(block, first, path.name)
        tables = {kind: parsed[kind] if kind in parsed else _empty(kind) for kind in SHAPES}
        levels = {
            "depth": _levels(tables["depth"], "b", "a", path.name),
            "snapshot": _levels(tables["snapshot"], "bids", "asks", path.name),
        }
        numbers = {}
        for kind, names in (("trade", "pq"), ("bookTicker", "bBaA")):
            rows = tables[kind]["row"].to_numpy()
            for name in names:
                numbers[name] = read_decimals(
                    tables[kind][name], f"{kind} {name}", file=path.name, rows=rows, above_zero=name == "p"
                )
        tables["depth"], tables["snapshot"] = tables["depth"].drop("b", "a"), tables["snapshot"].drop("bids", "asks")
        yield Capture(tables, levels, numbers)


def _empty(kind: str) -> pl.DataFrame:
    shape = SHAPES[kind]
    fields = shape.fields if kind == "snapshot" else shape.fields[0].dtype.fields  # type: ignore[union-attr]
    return pl.DataFrame(schema={"row": pl.Int64, "received": pl.Int64, **{f.name: f.dtype for f in fields}})


def _parse(block: bytes, first: int, file: str) -> dict[str, pl.DataFrame]:
    """Return one table per stream of a block of lines."""
    texts = decode(block, first, file).split("\n")[:-1]
    lines = pl.DataFrame({"line": texts}).with_row_index("row", offset=first).with_columns(pl.col("row").cast(pl.Int64))
    lines = lines.select(
        "row",
        received=pl.col("line").str.extract(r"^(\d{1,19}) \{", 1).cast(pl.Int64, strict=False),
        json=pl.col("line").str.extract(r"^\d+ (\{.*\})\s*$", 1),
        stream=pl.col("line").str.extract(r'^\d+ \{\s*"stream"\s*:\s*"[^"@]+@(depth|bookTicker|trade)[@"]', 1),
    ).with_columns(
        stream=pl.when(pl.col("stream").is_null() & pl.col("json").str.contains('"lastUpdateId"', literal=True))
        .then(pl.lit("snapshot"))
        .otherwise("stream")
    )
    lost = lines.filter(pl.any_horizontal(pl.col("received", "json", "stream").is_null()))
    if lost.height:
        _refuse(int(lost["row"][0]), first, texts, file)
    tables = {}
    for kind, shape in SHAPES.items():
        own = lines.filter(pl.col("stream") == kind)
        if not own.height:
            continue
        try:
            decoded = own.select("row", "received", message=pl.col("json").str.json_decode(shape))
        except pl.exceptions.PolarsError:
            raise _bad_line(own, shape, file) from None
        table = decoded.unnest("message") if kind == "snapshot" else decoded.unnest("message").unnest("data")
        missing = table.filter(pl.any_horizontal(pl.col(c).is_null() for c in _NEEDED[kind]))
        if missing.height:
            _refuse(int(missing["row"][0]), first, texts, file)
        tables[kind] = table
    return tables


def _refuse(row: int, first: int, texts: list[str], file: str) -> None:
    raise DataError(
        f"is no message that is understood: {texts[row - first][:120]!r}. Allowed: a receive time in ns, a space, and "
        "the JSON of @depth, @bookTicker, @trade or of a snapshot.",
        file=file,
        row=row,
    )


def _bad_line(own: pl.DataFrame, shape: pl.Struct, file: str) -> DataError:
    """Find the line that the reader of the whole block stumbled over."""
    for row, text in own.select("row", "json").iter_rows():
        try:
            pl.Series([text]).str.json_decode(shape)
        except pl.exceptions.PolarsError:
            return DataError(f"is not a whole message of its stream: {text[:120]!r}.", file=file, row=row)
    return DataError("holds lines that are not messages.", file=file)


def _levels(table: pl.DataFrame, bids: str, asks: str, file: str) -> Levels:
    sides = []
    for side, name in ((1, bids), (0, asks)):
        long = table.with_row_index("owner").select(pl.col("owner").cast(pl.Int64), "row", level=name).explode("level")
        sides.append(long.filter(pl.col("level").is_not_null()).with_columns(side=pl.lit(side, pl.Int64)))
    long = pl.concat(sides).sort("owner", maintain_order=True)
    bad = long.filter(pl.col("level").list.len() < 2)
    if bad.height:
        raise DataError(f"a level must be [price, quantity]; got {bad['level'][0]}.", file=file, row=int(bad["row"][0]))
    rows = long["row"].to_numpy()
    price = read_decimals(long["level"].list.get(0), "a level's price", file=file, rows=rows, above_zero=True)
    quantity = read_decimals(long["level"].list.get(1), "a level's quantity", file=file, rows=rows)
    return Levels(long["owner"].to_numpy(), long["side"].to_numpy(), price, quantity)
