"""The stored sums of days: their rows. Functions on a `Transaction`."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from pixyproxy.core.usage import ONE_DAY, SUMMED, Dimension, Span, Sums
from pixyproxy.data.conversions import column_to_day
from pixyproxy.data.database import Row, Transaction
from pixyproxy.data.usage_rows import Entry

COLUMN = {
    Dimension.DAY: "day",
    Dimension.MONTH: "SUBSTR(day, 1, 7)",
    Dimension.KEY: "api_key_id",
    Dimension.MODEL: "model",
    Dimension.STATE: "state",
}
STORED = """
    SELECT {columns}SUM(generations) AS generations, SUM(images) AS images, 0 AS running, 0 AS reserved,
           SUM(CASE WHEN state = 'failed' THEN generations ELSE 0 END) AS failed, SUM(unpriced) AS unpriced,
           SUM(text_in) AS text_in, SUM(image_in) AS image_in, SUM(output) AS output, SUM(cost_nano) AS cost,
           SUM(estimated_nano) AS estimated
    FROM usage_sums
    WHERE day >= :since AND day < :until{owner}
    {grouping}
    LIMIT :rows
"""
INSERT = """
    INSERT INTO usage_sums
        (day, api_key_id, model, state, generations, images, unpriced, text_in, image_in, output, cost_nano,
         estimated_nano)
    VALUES
        (:day, :api_key_id, :model, :state, :generations, :images, :unpriced, :text_in, :image_in, :output, :cost,
         :estimated)
"""
OPEN = "SELECT generation_id FROM usage_open WHERE day >= :since AND day < :until ORDER BY day, generation_id"
STORED_DAYS = """
    SELECT day FROM usage_days UNION SELECT day FROM usage_sums UNION SELECT day FROM usage_open
    ORDER BY day
"""
EVERY = 1_000_000_000
"""More groups than a day has."""
OF_A_DAY = (Dimension.KEY, Dimension.MODEL, Dimension.STATE)

Groups = dict[tuple[str | int, ...], Sums]


def insert_day(transaction: Transaction, *, day: date, groups: Groups, unsettled: Sequence[int]) -> None:
    """Store a day: its sums, and the generations that are in none. `ConflictError` if it is stored already."""
    transaction.execute("INSERT INTO usage_days (day) VALUES (:day)", day=day.isoformat())
    rows = [{"day": day.isoformat(), **group_to_row(values, sums)} for values, sums in groups.items()]
    transaction.execute_many(INSERT, rows)
    transaction.execute_many(
        "INSERT INTO usage_open (day, generation_id) VALUES (:day, :generation_id)",
        [{"day": day.isoformat(), "generation_id": each} for each in unsettled],
    )


def forget_day(transaction: Transaction, day: date) -> None:
    """Remove what is stored of a day, in which a final generation has changed after all: it is added up anew."""
    for table in ("usage_days", "usage_sums", "usage_open"):
        transaction.execute(f"DELETE FROM {table} WHERE day = :day", day=day.isoformat())


def stored_days(transaction: Transaction) -> tuple[date, ...]:
    """The days of which anything is stored, oldest first."""
    return tuple(column_to_day(row["day"]) for row in transaction.all(STORED_DAYS))


def stored_day(transaction: Transaction, day: date) -> tuple[Groups, set[int]] | None:
    """What is stored of a day: its sums, and the generations that are in none. None if nothing is, not even the day."""
    span = Span(day, day + ONE_DAY)
    groups = stored_groups(transaction, span, by=OF_A_DAY, api_key_id=None, rows=EVERY)
    unsettled = set(open_ids(transaction, span))
    return (groups, unsettled) if groups or unsettled or not missing(transaction, span) else None


def missing(transaction: Transaction, span: Span) -> list[date]:
    """The days of a span that are not stored, oldest first."""
    known = {
        column_to_day(row["day"])
        for row in transaction.all("SELECT day FROM usage_days WHERE day >= :since AND day < :until", **bounds(span))
    }
    days = (span.since + timedelta(days=number) for number in range((span.until - span.since).days))
    return [day for day in days if day not in known]


def stored_groups(
    transaction: Transaction, span: Span, *, by: tuple[Dimension, ...], api_key_id: int | None, rows: int
) -> Groups:
    """The sums of stored days."""
    found = transaction.all(
        STORED.format(
            columns="".join(f"{COLUMN[each]} AS g_{each.value}, " for each in by),
            owner="" if api_key_id is None else " AND api_key_id = :api_key_id",
            grouping="GROUP BY " + ", ".join(COLUMN[each] for each in by) if by else "",
        ),
        rows=rows,
        **({} if api_key_id is None else {"api_key_id": api_key_id}),
        **bounds(span),
    )
    groups: Groups = {}
    for row in found:
        if row["generations"] is not None:
            groups[values_of(row, by)] = Sums(**{name: int(row[name]) for name in SUMMED})
    return groups


def open_ids(transaction: Transaction, span: Span) -> list[int]:
    """The generations of stored days that are in no sum."""
    return [row["generation_id"] for row in transaction.all(OPEN, **bounds(span))]


def values_of(row: Row, by: tuple[Dimension, ...]) -> tuple[str | int, ...]:
    """The values by which a group is named."""
    return tuple(
        column_to_day(row[f"g_{each.value}"]).isoformat() if each is Dimension.DAY else row[f"g_{each.value}"]
        for each in by
    )


def add_entries(groups: Groups, entries: Iterable[Entry], *, by: tuple[Dimension, ...]) -> None:
    """Add entries to their groups."""
    for entry in entries:
        values = entry.values(by)
        known = groups.get(values)
        if known is None:
            groups[values] = entry.sums
        else:
            known.add(entry.sums)


def group_to_row(values: tuple[str | int, ...], sums: Sums) -> dict[str, Any]:
    """The columns of a group of a day."""
    names = tuple(each for each in SUMMED if each not in ("running", "failed", "reserved"))
    key, model, state = values
    return {"api_key_id": key, "model": model, "state": state, **{name: getattr(sums, name) for name in names}}


def bounds(span: Span) -> dict[str, Any]:
    """The days of a span as parameters."""
    return {"since": span.since.isoformat(), "until": span.until.isoformat()}
