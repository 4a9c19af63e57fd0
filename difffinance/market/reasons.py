"""Why an order or an action is refused: one number for the kernels, one name for people."""

OK = 0
BAD_SIDE = 1
BAD_QUANTITY = 2
BAD_PRICE = 3
PRICE_LIMIT = 4
PRICE_SPAN = 5
REUSED_ID = 6
UNKNOWN_ORDER = 7
NO_LIQUIDITY = 8
MAX_ORDER = 9
MAX_OPEN = 10
POSITION_LIMIT = 11
NOT_SELLABLE = 12
LEVERAGE = 13
TOO_MANY_ORDERS = 14
ACTION_SHAPE = 15
ACTION_NOT_FINITE = 16
ACTION_OFF_RANGE = 17
AGENT_RAISED = 18
BAD_KIND = 19
BAD_DISPLAY = 20
OFF_GRID = 21
HALTED = 22
NOT_IN_AUCTION = 23
WOULD_TRADE = 24
NOT_FILLABLE = 25
SELF_TRADE = 26
NOT_UNCROSSED = 27
NEEDS_BOOK = 28
CLOSED = 29
TICK_SIZE = 30
LOT_SIZE = 31
ORDER_BAND = 32
MOVING_BAND = 33
SHORT_SALE = 34
BAD_ID = 35
FIXED_PRICE = 36

NAMES = (
    "ok",
    "bad_side",
    "bad_quantity",
    "bad_price",
    "price_limit",
    "price_span",
    "reused_id",
    "unknown_order",
    "no_liquidity",
    "max_order",
    "max_open",
    "position_limit",
    "not_sellable",
    "leverage",
    "too_many_orders",
    "action_shape",
    "action_not_finite",
    "action_off_range",
    "agent_raised",
    "bad_kind",
    "bad_display",
    "off_grid",
    "halted",
    "not_in_auction",
    "would_trade",
    "not_fillable",
    "self_trade",
    "not_uncrossed",
    "quotes_need_a_book",
    "closed",
    "tick_size",
    "lot_size",
    "order_band",
    "moving_band",
    "short_sale",
    "bad_id",
    "fixed_price",
)
