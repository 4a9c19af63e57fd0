"""The pictures of the story carry the numbers that they draw."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from difffinance.calibration.misuse import trade_round_trip
from difffinance.records import ImpactParameters
from difffinance.reporting import impact_story
from difffinance.simulation.closed_loop import compare_laws

FIT = ImpactParameters(
    lam=0.01, gamma=0.4, lam_se=0.002, gamma_se=0.036, lam_ci=(0.006, 0.015), gamma_ci=(0.33, 0.47), r2=0.35,
    n_obs=1324, noise="both", unit="aggregate", horizon_s=10.0, flow="visible", r2_oos=0.3, lam_gamma_corr=-0.9,
    rivals_r2_oos={"power": 0.3, "square_root": 0.29, "logarithmic": 0.28, "linear": -1.7, "constant": 0.2},
)  # fmt: skip


def labelled(picture):
    axes = picture.figure.axes
    return all(axis.get_ylabel() for axis in axes) and any(axis.get_xlabel() for axis in axes)


def test_the_round_trip_says_what_it_earns():
    picture = impact_story.plot_round_trip(trade_round_trip(FIT, quantity=1000.0, pieces=10), name="TINY")
    assert "bought in 10 pieces" in picture.caption
    assert labelled(picture)
    assert picture.png().startswith(b"\x89PNG")


def test_a_shape_far_below_the_picture_stands_on_its_floor_with_its_number():
    picture = impact_story.plot_criticism([FIT], name="TINY")
    (axis,) = picture.figure.axes
    assert picture.table.filter(pl.col("shape") == "linear")["r2_oos"][0] == -1.7
    assert [text.get_text() for text in axis.texts] == ["-1.7"]
    assert labelled(picture)


def test_misses_are_what_the_response_has_beyond_the_law():
    rng = np.random.default_rng(1)
    quantity = rng.choice([-1.0, 1.0], 500) * rng.lognormal(4.0, 1.0, 500)
    change = np.sign(quantity) * np.abs(quantity) ** 0.5 + rng.normal(0.0, 2.0, 500)
    table = impact_story.residual_table(quantity, change, change - 3.0 * np.sign(quantity))
    assert (table["response"] - table["residual"]).to_list() == pytest.approx([3.0] * table.height)
    assert table["spread"].to_list() == pytest.approx((table["response_error"] * table["orders"].sqrt()).to_list())


def test_the_loop_tells_whether_it_closes():
    for lam, said in ((0.0101, "inside"), (0.03, "outside")):
        loop = compare_laws(FIT, [replace(FIT, lam=lam * f) for f in (0.98, 1.0, 1.02)], [])
        picture = impact_story.plot_closed_loop(loop, name="TINY")
        assert said in picture.caption
        assert picture.table["day"].to_list()[0] == "real"
        assert labelled(picture)
