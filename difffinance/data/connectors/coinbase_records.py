"""Lines of a Coinbase capture: records of the web socket to messages, and to one row per level, trade and ticker."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from difffinance.data.lines import decode, line_blocks
from difffinance.errors import DataError


def _text(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, pl.String)


_RECORD = pl.Struct(_text("t", "conn", "data"))
_MESSAGE = pl.Struct({"channel": pl.String, "sequence_num": pl.Int64, "timestamp": pl.String})
CHANNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "l2_data": ("updates", _text("side", "event_time", "price_level", "new_quantity")),
    "market_trades": ("trades", _text("product_id", "trade_id", "price", "size", "time", "side")),
    "ticker": ("tickers", _text("product_id", "best_bid", "best_bid_quantity", "best_ask", "best_ask_quantity")),
}


@dataclass(frozen=True)
class Capture:
    """What some lines say: messages (row, conn, sequence_num) and the items of each channel.

    An item has its row, the time at which its message was sent, its event (counted within these lines), the event's
    type, its product and its fields.
    """

    messages: pl.DataFrame
    items: dict[str, pl.DataFrame]

    def without(self, rows: list[int]) -> "Capture":
        """Return it without the messages of some rows."""
        if not rows:
            return self
        items = {channel: own.filter(~pl.col("row").is_in(rows)) for channel, own in self.items.items()}
        return Capture(self.messages.filter(~pl.col("row").is_in(rows)), items)


def read_capture(path: Path, limit: int) -> Iterator[Capture]:
    """Yield what the records say, by blocks of lines; `DataError` names the row of one that is not understood."""
    received = 0
    for first, block in line_blocks(path, limit=limit):
        found = _decode_block(block, first, path.name)
        received += found.height
        items = {c: _items(found.filter(pl.col("channel") == c), c, path.name) for c in CHANNELS}
        yield Capture(found.select("row", "conn", "sequence_num"), items)
    if not received:
        raise DataError("holds no received messages. Allowed: a capture with records of type recv.", file=path.name)


def _decode_block(block: bytes, first: int, file: str) -> pl.DataFrame:
    texts = pl.Series("text", decode(block, first, file).split("\n")[:-1])
    rows = pl.int_range(first, first + len(texts), eager=True).alias("row")
    records = pl.DataFrame([rows, _decode(texts, _RECORD, rows, file).alias("record")]).unnest("record")
    received = records.filter(pl.col("t") == "recv")
    nameless = records.filter(pl.col("t").is_null() | ((pl.col("t") == "recv") & pl.col("data").is_null()))
    if nameless.height:
        _refuse(texts[int(nameless["row"][0]) - first], int(nameless["row"][0]), file)
    message = _decode(received["data"], _MESSAGE, received["row"], file)
    found = received.with_columns(message.alias("message")).unnest("message")
    lost = found.filter(pl.any_horizontal(pl.col(c).is_null() for c in ("channel", "sequence_num", "timestamp")))
    if lost.height:
        _refuse(lost["data"][0], int(lost["row"][0]), file)
    return found


def _decode(texts: pl.Series, shape: pl.Struct, rows: pl.Series, file: str) -> pl.Series:
    try:
        return texts.str.json_decode(shape)
    except pl.exceptions.PolarsError:
        for row, text in zip(rows, texts, strict=True):
            try:
                pl.Series([text]).str.json_decode(shape)
            except pl.exceptions.PolarsError:
                _refuse(text, row, file)
            if not text.strip():  # alone it is read as nothing, between others it ends them
                _refuse(text, row, file)
        raise


def _refuse(text: str, row: int, file: str) -> NoReturn:
    raise DataError(
        f"is no record that is understood: {text[:120]!r}. Allowed: cryptofeed's records with t and data, and in data "
        "a message with channel, sequence_num and timestamp.",
        file=file,
        row=row,
    )


def _items(own: pl.DataFrame, channel: str, file: str) -> pl.DataFrame:
    """Return one row per level, trade or ticker."""
    name, fields = CHANNELS[channel]
    event: dict[str, Any] = {**_text("type", "product_id"), name: pl.List(pl.Struct(fields))}
    decoded = _decode(own["data"], pl.Struct({"events": pl.List(pl.Struct(event))}), own["row"], file)
    events = own.select("row", "timestamp").with_columns(decoded.alias("d")).unnest("d").explode("events")
    events = events.unnest("events").with_row_index("event").with_columns(pl.col("event").cast(pl.Int64))
    if channel != "l2_data":
        events = events.drop("product_id")
    items = events.explode(name).unnest(name)
    # A snapshot of a product without levels is a message too; anything else without a field is damaged.
    lost = items.filter(pl.any_horizontal(pl.col(c).is_null() for c in [*fields, "type", "product_id"]))
    if lost.height:
        row = int(lost["row"][0])
        _refuse(own.filter(pl.col("row") == row)["data"][0], row, file)
    return items
