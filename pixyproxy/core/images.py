"""Images: the models of a picture, of its record and of its object."""

import hashlib
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID, uuid5

from pydantic import AwareDatetime

from pixyproxy.core import limits
from pixyproxy.core.content_types import ContentType
from pixyproxy.core.inputs import Input
from pixyproxy.core.model import Model

SUFFIXES: dict[ContentType, str] = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpg"}
MAX_PICTURE_BYTES = limits.MAX_PICTURE
"""More than an uncompressed picture of 3840 x 2160, the largest that the Images API draws."""


class Image(Model):
    """A picture that exists: bytes in the storage under `filename`, and this record.

    `sources`: what it was edited from; none if it was drawn from its prompt alone. `thumbhash`: the bytes of a
    placeholder; None until its first thumbnail is made.
    """

    guid: UUID
    filename: str
    prompt: str
    content_type: ContentType
    size_bytes: int
    width: int
    height: int
    sha256: str
    model: str
    sources: tuple[Input, ...] = ()
    thumbhash: bytes | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class DeletedImage(Model):
    """An image that is marked as deleted: what is needed to remove its object and its record."""

    guid: UUID
    filename: str


class DeletedImagePage(Model):
    """Images that are marked as deleted, and the cursor of the next page (`None`: this is the last)."""

    images: tuple[DeletedImage, ...]
    next_cursor: str | None


def image_guid(generation: UUID, index: int) -> UUID:
    """The guid of a generation's image number `index`, the same for every process that derives it (RFC 9562, v5)."""
    return uuid5(generation, str(index))


class ImagePage(Model):
    """Images, newest first, and the opaque cursor of the next page (`None`: this is the last)."""

    images: tuple[Image, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a picture and their SHA-256 in hexadecimal, which is computed once."""

    data: bytes = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The picture of bytes that come from elsewhere than the upstream."""
        return cls(data=data, sha256=hashlib.sha256(data).hexdigest())


class ObjectFacts(Model):
    """An object as the storage lists it: its key, its size in bytes, and when it was last written."""

    key: str
    size_bytes: int
    modified_at: AwareDatetime
