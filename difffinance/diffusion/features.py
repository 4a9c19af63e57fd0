"""The scale of a plan and the dimensionless numbers that decide it, computed from the published tables.

Plans span many orders of magnitude in step volumes (a wealth of 1e6 or 1e10 against the same market). Divided by
wealth, and by the scale below, they are of order one. In units of `kappa s^2` (kappa = a sigma, s the scale, position
and trades in units of s) the utility of a bar is

    phi w - w^2/2 - theta |y|^(1+e) - pi/2 y^2 - ell |y|

with `phi = f/(kappa s)`, `theta = eta C^e s^(e-1)/kappa`, `pi = p C/kappa`, `ell = l/(kappa s)`, C the capital in step
volumes: so these numbers, the decay and the rules in units of s say everything that the utility knows.
"""

from dataclasses import dataclass

import numpy as np

from difffinance.diffusion.rules import plan_rules, position_limits
from difffinance.market.observation import KINDS, OPPONENT_INDEX, STATE_INDEX
from difffinance.records import Array, Conditions

_TINY = 1e-9
EMA_KEPT = 0.5**0.2  # half-life of 5 bars, as the published opponent table says
FLOW_PERSISTENCE = 0.8  # expected flow of the next bar over its exponential mean (order splitting, SCIENCE 3)
FLOW_KEPT = EMA_KEPT + (1.0 - EMA_KEPT) * FLOW_PERSISTENCE  # per bar, of that expectation


@dataclass(frozen=True)
class Problem:
    """The decision in its natural units, `(B,)` each; `scale` is in fractions of wealth per bar."""

    scale: Array
    kappa: Array
    capital: Array
    signal: Array  # phi
    kept: Array  # 1 - signal_decay
    position: Array
    temporary: Array  # theta
    exponent: Array
    permanent: Array  # pi
    linear: Array  # ell
    aim: Array  # where trading at quadratic costs would lead, before position limits
    rate: Array  # the part of the way that it would trade per bar
    dead_zone: Array  # distance to the aim that the linear cost alone makes not worth closing

    @property
    def unit(self) -> Array:
        """Step volumes per unit of plan."""
        return self.scale * self.capital


def read_problem(conditions: Conditions) -> Problem:
    """Return the decision that the tables pose.

    The scale is the size of the trade that quadratic costs would call for (Garleanu & Pedersen 2013), with the power
    law made quadratic at that same trade (three rounds), stopped at the position limits and the cap; a fifth of the
    gross distance is added so that a trader who is nearly there keeps a scale.
    """
    number = {name: np.asarray(conditions.state, dtype=float)[:, i] for name, i in STATE_INDEX.items()}
    capital = np.maximum(number["capital"], _TINY)
    kappa = np.maximum(number["risk_aversion"] * number["volatility"], _TINY)
    exponent = np.clip(number["temporary_exponent"], 0.05, 2.0)
    kept = 1.0 - np.clip(number["signal_decay"], 0.0, 1.0)
    eta, permanent = np.maximum(number["temporary_impact"], _TINY), np.maximum(number["permanent_impact"], 0.0)
    limits = [bound / capital for bound in position_limits(conditions)]
    held = number["position"] / capital
    rules = plan_rules(conditions, 1)
    cap = np.maximum(rules.upper, -rules.lower).max(axis=1) / capital
    # Others' flow pushes the price as a signal does; a signal that the limits keep out still sets a scale.
    drift = permanent * FLOW_PERSISTENCE * pooled_flow(conditions.opponents)
    push = np.abs(number["signal"]) + np.abs(drift)
    size = np.minimum(push / kappa + np.abs(held), cap) + _TINY
    for _ in range(3):
        charge = capital * (2.0 * eta * (size * capital) ** (exponent - 1.0) + permanent)
        bend = (np.sqrt(kappa**2 + 4.0 * charge * kappa) - kappa) / 2.0
        stay = kappa + charge + bend
        rate = (kappa + bend) / stay
        reach, reach_flow = ((1.0 + charge / (stay - charge * k) * k) / (kappa + bend) for k in (kept, FLOW_KEPT))
        aim = reach * number["signal"] + reach_flow * drift
        allowed = np.clip(aim, limits[0], np.maximum(limits[1], limits[0]))
        # Towards an aim that the limits keep out one trades as fast, and stops at the limit.
        step = np.clip(rate * (aim - held), np.minimum(limits[0] - held, 0.0), np.maximum(limits[1] - held, 0.0))
        gross = np.minimum(reach * push, np.maximum(np.abs(allowed), 0.1 * reach * push)) + np.abs(held)
        size = np.minimum(np.abs(step) + 0.2 * rate * gross, cap) + _TINY / np.maximum(capital, 1.0)
    scale = size
    return Problem(
        scale=scale,
        kappa=kappa,
        capital=capital,
        signal=number["signal"] / (kappa * scale),
        kept=kept,
        position=held / scale,
        temporary=eta * capital**exponent * scale ** (exponent - 1.0) / kappa,
        exponent=exponent,
        permanent=permanent * capital / kappa,
        linear=np.maximum(number["linear_cost"], 0.0) / (kappa * scale),
        aim=aim / scale,
        rate=rate,
        dead_zone=np.maximum(number["linear_cost"], 0.0) / ((kappa + bend) * scale),
    )


def pooled_flow(opponents: Array) -> Array:
    """Return the mean signed volume of all other traders who take liquidity, step volumes, `(B,)`."""
    table = np.asarray(opponents, dtype=float)
    kinds = [kind for kind in KINDS if kind != "market_maker"]
    return np.sum(
        [table[:, OPPONENT_INDEX[f"{k}_count"]] * table[:, OPPONENT_INDEX[f"{k}_flow"]] for k in kinds], axis=0
    )


def decision_features(conditions: Conditions, problem: Problem, horizon: int) -> Array:
    """Return the numbers of the problem and the rules in units of the scale, `(B, F)`, compressed to order one."""
    rules = plan_rules(conditions, horizon)
    unit = problem.unit[:, None]
    last = min(1, horizon - 1)
    bounds = [rules.lower[:, :1], rules.upper[:, :1], rules.lower[:, last : last + 1], rules.prefix_lower[:, -1:]]
    limits = np.concatenate([*bounds, rules.prefix_upper[:, -1:]], axis=1) / unit
    p = problem
    gap = p.aim - p.position
    beyond = np.sign(gap) * np.maximum(np.abs(gap) - p.dead_zone, 0.0)
    guess = np.clip(p.rate * beyond, np.maximum(limits[:, 0], limits[:, 3]), np.minimum(limits[:, 1], limits[:, 4]))
    signed = np.stack([p.signal, p.position, p.aim, p.rate * p.aim, p.rate * gap, guess], axis=1)
    sizes = np.stack([p.temporary, p.permanent, p.linear, 1.0 - p.kept, p.rate, p.dead_zone], axis=1)
    return np.concatenate(
        [
            np.arcsinh(signed),
            np.log(sizes + 1e-4),
            np.stack([p.exponent, np.clip(guess, -8.0, 8.0)], axis=1),
            np.tanh(np.arcsinh(limits) / 3.0),  # beyond a few dozen units a limit is no limit
        ],
        axis=1,
    )


def opponent_features(conditions: Conditions, problem: Problem) -> Array:
    """Return per kind: its number, its pooled flow as a price move in units of the signal, and its activity."""
    table = np.asarray(conditions.opponents, dtype=float)
    columns = []
    permanent = np.maximum(np.asarray(conditions.state)[:, STATE_INDEX["permanent_impact"]], 0.0)
    for kind in KINDS:
        count, flow, activity = (table[:, OPPONENT_INDEX[f"{kind}_{n}"]] for n in ("count", "flow", "activity"))
        columns += [np.log1p(np.abs(count)), np.arcsinh(permanent * count * flow / (problem.kappa * problem.scale))]
        columns.append(np.log1p(np.abs(activity)))
    return np.stack(columns, axis=1)
