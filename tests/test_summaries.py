"""What a person reads after a verb."""

import pytest

from difffinance import summaries


@pytest.mark.parametrize(
    ("one_step", "resync", "said"),
    [
        (1.0, 1.0, "book verified: one-step 1.000000, resync 1.000000 of 7 messages"),
        (None, 1.0, "book verified: one-step not defined, resync 1.000000 of 7 messages"),
        (None, None, "book verified: one-step not defined, resync not defined of 7 messages"),
        (1.0, 0.25, "book NOT explained by its messages: one-step 1.000000, resync 0.250000 of 7 messages"),
    ],
)
def test_a_book_is_called_verified_only_where_its_messages_explain_it(one_step, resync, said):
    verification = {"one_step_exact": one_step, "resync_exact": resync, "messages": 7}
    text = summaries.fetched({"source": "lobster", "tables": [], "repairs": [], "verification": verification})
    assert said in text
