"""The body of POST /image. Unknown fields are refused."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from pixyproxy.core import limits
from pixyproxy.core.generations import Background, GenerationRequest, Moderation, OutputFormat, Percent
from pixyproxy.core.model import MAX_PROMPT, EndUser, Model, Prompt, Token

TRIMMED = {
    "type": "string",
    "minLength": 1,
    "pattern": r"\S",
    "description": f"What to draw. White space at both ends is removed; then 1 to {MAX_PROMPT} characters are allowed.",
    "examples": ["a lighthouse at dawn, watercolour"],
}
"""JSON Schema has no trimming: a maximum here would refuse a prompt whose white space makes it too long."""

OF_EDITS = ("mask", "markup", "input_fidelity")


class DrawParameters(Model):
    """What to draw. A parameter that is not set is not sent to the upstream, except model and quality."""

    prompt: Annotated[Prompt, WithJsonSchema(TRIMMED)]
    model: Token | None = Field(default=None, description="The upstream's model; default `PIXYPROXY_MODEL`.")
    size: Token | None = Field(default=None, description="`auto` or `WIDTHxHEIGHT`.", examples=["1024x1024"])
    quality: Token | None = Field(default=None, description="`low`, `medium`, `high`, …; default `PIXYPROXY_QUALITY`.")
    background: Background | None = None
    output_format: OutputFormat | None = None
    output_compression: Percent | None = Field(default=None, description="Percent, for `webp` and `jpeg`.")
    moderation: Moderation | None = None
    complexity: Token | None = Field(default=None, description="A word of the upstream.")
    user: EndUser | None = Field(default=None, description="Your name for your own user, for the upstream.")
    safety_identifier: EndUser | None = Field(default=None, description="The same, for the upstream's safety checks.")
    partial_images: Annotated[int, Field(strict=True, ge=0, le=limits.MAX_PARTIALS)] | None = Field(
        default=None,
        description="How many unfinished pictures the upstream is asked for, for those who watch the generation. They "
        "are not kept, and this is not part of what is asked for.",
    )

    def to_request(self) -> GenerationRequest:
        """What the caller asks for. Inputs are recorded as facts, and partial images are no part of it."""
        return GenerationRequest(**self.model_dump(include=set(GenerationRequest.model_fields)))


class CreateImageBody(DrawParameters):
    """What to draw, or how to edit the images in `sources`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "a lighthouse at dawn, watercolour"},
                {"prompt": "a lighthouse at dawn", "size": "1024x1024", "output_format": "webp"},
            ]
        }
    )

    sources: Annotated[tuple[str, ...], Field(min_length=1, max_length=limits.MAX_INPUTS)] | None = Field(
        default=None,
        description="The images to edit: each the guid of an image that is stored here, a URL of it, or a `data:` URL. "
        "Without it the prompt alone is drawn.",
    )
    mask: str | None = Field(default=None, description="Where to edit the first source; named as a source is.")
    markup: str | None = Field(default=None, description="A drawing over the first source; named as a source is.")
    input_fidelity: Token | None = Field(default=None, description="How close to the sources: `low`, `high`.")

    @model_validator(mode="after")
    def _require_sources(self) -> Self:
        if self.sources is None and any(getattr(self, name) is not None for name in OF_EDITS):
            raise ValueError("mask, markup and input_fidelity need sources")
        return self
