"""The kinds of agents: a new one is its file and a line here.

A kind from outside this package may be added while a program runs: `PARTICIPANTS["mine"] = Participant(...)`.
"""

from dataclasses import dataclass
from typing import Literal


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
