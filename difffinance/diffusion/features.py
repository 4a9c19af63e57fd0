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
    aim: Array  # frictionless optimum, held inside the position limits

    @property
    def unit(self) -> Array:
        """Step volumes per unit of plan."""
        return self.scale * self.capital


def read_problem(conditions: Conditions) -> Problem:
    """Return the decision that the tables pose.

    The scale is the distance to go over the number of bars that it takes: a trade of D spread over n bars costs
    `theta`-like `eta C^e D^(1+e) n^-e` and delays risk and return of about `kappa D^2 n / 6`, least at
    `n^(1+e) = 6 e eta C^e D^(e-1) / kappa`; linear impact adds `sqrt(p C / kappa)` bars. Never above the cap.
    """
    number = {name: np.asarray(conditions.state, dtype=float)[:, i] for name, i in STATE_INDEX.items()}
    capital = np.maximum(number["capital"], _TINY)
    kappa = np.maximum(number["risk_aversion"] * number["volatility"], _TINY)
    exponent = np.clip(number["temporary_exponent"], 0.05, 2.0)
    decay = np.clip(number["signal_decay"], 0.0, 1.0)
    eta, permanent = np.maximum(number["temporary_impact"], _TINY), np.maximum(number["permanent_impact"], 0.0)
    lowest, highest = position_limits(conditions)
    aim = np.clip(number["signal"] / kappa, lowest / capital, np.maximum(highest, lowest) / capital)
    held = number["position"] / capital
    slowness = np.sqrt(permanent * capital / kappa)

    def bars(distance: Array) -> Array:
        charge = 6.0 * exponent * eta * capital**exponent * np.maximum(distance, _TINY) ** (exponent - 1.0)
        return 1.0 + slowness + (charge / kappa) ** (1.0 / (1.0 + exponent))

    # A signal that the rules do not let in still sets a scale: without it nothing would, when nothing is held.
    wanted = np.maximum(np.abs(aim), 0.05 * np.abs(number["signal"] / kappa))
    distance = wanted / (1.0 + decay * bars(wanted)) + np.abs(held)
    rules = plan_rules(conditions, 1)
    scale = np.minimum(distance / bars(distance), np.maximum(rules.upper, -rules.lower).max(axis=1) / capital)
    scale = np.maximum(scale, _TINY / np.maximum(capital, 1.0))
    return Problem(
        scale=scale,
        kappa=kappa,
        capital=capital,
        signal=number["signal"] / (kappa * scale),
        kept=1.0 - decay,
        position=held / scale,
        temporary=eta * capital**exponent * scale ** (exponent - 1.0) / kappa,
        exponent=exponent,
        permanent=permanent * capital / kappa,
        linear=np.maximum(number["linear_cost"], 0.0) / (kappa * scale),
        aim=aim / scale,
    )


def decision_features(conditions: Conditions, problem: Problem, horizon: int) -> Array:
    """Return the numbers of the problem and the rules in units of the scale, `(B, F)`, compressed to order one."""
    rules = plan_rules(conditions, horizon)
    unit = problem.unit[:, None]
    last = min(1, horizon - 1)
    bounds = [rules.lower[:, :1], rules.upper[:, :1], rules.lower[:, last : last + 1], rules.prefix_lower[:, -1:]]
    limits = np.concatenate([*bounds, rules.prefix_upper[:, -1:]], axis=1) / unit
    p = problem
    signed = np.stack([p.signal, p.position, p.aim, p.aim - p.position], axis=1)
    sizes = np.stack([p.temporary, p.permanent, p.linear, 1.0 - p.kept], axis=1)
    return np.concatenate(
        [
            np.arcsinh(signed),
            np.log(sizes + 1e-4),
            p.exponent[:, None],
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
