"""Fees in the kernels' integers against the rulebooks' decimals."""

from decimal import Decimal

import numpy as np
import pytest

from difffinance.config import MarketConfig
from difffinance.market import fees
from difffinance.market.enforcement import supervise
from tests.market.venues import VENUES, rules_of


@pytest.mark.parametrize("rulebook", VENUES)
def test_fees_are_the_same_to_the_cent(rulebook):
    rules, book = rules_of(rulebook, fee_bps=2.5)
    rng, tick = np.random.default_rng(1), Decimal(VENUES[rulebook][0])
    for value in rng.integers(1, 10**9, 200).tolist():
        for side in (1, -1):
            expected = book.fees(side, value * tick, 1, "0.00025")
            assert fees.fee_cents(rules, side, value) == expected.total * 100
    assert fees.fee_cents(rules, 1, 0) == 0


@pytest.mark.parametrize(("price", "quantity", "fee"), [(200, 300, 0.3), (100, 1000, 0.5), (199, 1000, 0.995)])
def test_access_fees_never_exceed_the_cap_of_the_price(price, quantity, fee):
    fields = {"tick_size": 0.005, "start_price": 10.0, "session_seconds": 23400, "date": "2026-11-02"}
    rules = supervise(MarketConfig(rulebook="us.tier1", access_fee=0.001, **fields))["rules"]
    assert fees.access_fee(rules, price, quantity) == pytest.approx(fee)
