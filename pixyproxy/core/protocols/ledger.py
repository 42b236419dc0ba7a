"""Budgets and the ledger: what was spent, what may be, and whether it adds up."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from pixyproxy.core.budgets import Budget, Period, Spending
from pixyproxy.core.ledger import AuditPage, Imbalance
from pixyproxy.core.money import Nano


class BudgetRepository(Protocol):
    """The budgets of keys, and of everybody together. A change counts at once, in every replica."""

    async def set(self, budget: Budget) -> None:
        """Record the budget instead of the one of its owner and period. What was used before counts in it."""

    async def remove(self, *, owner: int, period: Period) -> bool:
        """Remove the budget; whether there was one."""

    async def spending(self, owners: Collection[int], *, at: datetime) -> tuple[Spending, ...]:
        """The budgets of these owners, and what the windows of this moment have; day before month before total."""


class LedgerRepository(Protocol):
    """What generations cost, and the sums that must agree."""

    async def dearest(self, cost_class: str, *, since: datetime) -> Nano | None:
        """What the dearest image of this class cost since then, by its usage; None if there is none."""

    async def audit(self, *, after: int, limit: int) -> AuditPage:
        """Generations, at most `limit`, whose entries and weight are compared, behind the position `after`."""

    async def audit_windows(self) -> tuple[Imbalance, ...]:
        """The windows that do not have what their generations weigh. While it looks, none of them changes."""
