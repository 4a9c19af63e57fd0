"""The section on the diffusion agent: what it learned, shown by beating answers in closed form."""

from typing import Any

import numpy as np
import polars as pl

from difffinance.agents.diffusion_agent import DiffusionAgent
from difffinance.config import Config
from difffinance.data.store import Progress, no_progress
from difffinance.reporting.picture import COLOURS, Picture, house_style, new_figure
from difffinance.reporting.study import Section, Table
from difffinance.simulation.bar_parameters import BarParameters
from difffinance.training.yardstick import compare_with_garleanu_pedersen

DENOISERS = {
    "model": "diffusion model",
    "gaussian_conditional": "Gaussian given the conditions (linear)",
    "gaussian": "Gaussian, one for all",
    "shuffled_conditions": "diffusion model, conditions shuffled",
}


def learning_section(
    agent: DiffusionAgent, *, config: Config, progress: Progress = no_progress
) -> tuple[Section, dict[str, Any]]:
    """Return the section and its numbers: denoising loss on held-out conditions, and the gap to Gârleanu-Pedersen."""
    provenance = agent.model.provenance
    learning = provenance.get("learning", {})
    bars = BarParameters(**provenance["bars"]) if "bars" in provenance else None
    progress("yardstick", 0, 1)
    gap = compare_with_garleanu_pedersen(agent, bars, rng=np.random.default_rng([config.seed, 46]))
    progress("yardstick", 1, 1)
    rows = [
        {"denoiser": label, "loss": learning[f"noise_loss_{key}"]}
        for key, label in DENOISERS.items()
        if f"noise_loss_{key}" in learning
    ]
    evidence: list[Picture | Table] = [plot_learning(pl.DataFrame(rows))] if rows else []
    evidence.append(_gap_table(gap))
    text = (
        f"Trained on {provenance.get('plans', 0):,} plans for simulated bars, whose parameters come from before the "
        "first test bar. The agent's plans obey the rules exactly: they are projected before they leave. "
        f"Where costs are quadratic the best rule is known (Gârleanu and Pedersen 2013): the agent misses "
        f"{100 * gap['gap']:.2f}% ± {100 * gap['gap_se']:.2f}% of its utility."
    )
    return Section("learning", "What did the agent learn?", text, tuple(evidence)), {"learning": learning, "gap": gap}


@house_style
def plot_learning(table: pl.DataFrame) -> Picture:
    """Draw the denoising loss on held-out conditions; `table` has denoiser and loss."""
    figure, (axis,) = new_figure(height=2.4)
    colours = [COLOURS["diffusion"], "#6f93b5", "#6f93b5", "#b9c3cb"]
    bars = axis.barh(table["denoiser"].to_list(), table["loss"].to_numpy(), color=colours[: table.height], height=0.6)
    axis.bar_label(bars, fmt="%.3f", padding=3)
    axis.invert_yaxis()
    axis.set_xlabel("mean squared error of the predicted noise (1: knows nothing)")
    axis.set_title("Denoising plans for conditions never seen")
    caption = (
        "Lower is better. Gaussians fitted to the same plans, one for all or given the conditions linearly, have exact "
        "denoisers; with shuffled conditions the trained network looks at somebody else's market."
    )
    return Picture("learning", "Learning", caption, table, figure)


def _gap_table(gap: dict[str, Any]) -> Table:
    names = {"garleanu_pedersen": "Gârleanu-Pedersen (optimal here)", "diffusion": "diffusion agent", "naive": "naive"}
    rows = tuple((label, f"{gap[f'utility_{key}']:.4f}") for key, label in names.items())
    caption = (
        f"Simulated bars with quadratic costs, {gap['episodes']} episodes of {gap['bars']} bars, the same random "
        "numbers for everyone: utility per bar over what a trader without costs would earn."
    )
    return Table("yardstick", caption, ("trader", "utility"), rows)
