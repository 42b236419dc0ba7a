"""The bodies of edits: forms, in the variants that clients send, and JSON.

Images go to the collector as they arrive.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from pydantic import ConfigDict, Field
from starlette.requests import Request

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from pixyproxy.core.inputs import Role
from pixyproxy.core.model import Token
from pixyproxy.service.generating.pictures import magic_content_type
from pixyproxy.service.uploads import InputCollector
from pixyproxy.web.http import multipart
from pixyproxy.web.http.json_pictures import json_object
from pixyproxy.web.http.multipart import Form, Part
from pixyproxy.web.openai.body import Parameters, broken

ROLE = re.compile(r"(image|mask|markup)(?:\[[0-9]*\])?")
INTEGERS = ("n", "output_compression", "partial_images")
BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "1": True, "0": False}
PREFIX = 12
"""First bytes that show a picture or a `data:` URL."""


class EditBody(Parameters):
    """How to edit; the images come beside it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "the same lighthouse in a storm"}]})

    input_fidelity: Token | None = Field(default=None, description="`low` or `high`.")


async def edit_values(request: Request, collector: InputCollector) -> dict[str, Any]:
    """The values of an edit; its images are in the collector."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == multipart.MEDIA_TYPE:
        values = await form_values(Form(request), collector)
    elif media_type == "application/json":
        values = await json_object(request, collector.hold)
        await take_named(values, collector)
        collector.require_resolved()
    else:
        raise UnsupportedMediaTypeError("Send the images as multipart/form-data, or JSON that names them.")
    if not collector.has("image"):
        raise broken("image", "is required", code="missing_required_parameter")
    return values


# --- Forms


async def form_values(form: Form, collector: InputCollector) -> dict[str, Any]:
    """The values of a form: numbers and booleans are texts there. An empty value counts as absent."""
    values: dict[str, Any] = {}
    room = limits.MAX_BODY
    async for part in form:
        role = role_of(part.head.name)
        if role is not None:
            await take_part(part, role, collector)
            continue
        if part.head.has_filename:
            raise broken(part.head.name, "is not an image of an edit", code="unknown_parameter")
        text = await text_of(part, room)
        room -= len(text)
        name, nested, _ = part.head.name.removesuffix("[]").partition("[")
        if name in values and not nested:
            raise broken(name, "came twice", code="invalid_value")
        if text:
            values[name] = {} if nested else value_of(name, text)
    return values


def role_of(name: str) -> Role | None:
    """The role of a part, by its name: `image`, `image[]`, `image[0]`, `mask`, `markup`."""
    found = ROLE.fullmatch(name)
    return found[1] if found else None  # type: ignore[return-value]


async def take_part(part: Part, role: Role, collector: InputCollector) -> None:
    """An upload, a `data:` URL, a guid, or a URL of a stored image. An empty part is ignored."""
    pointer = f"#/{role}"
    pieces = aiter(part)
    head = b""
    async for piece in pieces:
        head += piece
        if len(head) >= PREFIX:
            break
    if not head:
        return
    if part.head.has_filename or part.head.content_type.startswith("image/") or magic_content_type(head):
        await collector.take(role, joined(head, pieces), pointer=pointer)
    elif head[:5].lower() == b"data:":
        await collector.data_url(role, joined(head, pieces), pointer=pointer)
    else:
        text = await text_of(joined(head, pieces), limits.MAX_NAME)
        await collector.resolve(role, text.strip(), pointer=pointer)


async def joined(head: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The bytes that were read already, then the rest."""
    yield head
    async for piece in pieces:
        yield piece


async def text_of(pieces: Any, room: int) -> str:
    """A value as a text, of at most so many bytes."""
    data = bytearray()
    async for piece in pieces:
        data += piece
        if len(data) > room:
            raise PayloadTooLargeError(f"The texts of a form may have {limits.MAX_BODY} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedRequestError("The texts of a form must be UTF-8.") from None


def value_of(name: str, text: str) -> Any:
    """The value that a text stands for; the text itself if it is invalid, which validation then refuses."""
    if name in INTEGERS and re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    return BOOLEANS.get(text, text) if name == "stream" else text


# --- JSON


async def take_named(values: dict[str, Any], collector: InputCollector) -> None:
    """Remove the images from the values of a JSON body, and collect them."""
    for name in ("images", "image", "mask", "markup"):
        named = values.pop(name, None)
        role: Role = "image" if name == "images" else name  # type: ignore[assignment]
        several = role == "image" and isinstance(named, list)
        for index, each in enumerate(named if several else [named]):
            pointer = f"#/{name}/{index}" if several else f"#/{name}"
            if isinstance(each, dict) and set(each) == {"image_url"}:
                each, pointer = each["image_url"], f"{pointer}/image_url"
            if isinstance(each, str):
                await collector.resolve(role, each, pointer=pointer)
            elif each is not None:
                raise InvalidRequestError([{"detail": NO_NAME, "pointer": pointer}])


NO_NAME = 'must be {"image_url": "…"} with a data: URL or the URL of an image that is stored here, or its guid'
