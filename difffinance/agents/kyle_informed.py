"""Informed trader who hides as in Kyle's sequential auctions: little while others can still learn, all at the end."""

import numpy as np

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.agents.kyle import kyle_equilibrium
from difffinance.market.compiled import policy_kernel
from difffinance.market.observation import STATE_INDEX
from difffinance.market.options import check_count, check_positive
from difffinance.records import Array

_SIGNAL, _DECAY, _POSITION = STATE_INDEX["signal"], STATE_INDEX["signal_decay"], STATE_INDEX["position"]


@policy_kernel
def hide_in_auctions(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Send `intensity[auction]` times the gap; the auctions start again after the last."""
    max_position, auctions = parameters[0], len(parameters) - 1
    position, decay = state[_POSITION], state[_DECAY]
    gap = state[_SIGNAL] / decay if decay > 0 else 0.0
    wish = parameters[1 + int(memory[0])] * gap
    memory[0] = (memory[0] + 1) % auctions
    send_market(action, constraints, max(-max_position, min(position + wish, max_position)) - position)


class KyleInformedTrader(ScriptedAgent):
    """Trades the gap between its estimate of the value and the mid with the intensity of Kyle's (1985) insider.

    A round has `auctions` steps. `noise` is the standard deviation of the others' net volume in a step (step volumes)
    and `prior_sd` that of the gap at the start of a round (sigmas): they scale the recursion's intensity to step
    volumes per sigma. `max_position` bounds its inventory. Objective: expected profit.
    """

    kind = "kyle"
    policy = hide_in_auctions
    memory_size = 1

    def __init__(
        self,
        seat: int = 0,
        *,
        auctions: int = 50,
        noise: float = 0.5,
        prior_sd: float = 10.0,
        max_position: float = 8.0,
    ) -> None:
        super().__init__(seat)
        check_positive(noise=noise, prior_sd=prior_sd, max_position=max_position)
        auctions = check_count(auctions, "auctions")
        self.auctions, self.noise, self.prior_sd, self.max_position = auctions, noise, prior_sd, max_position
        self.intensity = kyle_equilibrium(auctions, prior_sd**2, auctions * noise**2).intensity

    @property
    def parameters(self) -> Array:
        """The largest position and the intensity of each auction, step volumes per sigma."""
        return np.append(self.max_position, self.intensity)
