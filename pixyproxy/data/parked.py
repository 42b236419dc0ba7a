"""Pictures that wait in the database for a storage that is away."""

from uuid import UUID

from pixyproxy.core.exceptions import ConflictError
from pixyproxy.core.generations import Drawing, Generation
from pixyproxy.data.conversions import json_to_column, time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.generations import AFTER_DRAWING, INTERRUPTED

PART = 1024 * 1024
"""Bytes of a picture in a row: a server takes statements of 16 MB unless told otherwise, and escaping doubles bytes."""


class SqlParkedImageRepository:
    """`ParkedImageRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, generation: Generation, drawing: Drawing) -> None:
        """Park the pictures, record usage and request id, and let the generation go, in one transaction.

        `ConflictError` if the generation is settled: whoever settled it has its pictures.
        """

        def park(transaction: Transaction) -> None:
            transaction.execute("DELETE FROM parked_images WHERE generation_guid = :guid", guid=str(generation.guid))
            for number, picture in enumerate(drawing.pictures):
                for part, start in enumerate(range(0, len(picture.data), PART)):
                    transaction.execute(
                        """
                        INSERT INTO parked_images (generation_guid, picture, part, data, created_at)
                        VALUES (:generation_guid, :picture, :part, :data, :now)
                        """,
                        generation_guid=str(generation.guid),
                        picture=number,
                        part=part,
                        data=picture.data[start : start + PART],
                        now=time_to_column(transaction.now()),
                    )
            # Last, so that the generation's row is locked for as short as can be.
            found = transaction.execute(
                """
                UPDATE generations
                SET `usage` = :usage, upstream_request_id = :upstream_request_id, lease_expires_at = :now,
                    state = 'running', error = NULL, error_name = NULL, updated_at = :now
                WHERE guid = :guid AND (state = 'running' OR (state = 'failed' AND error_name = :interrupted))
                """,
                guid=str(generation.guid),
                usage=json_to_column(drawing.usage),
                upstream_request_id=drawing.upstream_request_id,
                interrupted=INTERRUPTED,
                now=time_to_column(transaction.now()),
            )
            if not found:
                raise ConflictError("The generation no longer runs.")

        await self._database.transaction(park, patience=AFTER_DRAWING)

    async def get(self, generation: UUID) -> tuple[bytes, ...]:
        """The parked pictures of a generation, in their order; none if there are none."""
        rows = await self._database.all(
            "SELECT picture, data FROM parked_images WHERE generation_guid = :guid ORDER BY picture, part",
            guid=str(generation),
        )
        pictures: dict[int, bytes] = {}
        for row in rows:
            pictures[row["picture"]] = pictures.get(row["picture"], b"") + row["data"]
        return tuple(pictures.values())
