"""What trades cost under a rulebook: commission and duties by the order, item by item, and access fees. Kernels."""

from difffinance.market.compiled import lean_kernel
from difffinance.market.supervision import (
    ACCESS,
    ACCESS_BELOW,
    ACCESS_SHARE,
    COMMISSION,
    COMMISSION_UNIT,
    DUTIES,
    FEE_UNIT,
    HANDLING,
    LEAST_COMMISSION,
    MANAGEMENT,
    MONEY_CENTS,
    ONE,
    PER_MONEY,
    STAMP_BUY,
    STAMP_SELL,
    STAMP_STEP,
    TRANSFER,
    half_up,
)


@lean_kernel
def fee_cents(rules, side, value):  # type: ignore[no-untyped-def]
    """Return the fees of an order that has traded `value` (ticks times lots), in hundredths, item by item."""
    if value <= 0:
        return 0
    commission = half_up(value * rules[COMMISSION], rules[COMMISSION_UNIT]) if rules[COMMISSION] > 0 else 0
    commission = max(commission, rules[LEAST_COMMISSION])
    return commission + duty_cents(rules, side, value) if rules[DUTIES] else commission


@lean_kernel
def duty_cents(rules, side, value):  # type: ignore[no-untyped-def]
    """Return the fees beside the commission, in hundredths, item by item."""
    money, unit = value * rules[MONEY_CENTS], rules[PER_MONEY] * FEE_UNIT
    stamp = money * (rules[STAMP_BUY] if side > 0 else rules[STAMP_SELL])
    step, total = rules[STAMP_STEP], 0
    if stamp > 0:
        total = half_up(stamp, unit) if step == 0 else -(-stamp // (unit * step)) * step
    for item in (HANDLING, MANAGEMENT, TRANSFER):
        total += half_up(money * rules[item], unit) if rules[item] > 0 else 0  # a division costs as much as an order
    return total


@lean_kernel
def access_fee(rules, price, quantity):  # type: ignore[no-untyped-def]
    """Return what `quantity` lots taken at a price pay the venue, quote currency: never more than the cap there."""
    fee = float(rules[ACCESS])
    if price < rules[ACCESS_BELOW]:
        fee = min(fee, price * rules[MONEY_CENTS] * rules[ACCESS_SHARE] * (FEE_UNIT / (100.0 * ONE)) / rules[PER_MONEY])
    return fee * quantity / FEE_UNIT
