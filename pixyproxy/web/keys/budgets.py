"""Budgets of keys: as a body sets them, and as answers show them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from pixyproxy.core.budgets import Period, Spending, limit_of
from pixyproxy.core.money import Nano, amount_of

PeriodWord = Literal["day", "month", "total"]


def is_limit(text: str) -> str:
    """The text, if it is an amount that a budget may have."""
    limit_of(text)
    return text


Dollars = Annotated[str, AfterValidator(is_limit), Field(max_length=40, examples=["20"])]
BudgetLimits = dict[PeriodWord, Dollars | None]
"""US dollars by period; None: no budget of this period."""
BUDGETS = "What it may spend in a day, in a month (UTC), or in total, in US dollars, as decimal numbers."


def limits_in(budgets: BudgetLimits) -> dict[Period, Nano | None]:
    """The limits of a body."""
    return {Period.of(word): None if text is None else limit_of(text) for word, text in budgets.items()}


class BudgetDetails(BaseModel):
    """A budget, and what is left of it. Amounts are US dollars, as decimal numbers."""

    period: PeriodWord
    limit: str = Field(examples=["20"])
    used: str = Field(description="Since the period began, with the estimates of what runs.", examples=["3.4406"])
    left: str = Field(description="Negative if pictures cost more than was expected, or the limit was lowered.")
    resets_at: AwareDatetime | None = Field(description="When the next period begins; null: never.")

    @classmethod
    def of(cls, spending: Spending) -> Self:
        """The details of a budget now."""
        return cls(
            period=spending.budget.period.word,
            limit=amount_of(spending.budget.limit),
            used=amount_of(spending.used),
            left=amount_of(spending.budget.limit - spending.used),
            resets_at=spending.resets_at,
        )
