"""Positions in the lists of images: a moment and the id of an image. A cursor has its guid instead."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pixyproxy.data.conversions import FIRST_PAGE, column_to_time, cursor_after, time_to_column
from pixyproxy.data.database import Row, Transaction

LAST_ID = 2**63 - 1
NO_IMAGE = UUID(int=0)
"""No image has this guid."""


@dataclass(frozen=True)
class Position:
    """A place in a list in the order of (created_at, id), newest first; what is behind it comes next."""

    created_at: str
    image_id: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """The position of a row of `created_at` and `image_id`."""
        moment: datetime | str = row["created_at"]
        return cls(time_to_column(column_to_time(moment)), row["image_id"])

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the SQL of a page."""
        return {"created_at": self.created_at, "image_id": self.image_id}


def position_after(transaction: Transaction, moment: str, guid: str) -> Position:
    """The position behind a cursor, which `conversions.position_of` has read.

    If its image is gone, the position before all images of the moment: none is skipped, and some may come again.
    """
    if (moment, guid) == FIRST_PAGE:
        return Position(moment, LAST_ID)
    row = transaction.one("SELECT id FROM images WHERE guid = :guid", guid=guid)
    return Position(moment, LAST_ID if row is None else row["id"])


def cursor_at(transaction: Transaction, position: Position) -> str:
    """The cursor of a position."""
    row = transaction.one("SELECT guid FROM images WHERE id = :image_id", image_id=position.image_id)
    guid = NO_IMAGE if row is None else UUID(row["guid"])
    return cursor_after(column_to_time(position.created_at), guid)
