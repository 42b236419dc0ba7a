"""The details of a generation, as answers show them."""

from typing import Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pixyproxy.core.exceptions import Cost
from pixyproxy.core.generations import Generation, GenerationState
from pixyproxy.web.images.details import ImageDetails


class RecordedProblem(BaseModel):
    """The problem that a generation failed with: an RFC 9457 document, without the members of one request."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank", examples=["urn:pixyproxy:problem:upstream-refused"])
    title: str = ""
    status: int = 500
    detail: str = ""
    cost: Cost | None = Field(default=None, description="What the generation has cost.")


class GenerationDetails(BaseModel):
    """A generation's details. Times are RFC 3339, in UTC."""

    guid: UUID
    state: GenerationState
    request: dict[str, Any] = Field(
        description="What was asked for, with the defaults that were filled in, and as `inputs` what it edits. "
        "After the last image was deleted the prompt is `[deleted]`."
    )
    images: list[ImageDetails] = Field(description="Those that exist; an image that was deleted is left out.")
    usage: dict[str, Any] | None = Field(description="What it cost, in the upstream's own terms.")
    answer: dict[str, Any] | None = Field(
        description="What the upstream said about what it drew: `size`, `quality`, `background` and `output_format` as "
        "it resolved them, and `revised_prompt`, if it revised the prompt, until the last image is deleted.",
        examples=[{"size": "1024x1024", "quality": "medium", "background": "opaque", "output_format": "png"}],
    )
    upstream_request_id: str | None = Field(description="Names the request in the upstream's own log.")
    error: RecordedProblem | None = Field(
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
            request=generation.request.values,
            images=[ImageDetails.of(image, base_url=base_url) for image in generation.images],
            usage=generation.usage,
            answer=generation.answer,
            upstream_request_id=generation.upstream_request_id,
            error=None if generation.error is None else RecordedProblem.model_construct(**generation.error),
            created_at=generation.created_at,
            updated_at=generation.updated_at,
        )
