"""Usage: what generations of a span of days add up to. Days and months are UTC."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator

from pixyproxy.core.money import Nano

DAY = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}", re.ASCII)
MONTH = re.compile(r"([12][0-9]{3})-([0-9]{2})", re.ASCII)
ONE_DAY = timedelta(days=1)


def day_of(value: object) -> object:
    """A text as a day; `ValueError` for a text that is none. pydantic alone would take numbers of seconds too."""
    if isinstance(value, str) and DAY.fullmatch(value) is None:
        raise ValueError("must be a day, such as 2026-11-30")
    return date.fromisoformat(value) if isinstance(value, str) else value


Day = Annotated[date, BeforeValidator(day_of)]


class Dimension(StrEnum):
    """What usage is summed by."""

    DAY = "day"
    MONTH = "month"
    KEY = "key"
    MODEL = "model"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Span:
    """The days from `since` on, before `until`."""

    since: date
    until: date


def span_of(since: date | None, until: date | None, *, now: datetime) -> Span:
    """The span that these bounds mean; None: not said.

    Without both it is the present month; with `since` alone it goes until today; with `until` alone it is the month of
    the day before. `ValueError` if it has no day.
    """
    today = now.astimezone(UTC).date()
    if since is None:
        since = (today if until is None else until - ONE_DAY).replace(day=1)
        until = until or next_month(since)
    until = until or max(today, since) + ONE_DAY
    if since >= until:
        raise ValueError("must be after the first day")
    return Span(since, until)


def month_of(text: str) -> Span:
    """The span of a month such as 2026-11; `ValueError` for another text."""
    found = MONTH.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= 12:
        raise ValueError("a month is written as 2026-11")
    since = date(int(found[1]), int(found[2]), 1)
    return Span(since, next_month(since))


def next_month(first: date) -> date:
    """The first day of the month after the one that begins on this day."""
    return (first + timedelta(days=31)).replace(day=1)


@dataclass(slots=True)
class Sums:
    """What some generations add up to. Amounts are nano-dollars.

    `images`: those that the succeeded ones drew, later deleted ones too. `unpriced`: ended generations whose cost is
    unknown. Tokens: as far as the upstream said how many of each kind there were. `estimated`: the part of `cost` whose
    basis is an estimate. `reserved`: the estimates of what runs, which are no part of `cost`.
    """

    generations: int = 0
    images: int = 0
    failed: int = 0
    running: int = 0
    unpriced: int = 0
    text_in: int = 0
    image_in: int = 0
    output: int = 0
    cost: Nano = 0
    estimated: Nano = 0
    reserved: Nano = 0

    def add(self, other: "Sums") -> None:
        """Add the other ones to these."""
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class UnequalDay:
    """A stored day that is not what its generations say, and what all its groups have and should have together."""

    day: date
    stored: Sums
    recorded: Sums


SUMMED = tuple(each.name for each in fields(Sums))


def total_of(sums: Iterable[Sums]) -> Sums:
    """All of them together."""
    total = Sums()
    for each in sums:
        total.add(each)
    return total
