"""Generations: what was asked for, where it stands, and what the upstream sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field

from pixyproxy.core import limits
from pixyproxy.core.images import Image, Picture, image_guid
from pixyproxy.core.inputs import Input, readable_inputs
from pixyproxy.core.ledger import Quote
from pixyproxy.core.model import EndUser, Model, Prompt, Token
from pixyproxy.core.money import Cost

MAX_IMAGES = limits.MAX_IMAGES
"""Images of a generation: the most that the OpenAI Images API draws for one request."""


DELETED_PROMPT = "[deleted]"
"""Stands for the prompt of a generation whose last image was deleted."""

NO_PARAMETERS = ("prompt", "inputs", "user", "safety_identifier")
"""Values of a request that are no parameters of the picture: what stands elsewhere, and whose users they are."""

Background = Literal["transparent", "opaque", "auto"]
OutputFormat = Literal["png", "webp", "jpeg"]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Moderation = Literal["low", "auto"]


class GenerationRequest(Model):
    """What a caller asks for. None: the caller left it open. `n` images; None: one."""

    prompt: Prompt
    model: Token | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=MAX_IMAGES)] | None = None
    size: Token | None = None
    quality: Token | None = None
    background: Background | None = None
    output_format: OutputFormat | None = None
    output_compression: Percent | None = None
    moderation: Moderation | None = None
    complexity: Token | None = None
    input_fidelity: Token | None = None
    user: EndUser | None = None
    safety_identifier: EndUser | None = None
    inputs: tuple[Input, ...] = ()

    def values(self) -> dict[str, Any]:
        """What the caller did not leave open, by name, as JSON has it. No `inputs`: nothing is edited."""
        return {name: value for name, value in self.model_dump(mode="json", exclude_none=True).items() if value != []}


class RecordedRequest(Model):
    """What was asked for, as a record has it: another version may have written names and values unknown to this one."""

    values: dict[str, Any]

    @property
    def prompt(self) -> str | None:
        """The prompt; None if the record has none."""
        prompt = self.values.get("prompt")
        return prompt if isinstance(prompt, str) else None

    @property
    def model(self) -> str:
        """The upstream's model; empty if the record has none."""
        model = self.values.get("model")
        return model if isinstance(model, str) else ""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The images that it edits; those that this version cannot read are left out."""
        return readable_inputs(self.values.get("inputs") or ())

    @property
    def parameters(self) -> dict[str, Any]:
        """Which kind of picture was asked for: size, quality, format and the like."""
        return parameters_in(self.values)


def parameters_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters among the values of a request."""
    return {name: value for name, value in values.items() if name not in NO_PARAMETERS}


class GenerationState(StrEnum):
    """Where a generation stands. It ends once, but for one failed as interrupted whose picture turns up after all."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Generation(Model):
    """One request for images, from its reservation on. Its lease is known to the database alone, by its clock.

    It is completed with all of its `expected_images`, or not at all. `answer` is what the upstream said about it, where
    that is known: `size`, `quality`, `background` and `output_format` as it resolved them, and `revised_prompt`.
    `quote`: None for those of older versions. `cost`: None while it runs, and if it is unknown.
    """

    guid: UUID
    api_key_id: int
    idempotency_key: str | None = None
    fingerprint: str | None = None
    request: RecordedRequest
    expected_images: int = 1
    state: GenerationState
    error: dict[str, Any] | None = None
    upstream_request_id: str | None = None
    usage: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    quote: Quote | None = None
    cost: Cost | None = None
    images: tuple[Image, ...] = ()
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @property
    def duration(self) -> float | None:
        """Seconds from its beginning to its end, to the millisecond; None while it runs."""
        if self.state is GenerationState.RUNNING:
            return None
        return max(round((self.updated_at - self.created_at).total_seconds(), 3), 0.0)

    def image_guid(self, index: int) -> UUID:
        """The guid of this generation's image number `index`."""
        return image_guid(self.guid, index)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image comes from: its generation, whose that is, what was asked for, and its cost. It never changes."""

    generation: UUID
    api_key_id: int
    parameters: Mapping[str, Any]
    cost: Cost | None = None

    @classmethod
    def of(cls, generation: Generation) -> Self:
        """The origin of each image of a generation."""
        return cls(generation.guid, generation.api_key_id, generation.request.parameters, generation.cost)


class GenerationPage(Model):
    """Generations in the order of their list, and the opaque cursor of the next page (`None`: this is the last)."""

    generations: tuple[Generation, ...]
    next_cursor: str | None


class Drawing(Model):
    """What the upstream sent for one generation: decoded from base64, not yet checked."""

    pictures: tuple[Picture, ...]
    usage: dict[str, Any] | None
    upstream_request_id: str | None
    answer: dict[str, Any] | None = None
    """See `Generation.answer`."""


@dataclass(frozen=True, slots=True)
class PartialImage:
    """A picture that is not finished yet. `index` counts those of a generation from 0; `answer`: see `Generation`."""

    index: int
    data: bytes = field(repr=False)
    answer: dict[str, Any] = field(default_factory=dict)
