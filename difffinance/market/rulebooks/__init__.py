"""Rules of real venues by date: one file a venue, made of the small parts of `parts.py`."""

from difffinance.errors import InputError
from difffinance.market.rulebooks import cn, hk, jp, us
from difffinance.market.rulebooks.reading import Day, read_day
from difffinance.market.rulebooks.rulebook import Rulebook

NAMES = (*cn.NAMES, *us.NAMES, *hk.NAMES, *jp.NAMES, "none")


def get_rulebook(name: str, date: Day, *, half_cent_from: Day | None = None) -> Rulebook:
    """Return the rules of a venue on `date` (a date or 'YYYY-MM-DD').

    `half_cent_from` is the first day of half-cent ticks in the United States (adopted, then postponed; default: the
    day the last postponement named).
    """
    day = read_day(date)
    if name not in NAMES:
        raise InputError(f"rulebook {name!r} is not known. Known: {', '.join(NAMES)}.")
    if name == "none":
        return Rulebook(name, day)
    if name in us.NAMES:
        first = us.HALF_CENT_FROM if half_cent_from is None else read_day(half_cent_from)
        return us.rulebook(name, day, first)
    venue = {"cn": cn, "hk": hk, "jp": jp}[name.split(".")[0]]
    return venue.rulebook(name, day)
