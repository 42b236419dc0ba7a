"""What one generation adds to the sums, from its row. Functions on a `Transaction`."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pixyproxy.core.exceptions import GenerationInterruptedError
from pixyproxy.core.tokens import tokens_of
from pixyproxy.core.usage import Dimension, Sums
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import Row, Transaction

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", re.ASCII)
ROWS = 5_000
"""Rows of a statement: far fewer than a server reads in the time that a statement may take."""
COLUMNS = """
    SELECT id, guid, api_key_id, state, error_name, expected_images, `usage`, cost_nano, cost_basis, counted_nano,
           created_at,
           CASE WHEN JSON_VALID(request) THEN JSON_EXTRACT(request, '$.model') END AS model,
           CASE WHEN JSON_VALID(request) THEN JSON_EXTRACT(request, '$.inputs[0]') END AS input
    FROM generations
"""
OF_DAYS = (
    COLUMNS
    + """
    WHERE {owner}created_at >= :moment AND created_at < :until AND (created_at > :moment OR guid > :guid)
    ORDER BY {order}created_at, guid
    LIMIT :rows
    """
)
OF_IDS = COLUMNS + "WHERE id IN :ids"

Position = tuple[str, str]
"""A moment and a guid, between two generations."""


@dataclass(slots=True)
class Entry:
    """What a generation adds, and where. `final`: its record never changes again in a way that counts here."""

    id: int
    day: str
    api_key_id: int
    model: str
    state: str
    final: bool
    sums: Sums

    def values(self, by: tuple[Dimension, ...]) -> tuple[str | int, ...]:
        """The values by which its group is named."""
        known: dict[Dimension, str | int] = {
            Dimension.DAY: self.day,
            Dimension.MONTH: self.day[:7],
            Dimension.KEY: self.api_key_id,
            Dimension.MODEL: self.model,
            Dimension.STATE: self.state,
        }
        return tuple(known[each] for each in by)


def row_to_entry(row: Row) -> Entry:
    """What a row adds. Other versions write rows too: what this one cannot read adds nothing but a generation."""
    state, cost = row["state"], row["cost_nano"]
    sums = Sums(generations=1, running=int(state == "running"), failed=int(state == "failed"))
    if state == "succeeded":
        sums.images = row["expected_images"]
    if state == "running":
        sums.reserved = int(row["counted_nano"])
    elif cost is None:
        sums.unpriced = 1
    else:
        sums.cost = int(cost)
        sums.estimated = sums.cost if row["cost_basis"] == "estimate" else 0
    tokens = tokens_of(column_to_usage(row["usage"]), edits=row["input"] is not None)
    if tokens is not None:
        sums.text_in = tokens.text_in + tokens.cached_text_in
        sums.image_in = tokens.image_in + tokens.cached_image_in
        sums.output = tokens.image_out + tokens.text_out
    return Entry(
        id=row["id"],
        day=column_to_time(row["created_at"]).date().isoformat(),
        api_key_id=row["api_key_id"],
        model=column_to_model(row["model"]),
        state=state,
        final=state == "succeeded" or (state == "failed" and row["error_name"] != GenerationInterruptedError.name),
        sums=sums,
    )


def column_to_usage(value: str | None) -> dict[str, Any] | None:
    """The usage; None if there is none that can be read."""
    try:
        found = None if value is None else json.loads(value)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def column_to_model(value: object) -> str:
    """The model that JSON_EXTRACT gave: SQLite gives the text, MySQL and MariaDB JSON. Empty: none that can be one."""
    model = value.removeprefix('"').removesuffix('"') if isinstance(value, str) else ""
    return model if MODEL.fullmatch(model) else ""


def entries_page(
    transaction: Transaction, *, after: Position, until: date, api_key_id: int | None = None
) -> tuple[list[Entry], Position | None]:
    """What some thousand generations add that began after a position and before a day, oldest first.

    And the position of the next page; None: this is the last.
    """
    owner = "" if api_key_id is None else transaction.same("api_key_id")
    sql = OF_DAYS.format(owner=f"{owner} AND " if owner else "", order="api_key_id, " if owner else "")
    rows = transaction.all(
        sql,
        moment=after[0],
        guid=after[1],
        until=f"{until.isoformat()} 00:00:00.000000",
        rows=ROWS,
        **({} if api_key_id is None else {"api_key_id": api_key_id}),
    )
    following = None if len(rows) < ROWS else (time_to_column(column_to_time(rows[-1]["created_at"])), rows[-1]["guid"])
    return list(map(row_to_entry, rows)), following


def beginning_of(day: date) -> Position:
    """The position before all generations of a day."""
    return f"{day.isoformat()} 00:00:00.000000", ""


def entries_of(transaction: Transaction, ids: Sequence[int]) -> list[Entry]:
    """What the generations with these ids add now."""
    return [row_to_entry(row) for row in transaction.all(OF_IDS, ids=tuple(ids))] if ids else []
