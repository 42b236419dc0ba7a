"""Completes the records of images that a version without the search wrote, and makes the search anew.

`images.api_key_id` says which: NULL stands for a record that is not complete. The key comes from the generation, in the
transaction that adds the words.
"""

from collections.abc import Sequence
from functools import partial

from pixyproxy.core.protocols import ImageSearch, Refilled
from pixyproxy.data.conversions import next_cursor, position_of
from pixyproxy.data.database import Row, SqlDatabase, Transaction
from pixyproxy.data.image_positions import position_after
from pixyproxy.data.image_rows import row_to_searched

CLEARED = 10_000
"""Rows of the words that a transaction removes, at most."""
INCOMPLETE = """
    SELECT id, guid, created_at
    FROM images
    WHERE api_key_id IS NULL AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC
    LIMIT :rows
"""
COUNT = """
    SELECT COUNT(*) AS number
    FROM (SELECT 1 AS one FROM images WHERE api_key_id IS NULL AND deleted_at IS NULL LIMIT :most) incomplete
"""
PAGE = """
    SELECT id, guid, created_at
    FROM images
    WHERE created_at <= :created_at AND (created_at < :created_at OR id < :image_id) AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC
    LIMIT :rows
"""
# A conditional UPDATE locks the rows on every database; FOR UPDATE is not in SQLite.
LOCK = "UPDATE images SET updated_at = updated_at WHERE id IN :ids"
LOCKED = """
    SELECT id, guid, generation_id, api_key_id, prompt, created_at
    FROM images
    WHERE id IN :ids AND deleted_at IS NULL
"""


class SqlImageCompletion:
    """`ImageCompletion` over SQL. `search`: where the words are added. `cleared`: rows that `clear` removes at most."""

    def __init__(self, database: SqlDatabase, *, search: ImageSearch[Transaction], cleared: int = CLEARED) -> None:
        self._database = database
        self._search = search
        self._cleared = cleared

    async def count(self, *, most: int) -> int:
        """How many records are not complete, counted up to `most`."""
        row = await self._database.one(COUNT, most=most)
        return 0 if row is None else row["number"]

    async def complete(self, *, limit: int) -> int:
        """Complete the newest records that are not; returns how many there were."""
        rows = await self._database.all(INCOMPLETE, rows=limit)
        if rows:
            await self._database.transaction(lambda transaction: self._fill(transaction, rows))
        return len(rows)

    async def clear(self) -> bool:
        """Remove the first rows of the words, whole words if they are few; whether there were any."""
        return await self._database.transaction(partial(clear, most=self._cleared))

    async def refill(self, *, limit: int, cursor: str | None = None) -> Refilled:
        """Complete images and add their words, a page of the list after the other."""
        moment, guid = position_of(cursor)

        def refill(transaction: Transaction) -> Refilled:
            position = position_after(transaction, moment, guid)
            rows = transaction.all(PAGE, rows=limit + 1, **position.parameters)
            self._fill(transaction, rows[:limit])
            return Refilled(len(rows[:limit]), next_cursor(rows, limit=limit))

        return await self._database.transaction(refill)

    def _fill(self, transaction: Transaction, images: Sequence[Row]) -> None:
        """Complete those of the images that are still recorded. Nobody deletes one meanwhile: their rows are locked."""
        ids = tuple(sorted(row["id"] for row in images))
        if not ids:
            return
        transaction.execute(LOCK, ids=ids)
        rows = transaction.all(LOCKED, ids=ids)
        for api_key_id, of_key in owners(transaction, [row for row in rows if row["api_key_id"] is None]).items():
            transaction.execute(
                "UPDATE images SET api_key_id = :api_key_id WHERE id IN :ids", api_key_id=api_key_id, ids=of_key
            )
        self._search.add(transaction, [row_to_searched(row) for row in rows])


def owners(transaction: Transaction, images: Sequence[Row]) -> dict[int, tuple[int, ...]]:
    """The ids of images by the API key of their generations."""
    if not images:
        return {}
    generations = tuple({row["generation_id"] for row in images})
    rows = transaction.all("SELECT id, api_key_id FROM generations WHERE id IN :ids", ids=generations)
    keys = {row["id"]: row["api_key_id"] for row in rows}
    found: dict[int, tuple[int, ...]] = {}
    for image in images:
        key = keys[image["generation_id"]]
        found[key] = (*found.get(key, ()), image["id"])
    return found


def clear(transaction: Transaction, *, most: int) -> bool:
    """Remove `most` rows of the words, from the beginning of their order; a few more if they share a moment."""
    first = transaction.one("SELECT term FROM image_terms ORDER BY term, created_at, image_id LIMIT 1")
    if first is None:
        return False
    behind = transaction.one(
        "SELECT term, created_at FROM image_terms ORDER BY term, created_at, image_id LIMIT 1 OFFSET :number",
        number=most,
    )
    if behind is None:
        transaction.execute("DELETE FROM image_terms WHERE term >= :first", first=first["term"])
    elif behind["term"] != first["term"]:
        transaction.execute(
            "DELETE FROM image_terms WHERE term >= :first AND term < :behind",
            first=first["term"],
            behind=behind["term"],
        )
    else:
        transaction.execute(
            "DELETE FROM image_terms WHERE term = :term AND created_at <= :moment",
            term=first["term"],
            moment=behind["created_at"],
        )
    return True
