import numpy as np
import pytest

from difffinance.calibration.visible_day import VisibleDay
from difffinance.simulation.book_scores import SCORES, book_scores, flow_steps
from difffinance.simulation.responses import EVENT_TYPES, response_functions


@pytest.fixture
def five_messages():
    """A bid at the touch, an offer inside, its cancellation, a sale into the bid, and a message of the next block."""
    prices = np.array([
        [[99, 98], [103, 104]], [[99, 98], [102, 103]], [[99, 98], [103, 104]], [[99, 98], [103, 104]],
        [[98, 97], [103, 104]],
    ], float)  # fmt: skip
    depth = np.array([
        [[30, 5], [10, 7]], [[30, 5], [40, 10]], [[30, 5], [10, 7]], [[20, 5], [10, 7]], [[5, 9], [10, 7]],
    ], float)  # fmt: skip
    return VisibleDay(
        np.array([1.0, 1.5, 1.5, 2.25, 301.0]), np.array([0, 0, 1, 2, 2]), np.array([1, -1, -1, 1, 1]),
        np.array([99.0, 102, 102, 99, 99]), np.array([20.0, 40, 40, 10, 20]), np.array([1, 2, 2, 9, 9]),
        prices, depth, np.array([0, 0, 0, 0, 1]),
    )  # fmt: skip


def test_scores_worked_by_hand(five_messages):
    scores = book_scores(five_messages)
    assert tuple(scores) == SCORES
    assert scores["spread"].values.tolist() == [4, 3, 4, 4, 5]
    assert scores["imbalance"].values[0] == 0.5
    assert np.exp(scores["log_inter_arrival"].values) == pytest.approx([500.0, 1e-9, 750.0])  # ms; blocks stand alone
    assert np.exp(scores["log_time_to_cancel"].values) == pytest.approx([1e-9])
    assert scores["ask_volume"].values.tolist() == [17, 50, 17, 17, 17]
    assert scores["limit_bid_depth"].values.tolist() == [2.0] and scores["limit_ask_depth"].values.tolist() == [1.5]
    assert scores["cancel_ask_depth"].values.tolist() == [1.0]
    assert scores["limit_ask_level"].values.tolist() == [1] and scores["cancel_ask_level"].values.tolist() == [1]
    assert scores["volume_per_minute"].values.tolist() == [600.0, 1200.0]
    assert scores["volume_per_minute"].blocks.tolist() == [0, 1]


def test_order_flow_imbalance_worked_by_hand(five_messages):
    # A better offer of 40; its loss; a sale of 10 into the bid; the bid of 20 taken.
    assert flow_steps(five_messages).tolist() == [-40.0, 40.0, -10.0, -20.0]


def test_responses_are_signed_moves_by_type(five_messages):
    found = response_functions(five_messages, lags=(1,))[:, 0]
    by_type = dict(zip(EVENT_TYPES, found, strict=True))
    assert by_type["limit_moving"] == pytest.approx(0.5)  # an offer inside the spread: mid from 101 to 100.5
    assert by_type["cancel_moving"] == pytest.approx(0.5)
    assert np.isnan(by_type["market_moving"])  # the next message is of another block
