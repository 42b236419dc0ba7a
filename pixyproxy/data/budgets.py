"""The records of budgets, and what the ledger adds up to."""

from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial

from pixyproxy.core.budgets import Budget, BudgetLimits, Period, Spending
from pixyproxy.core.ledger import AuditPage, Imbalance
from pixyproxy.core.money import Nano
from pixyproxy.data.conversions import time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.windows import audit_window, spending

DEAREST = """
    SELECT image_nano FROM generations
    WHERE cost_class = :cost_class AND image_nano IS NOT NULL AND created_at >= :since
    ORDER BY cost_class DESC, image_nano DESC
    LIMIT 1
"""
WINDOWS = "SELECT period, owner, starts_on FROM windows ORDER BY period, owner, starts_on"
AUDIT = """
    SELECT generations.id, generations.guid, counted_nano, COALESCE(SUM(delta_nano), 0) AS entered
    FROM (SELECT id, guid, counted_nano FROM generations WHERE id > :after ORDER BY id LIMIT :rows) AS generations
    LEFT JOIN ledger ON ledger.generation_id = generations.id
    GROUP BY generations.id, generations.guid, counted_nano
    ORDER BY generations.id
"""


SET = """
    REPLACE INTO budgets (owner, period, limit_nano, updated_at)
    VALUES (:owner, :period, :limit_nano, :now)
"""


def set_budget(transaction: Transaction, budget: Budget) -> None:
    """Record the budget instead of the one of its owner and period. Its window is opened by who needs it first."""
    transaction.execute(
        SET,
        owner=budget.owner,
        period=budget.period.value,
        limit_nano=budget.limit,
        now=time_to_column(datetime.now(UTC)),
    )


def remove_budget(transaction: Transaction, owner: int, period: Period) -> bool:
    """Remove a budget and its windows; whether there was one."""
    key = {"owner": owner, "period": period.value}
    found = transaction.execute("DELETE FROM budgets WHERE owner = :owner AND period = :period", **key)
    transaction.execute("DELETE FROM windows WHERE owner = :owner AND period = :period", **key)
    return bool(found)


def change_budgets(transaction: Transaction, owner: int, limits: BudgetLimits) -> None:
    """Set and remove budgets of an owner."""
    for period, limit in limits.items():
        if limit is None:
            remove_budget(transaction, owner, period)
        else:
            set_budget(transaction, Budget(owner=owner, period=period, limit=limit))


class SqlBudgetRepository:
    """`BudgetRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def set(self, budget: Budget) -> None:
        """Record the budget instead of the one of its owner and period."""
        await self._database.transaction(partial(set_budget, budget=budget))

    async def remove(self, *, owner: int, period: Period) -> bool:
        """Remove the budget and its windows; whether there was one."""
        return await self._database.transaction(partial(remove_budget, owner=owner, period=period))

    async def spending(self, owners: Collection[int], *, at: datetime) -> tuple[Spending, ...]:
        """The budgets of these owners, and what the windows of this moment have; day before month before total."""
        if not owners:
            return ()
        return await self._database.search(partial(spending, owners=owners, at=at))


class SqlLedgerRepository:
    """`LedgerRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def dearest(self, cost_class: str, *, since: datetime) -> Nano | None:
        """What the dearest image of this class cost since then, by its usage; None if there is none."""
        row = await self._database.one(DEAREST, cost_class=cost_class, since=time_to_column(since))
        return None if row is None else int(row["image_nano"])

    async def audit(self, *, after: int, limit: int) -> AuditPage:
        """Generations, at most `limit`, whose entries and weight are compared, behind the id `after`."""
        rows = await self._database.all(AUDIT, after=after, rows=limit)
        return AuditPage(
            compared=len(rows),
            imbalances=tuple(
                Imbalance(name=f"generation {row['guid']}", has=row["counted_nano"], expected=row["entered"])
                for row in rows
                if row["counted_nano"] != row["entered"]
            ),
            next_after=rows[-1]["id"] if len(rows) == limit else None,
        )

    async def audit_windows(self) -> tuple[Imbalance, ...]:
        """The windows that do not have what their generations weigh, each compared while nothing in it changes."""
        found = []
        for window in await self._database.all(WINDOWS):
            imbalance = await self._database.transaction(partial(audit_window, window=window))
            found += [imbalance] if imbalance is not None else []
        return tuple(found)
