"""Yahoo's recorded answers, served on loopback to the real yfinance client."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Request as HttpRequest
from werkzeug import Response

from difffinance.config import DataConfig
from difffinance.data.connectors import yahoo
from difffinance.data.connectors.base import Request
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_bars
from difffinance.data.store import Lake, read_metadata
from difffinance.errors import DataError, InputError, NetworkError

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # yfinance under pandas 3

SPAN = {"start": "2020-01-01", "end": "2021-01-04"}


class Yahoo:
    """A server that answers each symbol with a list of (status, body), the last one for ever."""

    def __init__(self, httpserver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[str] = []
        httpserver.expect_request("/").respond_with_data("")
        httpserver.expect_request(re.compile("^/v.*")).respond_with_handler(self.answer)
        point_client_at(httpserver.url_for("").rstrip("/"), monkeypatch)

    def answer(self, request: HttpRequest) -> Response:
        symbol = request.path.rpartition("/")[2]
        self.asked.append(request.path + ("?tz" if "range" in request.args else ""))
        answers = self.answers.get(symbol, [(404, {"chart": {"result": None, "error": {"description": "Not Found"}}})])
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        text = body if isinstance(body, str) else json.dumps(body)
        return Response(text, status=status, content_type="application/json")


def point_client_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import yfinance.base
    import yfinance.const
    import yfinance.data
    import yfinance.scrapers.history
    import yfinance.scrapers.quote

    for module in (yfinance.const, yfinance.base, yfinance.scrapers.history, yfinance.scrapers.quote):
        for name in ("_BASE_URL_", "_QUERY1_URL_"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, url)
    # Cookies and crumbs come from hosts outside; the chart answers without them.
    monkeypatch.setattr(yfinance.data.YfData, "_get_cookie_and_crumb", lambda self, timeout=30: (None, "basic"))
    clear_client()


def clear_client() -> None:
    """Forget what the client remembers of earlier answers."""
    import yfinance.cache
    import yfinance.data

    yfinance.data.YfData.cache_get.cache_clear()
    with yahoo._client():
        for symbol in ("AMZN", "BEKE"):
            yfinance.cache.get_tz_cache().store(symbol, None)


@pytest.fixture
def server(httpserver: Any, monkeypatch: pytest.MonkeyPatch) -> Yahoo:
    return Yahoo(httpserver, monkeypatch)


@pytest.fixture
def recorded(shared_data: Path) -> Any:
    def read(name: str) -> tuple[int, Any]:
        response = json.loads((shared_data / "yahoo_v8_json" / name).read_text())["response"]
        body = response.get("bodyJson") or response["body"]
        return response["status"], json.loads(body) if isinstance(body, str) else body

    return read


def fetch(lake: Lake, *what: str, pauses: list[float] | None = None, **options: str) -> Any:
    request = Request(what, lake, DataConfig(network_backoff_s=1.5, network_retries=2), {"interval": "1d", **options})
    return yahoo.fetch(request, sleep=(pauses if pauses is not None else []).append)


@pytest.mark.parametrize(
    ("file", "symbol", "currency"),
    [
        ("historicalv8-AAPL-2020-01-01-to-2021-01-04.json", "AAPL", "USD"),
        ("historicalv8-OCDO.L-2020-01-01-to-2021-01-04.json", "OCDO.L", "GBp"),
    ],
)
def test_recorded_year_arrives_number_by_number(server, recorded, lake, file, symbol, currency):
    status, body = recorded(file)
    server.answers[symbol] = [(status, body)]
    answer = fetch_tables("yahoo", [symbol], lake=lake, config=DataConfig(), **SPAN)

    result = body["chart"]["result"][0]
    quote, adjusted_close = result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]["adjclose"]
    raw, adjusted = load_bars(symbol, lake=lake), load_bars(symbol, lake=lake, adjusted=True)
    known = [i for i, close in enumerate(quote["close"]) if close is not None]
    within = [i for i in known if datetime.fromtimestamp(result["timestamp"][i], UTC).date().isoformat() < SPAN["end"]]
    assert raw.frame["close"].to_list() == pytest.approx([quote["close"][i] for i in within])
    assert raw.frame["volume"].to_list() == [quote["volume"][i] for i in within]
    assert adjusted.frame["close"].to_list() == pytest.approx([adjusted_close[i] for i in within])
    assert adjusted.adjusted and not raw.adjusted
    assert raw.instrument.currency == currency
    assert answer["tables"][0]["start"] == "2020-01-02T00:00:00+00:00"
    assert {t["rows"] for t in answer["tables"]} == {len(within)}
    assert read_metadata(lake.table_path("Bars", symbol, "adjusted"))["adjustment"] == "split and dividend"


def test_dividends_separate_adjusted_from_raw(server, recorded, lake):
    server.answers["MSFT"] = [recorded("historical-via-chart-MSFT-dividends-2021-02-01-to-2022-01-31.csv.json")]
    fetch_tables("yahoo", ["MSFT"], lake=lake, config=DataConfig(), start="2021-02-01", end="2022-01-31")
    raw, adjusted = load_bars("MSFT", lake=lake).frame, load_bars("MSFT", lake=lake, adjusted=True).frame
    ratio = adjusted["close"] / raw["close"]
    steps = ratio.diff().drop_nulls()
    assert (steps > 1e-4).sum() == 4 and steps.min() > -1e-6  # each of 4 dividends lowers what lies before it
    assert (adjusted["high"] / raw["high"] - ratio).abs().max() < 1e-12


def test_null_rows_are_dropped_and_counted(server, recorded, lake):
    status, body = recorded("historicalv8-BTC-USD-2020-01-01-to-2021-01-04.json")
    nulls = body["chart"]["result"][0]["indicators"]["quote"][0]["close"].count(None)
    server.answers["BTC-USD"] = [(status, body)]
    answer = fetch_tables("yahoo", ["BTC-USD"], lake=lake, config=DataConfig(), **SPAN)
    assert nulls == 4
    assert answer["repairs"] == [{"rule": "row without values dropped", "rows": nulls}]


def test_minutes_keep_their_opening_time_and_their_own_table(server, recorded, lake):
    server.answers["AAPL"] = [recorded("chart-AAPL-2024-10-02-to-2024-10-03-includePrePost-false-interval-1m.json")]
    fetch_tables("yahoo", ["AAPL"], lake=lake, config=DataConfig(), start="2024-10-02", end="2024-10-03", interval="1m")
    bars = load_bars("AAPL", lake=lake, interval="1m").frame
    assert bars["ts"][0].isoformat() == "2024-10-02T13:30:00+00:00"
    assert not lake.table_path("Bars", "AAPL").exists()
    assert [p.stem for p in lake.tables("Bars", "AAPL")] == ["Bars_AAPL__1m"]


def test_finished_request_is_answered_from_the_lake(server, recorded, lake):
    server.answers["QQQ"] = [recorded("historicalv8-QQQ-2020-01-01-to-2021-01-04.json")]
    first = fetch_tables("yahoo", ["QQQ"], lake=lake, config=DataConfig(), **SPAN)
    asked = len(server.asked)
    bars = load_bars("QQQ", lake=lake).frame
    lake.table_path("Bars", "QQQ").unlink()
    second = fetch_tables("yahoo", ["QQQ"], lake=lake, config=DataConfig(), **SPAN)
    assert (first["cached"], second["cached"]) == (False, True)
    assert len(server.asked) == asked > 0
    assert load_bars("QQQ", lake=lake).frame.equals(bars)


def test_unfinished_request_asks_again(server, recorded, lake):
    server.answers["QQQ"] = [recorded("historicalv8-QQQ-2020-01-01-to-2021-01-04.json")]
    request = {"start": "2020-01-01", "end": (datetime.now(UTC) + timedelta(days=2)).date().isoformat()}
    fetch_tables("yahoo", ["QQQ"], lake=lake, config=DataConfig(), **request)
    assert fetch_tables("yahoo", ["QQQ"], lake=lake, config=DataConfig(), **request)["cached"] is False


def test_rate_limit_is_waited_out(server, recorded, lake):
    good = recorded("historicalv8-GOOG-2020-01-01-to-2021-01-04.json")
    # The client itself asks twice before it gives up: two 429 are one failed try.
    server.answers["GOOG"] = [(429, "Too Many Requests"), (429, "Too Many Requests"), good]
    pauses: list[float] = []
    assert fetch(lake, "GOOG", pauses=pauses, **SPAN).tables[0].frame.height > 250
    assert pauses == [1.5]


def test_rate_limit_that_stays_is_an_error(server, lake):
    server.answers["GOOG"] = [(429, "Too Many Requests")]
    pauses: list[float] = []
    with pytest.raises(NetworkError, match=r"429.*3 times"):
        fetch(lake, "GOOG", pauses=pauses, **SPAN)
    assert pauses == [1.5, 3.0]


def test_unknown_symbol(server, recorded, lake):
    server.answers["SI"] = [recorded("historical-via-chart-SI-2020-01-01-to-2020-01-03.json")]
    with pytest.raises(DataError, match="SI"):
        fetch_tables("yahoo", ["SI"], lake=lake, config=DataConfig(), start="2020-01-01", end="2020-01-03")
    assert not lake.root.exists()


def test_known_symbol_without_data_in_the_span(server, recorded, lake):
    good = recorded("historicalv8-AMZN-2020-01-01-to-2021-01-04.json")
    server.answers["BEKE"] = [good, recorded("chart-BEKE-2020-01-01-to-2020-01-03.json")]  # the first tells the zone
    with pytest.raises(DataError, match="Data doesn't exist for startDate"):
        fetch(lake, "BEKE", start="2020-01-01", end="2020-01-03")


def test_empty_answer_is_an_error(server, recorded, lake):
    status, body = recorded("historicalv8-AMZN-2020-01-01-to-2021-01-04.json")
    empty = json.loads(json.dumps(body))
    result = empty["chart"]["result"][0]
    result["timestamp"], result["events"] = [], {}
    result["indicators"] = {
        "quote": [{key: [] for key in ("open", "high", "low", "close", "volume")}],
        "adjclose": [{"adjclose": []}],
    }
    server.answers["AMZN"] = [(status, body), (200, empty)]
    with pytest.raises((NetworkError, DataError), match="AMZN"):
        fetch(lake, "AMZN", **SPAN)


def test_answer_that_is_no_history(server, recorded, lake):
    good = recorded("historicalv8-AMZN-2020-01-01-to-2021-01-04.json")
    for text in ("<html>Will be right back</html>", "<html>", '{"chart": {"result": [{}], "error": null}}'):
        server.answers["AMZN"] = [good, (200, text)]
        with pytest.raises(NetworkError, match="AMZN"):
            fetch(lake, "AMZN", **SPAN)
        clear_client()


def test_no_network(lake, monkeypatch):
    point_client_at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(NetworkError, match=r"could not be reached.*fetch sample"):
        fetch(lake, "SPY", **SPAN)
    assert not lake.root.exists()


def test_one_bad_symbol_leaves_the_lake_as_it_was(server, recorded, lake):
    server.answers["AAPL"] = [recorded("historicalv8-AAPL-2020-01-01-to-2021-01-04.json")]
    with pytest.raises(DataError):
        fetch_tables("yahoo", ["AAPL", "NOSUCH"], lake=lake, config=DataConfig(), **SPAN)
    assert not lake.root.exists()


def test_client_files_stay_out_of_home_and_lake(server, recorded, lake):
    import yfinance.cache

    server.answers["AAPL"] = [recorded("historicalv8-AAPL-2020-01-01-to-2021-01-04.json")]
    fetch_tables("yahoo", ["AAPL"], lake=lake, config=DataConfig(), **SPAN)
    place = Path(yfinance.cache._TzDBManager.get_location())
    assert not place.is_relative_to(Path.home() / ".cache") and not place.is_relative_to(lake.root)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"start": "2020-13-01"}, "not a date"),
        ({"start": "2021-01-01", "end": "2020-01-01"}, "must lie before"),
        ({"end": "2020-01-01"}, "needs --start"),
        ({"start": "2999-01-01"}, "future"),
        ({"start": "2020-01-01", "end": "2999-01-01"}, "future"),
        ({"interval": "7s"}, "Allowed: 1m"),
    ],
)
def test_bad_options_never_reach_the_network(lake, options, what):
    with pytest.raises(InputError, match=what):
        fetch(lake, "SPY", **options)
