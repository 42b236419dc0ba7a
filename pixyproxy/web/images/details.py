"""The details of an image, as answers show them."""

from base64 import b64encode
from collections.abc import Collection, Sequence
from typing import Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from pixyproxy.core.content_types import ContentType
from pixyproxy.core.generations import Origin
from pixyproxy.core.images import SUFFIXES, Image
from pixyproxy.core.inputs import Input, Role
from pixyproxy.service.callers import Callers, Names
from pixyproxy.web.costs import COST, CostDetails

THUMBNAIL = "/thumbnail?size=400"
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


class ImageFacts(BaseModel):
    """What everybody may know of an image."""

    guid: UUID
    prompt: str
    filename: str = Field(description="The key of the object in the storage, below its prefix.")
    url: str = Field(description="Where the picture is; it does not expire.")
    thumbnail_url: str = Field(description="Where a small copy of it is.")
    thumbhash: str | None = Field(
        description="A blurred placeholder (ThumbHash, base64); null until the first thumbnail is made."
    )
    content_type: ContentType
    size_bytes: int
    width: int
    height: int
    sha256: str = Field(description="Of the picture's bytes, in hexadecimal.")
    model: str
    sources: Sequence[PublicSourceDetails] = Field(description=SOURCES)
    created_at: AwareDatetime
    updated_at: AwareDatetime


class PublicImageDetails(ImageFacts):
    """An image's details, as whoever has its guid may know them. Times are RFC 3339, in UTC.

    The sources have no guids: a guid opens its image, and who was given the one was not given the others. Nor has the
    generation: the guids of its other images derive from it.
    """

    @classmethod
    def of(cls, image: Image, *, base_url: str) -> Self:
        """The details of an image."""
        return cls(**facts_of(image, base_url=base_url))


class ImageDetails(ImageFacts):
    """An image's details for callers with an API key. Times are RFC 3339, in UTC."""

    sources: Sequence[SourceDetails] = Field(description=SOURCES)
    generation: UUID = Field(description="The generation that made it.")
    caller: str | None = Field(description="The name of the API key that asked for it.")
    parameters: dict[str, Any] = Field(
        description="What was asked for besides prompt and inputs, with the defaults that were filled in.",
        examples=[{"model": "gpt-image-2.5-flare", "quality": "medium", "size": "1024x1024"}],
    )
    cost: CostDetails | None = Field(description=COST)

    @classmethod
    def of(cls, image: Image, *, base_url: str, origin: Origin, names: Names) -> Self:
        """The details of an image of this origin; `names`: of the callers."""
        return cls(**values_of(image, base_url=base_url, origin=origin, names=names))


def values_of(image: Image, *, base_url: str, origin: Origin, names: Names) -> dict[str, Any]:
    """The values of an image's `ImageDetails`, in its order: what a list writes as JSON without making the model."""
    return {
        **facts_of(image, base_url=base_url),
        "generation": origin.generation,
        "caller": names.get(origin.api_key_id),
        "parameters": origin.parameters,
        "cost": None if origin.cost is None else origin.cost.values(),
    }


async def listed(images: Collection[Image], *, callers: Callers, base_url: str) -> list[dict[str, Any]]:
    """The values of the images of a list. One that was deleted and removed meanwhile is left out."""
    origins = await callers.origins_of(images)
    names = await callers.names_of(origins.values())
    return [
        values_of(image, base_url=base_url, origin=origin, names=names)
        for image in images
        if (origin := origins.get(image.guid)) is not None
    ]


def facts_of(image: Image, *, base_url: str) -> dict[str, Any]:
    """The values of `ImageFacts`, in its order."""
    guid = str(image.guid)
    address = f"{base_url}/image/{guid}"
    return {
        "guid": guid,
        "prompt": image.prompt,
        "filename": image.filename,
        "url": f"{address}/content",
        "thumbnail_url": f"{address}{THUMBNAIL}",
        "thumbhash": None if image.thumbhash is None else b64encode(image.thumbhash).decode(),
        "content_type": image.content_type,
        "size_bytes": image.size_bytes,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "model": image.model,
        "sources": [SourceDetails.of(source, base_url=base_url).model_dump() for source in image.sources],
        "created_at": image.created_at,
        "updated_at": image.updated_at,
    }


def content_url(image: Image, *, base_url: str) -> str:
    """The picture's second URL, which ends in the file's name: some clients take the type from there."""
    return f"{base_url}/image/{image.guid}.{SUFFIXES[image.content_type]}"


def thumbnail_url(image: Image, *, base_url: str) -> str:
    """Where a small copy of the picture is."""
    return f"{base_url}/image/{image.guid}{THUMBNAIL}"
