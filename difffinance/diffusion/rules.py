"""From the 20 published constraint numbers (with position and capital of the state) to what a plan may be."""

import numpy as np

from difffinance.diffusion.constraints import PlanConstraints
from difffinance.market.observation import CONSTRAINT_INDEX, NO_LIMIT, STATE_INDEX
from difffinance.records import Array, Conditions


def plan_rules(conditions: Conditions, horizon: int) -> PlanConstraints:
    """Return the rules on plans of `horizon` steps, in step volumes; doing nothing is always allowed.

    Box: the participation cap and the largest order; in the first step also what may be sold, and halts and locks
    (nobody knows how long those last). Prefix sums: position, leverage, short-sale and cash limits, and with T+1
    what is sellable. A limit that is already broken (a price move can do that) forbids going further, and does not
    force a sale.
    """
    state, table = np.asarray(conditions.state, dtype=float), np.asarray(conditions.constraints, dtype=float)
    rule = {name: table[:, i] for name, i in CONSTRAINT_INDEX.items()}
    position = state[:, STATE_INDEX["position"]]
    open_now = (rule["halted"] < 0.5) & (state[:, STATE_INDEX["halted"]] < 0.5)
    cap = np.maximum(np.minimum(_limit(rule["max_participation"]), _limit(rule["max_order"])), 0.0)
    upper = np.repeat(cap[:, None], horizon, axis=1)
    lower = -upper
    upper[:, 0] = np.where(open_now & (rule["can_buy"] > 0.5), cap, 0.0)
    sellable = np.maximum(_limit(rule["sellable"]), 0.0)
    lower[:, 0] = -np.where(open_now & (rule["can_sell"] > 0.5), np.minimum(cap, sellable), 0.0)
    lowest, highest = position_limits(conditions)
    down = lowest - position
    down = np.where(rule["t_plus_one"] > 0.5, np.maximum(down, -sellable), down)
    up = np.minimum(highest - position, _limit(rule["buyable"]))
    return PlanConstraints(
        lower=lower,
        upper=upper,
        prefix_lower=np.repeat(np.minimum(down, 0.0)[:, None], horizon, axis=1),
        prefix_upper=np.repeat(np.maximum(up, 0.0)[:, None], horizon, axis=1),
        lot=np.maximum(rule["lot"], 0.0),
    )


def position_limits(conditions: Conditions) -> tuple[Array, Array]:
    """Return the lowest and highest position that limits, leverage and the short-sale rule allow, step volumes."""
    table = np.asarray(conditions.constraints, dtype=float)
    capital = np.asarray(conditions.state, dtype=float)[:, STATE_INDEX["capital"]]
    leverage = _limit(table[:, CONSTRAINT_INDEX["max_leverage"]])
    reach = np.where(np.isinf(leverage), np.inf, np.minimum(leverage, NO_LIMIT) * np.maximum(capital, 0.0))
    lowest = np.maximum(-_limit(-table[:, CONSTRAINT_INDEX["min_position"]]), -reach)
    lowest = np.where(table[:, CONSTRAINT_INDEX["short_allowed"]] > 0.5, lowest, np.maximum(lowest, 0.0))
    return lowest, np.minimum(_limit(table[:, CONSTRAINT_INDEX["max_position"]]), reach)


def _limit(numbers: Array) -> Array:
    """Return a limit with "no limit" as infinity."""
    return np.where(numbers >= NO_LIMIT, np.inf, numbers)
