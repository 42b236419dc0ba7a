"""Budgets: what a key, or everybody together, may spend in a day, a month, or in total. Days and months are UTC."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from typing import Literal, cast

from pydantic import AwareDatetime

from pixyproxy.core.exceptions import BudgetExhaustedError
from pixyproxy.core.model import Model
from pixyproxy.core.money import DOLLAR, Nano, amount_of, nano_of

EVERYBODY = -1
"""The owner of budgets that count all generations, whoever's key began them. Other owners are ids of API keys."""
BEGINNING = date(1970, 1, 1)
"""When the only window of a budget in total begins."""


class Period(IntEnum):
    """How long a budget lasts. Windows are locked in this order."""

    DAY = 1
    MONTH = 2
    TOTAL = 3

    @property
    def word(self) -> Literal["day", "month", "total"]:
        """The period's name for people and in JSON."""
        return cast(Literal["day", "month", "total"], self.name.lower())

    @classmethod
    def of(cls, word: str) -> "Period":
        """The period with this name; `ValueError` for another word."""
        for period in cls:
            if period.word == word:
                return period
        raise ValueError("a period is day, month or total")

    def starts_on(self, at: datetime) -> date:
        """The first day of the window that a moment is in."""
        day = at.astimezone(UTC).date()
        return {Period.DAY: day, Period.MONTH: day.replace(day=1), Period.TOTAL: BEGINNING}[self]

    def ends_on(self, starts_on: date) -> date | None:
        """The day after the window's last day; None: it never ends."""
        match self:
            case Period.DAY:
                return starts_on + timedelta(days=1)
            case Period.MONTH:
                return (starts_on + timedelta(days=31)).replace(day=1)
            case _:
                return None


class Budget(Model):
    """What an owner may spend in each window of a period, in nano-dollars."""

    owner: int
    period: Period
    limit: Nano


BudgetLimits = Mapping[Period, Nano | None]
"""Budgets to set by their periods; None: to remove."""
NO_CHANGE: BudgetLimits = {}
MOST: Nano = 1_000_000_000 * DOLLAR
"""The highest limit. With it no sum of a window goes over what a column holds."""


def parse_budget(text: str) -> tuple[Nano, Period]:
    """The limit and the period of a text such as `20/month`; `ValueError` says what is wrong with it."""
    amount, slash, word = text.partition("/")
    if not slash:
        raise ValueError("a budget is dollars and a period, such as 20/month")
    try:
        limit = limit_of(amount)
    except ValueError as error:
        raise ValueError(f"the dollars of a budget {error}") from None
    return limit, Period.of(word)


def limit_of(text: str) -> Nano:
    """The limit of a budget, from dollars as a decimal number; `ValueError` as `nano_of`, and if it is too high."""
    limit = nano_of(text)
    if limit > MOST:
        raise ValueError(f"must be at most {amount_of(MOST)}")
    return limit


class Spending(Model):
    """A budget, and what its present window has: `used` with the estimates of what runs.

    `resets_at`: when the next window begins; None: never.
    """

    budget: Budget
    used: Nano
    resets_at: AwareDatetime | None


def unspent(owner: int, limits: BudgetLimits, *, at: datetime) -> tuple[Spending, ...]:
    """The budgets of an owner who has spent nothing yet."""
    return tuple(
        Spending(
            budget=Budget(owner=owner, period=period, limit=limit),
            used=0,
            resets_at=resets_at(period, period.starts_on(at)),
        )
        for period, limit in sorted(limits.items())
        if limit is not None
    )


def resets_at(period: Period, starts_on: date) -> datetime | None:
    """The moment at which the window after this one begins; None: never."""
    end = period.ends_on(starts_on)
    return None if end is None else datetime.combine(end, time(), UTC)


def exhausted(budget: Budget, *, at: datetime, used: Nano, estimate: Nano) -> BudgetExhaustedError:
    """The refusal, with what a person needs to know to go on."""
    resets = resets_at(budget.period, budget.period.starts_on(at))
    whose = "all keys together" if budget.owner == EVERYBODY else "this key"
    span = {Period.DAY: "a day", Period.MONTH: "a month", Period.TOTAL: "in total"}[budget.period]
    after = "" if resets is None else f" The budget begins anew at {resets:%Y-%m-%dT%H:%M:%SZ}."
    return BudgetExhaustedError(
        f"The budget of {whose} is ${amount_of(budget.limit)} {span}, of which ${amount_of(used)} is used. This "
        f"request is expected to cost ${amount_of(estimate)}. Nothing was drawn.{after}",
        extra={
            "period": budget.period.word,
            "limit": amount_of(budget.limit),
            "used": amount_of(used),
            "estimate": amount_of(estimate),
            "everybody": budget.owner == EVERYBODY,
            "resets_at": None if resets is None else f"{resets:%Y-%m-%dT%H:%M:%SZ}",
        },
    )


def without_sums(refusal: BudgetExhaustedError) -> BudgetExhaustedError:
    """The refusal by a budget of all keys together, for a key that may not know what others spend."""
    known = refusal.extra
    anew = "" if known["resets_at"] is None else f" The budget begins anew at {known['resets_at']}."
    return BudgetExhaustedError(
        f"The budget of all keys together has less left than this request is expected to cost, ${known['estimate']}. "
        f"Nothing was drawn.{anew}",
        extra={**known, "limit": None, "used": None},
    )
