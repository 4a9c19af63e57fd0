"""The sections of a walk-forward over bars: performance, capacity, costs, risk, learning, impact, market."""

from typing import Any

import numpy as np
import polars as pl

from difffinance.agents.diffusion_agent import DiffusionAgent
from difffinance.backtest.capacity import capacity_curve
from difffinance.backtest.symbol import EXECUTORS, find_bars, find_traders, judge_rivals
from difffinance.backtest.walk_forward import WalkForward, run_walk_forward
from difffinance.calibration.costs import load_costs
from difffinance.calibration.symbol import calibrate_symbol
from difffinance.config import Config
from difffinance.data.loading import has_book, load_book
from difffinance.data.store import Lake, Progress, no_progress
from difffinance.records import BarsTable, CostLaw
from difffinance.reporting import performance
from difffinance.reporting.book_study import day_notes, impact_metrics, impact_section, market_sections, raw_hashes
from difffinance.reporting.impact_plots import plot_cost_law
from difffinance.reporting.learning import learning_section
from difffinance.reporting.market_plots import plot_price, plot_volume
from difffinance.reporting.picture import LABELS, short
from difffinance.reporting.study import METRIC_KEYS, Section, Study, Table

SIGNAL, EXECUTOR = "momentum", "diffusion"


def make_bars_study(symbol: str, *, config: Config, lake: Lake, progress: Progress = no_progress) -> Study:
    """Return the full report of a symbol that has bars."""
    bars, notes = find_bars(symbol, config=config, lake=lake, progress=progress)
    traders = find_traders(bars, config=config, lake=lake, seed=config.seed, notes=notes, progress=progress)
    agent = traders[EXECUTOR]
    assert isinstance(agent, DiffusionAgent)
    law = load_costs(symbol, lake=lake, config=config.calibration)
    capital = config.backtest.capital
    run = run_walk_forward(
        traders,
        bars,
        costs=law,
        config=config.backtest,
        capitals=sorted({*config.backtest.capacity_capitals, capital}),
        seed=config.seed,
        progress=progress,
    )
    book = symbol if has_book(symbol, lake=lake) else "SYNTH"
    day = load_book(book, lake=lake)
    impact = calibrate_symbol(book, lake=lake, config=config.calibration, seed=config.seed, progress=progress)
    learning, learned = learning_section(agent, config=config, progress=progress)
    capacity = capacity_curve(run)
    judged = judge_rivals(run, capital=capital, impact=True, chosen=(SIGNAL, EXECUTOR))
    chosen = run.result(run.find(SIGNAL, EXECUTOR, capital))
    without = run.result(run.find(SIGNAL, EXECUTOR, capital, impact=False))
    currency = bars.instrument.currency
    sections = (
        performance_section(run, capital, judged, currency),
        capacity_section(capacity, currency),
        costs_section(run, capital, law, bars, config),
        risk_section(run, capital),
        learning,
        price_section(run, bars, capital),
        impact_section(day, impact),
        *market_sections(day),
    )
    metrics: dict[str, Any] = {key: chosen.metrics[key] for key in METRIC_KEYS}
    metrics |= {
        "symbol": symbol,
        "strategy": chosen.strategy,
        "capital": capital,
        "seed": config.seed,
        "first_test_bar": str(run.ts[0])[:10],
        "last_bar": str(run.ts[-1])[:10],
        "smallest_sharpe": chosen.metrics["smallest_sharpe"],
        "without_impact": without.metrics,
        "rivals": judged,
        "capacity": capacity.to_dicts(),
        "engine_gap": run.engine_gap,
        **learned,
        "order_book": {"symbol": book, "date": day.date, "synthetic": day.synthetic, **impact_metrics(impact)},
    }
    return Study(
        symbol=symbol,
        title=f"{symbol}: what trading it would have earned, cost, and how much capital it bears",
        verdict=verdict(run, capital, judged, capacity, currency),
        notes=(*notes, *run.notes, f"order-book sections: {book} {day.date}; " + "; ".join(day_notes(day))),
        sections=sections,
        metrics=metrics,
        data_hashes=raw_hashes(lake.table_path("Bars", symbol)) | raw_hashes(lake.table_path("Depth", book, day.date)),
        seconds=0.0,  # set by make_study, which sees the whole of it
        returns=pl.DataFrame(
            {
                "ts": chosen.equity["ts"],
                "strategy": chosen.returns,
                "benchmark": run.result(run.find("buy_and_hold", "naive", capital)).returns,
            }
        ),
    )


def verdict(run: WalkForward, capital: float, judged: dict[str, Any], capacity: pl.DataFrame, currency: str) -> str:
    """Answer the report's question in three sentences, with errors; "no edge" is an answer."""
    metrics = run.result(run.find(SIGNAL, EXECUTOR, capital)).metrics
    years = len(run.ts) / run.periods_per_year
    sharpe, error, smallest = metrics["sharpe"], metrics["sharpe_se"], metrics["smallest_sharpe"]
    if sharpe is None or error is None or smallest is None:
        return "The diffusion agent did not trade: its forecast never paid for the costs."
    shown = "an edge above chance" if sharpe > 1.96 * error else "no edge that this sample could tell from chance"
    text = (
        f"Over {years:.1f} years out of sample the diffusion agent on momentum made {_percent(metrics['cagr'])} a year "
        f"with {short(capital)} {currency}, Sharpe {sharpe:.2f} ± {error:.2f} (one standard error): {shown}; "
        f"the smallest Sharpe ratio that {years:.1f} years show with 80% power is {smallest:.2f}. "
    )
    difference = judged["difference"]
    if difference:
        text += (
            f"Against buy and hold its Sharpe ratio differs by {difference['difference']:+.2f} ± "
            f"{difference['se']:.2f} (detectable: {difference['smallest_detectable']:.2f}). "
        )
    return text + _capacity_sentence(capacity, currency)


def _capacity_sentence(capacity: pl.DataFrame, currency: str) -> str:
    rows = capacity.filter((pl.col("signal") == SIGNAL) & (pl.col("executor") == EXECUTOR)).sort("capital")
    rows = rows.drop_nulls(["sharpe", "sharpe_loss"])
    if rows.height < 2:
        return ""
    first, last = rows.row(0, named=True), rows.row(-1, named=True)
    return (
        f"Capacity: its Sharpe ratio goes from {first['sharpe']:.2f} at {short(first['capital'])} to "
        f"{last['sharpe']:.2f} at {short(last['capital'])} {currency}, where own impact takes "
        f"{last['sharpe_loss']:.3f} ± {last['sharpe_loss_se']:.3f}; its largest order is "
        f"{_percent(last['max_participation'])} of a day's volume."
    )


def performance_section(run: WalkForward, capital: float, judged: dict[str, Any], currency: str) -> Section:
    """Return wealth, drawdown and the table of all strategies, with and without impact."""
    rows = []
    for number, column in enumerate(run.columns):
        if column.capital == capital:
            m = run.result(number).metrics
            rows.append(
                (
                    f"{column.signal.replace('_', ' ')}, {LABELS[column.executor]}",
                    "with" if column.impact else "without",
                    _percent(m["total_return"]),
                    _percent(m["cagr"]),
                    f"{_number(m['sharpe'])} ± {_number(m['sharpe_se'])}",
                    _percent(m["max_drawdown"]),
                    _percent(m["win_rate"]),
                    _number(m["turnover"], 1),
                    _number(m["slippage_bps"], 1),
                    _number(m["impact_bps"], 1),
                )
            )
    headings = (
        "strategy",
        "impact",
        "total return",
        "a year",
        "Sharpe ± se",
        "max drawdown",
        "win rate",
        "turnover / y",
        "slippage bps",
        "impact bps",
    )
    days = run.periods_per_year
    caption = f"Capital {short(capital)} {currency}; Sharpe annualised for {days} days; bps of the value traded."
    wealth = wealth_table(run, capital)
    overfit, superior = judged["probability_of_overfitting"], judged["superior_ability"]
    text = (
        f"Six strategies: two forecasts, each executed by three traders, over {len(run.ts):,} days "
        "that none was fitted on. "
        f"vectorbt and our own reference simulator agree on wealth to {run.engine_gap:.0e}. "
        + (f"Probability that picking the best of them was luck (PBO): {overfit:.2f}. " if overfit is not None else "")
        + (f"Hansen's test against buy and hold: p = {superior['consistent']:.2f}." if superior is not None else "")
    )
    return Section(
        "performance",
        "Did it pay?",
        text,
        (
            performance.plot_wealth(wealth, capital=capital),
            performance.plot_drawdown(wealth),
            Table("strategies", caption, headings, tuple(rows)),
        ),
    )


def wealth_table(run: WalkForward, capital: float) -> pl.DataFrame:
    """Return ts, executor, impact, wealth for the momentum strategies and naive buy and hold; wealth starts at 1."""
    ts = pl.Series(run.ts).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    curves = [(SIGNAL, e, e, i) for e in EXECUTORS for i in (True, False)]
    curves.append(("buy_and_hold", "naive", "buy_and_hold", True))
    return pl.concat(
        pl.DataFrame(
            {
                "ts": ts,
                "executor": name,
                "impact": impact,
                "wealth": run.equity[:, run.find(signal, executor, capital, impact=impact)] / capital,
            }
        )
        for signal, executor, name, impact in curves
    )


def capacity_section(capacity: pl.DataFrame, currency: str) -> Section:
    """Return Sharpe against capital, and what impact took with the difference this sample could detect."""
    momentum = capacity.filter(pl.col("signal") == SIGNAL)
    rows = tuple(
        (
            LABELS[row["executor"]],
            short(row["capital"]),
            f"{_number(row['sharpe'])} ± {_number(row['sharpe_se'])}",
            f"{_number(row['sharpe_loss'], 3)} ± {_number(row['sharpe_loss_se'], 3)}",
            _number(row["smallest_detectable"], 3),
            _percent(row["max_participation"]),
            _number(row["impact_bps"], 1),
        )
        for row in momentum.iter_rows(named=True)
    )
    measured = ("Sharpe ± se", "lost to impact ± se", "detectable", "largest order / V", "impact bps")
    headings = ("trader", f"capital, {currency}", *measured)
    caption = "Lost to impact: Sharpe without own impact minus with it, paired by day (Ledoit and Wolf 2008)."
    return Section(
        "capacity",
        "How much capital does it bear?",
        "Impact grows with size, alpha does not: at some capital the strategy trades against itself.",
        (performance.plot_capacity(momentum, currency=currency), Table("capacity_table", caption, headings, rows)),
    )


def costs_section(run: WalkForward, capital: float, law: CostLaw, bars: BarsTable, config: Config) -> Section:
    """Return what trading cost by component, and the law it was charged by."""
    rows = []
    for executor in EXECUTORS:
        result = run.result(run.find(SIGNAL, executor, capital))
        years = result.equity.height / run.periods_per_year
        base = float(result.equity["equity"].mean()) * years  # type: ignore[arg-type]
        parts = {"fees": ("fees",), "slippage": ("spread_cost", "temporary_cost"), "impact": ("permanent_cost",)}
        for component, columns in parts.items():
            paid = float(sum(result.orders[c].sum() for c in columns))
            rows.append({"executor": executor, "component": component, "bps_per_year": 1e4 * paid / base})
    close = bars.frame["close"]
    sigma = float((close / close.shift(1) - 1).drop_nulls().tail(len(run.ts)).std())  # type: ignore[arg-type]
    text = (
        f"Each order pays {config.backtest.fee_bps:g} bps of fees, {config.backtest.half_spread_bps:g} bps of half "
        "spread, temporary impact as slippage, and its permanent impact stays in the price path. "
        f"{law.kind.replace('_', ' ').capitalize()}: {law.source}. It is a prior for large orders, "
        f"not an estimate on {bars.instrument.symbol}."
    )
    return Section(
        "costs", "What did trading cost?", text, (performance.plot_costs(pl.DataFrame(rows)), plot_cost_law(law, sigma))
    )


def risk_section(run: WalkForward, capital: float) -> Section:
    """Return the distribution of returns and the win rate by year."""
    returns, wins = [], []
    years = pl.Series(run.ts).cast(pl.Datetime("ns")).dt.year().to_numpy()
    for executor in EXECUTORS:
        series = run.returns[:, run.find(SIGNAL, executor, capital)]
        returns.append(pl.DataFrame({"executor": executor, "ret": series}))
        for year in np.unique(years):
            active = series[(years == year) & (series != 0)]
            if len(active):
                rate = float(np.mean(active > 0))
                error = float(np.sqrt(rate * (1 - rate) / len(active)))
                wins.append({"executor": executor, "year": int(year), "win_rate": rate, "win_rate_se": error})
    m = run.result(run.find(SIGNAL, EXECUTOR, capital)).metrics
    text = (
        f"The diffusion agent won on {_percent(m['win_rate'])} of its days; its worst 5% of days brought "
        f"{_percent(m['cvar95'])} on average, its longest drawdown lasted {m['longest_drawdown']:,} days, "
        f"kurtosis {_number(m['kurtosis'], 1)} (normal: 3)."
    )
    evidence = [performance.plot_returns(pl.concat(returns))]
    if wins:
        evidence.append(performance.plot_win_rate(pl.DataFrame(wins)))
    return Section("risk", "What does a day look like?", text, tuple(evidence))


def price_section(run: WalkForward, bars: BarsTable, capital: float) -> Section:
    """Return the price path with what the agent held, and the volume distribution."""
    number = run.find(SIGNAL, EXECUTOR, capital)
    ts = pl.Series(run.ts).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    value = run.ledger.position[:, number] * run.ledger.path_close[:, number] / run.equity[:, number]
    path = bars.frame.tail(len(run.ts)).select(price="close").with_columns(ts=ts, position=pl.Series(value))
    currency, symbol = bars.instrument.currency, bars.instrument.symbol
    dollars = bars.frame.select(volume=pl.col("volume") * pl.col("close")).filter(pl.col("volume") > 0)
    what, unit, note = f"daily value traded in {symbol}", f"{currency} per day", ""
    if bars.is_index:
        dollars = bars.frame.select("volume").filter(pl.col("volume") > 0)
        what, unit = f"shares traded in the members of {symbol}", "shares per day"
        note = "Of the whole market: an index itself is not traded. Participation uses the configured dollar volume."
    pictures = (
        plot_price(path, symbol=symbol, currency=currency, note="Close, as the backtest used it.", name="bars_price"),
        plot_volume(dollars, unit=unit, what=what, note=note, name="bars_volume"),
    )
    mean, most = _percent(float(value.mean())), _percent(float(value.max()))
    held = f"On average the agent held {mean} of its wealth, at most {most}."
    return Section("price", "The price, and what was held", held, pictures)


def _percent(value: Any) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _number(value: Any, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
