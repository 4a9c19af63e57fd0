"""The kinds of agents: a new one is its file and a line here.

A kind from outside this package may be added while a program runs: `PARTICIPANTS["mine"] = Participant(...)`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from difffinance.errors import InputError


@dataclass(frozen=True)
class Participant:
    """A kind's class, the pool that others see it in (`market.observation.KINDS`), and the signal that it is shown.

    A public signal is the common estimate of the value, with one error for all; a private one has its own.
    """

    agent: str  # module and class
    pool: str
    signal: Literal["none", "public", "private"] = "none"


_OURS = "difffinance.agents."
PARTICIPANTS = {
    "market_maker": Participant(_OURS + "market_maker.MarketMaker", "market_maker"),
    "speculator": Participant(_OURS + "speculator.Speculator", "speculator"),
    "arbitrageur": Participant(_OURS + "arbitrageur.Arbitrageur", "arbitrageur", "public"),
    "informed": Participant(_OURS + "informed.InformedTrader", "informed", "private"),
    "diffusion": Participant(_OURS + "diffusion_agent.DiffusionAgent", "diffusion", "public"),
    "gueant": Participant(_OURS + "gueant.GueantMarketMaker", "market_maker"),
    "mean_reversion": Participant(_OURS + "mean_reversion.MeanReversionTrader", "speculator"),
    "noise": Participant(_OURS + "noise_trader.NoiseTrader", "speculator"),
    "pairs": Participant(_OURS + "pairs_arbitrageur.PairsArbitrageur", "arbitrageur"),
    "kyle": Participant(_OURS + "kyle_informed.KyleInformedTrader", "informed", "private"),
    "twap": Participant(_OURS + "twap.TwapAgent", "speculator"),
    "vwap": Participant(_OURS + "vwap.VwapAgent", "speculator"),
    "pov": Participant(_OURS + "pov.PovAgent", "speculator"),
    "almgren_chriss": Participant(_OURS + "almgren_chriss.AlmgrenChrissAgent", "speculator"),
}


def participant(kind: Any) -> Participant:
    """Return what is known of a kind."""
    if not isinstance(kind, str) or kind not in PARTICIPANTS:
        raise InputError(f"kind '{kind}' is not known. Allowed: {', '.join(PARTICIPANTS)}.")
    return PARTICIPANTS[kind]


def counted_kinds(kinds: Sequence[str] | Mapping[str, int]) -> list[str]:
    """Return the kind of each seat: as given, or from how many there are of each, in the mapping's order."""
    if isinstance(kinds, str) or not isinstance(kinds, Iterable):
        raise InputError(f"kinds are {kinds!r}. Allowed: a list of names or a mapping of names to counts.")
    if isinstance(kinds, Mapping):
        for kind, count in kinds.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise InputError(f"the number of '{kind}' is {count!r}. Allowed: a whole number, 0 or more.")
        kinds = [kind for kind, count in kinds.items() for _ in range(count)]
    for kind in (seats := list(kinds)):
        participant(kind)
    return seats
