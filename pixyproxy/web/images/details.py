"""What an image looks like from outside."""

from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from pixyproxy.core.images import SUFFIXES, ContentType, Image


class ImageDetails(BaseModel):
    """An image's details. Times are RFC 3339, in UTC."""

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
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, image: Image, *, base_url: str) -> Self:
        """The details of an image."""
        known = image.model_dump()
        return cls(**known, url=f"{base_url}/image/{image.guid}/content")


def content_url(image: Image, *, base_url: str) -> str:
    """The picture's second URL, which ends in the file's name: some clients take the type from there."""
    return f"{base_url}/image/{image.guid}.{SUFFIXES[image.content_type]}"
