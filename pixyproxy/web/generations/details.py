"""The details of a generation, as answers show them."""

from typing import Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pixyproxy.core.exceptions import Cost
from pixyproxy.core.generations import Generation, GenerationState, Origin
from pixyproxy.core.keys import Caller
from pixyproxy.service.callers import Names
from pixyproxy.web.costs import CostDetails
from pixyproxy.web.images.details import ImageDetails
from pixyproxy.web.images.details import values_of as values_of_image


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
    usage: dict[str, Any] | None = Field(description="What it used, in the upstream's own terms.")
    cost: CostDetails | None = Field(
        description="What it cost; null while it runs, and if that is unknown, because the model has no price here."
    )
    answer: dict[str, Any] | None = Field(
        description="What the upstream said about what it drew: `size`, `quality`, `background` and `output_format` as "
        "it resolved them, and `revised_prompt`, if it revised the prompt, until the last image is deleted.",
        examples=[{"size": "1024x1024", "quality": "medium", "background": "opaque", "output_format": "png"}],
    )
    upstream_request_id: str | None = Field(description="Names the request in the upstream's own log.")
    error: RecordedProblem | None = Field(
        description="The problem that it failed with; `cost` says whether it may have been billed."
    )
    caller: str | None = Field(description="The name of the API key that asked for it.")
    idempotency_key: str | None = Field(description="That of the request; only for the caller whose key sent it.")
    duration: float | None = Field(description="Seconds from its beginning to its end; null while it runs.")
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, generation: Generation, *, base_url: str, viewer: Caller, names: Names) -> Self:
        """The details of a generation for a caller; `names`: of the callers."""
        return cls(**values_of(generation, base_url=base_url, viewer=viewer, names=names))


def values_of(generation: Generation, *, base_url: str, viewer: Caller, names: Names) -> dict[str, Any]:
    """The values of a generation's `GenerationDetails`, in its order: see that of images."""
    origin = Origin.of(generation)
    return {
        "guid": generation.guid,
        "state": generation.state,
        "request": generation.request.values,
        "images": [values_of_image(each, base_url=base_url, origin=origin, names=names) for each in generation.images],
        "usage": generation.usage,
        "cost": None if generation.cost is None else generation.cost.values(),
        "answer": generation.answer,
        "upstream_request_id": generation.upstream_request_id,
        "error": None if generation.error is None else RecordedProblem.model_construct(**generation.error),
        "caller": names.get(generation.api_key_id),
        "idempotency_key": generation.idempotency_key if generation.api_key_id == viewer.api_key_id else None,
        "duration": generation.duration,
        "created_at": generation.created_at,
        "updated_at": generation.updated_at,
    }
