"""Pictures that wait in the database while the storage is unavailable."""

from uuid import UUID

from pixyproxy.core.generations import Drawing, Generation
from pixyproxy.data import settling
from pixyproxy.data.database import SqlDatabase


class SqlParkedImageRepository:
    """`ParkedImageRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, generation: Generation, drawing: Drawing) -> None:
        """Park all pictures, and end the lease, in one transaction. See `settling.park`."""
        await self._database.transaction(
            lambda transaction: settling.park(transaction, generation, drawing),
            patience=self._database.limits.record_wait,
        )

    async def get(self, generation: UUID) -> tuple[bytes, ...]:
        """The parked pictures of a generation, in their order; empty if nothing is parked."""
        rows = await self._database.all(
            "SELECT picture, data FROM parked_images WHERE generation_guid = :guid ORDER BY picture, part",
            guid=str(generation),
        )
        pictures: dict[int, bytes] = {}
        for row in rows:
            pictures[row["picture"]] = pictures.get(row["picture"], b"") + row["data"]
        return tuple(pictures.values())
