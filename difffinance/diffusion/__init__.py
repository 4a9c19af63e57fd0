"""Noise schedules, samplers, projection on the rules, and the model of strategies; names are loaded on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "NoiseSchedule": "schedule",
    "sample": "sampling",
    "project": "constraints",
    "PlanConstraints": "constraints",
    "MarketDiffusionModel": "model",
    "load_model": "checkpoint",
    "save_model": "checkpoint",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"difffinance.diffusion has no '{name}'. It has: {', '.join(__all__)}.")
    value = getattr(import_module(f"difffinance.diffusion.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
