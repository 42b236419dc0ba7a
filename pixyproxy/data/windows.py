"""The windows of budgets: opened at their first use, and filled only as far as the limit. Functions on a `Transaction`.

A window has what all generations of its owner that began in it weigh. It is opened by whoever needs it first, and there
is no job that resets it: the next day or month is another row.
"""

from collections.abc import Collection, Set
from datetime import date, datetime, timedelta
from typing import Any

from pixyproxy.core.budgets import EVERYBODY, Budget, Period, Spending, exhausted, resets_at
from pixyproxy.core.exceptions import GenerationInterruptedError, PriceUnknownError
from pixyproxy.core.generations import Generation
from pixyproxy.core.ledger import Imbalance
from pixyproxy.core.money import Nano
from pixyproxy.data.conversions import column_to_day, time_to_column
from pixyproxy.data.database import Row, Transaction

RECENTLY = timedelta(minutes=5)
"""A reservation that is not committed yet began less long ago."""
IN_FLUX = ("state = 'running'", f"error_name = '{GenerationInterruptedError.name}'")
"""Generations whose weight may still change."""
BUDGETS = "SELECT owner, period, limit_nano FROM budgets WHERE owner IN :owners ORDER BY period, owner"
BUDGETS_OF_KEY = BUDGETS.replace(":owners", "(:everybody, :key)")
"""A list of values costs SQLAlchemy half as much as the rest of a statement: here are always two."""
TAKE = """
    UPDATE windows
    SET used_nano = used_nano + :estimate
    WHERE period = :period AND owner = :owner AND starts_on = :starts_on AND used_nano + :estimate <= :limit
"""
PRESENT = """
    SELECT period, owner, starts_on, used_nano FROM windows
    WHERE period IN :periods AND owner IN :owners AND starts_on IN :days
"""
USED = "SELECT used_nano FROM windows WHERE period = :period AND owner = :owner AND starts_on = :starts_on"
WEIGHTS = "SELECT id, counted_nano FROM generations"
"""Read by the primary key: no other index has both columns."""
OPEN = "INSERT INTO windows (period, owner, starts_on, used_nano) VALUES (:period, :owner, :starts_on, 0)"
FILL = """
    UPDATE windows
    SET used_nano = :used
    WHERE period = :period AND owner = :owner AND starts_on = :starts_on
"""


class WindowMissingError(Exception):
    """The window of a budget is not open yet. The transaction is to be run again when it is (`open_window`)."""

    def __init__(self, budget: Budget, starts_on: date) -> None:
        super().__init__("The window is not open yet.")
        self.budget, self.starts_on = budget, starts_on


def row_to_budget(row: Row) -> Budget:
    """The budget of a row."""
    return Budget(owner=row["owner"], period=Period(row["period"]), limit=row["limit_nano"])


def require_budgets(transaction: Transaction, generation: Generation) -> None:
    """Take the estimate of a generation from every budget that applies to it, day before month before total.

    The generation's row is inserted already: see `open_window`. `BudgetExhaustedError` if one has too little left,
    `PriceUnknownError` if nobody knows how much to take, `WindowMissingError`.
    """
    rows = transaction.all(BUDGETS_OF_KEY, everybody=EVERYBODY, key=generation.api_key_id)
    if not rows:
        return
    if generation.quote is None or generation.quote.estimate is None:
        priced = generation.quote is not None and generation.quote.price_id is not None
        raise PriceUnknownError(generation.request.model, priced=priced)
    for budget in map(row_to_budget, rows):
        take(transaction, budget, generation, estimate=generation.quote.estimate)


def take(transaction: Transaction, budget: Budget, generation: Generation, *, estimate: Nano) -> None:
    """Take an estimate from the budget's window; `BudgetExhaustedError` if it would go over its limit.

    `WindowMissingError` if the window is not open yet.
    """
    starts_on = budget.period.starts_on(generation.created_at)
    window = key_of(budget, starts_on=starts_on)
    if transaction.execute(TAKE, estimate=estimate, limit=budget.limit, **window):
        return
    row = transaction.one(USED, **window)
    if row is None:
        raise WindowMissingError(budget, starts_on)
    raise exhausted(budget, at=generation.created_at, used=row["used_nano"], estimate=estimate)


def key_of(budget: Budget, *, starts_on: date) -> dict[str, Any]:
    """The key of a window, as parameters."""
    return {"period": budget.period.value, "owner": budget.owner, "starts_on": starts_on.isoformat()}


def open_window(transaction: Transaction, budget: Budget, *, starts_on: date) -> None:
    """Make a window with what its generations weigh now, unless its budget was removed meanwhile.

    It is exact although generations begin and end meanwhile:

    * A transition changes its generation's row first, then the windows that it finds. It is waited for here, and is in
      the sum; or it waits for the locks that are taken here, and finds the window.
    * A reservation inserts its row, then reads the budgets, then takes. If it sees the budget, it does without a window
      nothing. If it does not, its row was inserted before the budget was recorded: it is waited for, and in the sum.

    It waits for others before it holds the window, and they do the same.
    """
    present = transaction.lock_all(BUDGETS, owners=(budget.owner,))
    if budget.period not in [row["period"] for row in present]:
        return  # nothing would be taken from a window without a budget
    if transaction.one(USED, **key_of(budget, starts_on=starts_on)) is not None:
        return  # another process was faster
    hold(transaction, budget, starts_on=starts_on)
    transaction.execute(OPEN, **key_of(budget, starts_on=starts_on))
    used = weight(transaction, budget, starts_on=starts_on)
    transaction.execute(FILL, used=used, **key_of(budget, starts_on=starts_on))


def hold(transaction: Transaction, budget: Budget, *, starts_on: date) -> None:
    """Lock the generations of a window whose weight may still change, and wait for those that are inserted just now.

    By their primary keys, in order: whoever changes a row locks it in its primary key before its other indexes. Rows
    that are not committed yet are found only by a locking read, so all of the last minutes are read in that way.
    """
    newest_old = transaction.one(
        "SELECT id FROM generations WHERE created_at < :recently ORDER BY created_at DESC LIMIT 1",
        recently=time_to_column(transaction.now() - RECENTLY),
    )
    old = 0 if newest_old is None else newest_old["id"]
    conditions, parameters = generations_in(budget, starts_on=starts_on)
    in_flux = [
        row["id"]
        for condition in IN_FLUX
        for row in transaction.all(f"SELECT id FROM generations WHERE {condition}{conditions}", **parameters)
        if row["id"] <= old
    ]
    if in_flux:
        transaction.lock_all(f"{WEIGHTS} WHERE id IN :ids ORDER BY id", ids=tuple(sorted(in_flux)))
    transaction.lock_all(f"{WEIGHTS} WHERE id > :old ORDER BY id", old=old)


def weight(transaction: Transaction, budget: Budget, *, starts_on: date) -> Nano:
    """What the generations of a window weigh by their own rows."""
    conditions, parameters = generations_in(budget, starts_on=starts_on)
    (row,) = transaction.all(
        f"SELECT COALESCE(SUM(counted_nano), 0) AS weight FROM generations WHERE 1 = 1{conditions}",
        **parameters,
    )
    return int(row["weight"])


def generations_in(budget: Budget, *, starts_on: date) -> tuple[str, dict[str, Any]]:
    """The conditions, each after AND, of the generations that count in a window, and their parameters."""
    conditions, parameters = "", dict[str, Any]()
    if budget.owner != EVERYBODY:
        conditions += " AND api_key_id = :owner"
        parameters["owner"] = budget.owner
    of_span, times = in_span(budget.period, starts_on)
    return conditions + of_span, parameters | times


def in_span(period: Period, starts_on: date) -> tuple[str, dict[str, Any]]:
    """The conditions, each after AND, of the generations that began in a window, and their parameters."""
    ends_on = period.ends_on(starts_on)
    if ends_on is None:
        return "", {}
    since, until = (f"{day.isoformat()} 00:00:00" for day in (starts_on, ends_on))
    return " AND created_at >= :since AND created_at < :until", {"since": since, "until": until}


def spending(transaction: Transaction, owners: Collection[int], *, at: datetime) -> tuple[Spending, ...]:
    """The budgets of these owners, and what their windows of this moment have, day before month before total.

    However many there are, budgets and windows are a statement each. The windows that nothing used yet are added up:
    a statement for each period that has some, and one more for everybody's.
    """
    budgets = [row_to_budget(row) for row in transaction.all(BUDGETS, owners=tuple(owners))]
    if not budgets:
        return ()
    days = {period: period.starts_on(at) for period in {budget.period for budget in budgets}}
    rows = transaction.all(
        PRESENT,
        periods=tuple(period.value for period in days),
        owners=tuple({budget.owner for budget in budgets}),
        days=tuple({day.isoformat() for day in days.values()}),
    )
    used: dict[tuple[int, int], Nano] = {
        (row["period"], row["owner"]): row["used_nano"]
        for row in rows
        if column_to_day(row["starts_on"]) == days[Period(row["period"])]
    }
    for period, day in days.items():
        missing = {each.owner for each in budgets if each.period is period} - {
            owner for known, owner in used if known == period
        }
        used |= {(period.value, owner): nano for owner, nano in weights(transaction, missing, period, day).items()}
    return tuple(
        Spending(
            budget=each, used=used[each.period.value, each.owner], resets_at=resets_at(each.period, days[each.period])
        )
        for each in budgets
    )


def weights(transaction: Transaction, owners: Set[int], period: Period, starts_on: date) -> dict[int, Nano]:
    """What the generations of a window weigh by their own rows, for each of these owners."""
    found = dict.fromkeys(owners, 0)
    if EVERYBODY in owners:
        found[EVERYBODY] = weight(transaction, Budget(owner=EVERYBODY, period=period, limit=0), starts_on=starts_on)
    if keys := tuple(owner for owner in owners if owner != EVERYBODY):
        conditions, parameters = in_span(period, starts_on)
        for row in transaction.all(
            f"""
            SELECT api_key_id, COALESCE(SUM(counted_nano), 0) AS weight FROM generations
            WHERE api_key_id IN :keys{conditions} GROUP BY api_key_id
            """,
            keys=keys,
            **parameters,
        ):
            found[row["api_key_id"]] = int(row["weight"])
    return found


def audit_window(transaction: Transaction, window: Row) -> Imbalance | None:
    """Compare a window with what its generations weigh, while none of them changes; None if they agree.

    A window that was removed meanwhile agrees.
    """
    budget = Budget(owner=window["owner"], period=Period(window["period"]), limit=0)
    starts_on = column_to_day(window["starts_on"])
    hold(transaction, budget, starts_on=starts_on)
    rows = transaction.lock_all(USED, **key_of(budget, starts_on=starts_on))
    expected = weight(transaction, budget, starts_on=starts_on)
    if not rows or rows[0]["used_nano"] == expected:
        return None
    whose = "everybody" if budget.owner == EVERYBODY else f"key {budget.owner}"
    name = f"window of {whose}: {budget.period.word} from {starts_on}"
    return Imbalance(name=name, has=rows[0]["used_nano"], expected=expected)
