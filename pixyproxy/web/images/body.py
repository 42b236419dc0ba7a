"""The body of POST /image. Unknown fields are refused."""

from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from pixyproxy.core.generations import Background, GenerationRequest, Moderation, OutputFormat, Percent
from pixyproxy.core.model import MAX_PROMPT, Model, Prompt, Token

TRIMMED = {
    "type": "string",
    "minLength": 1,
    "pattern": r"\S",
    "description": f"What to draw. White space at both ends is removed; then 1 to {MAX_PROMPT} characters are allowed.",
    "examples": ["a lighthouse at dawn, watercolour"],
}
"""JSON Schema has no trimming: a maximum here would refuse a prompt whose white space makes it too long."""


class CreateImageBody(Model):
    """What to draw. A parameter that is not set is not sent to the upstream, but for model and quality."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "a lighthouse at dawn, watercolour"},
                {"prompt": "a lighthouse at dawn", "size": "1024x1024", "output_format": "webp"},
            ]
        }
    )

    prompt: Annotated[Prompt, WithJsonSchema(TRIMMED)]
    model: Token | None = Field(default=None, description="The upstream's model; default `PIXYPROXY_MODEL`.")
    size: Token | None = Field(default=None, description="`auto` or `WIDTHxHEIGHT`.", examples=["1024x1024"])
    quality: Token | None = Field(default=None, description="`low`, `medium`, `high`, …; default `PIXYPROXY_QUALITY`.")
    background: Background | None = None
    output_format: OutputFormat | None = None
    output_compression: Percent | None = Field(default=None, description="Percent, for `webp` and `jpeg`.")
    moderation: Moderation | None = None
    partial_images: Annotated[int, Field(strict=True, ge=0, le=3)] | None = Field(
        default=None,
        description="How many unfinished pictures the upstream is asked for, for those who watch the generation. They "
        "are not kept, and this is not part of what is asked for.",
    )

    def to_request(self) -> GenerationRequest:
        """What the caller asks for."""
        return GenerationRequest(**self.model_dump(exclude={"partial_images"}))
