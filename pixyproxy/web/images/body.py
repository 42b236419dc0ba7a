"""The body of POST /image. Unknown fields are refused."""

from pydantic import Field

from pixyproxy.core.generations import Background, GenerationRequest, Moderation, OutputFormat, Percent
from pixyproxy.core.model import Model, Prompt, Token


class CreateImageBody(Model):
    """What to draw. A parameter that is not set is not sent to the upstream, but for model and quality."""

    prompt: Prompt = Field(
        description="What to draw: 1 to 32,000 characters after trimming.",
        examples=["a lighthouse at dawn, watercolour"],
    )
    model: Token | None = Field(default=None, description="The upstream's model; default `PIXYPROXY_MODEL`.")
    size: Token | None = Field(default=None, description="`auto` or `WIDTHxHEIGHT`.", examples=["1024x1024"])
    quality: Token | None = Field(default=None, description="`low`, `medium`, `high`, …; default `PIXYPROXY_QUALITY`.")
    background: Background | None = None
    output_format: OutputFormat | None = None
    output_compression: Percent | None = Field(default=None, description="Percent, for `webp` and `jpeg`.")
    moderation: Moderation | None = None

    def to_request(self) -> GenerationRequest:
        """What the caller asks for."""
        return GenerationRequest(**self.model_dump())
