"""One market of each kind of venue, and its rules in integers and in decimals."""

from difffinance.config import MarketConfig
from difffinance.market.enforcement import supervise
from difffinance.market.rules import get_rulebook

DAY = "2025-06-02"
VENUES = {
    "cn.main": ("0.01", "10"), "cn.star": ("0.01", "10"), "cn.bse": ("0.01", "10"), "us.tier1": ("0.01", "100"),
    "us.tier2": ("0.01", "0.5"), "hk.mid": ("0.001", "7.77"), "hk.futures": ("1", "25000"), "jp": ("1", "2990"),
}  # fmt: skip


def market(rulebook, **fields):
    tick, close = VENUES[rulebook]
    fields = {"tick_size": float(tick), "start_price": float(close), "session_seconds": 14400} | fields
    return MarketConfig(rulebook=rulebook, date=DAY, **fields)


def rules_of(rulebook, **fields):
    return supervise(market(rulebook, **fields))["rules"], get_rulebook(rulebook, DAY)
