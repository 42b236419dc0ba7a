"""The details of an image, as answers show them."""

from collections.abc import Sequence
from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from pixyproxy.core.content_types import ContentType
from pixyproxy.core.images import SUFFIXES, Image
from pixyproxy.core.inputs import Input, Role

SOURCES = "What it was edited from; empty for an image that was drawn from its prompt alone."


class PublicSourceDetails(BaseModel):
    """What everybody may know of an image from which another one was edited."""

    role: Role
    sha256: str
    content_type: ContentType
    size_bytes: int


class SourceDetails(PublicSourceDetails):
    """An image from which another one was edited. Without a guid it is an upload, which is not kept."""

    guid: UUID | None = Field(description="Of the image that is stored here, if it is one.")
    url: str | None = Field(description="Where that image's picture is; a 404 if the image was deleted since.")

    @classmethod
    def of(cls, source: Input, *, base_url: str) -> Self:
        """The details of a source."""
        url = None if source.guid is None else f"{base_url}/image/{source.guid}/content"
        return cls(**source.model_dump(), url=url)


class PublicImageDetails(BaseModel):
    """An image's details, as whoever has its guid may know them. Times are RFC 3339, in UTC.

    The sources have no guids: a guid opens its image, and who was given the one was not given the others.
    """

    guid: UUID
    prompt: str
    filename: str = Field(description="The key of the object in the storage, below its prefix.")
    url: str = Field(description="Where the picture is; it does not expire.")
    content_type: ContentType
    size_bytes: int
    width: int
    height: int
    sha256: str = Field(description="Of the picture's bytes, in hexadecimal.")
    model: str
    sources: Sequence[PublicSourceDetails] = Field(description=SOURCES)
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, image: Image, *, base_url: str) -> Self:
        """The details of an image."""
        sources = [SourceDetails.of(source, base_url=base_url).model_dump() for source in image.sources]
        url = f"{base_url}/image/{image.guid}/content"
        return cls(**{**vars(image), "url": url, "sources": sources})


class ImageDetails(PublicImageDetails):
    """An image's details for callers with an API key. Times are RFC 3339, in UTC."""

    sources: Sequence[SourceDetails] = Field(description=SOURCES)


def content_url(image: Image, *, base_url: str) -> str:
    """The picture's second URL, which ends in the file's name: some clients take the type from there."""
    return f"{base_url}/image/{image.guid}.{SUFFIXES[image.content_type]}"
