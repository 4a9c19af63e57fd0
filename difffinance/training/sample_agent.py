"""Makes the checkpoint that is shipped: `python -m difffinance.training.sample_agent`.

A small network, trained on simulated bars whose parameters come from the first five years of the offline S&P 500
history (1,260 bars from 1999-01-04, which `backtest` never tests on) and from nothing after them. The index has no
volume that can be traded, so its volume is not used. `FOLDER` as argument writes elsewhere.
"""

import sys
from pathlib import Path

import polars as pl

from difffinance.config import DataConfig, ModelConfig, TrainingConfig
from difffinance.data.fetching import fetch_tables
from difffinance.data.loading import load_bars
from difffinance.data.store import Lake
from difffinance.diffusion.checkpoint import load_model, read_card, save_model
from difffinance.simulation.bar_parameters import estimate_bar_parameters
from difffinance.training.agent import train_agent

SEED = 7
FIRST_BARS = 1260
MODEL = ModelConfig(hidden_dim=80, num_layers=3)
TRAINING = TrainingConfig(num_episodes=500, episode_length=100, batch_size=256, num_epochs=30, learning_rate=2e-3)
HOME = Path(__file__).parents[1] / "data" / "sample" / "diffusion_agent"


def make_sample_agent(lake: Lake, folder: Path = HOME) -> Path:
    """Train the shipped agent in `lake` and copy its checkpoint to `folder`."""
    fetch_tables("sample", ["SPX"], lake=lake, config=DataConfig())
    bars = load_bars("SPX", lake=lake).frame.head(FIRST_BARS).with_columns(volume=pl.lit(0.0))
    parameters = estimate_bar_parameters(bars)
    answer = train_agent(
        model=MODEL, training=TRAINING, lake=lake, seed=SEED, name="sample", bars=parameters, num_threads=1
    )
    trained = Path(answer["checkpoint"])
    return save_model(load_model(trained), folder, provenance=read_card(trained)["provenance"])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        make_sample_agent(Lake(scratch), Path(sys.argv[1]) if len(sys.argv) > 1 else HOME)
