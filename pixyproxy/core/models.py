"""The models: an image, a generation and its request, an API key. All are frozen."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID, uuid5

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

MAX_PROMPT = 32_000
"""Characters of a prompt after trimming: the limit of the OpenAI Images API."""


def without_nul(value: str) -> str:
    """Refuse NUL, which no database column takes."""
    if "\x00" in value:
        raise ValueError("must not contain the NUL character")
    return value


# The constraints of pydantic's own come first: they refuse a surrogate without its other half, which is no text.
Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT), AfterValidator(without_nul)
]
SearchText = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(without_nul)]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*\z", max_length=64)]
"""A short word of the upstream's own vocabulary, which grows: a model's name, a size, a quality."""

ContentType = Literal["image/png", "image/webp", "image/jpeg"]
SUFFIXES: dict[ContentType, str] = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpg"}
MAX_IMAGES = 10
"""Images of a generation: the most that the OpenAI Images API draws for one request."""
MAX_PICTURE_BYTES = 64 * 1024 * 1024
"""More than an uncompressed picture of 3840 x 2160, the largest that the Images API draws."""
KEY_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Model(BaseModel):
    """Frozen, closed, and silent about its input when validation fails (prompts are not logged)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


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


class Image(Model):
    """A picture that exists: bytes in the storage under `filename`, and this record."""

    guid: UUID
    filename: str
    prompt: str
    content_type: ContentType
    size_bytes: int
    width: int
    height: int
    sha256: str
    model: str
    created_at: AwareDatetime
    updated_at: AwareDatetime


def image_guid(generation: UUID, index: int) -> UUID:
    """The guid of a generation's image number `index`, the same for whoever derives it (RFC 9562, v5)."""
    return uuid5(generation, str(index))


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


class ImagePage(Model):
    """Images, newest first, and the opaque cursor of the next page (`None`: this is the last)."""

    images: tuple[Image, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a picture and their SHA-256 in hexadecimal, which is reckoned once."""

    data: bytes = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The picture of bytes that come from elsewhere than the upstream."""
        return cls(data=data, sha256=hashlib.sha256(data).hexdigest())


class Drawing(Model):
    """What the upstream sent for one generation: decoded from base64, not yet checked."""

    pictures: tuple[Picture, ...]
    usage: dict[str, Any] | None
    upstream_request_id: str | None


class ObjectFacts(Model):
    """An object as the storage lists it: its key, its size in bytes, and when it was last written."""

    key: str
    size_bytes: int
    modified_at: AwareDatetime


class Caller(Model):
    """Who makes a private request: an API key, by its record's id and its name."""

    api_key_id: int
    name: str


class ApiKey(Model):
    """A key's record. The key itself is known only to whoever it was shown to."""

    id: int
    name: str
    prefix: str
    created_at: AwareDatetime
    revoked_at: AwareDatetime | None = None
