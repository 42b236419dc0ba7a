"""The records of images."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from pixyproxy.core.exceptions import DatabaseError, ImageNotFoundError
from pixyproxy.core.images import DeletedImage, DeletedImagePage, Image, ImagePage
from pixyproxy.core.protocols import ImageSearch
from pixyproxy.core.search import Search
from pixyproxy.data.conversions import next_cursor, position_of, time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.image_positions import position_after
from pixyproxy.data.image_rows import SELECT, readable, row_to_deleted_image, row_to_searched
from pixyproxy.data.prompts import forget_prompt
from pixyproxy.data.search import SqlImageSearch

BY_GUID = SELECT + "WHERE guid = :guid AND deleted_at IS NULL"
# The two statements of the list differ so that each has an index in its order. Hints name it, in comments that only the
# servers read: they might take another one and sort, or begin at the newest image for a late page.
PAGE = (
    SELECT.replace("SELECT", "SELECT /*+ INDEX(images ix_images_created) */", 1)
    + """
    WHERE created_at <= :created_at AND (created_at < :created_at OR id < :image_id) AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC
    LIMIT :rows
    """
)
PAGE_OF_CALLER = (
    SELECT
    + """
    /*! FORCE INDEX (ix_images_caller) */
    WHERE api_key_id = :api_key_id AND created_at <= :created_at AND (created_at < :created_at OR id < :image_id)
      AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC
    LIMIT :rows
    """
)
DELETED_PAGE = """
    SELECT guid, filename, deleted_at
    FROM images
    WHERE deleted_at <= :deleted_at AND (deleted_at < :deleted_at OR guid < :guid)
    ORDER BY deleted_at DESC, guid DESC
    LIMIT :rows
"""


class SqlImageRepository:
    """`ImageRepository` over SQL. `search`: what finds images by `q` and shares the commit of a deletion."""

    def __init__(self, database: SqlDatabase, *, search: ImageSearch[Transaction] | None = None) -> None:
        self._database = database
        self._search = search or SqlImageSearch(database)

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:  # noqa: ARG002 -- it always is fresh
        """The image with this guid; `ImageNotFoundError` if there is none.

        `DatabaseError` if this version cannot read its record.
        """
        row = await self._database.one(BY_GUID, guid=str(guid))
        if row is None:
            raise ImageNotFoundError
        for _, image in readable([row]):
            return image
        raise DatabaseError(f"This version cannot read the record of image {guid}.")

    def mark_existing(self, guids: Iterable[UUID]) -> None:
        """Nothing is remembered here."""

    async def search(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        """A page of the list, or of a search in it, by keyset: a late page costs as much as the first one.

        Records that this version cannot read are left out.
        """
        search = Search.parse(q)
        if search:
            return await self._search.page(search, limit=limit, cursor=cursor, api_key_id=api_key_id)
        return await self._list(limit=limit, cursor=cursor, api_key_id=api_key_id)

    async def _list(self, *, limit: int, cursor: str | None, api_key_id: int | None) -> ImagePage:
        moment, guid = position_of(cursor)

        def page(transaction: Transaction) -> ImagePage:
            position = position_after(transaction, moment, guid)
            parameters = position.parameters | {"rows": limit + 1}
            if api_key_id is None:
                rows = transaction.all(PAGE, **parameters)
            else:
                rows = transaction.all(PAGE_OF_CALLER, api_key_id=api_key_id, **parameters)
            return ImagePage(
                images=tuple(image for _, image in readable(rows[:limit])), next_cursor=next_cursor(rows, limit=limit)
            )

        return await self._database.search(page)

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        """Hide the image from every reader, durably; `ImageNotFoundError` if there is none, or no longer.

        With the last image of a generation its prompt is removed from the generation too. Works for records that this
        version cannot read.
        """

        def mark(transaction: Transaction) -> DeletedImage:
            row = transaction.one(
                """
                SELECT id, guid, filename, generation_id, prompt, created_at
                FROM images
                WHERE guid = :guid AND deleted_at IS NULL
                """,
                guid=str(guid),
            )
            if row is None:
                raise ImageNotFoundError
            # The generation's row first, as in `settling.succeed`: two transactions never wait for each other.
            transaction.execute(
                "UPDATE generations SET deleted_images = deleted_images + 1 WHERE id = :id", id=row["generation_id"]
            )
            found = transaction.execute(
                "UPDATE images SET deleted_at = :now WHERE guid = :guid AND deleted_at IS NULL",
                now=time_to_column(datetime.now(UTC)),
                guid=str(guid),
            )
            if not found:
                raise ImageNotFoundError
            self._search.remove(transaction, [row_to_searched(row)])
            forget_prompt(transaction, row["generation_id"])
            return row_to_deleted_image(row)

        return await self._database.transaction(mark)

    async def add_thumbhash(self, guid: UUID, thumbhash: bytes) -> None:
        """Record the thumbhash, unless the image has one; `ImageNotFoundError` if there is no such image now."""
        found = await self._database.execute(
            "UPDATE images SET thumbhash = COALESCE(thumbhash, :thumbhash) WHERE guid = :guid AND deleted_at IS NULL",
            guid=str(guid),
            thumbhash=thumbhash,
        )
        if not found:
            raise ImageNotFoundError

    async def list_deleted(self, *, limit: int, cursor: str | None = None) -> DeletedImagePage:
        """Images, readable or not, that are marked as deleted and still recorded: a page, by keyset."""
        deleted_at, guid = position_of(cursor)
        rows = await self._database.all(DELETED_PAGE, deleted_at=deleted_at, guid=guid, rows=limit + 1)
        return DeletedImagePage(
            images=tuple(map(row_to_deleted_image, rows[:limit])),
            next_cursor=next_cursor(rows, limit=limit, column="deleted_at"),
        )

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted; nothing happens if there is none."""
        await self._database.execute("DELETE FROM images WHERE guid = :guid AND deleted_at IS NOT NULL", guid=str(guid))

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes of all recorded images by key, in the byte order of the keys on every database."""
        rows = await self._database.all(
            "SELECT filename, size_bytes FROM images WHERE filename > :after ORDER BY filename LIMIT :rows",
            after=after,
            rows=limit,
        )
        return {row["filename"]: row["size_bytes"] for row in rows}

    async def has(self, filename: str, *, marked: bool = True) -> bool:
        """Whether an image with this key is recorded, readable or not; `marked`: also one that is marked as deleted."""
        row = await self._database.one("SELECT deleted_at FROM images WHERE filename = :filename", filename=filename)
        return row is not None and (marked or row["deleted_at"] is None)
