"""Writes the 10 numbers of `market.observation.ACTION` within what the seat's constraints allow. For policies."""

from difffinance.market.compiled import inlined
from difffinance.market.observation import ACTION_INDEX, CONSTRAINT_INDEX, NO_LIMIT, STATE_INDEX

_PARTICIPATION, _CANCEL = ACTION_INDEX["participation"], ACTION_INDEX["cancel"]
_BID, _ASK = ACTION_INDEX["bid_offset_1"], ACTION_INDEX["ask_offset_1"]
_NEXT_QUOTE = ACTION_INDEX["bid_offset_2"] - _BID
_LARGEST, _BUYABLE, _SELLABLE = (CONSTRAINT_INDEX[n] for n in ("max_participation", "buyable", "sellable"))
_CAN_BUY, _CAN_SELL = CONSTRAINT_INDEX["can_buy"], CONSTRAINT_INDEX["can_sell"]
_MAX_OPEN, _MAX_ORDER = CONSTRAINT_INDEX["max_open"], CONSTRAINT_INDEX["max_order"]
_OPEN_BUYS, _OPEN_SELLS = STATE_INDEX["open_buys"], STATE_INDEX["open_sells"]


@inlined
def send_market(action, constraints, participation):  # type: ignore[no-untyped-def]
    """Cancel what rests and send one market order, cut to what the rules allow, step volumes."""
    buy = min(constraints[_LARGEST], constraints[_BUYABLE]) if constraints[_CAN_BUY] > 0.0 else 0.0
    sell = min(constraints[_LARGEST], constraints[_SELLABLE]) if constraints[_CAN_SELL] > 0.0 else 0.0
    action[_PARTICIPATION] = min(max(participation, -sell), buy)
    action[_CANCEL] = 1.0


@inlined
def send_quote(action, state, constraints, side, rank, offset, quantity):  # type: ignore[no-untyped-def]
    """Replace what rests by quotes: write the one of `rank` 0 or 1 on a side (+1 bid), ticks and step volumes.

    One wished for farther from the mid than quotes may be stands at the farthest place.
    """
    action[_CANCEL] = 1.0
    # Cancelling comes first, so what rests now may be bought or sold again.
    at, left = _BID, constraints[_BUYABLE] + state[_OPEN_BUYS]
    if side < 0:
        at, left = _ASK, constraints[_SELLABLE] + state[_OPEN_SELLS]
    left = min(left, constraints[_MAX_OPEN])
    if rank > 0:
        left -= action[at + 1]
        at += _NEXT_QUOTE
    quantity = min(quantity, left, constraints[_MAX_ORDER])
    if quantity > 0:
        action[at] = min(max(offset, -NO_LIMIT), NO_LIMIT)
        action[at + 1] = quantity
