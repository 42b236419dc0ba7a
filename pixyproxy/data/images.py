"""The records of images."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import DatabaseUnavailableError, ImageNotFoundError, SearchTooSlowError
from pixyproxy.core.generations import Generation
from pixyproxy.core.images import Image, ImagePage
from pixyproxy.data.conversions import column_to_time, cursor_after, position_of, time_to_column
from pixyproxy.data.database import Row, SqlDatabase, Transaction, is_too_slow


def image_to_row(image: Image) -> dict[str, Any]:
    """The columns of an image, but for `generation_id`, which only the database knows."""
    return {
        "guid": str(image.guid),
        "filename": image.filename,
        "prompt": image.prompt,
        "content_type": image.content_type,
        "size_bytes": image.size_bytes,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "model": image.model,
        "created_at": time_to_column(image.created_at),
        "updated_at": time_to_column(image.updated_at),
    }


def row_to_image(row: Row) -> Image:
    """The image of a row."""
    return Image(
        guid=UUID(row["guid"]),
        filename=row["filename"],
        prompt=row["prompt"],
        content_type=row["content_type"],
        size_bytes=row["size_bytes"],
        width=row["width"],
        height=row["height"],
        sha256=row["sha256"],
        model=row["model"],
        created_at=column_to_time(row["created_at"]),
        updated_at=column_to_time(row["updated_at"]),
    )


def insert_image(transaction: Transaction, image: Image, *, generation: Generation) -> None:
    """Record an image of a recorded generation, inside the transaction that completes it."""
    transaction.execute(
        """
        INSERT INTO images
            (guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256, model,
             created_at, updated_at)
        SELECT :guid, generations.id, :filename, :prompt, :content_type, :size_bytes, :width, :height, :sha256,
               :model, :created_at, :updated_at
        FROM generations
        WHERE generations.guid = :generation_guid
        """,
        generation_guid=str(generation.guid),
        **image_to_row(image),
    )


def group_images(rows: Sequence[Row]) -> dict[UUID, tuple[Image, ...]]:
    """The images by the guid of their generation, which each row must have as `generation_guid`."""
    images: dict[UUID, tuple[Image, ...]] = {}
    for row in rows:
        guid = UUID(row["generation_guid"])
        images[guid] = (*images.get(guid, ()), row_to_image(row))
    return images


def containing(q: str | None) -> str:
    """The LIKE pattern for a prompt that contains `q`, whose own wildcards stand for themselves ('!' escapes)."""
    if q is None:
        return "%"
    literal = q.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{literal}%"


class SqlImageRepository:
    """`ImageRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:  # noqa: ARG002 -- it always is
        """The image with this guid; `ImageNotFoundError` if there is none."""
        row = await self._database.one(
            """
            SELECT guid, filename, prompt, content_type, size_bytes, width, height, sha256, model, created_at,
                   updated_at
            FROM images
            WHERE guid = :guid AND deleted_at IS NULL
            """,
            guid=str(guid),
        )
        if row is None:
            raise ImageNotFoundError
        return row_to_image(row)

    def note(self, guids: Iterable[UUID]) -> None:
        """Nothing is remembered here."""

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        """A page of the list: by keyset, so that a late page costs what the first one does."""
        created_at, guid = position_of(cursor)

        def page(transaction: Transaction) -> Sequence[Row]:
            return transaction.all(
                """
                SELECT guid, filename, prompt, content_type, size_bytes, width, height, sha256, model, created_at,
                       updated_at
                FROM images
                WHERE created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
                  AND deleted_at IS NULL AND prompt LIKE :pattern ESCAPE '!'
                ORDER BY created_at DESC, guid DESC
                LIMIT :rows
                """,
                created_at=created_at,
                guid=guid,
                pattern=containing(q),
                rows=limit + 1,
            )

        try:
            rows = await self._database.search(page)
        except DatabaseUnavailableError as error:
            if q is not None and is_too_slow(error):
                raise SearchTooSlowError from error
            raise
        images = tuple(row_to_image(row) for row in rows[:limit])
        last = images[-1] if len(rows) > limit else None
        return ImagePage(images=images, next_cursor=cursor_after(last.created_at, last.guid) if last else None)

    async def mark_deleted(self, guid: UUID) -> Image:
        """Hide the image from every reader, durably; `ImageNotFoundError` if there is none, or no longer."""
        image = await self.get(guid)
        found = await self._database.execute(
            "UPDATE images SET deleted_at = :now WHERE guid = :guid AND deleted_at IS NULL",
            now=time_to_column(datetime.now(UTC)),
            guid=str(guid),
        )
        if not found:
            raise ImageNotFoundError
        return image

    async def list_deleted(self, *, limit: int) -> tuple[Image, ...]:
        """Images that are marked as deleted and still recorded, at most `limit`."""
        rows = await self._database.all(
            """
            SELECT guid, filename, prompt, content_type, size_bytes, width, height, sha256, model, created_at,
                   updated_at
            FROM images
            WHERE deleted_at IS NOT NULL
            ORDER BY deleted_at
            LIMIT :rows
            """,
            rows=limit,
        )
        return tuple(row_to_image(row) for row in rows)

    async def delete(self, guid: UUID) -> None:
        """Remove the record of an image that is marked as deleted; nothing happens if there is none."""
        await self._database.execute("DELETE FROM images WHERE guid = :guid AND deleted_at IS NOT NULL", guid=str(guid))

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        """The sizes of all recorded images by key, in the order of the keys: that of their bytes, everywhere."""
        rows = await self._database.all(
            "SELECT filename, size_bytes FROM images WHERE filename > :after ORDER BY filename LIMIT :rows",
            after=after,
            rows=limit,
        )
        return {row["filename"]: row["size_bytes"] for row in rows}

    async def has(self, filename: str) -> bool:
        """Whether an image with this key is recorded, marked or not."""
        row = await self._database.one("SELECT id FROM images WHERE filename = :filename", filename=filename)
        return row is not None
