"""What will my orders do to the price, and what is then my best way to take part: the public names.

They are loaded on first use, so that `import difffinance` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "MarketDiffusionModel": "diffusion.model",
    "MarketConditionEncoder": "diffusion.encoder",
    "SelfImpactModule": "diffusion.self_impact",
    "OpponentResponseModule": "diffusion.opponent",
    "StrategyDenoiser": "diffusion.denoiser",
    "MarketEnvironment": "market.environment",
    "AgentFactory": "agents.factory",
    "DiffusionAgent": "agents.diffusion_agent",
    "Trainer": "training.trainer",
    "load_config": "config",
    "Lake": "data.store",
    "fetch_bars": "data.fetching",
    "fetch_tables": "data.fetching",
    "load_bars": "data.loading",
    "load_book": "data.loading",
    "load_quotes": "data.loading",
    "load_trades": "data.loading",
    "calibrate_impact": "calibration.impact",
    "calibrate_symbol": "calibration.symbol",
    "load_costs": "calibration.costs",
    "simulate_market": "simulation.rollout",
    "load_model": "diffusion.checkpoint",
    "train_agent": "training.agent",
    "compute_metrics": "backtest.metrics",
    "run_backtest": "backtest.walk_forward",
    "make_study": "reporting.make_study",
    "plot_equity": "reporting.performance",
    "plot_impact": "reporting.impact_plots",
    "write_page": "reporting.page",
    "write_report": "reporting.report",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"difffinance has no '{name}'. It has: {', '.join(__all__)}.")
    value = getattr(import_module(f"difffinance.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
