"""The id of the database."""

from uuid import UUID

from pixyproxy.core.exceptions import DatabaseError
from pixyproxy.data.database import SqlDatabase


class SqlInstanceRepository:
    """`InstanceRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def get(self) -> UUID:
        """The id of this database; `DatabaseError` if somebody removed it."""
        row = await self._database.one("SELECT guid FROM instance WHERE id = 1")
        if row is None:
            raise DatabaseError("The table 'instance' has no row.")
        return UUID(row["guid"])
