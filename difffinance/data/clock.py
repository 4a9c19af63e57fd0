"""A venue's local time as UTC nanoseconds."""

from datetime import date, datetime
from functools import cache
from zoneinfo import ZoneInfo

NEW_YORK = "America/New_York"
SHANGHAI = "Asia/Shanghai"


@cache
def midnight(day: date, zone: str) -> int:
    """Return the local midnight of a day as UTC nanoseconds, by the clock of noon (clocks change at night)."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))
    return (int(noon.timestamp()) - 43_200) * 1_000_000_000
