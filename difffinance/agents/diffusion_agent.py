"""The trader who plans with the diffusion model: on bars, and in a seat of the order book."""

from typing import Any

import numpy as np

from difffinance.agents.base import Agent, BarTrader
from difffinance.diffusion.constraints import project
from difffinance.diffusion.model import MarketDiffusionModel
from difffinance.diffusion.rules import plan_rules
from difffinance.diffusion.sampling import check_method
from difffinance.errors import InputError
from difffinance.market.observation import ACTION, ACTION_INDEX
from difffinance.market.options import check_count
from difffinance.records import Array, Conditions, MarketState


class DiffusionAgent(Agent, BarTrader):
    """Draws plans, executes the first step of their mean, and plans again at the next step.

    The model's law is spread around the best plan, so one draw would trade on its noise. The mean of `draws` plans
    from antithetic noise (each second one starts from minus the noise of the one before) cancels that to first order;
    with two, it costs two rows of a batch. As only the mean counts, two sampling steps do as well as ten (measured by
    the utility on simulated bars). The mean's first step is projected on the rules of that step, lots included; the
    later steps are thrown away, so nothing is gained by projecting them.
    """

    kind = "diffusion"
    name = "diffusion"

    def __init__(
        self,
        model: MarketDiffusionModel,
        seat: int = 0,
        *,
        method: str = "ddim",
        steps: int = 2,
        draws: int = 2,
    ) -> None:
        super().__init__(seat)
        if model.action_dim != 1:
            raise InputError(
                f"the agent needs a model that plans participation (action_dim 1); got action_dim {model.action_dim}."
            )
        check_method(method)
        self.model, self.method = model, method
        self.steps, self.draws = check_count(steps, "steps"), check_count(draws, "draws")

    def participation(self, conditions: Conditions, rng: np.random.Generator) -> Array:
        """Return the signed participation of the next bar, `(B,)` step volumes, within the rules."""
        plans = self.model.draw(
            conditions, rng, method=self.method, steps=self.steps, draws=self.draws, antithetic=self.draws > 1
        )
        return project(plans[:, :, 0, 0].mean(axis=1)[:, None], plan_rules(conditions, 1))[:, 0]

    def act(self, state: MarketState, info: dict[str, Any] | None = None) -> Array:
        """Return the seat's action: a market order of the planned participation, no quotes."""
        view = state.view(self.seat)
        conditions = Conditions(view.state[None], view.opponents[None], view.constraints[None])
        action = np.zeros(len(ACTION))
        action[ACTION_INDEX["participation"]] = self.participation(conditions, self.rng)[0]
        return action
