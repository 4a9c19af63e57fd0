"""One tree of frozen, validated models; functions take their branch, never the whole tree.

Precedence: the defaults below, then the preset file (`difffinance/configs/<preset>.toml`), then `path.to.field=value`.
"""

import difflib
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from difffinance.errors import ConfigError

PRESETS = ("quick", "default", "paper")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Branch(BaseModel):
    """Base of every branch: frozen, unknown fields refused, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Branch):
    """`fetch`: sizes and manners of the connectors."""

    max_archive_bytes: Count = Field(4_000_000_000, description="largest unpacked size of an archive member, bytes")
    network_timeout_s: Positive = Field(20.0, description="seconds per request")
    network_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        4, description="tries after a rate limit or a lost line"
    )
    network_backoff_s: NotNegative = Field(1.0, description="first pause before a retry, doubled each time, seconds")


class MarketConfig(Branch):
    """`simulate`: the instrument, its rules and the background flow."""

    symbol: str = "SYNTH"
    tick_size: Positive = Field(0.01, description="quote currency")
    lot_size: Positive = Field(1.0, description="units of the asset")
    start_price: Positive = Field(100.0, description="quote currency")
    price_limit: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        0.1, description="daily limit, fraction of the close before"
    )
    fee_bps: NotNegative = Field(0.5, description="fee of each side, bps of value")


class AgentsConfig(Branch):
    """Participants of a simulated market."""

    capital: Positive = Field(1e6, description="starting cash, quote currency")


class CalibrationConfig(Branch):
    """`calibrate`: horizons, intervals, placebos, refusals."""

    horizons_s: tuple[Positive, ...] = Field((10.0, 60.0), description="seconds of aggregation")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="of every interval")
    bootstrap: Annotated[int, Field(ge=20)] = Field(200, description="block-bootstrap replications")
    permutations: Annotated[int, Field(ge=19)] = Field(199, description="placebo shuffles")
    min_observations: Annotated[int, Field(ge=20)] = Field(50, description="fewer are refused")


class ModelConfig(Branch):
    """The diffusion model's shape and noise."""

    horizon: Annotated[int, Field(ge=1, le=256)] = Field(10, description="H, steps of a plan")
    hidden_dim: Annotated[int, Field(ge=8, le=4096)] = Field(256, description="width of the denoiser")
    num_layers: Annotated[int, Field(ge=1, le=24)] = Field(4, description="residual blocks of the denoiser")
    noise_steps: Annotated[int, Field(ge=10, le=4000)] = Field(1000, description="T of the noise schedule")
    schedule: Literal["linear", "cosine"] = "cosine"


class TrainingConfig(Branch):
    """`train`: simulated episodes, optimisation."""

    num_episodes: Count = Field(500, description="simulated episodes")
    episode_length: Annotated[int, Field(ge=20)] = Field(100, description="bars per episode")
    batch_size: Count = 64
    num_epochs: Count = 50
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.2


class BacktestConfig(Branch):
    """`backtest`: walk-forward, costs, capital."""

    capital: Positive = Field(1e8, description="quote currency")
    capacity_capitals: tuple[Positive, ...] = Field(
        (1e6, 1e7, 1e8, 3e8, 1e9, 3e9, 1e10), description="columns of the capacity curve, quote currency"
    )
    fee_bps: NotNegative = Field(0.5, description="commission and fees of each side, bps of value")
    half_spread_bps: NotNegative = Field(0.5, description="half of the quoted spread, bps of price")
    index_dollar_volume: Positive = Field(
        3e10, description="daily dollar volume assumed for an index, which has no volume of its own that can be traded"
    )


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
    except json.JSONDecodeError:
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
    return f"configuration field '{path}' = {given} is not allowed: {problem['msg']}."


def _fields_of(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for name in path:
        annotation = model.model_fields[str(name)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)
