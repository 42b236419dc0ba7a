"""What an image looks like from outside."""

from typing import Annotated, Self
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from pixyproxy.core.models import ContentType, Image
from pixyproxy.service.private import ImageQuery


def canonical(value: str) -> str:
    """Refuse the other spellings of a UUID that Python reads: an image has one URL."""
    if len(value) != 36:
        raise ValueError("must be a UUID of 36 characters")
    return value


Guid = Annotated[
    UUID,
    BeforeValidator(canonical),
    Path(description="The image's guid.", examples=["7f3c2a52-5ad0-5b8e-9a75-1a6c1d5c2b11"]),
]


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


def next_link(base_url: str, query: ImageQuery, *, cursor: str) -> str:
    """The Link header (RFC 8288) to the next page of the same query."""
    parameters = query.model_dump(exclude_none=True) | {"cursor": cursor}
    return f'<{base_url}/image?{urlencode(parameters)}>; rel="next"'
