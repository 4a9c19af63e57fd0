"""A law planted in LOBSTER message files comes back through fetch and calibrate (merged prints, signs, mids)."""

import zipfile

import numpy as np
import pytest

from difffinance.calibration.symbol import calibrate_symbol
from difffinance.config import CalibrationConfig, DataConfig
from difffinance.data.fetching import fetch_tables

TICK = 100  # a cent in LOBSTER's units of 1e-4
GAMMA, LAM = 0.5, 0.03  # dollars per share^gamma
STEM = "PLANT_2012-06-21_34200000_57600000"


class MessageFile:
    """Orders by (side, price in ticks), and the two files that their events would leave."""

    def __init__(self):
        self.orders, self.count, self.messages, self.book = {}, 0, [], []

    def new(self, time, side, price, size):
        self.count += 1
        self.orders[side, price] = [self.count, size]
        self.write(time, 1, self.count, size, price, side)

    def delete(self, time, side, price):
        number, size = self.orders.pop((side, price))
        self.write(time, 3, number, size, price, side)

    def execute(self, time, side, price, size):
        order = self.orders[side, price]
        order[1] -= size
        if order[1] == 0:
            del self.orders[side, price]
        self.write(time, 4, order[0], size, price, side)

    def write(self, time, kind, number, size, price, side):
        self.messages.append(f"{time // 10**9}.{time % 10**9:09d},{kind},{number},{size},{price * TICK},{side}")
        ask, bid = (sorted((p for (s, p) in self.orders if s == side), reverse=side > 0) for side in (-1, 1))
        row = []
        for level in (0, 1):
            for side_, prices in ((-1, ask), (1, bid)):
                if level < len(prices):
                    row += [prices[level] * TICK, self.orders[side_, prices[level]][1]]
                else:
                    row += [-9999999999 * side_, 0]
        self.book.append(",".join(map(str, row)))


def write_day(path, *, orders=2000, seed=1, lam=LAM):
    """Write a day of market orders that move the mid by `lam sign |q|^gamma` on average.

    The hit side's touch moves by a gamma-distributed number of ticks whose mean is twice the law's (the mid moves by
    half of it), rounded at random so that the mean stays. An order comes in one to three prints of one nanosecond, with
    a hidden print of another order now and then; afterwards both sides are quoted anew.
    """
    rng, file, mid = np.random.default_rng(seed), MessageFile(), 50_000
    for side in (1, -1):
        file.new(34_200 * 10**9 + 1 + (side < 0), side, mid - 5000 * side, 999)
    for i in range(orders):
        time = 34_210 * 10**9 + i * 10 * 10**9 + int(rng.integers(10**9))
        side, size = int(rng.choice([-1, 1])), int(np.ceil(np.exp(4.0 + rng.standard_normal())))
        ticks = 2 * 100 * lam * size**GAMMA * rng.gamma(0.5, 2.0)
        ticks = int(ticks + rng.random())
        touch = mid - 40 * side
        file.new(time, -side, mid + 40 * side, 70)
        file.new(time + 1, side, touch, size if ticks else size + 50)
        if ticks:
            file.new(time + 2, side, touch - ticks * side, 500)
        time += 10**8
        prints = np.diff(np.unique([0, *rng.integers(1, size + 1, rng.integers(0, 3)), size]))
        for k, part in enumerate(prints):
            file.execute(time, side, touch, int(part))
            if k == 0 and rng.random() < 0.1:
                file.write(time, 5, 0, 30, touch, side)
        for s, price in list(file.orders):
            if abs(price - 50_000) < 4900:
                file.delete(time + 10**8, s, price)
        mid = int(np.clip(mid - ticks * side // 2, 48_000, 52_000))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{STEM}_message_2.csv", "\n".join(file.messages) + "\n")
        archive.writestr(f"{STEM}_orderbook_2.csv", "\n".join(file.book) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_law_planted_in_message_files_is_inside_its_interval(lake, tmp_path, seed):
    path = tmp_path / f"LOBSTER_SampleFile_{STEM}_2.zip"
    write_day(path, seed=seed)
    fetched = fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())
    assert fetched["verification"]["one_step_exact"] == 1.0
    config = CalibrationConfig(bootstrap=499, permutations=39)
    answer = calibrate_symbol("PLANT", lake=lake, config=config, horizons=[60.0])
    fit = next(f for f in answer["fits"] if (f["unit"], f["flow"]) == ("order", "visible"))
    assert fit["n_obs"] == 2000  # prints of one nanosecond and one sign are one order
    assert fit["gamma_ci95"][0] <= GAMMA <= fit["gamma_ci95"][1]
    assert fit["lam_ci95"][0] <= LAM <= fit["lam_ci95"][1]
    assert fit["gamma_ci95"][1] - fit["gamma_ci95"][0] < 0.4


@pytest.mark.slow
def test_message_files_without_impact_are_refused(lake, tmp_path):
    path = tmp_path / f"LOBSTER_SampleFile_{STEM}_2.zip"
    write_day(path, lam=0.0, orders=400)
    fetch_tables("lobster", [str(path)], lake=lake, config=DataConfig())
    answer = calibrate_symbol(
        "PLANT", lake=lake, config=CalibrationConfig(bootstrap=199, permutations=39), horizons=[60.0]
    )
    assert not [f for f in answer["fits"] if f["unit"] == "order"]
