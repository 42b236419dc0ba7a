"""The arguments of the tools: those of our own dialect's routes, and some that only models need."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from pixyproxy.core import limits
from pixyproxy.core.model import Model
from pixyproxy.service.generating.begin import MAX_IDEMPOTENCY_KEY
from pixyproxy.service.queries import ImageQuery
from pixyproxy.web.http.guids import EXAMPLE, canonical
from pixyproxy.web.images.body import CreateImageBody, DrawParameters

DEFAULT_IMAGES, MAX_IMAGES = 10, 50
"""Images a page. A list has complete prompts, and takes room in a model's context."""


def named(value: object) -> str:
    """Refuse a value that is not a guid."""
    if not isinstance(value, str):
        raise ValueError("must be a guid")
    return canonical(value)


Guid = Annotated[UUID, BeforeValidator(named)]


class WithPreview(Model):
    """A call whose answer may have a small copy of the picture."""

    inline_preview: bool = Field(
        default=False,
        description="Also put a small copy of the picture (WebP, at most 512 pixels wide or high) into the answer, for "
        "you to look at. It takes room in your context; the URL is always there.",
    )


class Drawing(WithPreview):
    """A call that buys a picture."""

    idempotency_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_IDEMPOTENCY_KEY,
        description="A text of your choice, new for each new picture. However often you call with the same key and the "
        "same arguments, one picture is bought: use it so that you can safely repeat a call that was cut off.",
    )


class GenerateImage(DrawParameters, Drawing):
    """What to draw."""


class EditImage(CreateImageBody, Drawing):
    """What to make of stored images."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "the same lighthouse, in the snow", "sources": [EXAMPLE]}]}
    )

    sources: Annotated[tuple[str, ...], Field(min_length=1, max_length=limits.MAX_INPUTS)] = Field(
        description="The images to edit: each the guid or the URL of an image that is stored here, as the other tools "
        "return them. No other URL is fetched.",
    )


class ListImages(ImageQuery):
    """Which images to list."""

    limit: int = Field(default=DEFAULT_IMAGES, ge=1, le=MAX_IMAGES, description="Images a page, newest first.")
    cursor: str | None = Field(default=None, max_length=200, description="The `next_cursor` of the page before.")


class GetImage(WithPreview):
    """Which image."""

    guid: Guid = Field(description="The image's guid.", examples=[EXAMPLE])


class GetGeneration(Model):
    """Which generation."""

    guid: Guid = Field(description="The generation's guid.", examples=[EXAMPLE])


class Untitled(GenerateJsonSchema):
    """JSON Schema without titles that repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's signature
        """No field has one."""
        return False


def schema_of(kind: type[BaseModel], *, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """The JSON Schema of a tool's arguments or, in the mode `serialization`, of its structured answer."""
    return kind.model_json_schema(mode=mode, schema_generator=Untitled)
