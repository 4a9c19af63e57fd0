"""Agents who must trade a given quantity: they follow a schedule, catch up, and say what is left and why.

`quantity` is signed, in mean step volumes: one step's volume, mean of the day (`market.scale.measure_flow`, in lots).
What a rule or an empty book holds back is asked for again at the next step, after the schedule's end too; nothing
beyond the schedule is ever traded, and never the other way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from difffinance.agents.actions import send_market
from difffinance.agents.base import ScriptedAgent
from difffinance.errors import InputError
from difffinance.market.compiled import inlined, policy_kernel
from difffinance.market.observation import ACTION_INDEX, CONSTRAINT_INDEX, STATE_INDEX
from difffinance.market.options import is_finite
from difffinance.market.utility import Shortfall, Utility
from difffinance.records import Array, SeatView

# Places in `memory`: steps taken, position at the start (mean step volumes), what held the last order back.
STEP, START, HELD_BACK = range(3)
_FREE, _HALTED, _ROOM, _LARGEST, _LOT = range(5)
_REASONS = {
    _FREE: "unfilled: the book did not hold the quantity",
    _HALTED: "halted: trading on this side was not possible",
    _ROOM: "limit: position, cash or settlement rules leave no room",
    _LARGEST: "largest order: the rules cap what one step may trade",
    _LOT: "lot: less than one lot was due",
}
_POSITION, _RELATIVE_VOLUME = STATE_INDEX["position"], STATE_INDEX["relative_volume"]
_CAN_BUY, _CAN_SELL, _BUYABLE, _SELLABLE, _MAX, _LOT_SIZE = (
    CONSTRAINT_INDEX[name] for name in ("can_buy", "can_sell", "buyable", "sellable", "max_participation", "lot")
)
_PARTICIPATION = ACTION_INDEX["participation"]


@inlined
def pursue(action, state, constraints, memory, quantity, due):  # type: ignore[no-untyped-def]
    """Ask for what is due by now and not yet traded, and note what holds it back."""
    unit = state[_RELATIVE_VOLUME]  # mean step volumes in a step volume
    if memory[STEP] == 0:
        memory[START] = state[_POSITION] * unit
    wish = (due - (state[_POSITION] * unit - memory[START])) / unit
    if wish * quantity < 0:
        wish = 0.0  # ahead of the schedule
    send_market(action, constraints, wish)
    memory[STEP] += 1
    can, room = constraints[_CAN_BUY], constraints[_BUYABLE]
    if quantity < 0:
        can, room = constraints[_CAN_SELL], constraints[_SELLABLE]
    memory[HELD_BACK] = _FREE
    if abs(wish) < constraints[_LOT_SIZE] * (1 - 1e-6):
        memory[HELD_BACK] = _LOT
    elif abs(action[_PARTICIPATION]) < abs(wish):
        memory[HELD_BACK] = _HALTED if can < 0.5 else (_ROOM if room < constraints[_MAX] else _LARGEST)


@policy_kernel
def follow_schedule(state, opponents, constraints, parameters, memory, rng, action):  # type: ignore[no-untyped-def]
    """Pursue the fraction of the quantity that `parameters[1:]` asks for by the end of each step."""
    at = min(int(memory[0]), len(parameters) - 2)
    pursue(action, state, constraints, memory, parameters[0], parameters[0] * parameters[1 + at])


@dataclass(frozen=True)
class Completion:
    """How far an order came, in mean step volumes; `reason` says why something is left (empty: nothing is)."""

    quantity: float
    done: float
    remaining: float
    reason: str


class ExecutionAgent(ScriptedAgent):
    """Base of the agents who trade `quantity` mean step volumes, buys positive.

    Objective: the implementation shortfall against the first mid, and what is left at the end.
    """

    memory_size = 3

    def __init__(self, seat: int = 0, *, quantity: float) -> None:
        super().__init__(seat)
        if not is_finite(quantity) or quantity == 0:
            raise InputError(f"quantity = {quantity} is not allowed. Allowed: finite, not 0, buys positive.")
        self.quantity = float(quantity)

    @property
    def utility(self) -> Utility:
        """The shortfall of the whole quantity."""
        return Shortfall(quantity=self.quantity)

    @property
    def running(self) -> bool:
        """Tell whether the programme has not come to its end yet."""
        return self.memory[STEP] == 0

    def completion(self, view: SeatView) -> Completion:
        """Return what is done and why the rest is not, from this seat's present view."""
        unit, lot = float(view.state[_RELATIVE_VOLUME]), float(view.constraints[_LOT_SIZE])
        done = view.state[_POSITION] * unit - self.memory[START] if self.memory[STEP] > 0 else 0.0
        remaining = self.quantity - float(done)
        if abs(remaining) <= 1e-9 * abs(self.quantity):
            return Completion(self.quantity, self.quantity, 0.0, "")
        reason = _REASONS[int(self.memory[HELD_BACK])]
        if abs(remaining) < lot * unit * (1 - 1e-6):
            reason = _REASONS[_LOT]
        elif self.running:
            reason = "running: the programme has not come to its end"
        return Completion(self.quantity, float(done), remaining, reason)


class ScheduledAgent(ExecutionAgent):
    """Base of the agents whose schedule is known before it starts: a fraction done by the end of each step."""

    policy = follow_schedule

    def __init__(self, seat: int = 0, *, quantity: float, done_by: ArrayLike) -> None:
        super().__init__(seat, quantity=quantity)
        fractions = np.array(done_by, float)
        if fractions.ndim != 1 or len(fractions) < 1 or not np.isfinite(fractions).all():
            raise InputError(f"a schedule must be one finite fraction per step; got {fractions.shape}.")
        if (np.diff(fractions, prepend=0.0) < 0).any() or abs(fractions[-1] - 1.0) > 1e-9:
            raise InputError(f"a schedule must rise from 0 to 1; got {fractions[:3]} ... {fractions[-1]}.")
        fractions[-1] = 1.0
        self.done_by = fractions

    @property
    def parameters(self) -> Array:
        """The quantity and the fraction due by the end of each step."""
        return np.append(self.quantity, self.done_by)

    @property
    def running(self) -> bool:
        """Tell whether the programme has not come to its end yet."""
        return self.memory[STEP] < len(self.done_by)
