"""The rows of images: the columns, and images from rows and back."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pixyproxy.core.generations import Generation
from pixyproxy.core.images import DeletedImage, Image
from pixyproxy.core.inputs import Input, readable_inputs
from pixyproxy.core.search import SearchedImage
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import Row, Transaction

SELECT = """
    SELECT id, guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256, model, sources,
           thumbhash, created_at, updated_at
    FROM images
"""
BY_GENERATIONS = SELECT + "WHERE generation_id IN :ids AND deleted_at IS NULL ORDER BY id"
INSERT = """
    INSERT INTO images
        (guid, generation_id, api_key_id, filename, prompt, content_type, size_bytes, width, height, sha256, model,
         sources, created_at, updated_at)
    SELECT :guid, id, api_key_id, :filename, :prompt, :content_type, :size_bytes, :width, :height, :sha256, :model,
           :sources, :created_at, :updated_at
    FROM generations
    WHERE guid = :generation_guid
"""


@dataclass(frozen=True, slots=True)
class RecordedImage(SearchedImage):
    """What the search knows of an image, with its id: a search in this database needs not look it up."""

    id: int


logger = logging.getLogger(__name__)


def image_to_row(image: Image) -> dict[str, Any]:
    """The columns of a new image, but for `thumbhash`, and for what only the database knows."""
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
        guid=row["guid"],
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


def row_to_searched(row: Row) -> RecordedImage:
    """The columns that the search needs; every version can read them."""
    return RecordedImage(UUID(row["guid"]), row["prompt"], column_to_time(row["created_at"]), row["id"])


def readable(rows: Iterable[Row]) -> list[tuple[Row, Image]]:
    """The rows with their images. A row that another version wrote and this one cannot read is logged and skipped."""
    found = []
    for row in rows:
        try:
            found.append((row, row_to_image(row)))
        except ValueError:
            logger.exception("image %s: this version cannot read its record", row["guid"])
    return found


def insert_image(transaction: Transaction, image: Image, *, generation: Generation) -> RecordedImage:
    """Record an image of a recorded generation, inside the transaction that completes it."""
    number = transaction.insert(INSERT, generation_guid=str(generation.guid), **image_to_row(image))
    return RecordedImage(image.guid, image.prompt, image.created_at, number)


def images_by_generation(transaction: Transaction, ids: Sequence[int]) -> dict[int, tuple[Image, ...]]:
    """The images of generations, by the generation's id."""
    if not ids:
        return {}
    images: dict[int, tuple[Image, ...]] = {}
    for row, image in readable(transaction.all(BY_GENERATIONS, ids=tuple(ids))):
        images[row["generation_id"]] = (*images.get(row["generation_id"], ()), image)
    return images
