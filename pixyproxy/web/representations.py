"""What an image looks like from outside."""

from typing import Annotated, Any, Self
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from pixyproxy.core.models import ContentType, Generation, GenerationState, Image
from pixyproxy.service.private import PageQuery


def canonical(value: str) -> str:
    """Refuse the other spellings of a UUID that Python reads: an image has one URL."""
    if len(value) != 36:
        raise ValueError("must be a UUID of 36 characters")
    return value


EXAMPLE = "7f3c2a52-5ad0-5b8e-9a75-1a6c1d5c2b11"
CanonicalGuid = Annotated[UUID, BeforeValidator(canonical)]
Guid = Annotated[CanonicalGuid, Path(description="The image's guid.", examples=[EXAMPLE])]
GenerationGuid = Annotated[CanonicalGuid, Path(description="The generation's guid.", examples=[EXAMPLE])]


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


class GenerationDetails(BaseModel):
    """A generation's details. Times are RFC 3339, in UTC."""

    guid: UUID
    state: GenerationState
    request: dict[str, Any] = Field(description="What was asked for, with the defaults that were filled in.")
    images: list[ImageDetails] = Field(description="Those that exist; an image that was deleted is left out.")
    usage: dict[str, Any] | None = Field(
        description="What the upstream says that it cost, in the upstream's own terms."
    )
    error: dict[str, Any] | None = Field(
        description="The problem that it failed with; `cost` says whether it may have been billed."
    )
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, generation: Generation, *, base_url: str) -> Self:
        """The details of a generation."""
        return cls(
            guid=generation.guid,
            state=generation.state,
            request=generation.request.parameters(),
            images=[ImageDetails.of(image, base_url=base_url) for image in generation.images],
            usage=generation.usage,
            error=generation.error,
            created_at=generation.created_at,
            updated_at=generation.updated_at,
        )


def next_link(url: str, query: PageQuery, *, cursor: str) -> str:
    """The Link header (RFC 8288) to the next page of the same query of this list."""
    parameters = query.model_dump(exclude_none=True, mode="json") | {"cursor": cursor}
    return f'<{url}?{urlencode(parameters)}>; rel="next"'
