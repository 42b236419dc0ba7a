"""The records of images."""

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import (
    DatabaseError,
    DatabaseUnavailableError,
    ImageNotFoundError,
    SearchTooSlowError,
)
from pixyproxy.core.generations import Generation
from pixyproxy.core.images import DeletedImage, DeletedImagePage, Image, ImagePage
from pixyproxy.core.inputs import Input, readable_inputs
from pixyproxy.data.conversions import column_to_time, next_cursor, position_of, time_to_column
from pixyproxy.data.database import Row, SqlDatabase, Transaction, is_too_slow
from pixyproxy.data.prompts import forget_prompt

SELECT = """
    SELECT guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256, model, sources,
           thumbhash, created_at, updated_at
    FROM images
"""
BY_GUID = SELECT + "WHERE guid = :guid AND deleted_at IS NULL"
BY_GENERATIONS = SELECT + "WHERE generation_id IN :ids AND deleted_at IS NULL ORDER BY id"
PAGE = (
    SELECT
    + """
    WHERE created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
      AND deleted_at IS NULL AND prompt LIKE :pattern ESCAPE '!'
    ORDER BY created_at DESC, guid DESC
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
INSERT = """
    INSERT INTO images
        (guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256, model, sources,
         created_at, updated_at)
    SELECT :guid, id, :filename, :prompt, :content_type, :size_bytes, :width, :height, :sha256, :model, :sources,
           :created_at, :updated_at
    FROM generations
    WHERE guid = :generation_guid
"""

logger = logging.getLogger(__name__)


def image_to_row(image: Image) -> dict[str, Any]:
    """The columns of a new image, but for `generation_id`, which only the database knows, and `thumbhash`."""
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
        "sources": sources_to_column(image.sources),
        "created_at": time_to_column(image.created_at),
        "updated_at": time_to_column(image.updated_at),
    }


def sources_to_column(sources: Sequence[Input]) -> str | None:
    """JSON text, or NULL if there are none."""
    return json.dumps([source.model_dump(mode="json") for source in sources]) if sources else None


def row_to_image(row: Row) -> Image:
    """The image of a row. `ValueError` for a row that this version cannot read."""
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
        sources=readable_inputs(json.loads(row["sources"])) if row["sources"] else (),
        thumbhash=row["thumbhash"],
        created_at=column_to_time(row["created_at"]),
        updated_at=column_to_time(row["updated_at"]),
    )


def row_to_deleted_image(row: Row) -> DeletedImage:
    """The columns that are needed to remove an image; every version can read them."""
    return DeletedImage(guid=UUID(row["guid"]), filename=row["filename"])


def readable(rows: Iterable[Row]) -> list[tuple[Row, Image]]:
    """The rows with their images. A row that another version wrote and this one cannot read is logged and skipped."""
    found = []
    for row in rows:
        try:
            found.append((row, row_to_image(row)))
        except ValueError:
            logger.exception("image %s: this version cannot read its record", row["guid"])
    return found


def insert_image(transaction: Transaction, image: Image, *, generation: Generation) -> None:
    """Record an image of a recorded generation, inside the transaction that completes it."""
    transaction.execute(INSERT, generation_guid=str(generation.guid), **image_to_row(image))


def images_by_generation(transaction: Transaction, ids: Sequence[int]) -> dict[int, tuple[Image, ...]]:
    """The images of generations, by the generation's id."""
    if not ids:
        return {}
    images: dict[int, tuple[Image, ...]] = {}
    for row, image in readable(transaction.all(BY_GENERATIONS, ids=tuple(ids))):
        images[row["generation_id"]] = (*images.get(row["generation_id"], ()), image)
    return images


def containing(q: str | None) -> str:
    """The LIKE pattern for prompts that contain `q` literally: wildcards in it are escaped with '!'."""
    if q is None:
        return "%"
    literal = q.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{literal}%"


class SqlImageRepository:
    """`ImageRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

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

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        """A page of the list, by keyset: a late page costs as much as the first one.

        Records that this version cannot read are left out.
        """
        created_at, guid = position_of(cursor)

        def page(transaction: Transaction) -> Sequence[Row]:
            return transaction.all(PAGE, created_at=created_at, guid=guid, pattern=containing(q), rows=limit + 1)

        try:
            rows = await self._database.search(page)
        except DatabaseUnavailableError as error:
            if q is not None and is_too_slow(error):
                raise SearchTooSlowError from error
            raise
        return ImagePage(
            images=tuple(image for _, image in readable(rows[:limit])), next_cursor=next_cursor(rows, limit=limit)
        )

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        """Hide the image from every reader, durably; `ImageNotFoundError` if there is none, or no longer.

        With the last image of a generation its prompt is removed from the generation too. Works for records that this
        version cannot read.
        """

        def mark(transaction: Transaction) -> DeletedImage:
            row = transaction.one(
                "SELECT guid, filename, generation_id FROM images WHERE guid = :guid AND deleted_at IS NULL",
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
