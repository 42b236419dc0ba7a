"""Generations: what was asked for, where it stands, and what the upstream sent."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from pixyproxy.core.images import Image, Picture, image_guid
from pixyproxy.core.model import Model, Prompt, Token

MAX_IMAGES = 10
"""Images of a generation: the most that the OpenAI Images API draws for one request."""


class GenerationRequest(Model):
    """What a caller asks the upstream to draw. What is not set is not sent."""

    prompt: Prompt = Field(
        description="What to draw: 1 to 32,000 characters after trimming.",
        examples=["a lighthouse at dawn, watercolour"],
    )
    model: Token | None = Field(default=None, description="The upstream's model; default `PIXYPROXY_MODEL`.")
    size: Token | None = Field(default=None, description="`auto` or `WIDTHxHEIGHT`.", examples=["1024x1024"])
    quality: Token | None = Field(default=None, description="`low`, `medium`, `high`, …; default `PIXYPROXY_QUALITY`.")
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Literal["png", "webp", "jpeg"] | None = None
    output_compression: Annotated[int, Field(strict=True, ge=0, le=100)] | None = Field(
        default=None, description="Percent, for `webp` and `jpeg`."
    )
    moderation: Literal["low", "auto"] | None = None

    def parameters(self) -> dict[str, Any]:
        """What was set, by name: the row's JSON and the upstream's request."""
        return self.model_dump(exclude_none=True)


class GenerationState(StrEnum):
    """Where a generation stands. It ends once, but for one failed as interrupted whose picture turns up after all."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Generation(Model):
    """One request for images, from its reservation on. Its lease is known to the database alone, by its clock."""

    guid: UUID
    api_key_id: int
    idempotency_key: str | None = None
    fingerprint: str | None = None
    request: GenerationRequest
    state: GenerationState
    error: dict[str, Any] | None = None
    upstream_request_id: str | None = None
    usage: dict[str, Any] | None = None
    images: tuple[Image, ...] = ()
    created_at: AwareDatetime
    updated_at: AwareDatetime

    def image_guid(self, index: int) -> UUID:
        """The guid of this generation's image number `index`."""
        return image_guid(self.guid, index)


class GenerationPage(Model):
    """Generations, newest first, and the opaque cursor of the next page (`None`: this is the last)."""

    generations: tuple[Generation, ...]
    next_cursor: str | None


class Drawing(Model):
    """What the upstream sent for one generation: decoded from base64, not yet checked."""

    pictures: tuple[Picture, ...]
    usage: dict[str, Any] | None
    upstream_request_id: str | None
