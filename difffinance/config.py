"""One tree of frozen, validated models; functions take their branch, never the whole tree.

Precedence: the defaults below, then the preset file (`difffinance/configs/<preset>.toml`), then `path.to.field=value`.
"""

import datetime
import difflib
import json
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from difffinance.errors import ConfigError

PRESETS = ("quick", "default", "paper")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]  # of a day
Rate = Annotated[float, Field(ge=0, le=10_000)]  # a second


class Branch(BaseModel):
    """Base of every branch: frozen, unknown fields refused, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Branch):
    """`fetch`: sizes and manners of the connectors."""

    max_archive_bytes: Count = Field(4_000_000_000, description="largest unpacked size of an archive member, bytes")
    range_tolerance: Fraction = Field(
        0.05, description="largest distance of open or close from low..high that is repaired, fraction of the close"
    )
    tick_size: Annotated[Decimal, Field(gt=0)] | None = Field(
        None, description="price step of a crypto or Tardis file, quote currency; none finds it from the data"
    )
    lot_size: Annotated[Decimal, Field(gt=0)] | None = Field(
        None, description="quantity step of such a file, units of the asset; none finds it from the data"
    )
    book_levels: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="levels a side of rebuilt order books")
    binance_url: str = Field("https://data.binance.vision", description="root of Binance's public archive")
    network_timeout_s: Positive = Field(20.0, description="seconds per request")
    network_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        4, description="tries after a rate limit or a lost line"
    )
    network_backoff_s: NotNegative = Field(1.0, description="first pause before a retry, doubled each time, seconds")


class FlowConfig(Branch):
    """The background flow: zero-intelligence orders with memory of signs, pulled to a fundamental value."""

    market_rate: Rate = Field(0.3, description="market orders per second, mean of the day")
    limit_rate: Annotated[Rate, Field(gt=0)] = Field(1.2, description="limit orders per second, mean of the day")
    cancel_rate: Positive = Field(0.013, description="cancellations per second of each resting order")
    partial_cancels: Fraction = Field(0.05, description="cancellations that take only part of the order")
    warm_up_lives: Annotated[float, Field(gt=0, le=100)] = Field(
        5.0, description="mean lives of an order for which it fills the book before an episode, at most 900 s"
    )
    size_median: Positive = Field(100.0, description="of orders, units of the asset")
    size_log_sd: Annotated[float, Field(ge=0, le=10)] = Field(0.9, description="standard deviation of the log of sizes")
    queue_sized: Fraction = Field(0.7, description="market orders that take no more than the best queue")
    sweep_levels: Annotated[int, Field(ge=1, le=100)] = Field(
        4, description="levels the other market orders take, at most"
    )
    inside: Fraction = Field(0.03, description="limit orders placed inside the spread, for each tick of room")
    placement_scale: Positive = Field(12.0, description="ticks behind the best price, scale of a power law")
    placement_tail: Positive = Field(1.5, description="exponent of that power law")
    placement_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        100, description="ticks behind the best price, at most"
    )
    parents: Annotated[int, Field(ge=1, le=1000)] = Field(5, description="split orders that trade at the same time")
    memory_tail: Annotated[float, Field(gt=1)] = Field(1.5, description="exponent of the lengths of split orders")
    refill: Fraction = Field(1.0, description="lean of new limit orders to the side that shows less")
    value_lean: Fraction = Field(0.75, description="lean of new limit orders towards the value")
    fundamental_volatility: NotNegative = Field(0.012, description="of the value, fraction per session")
    worth: NotNegative = Field(
        1.2,
        description="of a seat's market order of mean size on arrival, sd of the value between market orders",
    )
    worth_fade: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="exponent at which that fades with later market orders: a prior from metaorders"
    )
    worth_kept: Fraction = Field(0.0125, description="part of it that stays for good: a prior from metaorders")
    pull_scale: Positive = Field(0.001, description="gap to the value at which split orders mostly close it, fraction")
    intraday: Annotated[float, Field(ge=0, lt=1)] = Field(0.4, description="depth of the U-shape of activity")


class LawConfig(Branch):
    """`law` mode: what moves the price where there is no book. Per step: sigma, and participation in its volume."""

    volume: Positive = Field(1000.0, description="of a step, units of the asset: what participation 1 is")
    volatility: Fraction = Field(0.0005, description="of the fundamental, fraction of the start price per step")
    permanent: NotNegative = Field(0.1, description="linear permanent impact at participation 1, sigma")
    temporary: NotNegative = Field(0.3, description="temporary impact at participation 1, sigma")
    exponent: Annotated[float, Field(gt=0, le=2)] = Field(1.0, description="of participation, temporary impact")
    half_spread_bps: NotNegative = Field(0.5, description="half spread, bps of the start price")
    transient: NotNegative = Field(0.0, description="transient impact on a step at participation 1, sigma; 0: none")
    transient_exponent: Annotated[float, Field(gt=0, le=2)] = Field(1.0, description="of participation")
    kernel: Literal["power", "exponential", "bounded"] = Field("exponential", description="how transient impact fades")
    decay: NotNegative = Field(0.1, description="of the kernel, per step (power: exponent)")
    kernel_scale: Positive = Field(1.0, description="of the bounded kernel, steps")
    noise: NotNegative = Field(0.0, description="net volume of noise traders in a step, standard deviation, volumes")


class MarketConfig(Branch):
    """`simulate`: the instrument, its rules and the background flow.

    In `book` mode orders match in a book beside the background `flow`; in `law` mode there is no book and the mid
    moves by the impact `law`. The parameters of one mode are refused in the other.
    """

    mode: Literal["book", "law"] = Field("book", description="orders match in a book, or the mid moves by a law")

    symbol: str = "SYNTH"
    tick_size: Positive = Field(0.01, description="quote currency")
    lot_size: Positive = Field(1.0, description="units of the asset")
    start_price: Positive = Field(100.0, description="previous close and first value, quote currency")
    price_limit: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        0.1, description="daily limit, fraction of the close before"
    )
    fee_bps: Annotated[float, Field(ge=0, le=10_000)] = Field(0.5, description="fee of each side, bps of value")
    step_seconds: Seconds = Field(10.0, description="seconds between two decisions of an agent")
    session_seconds: Seconds = Field(
        23400.0, description="seconds of a trading day; where it is not set and a rulebook is, those of the venue's day"
    )
    t_plus_one: bool = Field(False, description="shares bought today cannot be sold today")
    short_allowed: bool = Field(True, description="inventory may go below 0")
    max_position: Positive | None = Field(None, description="largest inventory either way, units of the asset")
    max_order: Positive | None = Field(None, description="largest single order, units of the asset")
    max_open: Positive | None = Field(None, description="largest resting quantity a side, units of the asset")
    max_leverage: Positive = Field(2.0, description="largest gross position over wealth")
    max_resting_orders: Annotated[int, Field(ge=1, le=100_000)] = Field(64, description="of one seat")
    flow_model: Literal["zero_intelligence", "fitted", "queue_reactive", "santa_fe"] = Field(
        "zero_intelligence", description="background flow; the last three read a fit instead of `flow`"
    )
    flow_fit: str = Field("GOOG", description="symbol of a shipped fit, or a path to a fit's JSON file")
    rulebook: Literal[
        "cn.main", "cn.main.st", "cn.star", "cn.chinext", "cn.bse", "us.tier1", "us.tier2", "hk.large", "hk.mid",
        "hk.small", "hk.futures", "jp", "none",
    ] = Field(
        "none",
        description="venue whose rules are in force on `date`: it replaces `price_limit`, adds lots, ticks, bands, "
        "halts, T+1 and taxes, and `fee_bps` becomes the broker's commission",
    )  # fmt: skip
    date: datetime.date = Field(datetime.date(2025, 6, 2), description="day whose rules are in force")
    listing_day: Count | None = Field(None, description="trading day of a new listing, from 1")
    reopening_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        60.0, description="of a pause, at its end: orders gather for the reopening auction; before, they are refused"
    )
    opening_auction_seconds: Annotated[int, Field(ge=0)] = Field(
        0, description="the day begins so long before the end of the rulebook's opening auction; 0: without it"
    )
    short_sales_restricted: bool = Field(False, description="Rule 201 was triggered yesterday")
    days_at_limit: int = Field(
        0,
        description="days in a row before this one that ended at the upper daily limit without trading, below 0 at the "
        "lower one: after two, Tokyo widens that limit",
    )
    average_quoted_spread: NotNegative | None = Field(
        None, description="time-weighted, of the stock's evaluation period, USD: a narrow one earns half-cent ticks"
    )
    half_cent_from: datetime.date = Field(
        datetime.date(2026, 11, 2), description="first day of half-cent ticks and of the lower cap of access fees"
    )
    access_fee: NotNegative = Field(
        0.0, description="USD a share for taking liquidity, in continuous trading of a United States rulebook"
    )
    index_path: tuple[tuple[NotNegative, Positive], ...] = Field(
        (),
        description="index of the market-wide breaker: (seconds, level over its previous close) from second 0 on; "
        "empty: the instrument itself",
    )
    flow: FlowConfig = FlowConfig()
    law: LawConfig | None = Field(None, description="of `law` mode; none there: the defaults")

    @model_validator(mode="after")
    def _modes_never_mix(self) -> "MarketConfig":
        if self.mode == "book" and self.law is not None:
            raise ValueError("market.law belongs to mode 'law'; in a book, impact is what happens. Leave it out")
        if self.access_fee > 0 and (self.mode == "law" or not self.rulebook.startswith("us.")):
            raise ValueError(
                "market.access_fee belongs to mode 'book' and rulebooks us.tier1 and us.tier2. Leave it out"
            )
        if self.mode == "law" and self.flow != FlowConfig():
            raise ValueError("market.flow belongs to mode 'book'; in law mode there is no book. Leave it out")
        return self


class AgentsConfig(Branch):
    """Participants of a simulated market."""

    capital: Positive = Field(1e6, description="starting cash, quote currency")
    inventory: NotNegative = Field(0.0, description="starting inventory, units of the asset")
    risk_aversion: NotNegative = Field(5.0, description="a in the utility of a step (market.observation)")
    public_noise: NotNegative = Field(1.5, description="error of the public estimate of the value, sigma of one step")
    private_noise: NotNegative = Field(0.3, description="error of an informed trader's signal, sigma of one step")


class CalibrationConfig(Branch):
    """`calibrate`: horizons, intervals, placebos, refusals."""

    horizons_s: tuple[Positive, ...] = Field((10.0, 60.0), description="seconds of aggregation")
    horizons_trades: tuple[Count, ...] = Field((10, 50), description="market orders of aggregation")
    association_s: tuple[Positive, ...] = Field(
        (1.0, 10.0, 60.0, 300.0), description="seconds over which slopes on flow and book imbalance are measured"
    )
    bootstrap: Annotated[int, Field(ge=99)] = Field(999, description="block-bootstrap replications")
    permutations: Annotated[int, Field(ge=19)] = Field(199, description="placebo shuffles")
    folds: Annotated[int, Field(ge=2, le=50)] = Field(5, description="contiguous folds of the out-of-sample R2")
    min_observations: Annotated[int, Field(ge=50)] = Field(50, description="fewer are refused")
    cost_law: Literal["almgren", "square_root", "propagator"] = Field(
        "almgren",
        description="what trades are charged: a published metaorder prior, or the propagator of the order-book day; "
        "a prior is the default because one day of anonymous flow shows no metaorders",
    )
    propagator_step_s: Positive = Field(
        10.0, description="seconds of the buckets that the charged propagator is fitted to"
    )
    inverse_turnover_days: Positive = Field(
        1.0,
        description="shares outstanding over daily volume, of the metaorder prior's permanent part; 1 leaves it out, "
        "as for an index, which has no shares of its own",
    )


class ModelConfig(Branch):
    """The diffusion model's shape and noise."""

    horizon: Annotated[int, Field(ge=1, le=256)] = Field(10, description="H, steps of a plan")
    hidden_dim: Annotated[int, Field(ge=8, le=4096)] = Field(128, description="width of the denoiser")
    num_layers: Annotated[int, Field(ge=1, le=24)] = Field(3, description="residual blocks of the denoiser")
    noise_steps: Annotated[int, Field(ge=10, le=4000)] = Field(1000, description="T of the noise schedule")
    schedule: Literal["linear", "cosine"] = "cosine"


class TrainingConfig(Branch):
    """`train`: simulated episodes (each bar of them is one condition with one plan), optimisation."""

    num_episodes: Count = Field(500, description="simulated episodes")
    episode_length: Annotated[int, Field(ge=20)] = Field(100, description="bars per episode")
    batch_size: Count = Field(64, description="plans per step of the optimiser")
    num_epochs: Count = Field(50, description="passes over the plans")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(1e-3, description="largest of a cosine schedule")
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = Field(0.2, description="episodes held out")


class BacktestConfig(Branch):
    """`backtest`: walk-forward, signals, rules, costs, capital."""

    capital: Positive = Field(1e8, description="quote currency")
    capacity_capitals: tuple[Positive, ...] = Field(
        (1e6, 1e7, 1e8, 3e8, 1e9, 3e9, 1e10), description="columns of the capacity curve, quote currency"
    )
    estimation_bars: Annotated[int, Field(ge=60)] = Field(
        1260, description="bars at the start that are only estimated on; the next bar is the first test bar"
    )
    volatility_window: Annotated[int, Field(ge=5)] = Field(20, description="bars behind volatility and volume")
    momentum_window: Annotated[int, Field(ge=2)] = Field(252, description="bars the momentum score looks back")
    momentum_skip: Annotated[int, Field(ge=0)] = Field(20, description="latest bars that the score leaves out")
    prior_sharpe: Positive = Field(
        0.5, description="how good a unit score is thought to be before data: yearly Sharpe, one standard deviation"
    )
    risk_aversion: Positive = Field(2.0, description="a in w f - a/2 (w sigma)^2; 1 is log utility")
    max_leverage: Annotated[float, Field(gt=0, le=4)] = Field(
        1.0, description="gross position over wealth, at decision"
    )
    max_participation: Annotated[float, Field(gt=0, le=1)] = Field(0.1, description="of a bar's expected volume")
    short_selling: bool = Field(True, description="momentum may go short; buy_and_hold never does")
    min_order: Fraction = Field(1e-4, description="smaller orders are not sent, fraction of wealth")
    fee_bps: NotNegative = Field(0.5, description="commission and fees of each side, bps of value")
    half_spread_bps: NotNegative = Field(0.5, description="half of the quoted spread, bps of price")
    cost_draws: Annotated[int, Field(ge=0, le=10_000)] = Field(
        100, description="draws of the cost law behind the band of a backtest; 0: no band"
    )
    index_dollar_volume: Positive = Field(
        3e10, description="daily dollar volume assumed for an index, which has no volume of its own that can be traded"
    )
    periods_per_year: Annotated[int, Field(ge=1)] = Field(252, description="bars a year")


class ReportConfig(Branch):
    """`report`: the page."""

    dots_per_inch: Annotated[int, Field(ge=50, le=400)] = Field(110, description="of the pictures")


class Config(Branch):
    """The whole tree; the resolved tree is saved beside every artefact."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    data: DataConfig = DataConfig()
    market: MarketConfig = MarketConfig()
    agents: AgentsConfig = AgentsConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    backtest: BacktestConfig = BacktestConfig()
    report: ReportConfig = ReportConfig()


def load_config(preset: str = "default", overrides: Sequence[str] = (), *, seed: int | None = None) -> Config:
    """Return the resolved tree of a preset with `path.to.field=value` overrides applied in order."""
    if preset not in PRESETS:
        raise ConfigError(f"preset '{preset}' is not known. Allowed: {', '.join(PRESETS)}.")
    text = resources.files("difffinance").joinpath("configs", f"{preset}.toml").read_text(encoding="utf-8")
    tree = tomllib.loads(text)
    for override in overrides:
        _apply(tree, override)
    if seed is not None:
        tree["seed"] = seed
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"override '{override}' is not understood. Allowed: path.to.field=value, e.g. seed=7.")
    *branches, leaf = path.replace("-", "_").split(".")
    for name in branches:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"override '{override}': '{name}' is a value, not a branch of the configuration.")
    try:
        tree[leaf] = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or a number or nesting too long to read: a word
        tree[leaf] = None if text.lower() in ("none", "null") else text


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    path = ".".join(str(p) for p in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_of(tuple(problem["loc"][:-1]))
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return f"configuration field '{path}' is not known.{hint} Known here: {', '.join(known)}."
    given = json.dumps(problem.get("input"), default=str)[:80]
    return f"configuration field '{path}' = {given} is not allowed: {problem['msg'].removeprefix('Value error, ')}."


def _fields_of(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for name in path:
        annotation = model.model_fields[str(name)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)
