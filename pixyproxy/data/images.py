"""The records of images."""

import base64
import binascii
from datetime import datetime
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import ImageNotFoundError, InvalidRequestError
from pixyproxy.core.models import Generation, Image, ImagePage
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import Database, Row, Transaction

FIRST_PAGE = ("9999-12-31 23:59:59.999999", "~")
"""A position before every image: the list goes downwards."""


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


def cursor_after(image: Image) -> str:
    """The opaque position just behind an image."""
    position = f"{time_to_column(image.created_at)}|{image.guid}"
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def position_of(cursor: str) -> tuple[str, str]:
    """The (created_at, guid) behind a cursor; `InvalidRequestError` if `cursor_after` never made it."""
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, guid = position.split("|")
        return time_to_column(column_to_time(datetime.fromisoformat(moment))), str(UUID(guid))
    except (binascii.Error, ValueError):
        detail = "is not a cursor of this service; take the URL of 'next' in the Link header as it is"
        raise InvalidRequestError([{"detail": detail, "pointer": "?cursor"}]) from None


def containing(q: str | None) -> str:
    """The LIKE pattern for a prompt that contains `q`, whose own wildcards stand for themselves ('!' escapes)."""
    if q is None:
        return "%"
    literal = q.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{literal}%"


class SqlImageRepository:
    """`ImageRepository` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, guid: UUID) -> Image:
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

    async def search(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> ImagePage:
        """A page of the list: by keyset, so that a late page costs what the first one does."""
        created_at, guid = FIRST_PAGE if cursor is None else position_of(cursor)
        rows = await self._database.all(
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
        images = tuple(row_to_image(row) for row in rows[:limit])
        return ImagePage(images=images, next_cursor=cursor_after(images[-1]) if len(rows) > limit else None)
