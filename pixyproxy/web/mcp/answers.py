"""Answers of tools: a text for the model, the structured document, links, and a preview if requested."""

import logging
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Self
from uuid import UUID

from mcp.types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from mcp.types.version import is_version_at_least
from pydantic import BaseModel, Field

from pixyproxy.core.generations import Generation, GenerationState, Origin
from pixyproxy.core.images import Image
from pixyproxy.service.callers import Names
from pixyproxy.web.costs import COST, CostDetails
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.images.details import SOURCES, ImageDetails, ImageFacts, PublicImageDetails, SourceDetails
from pixyproxy.web.mcp.call import Call
from pixyproxy.web.mcp.failures import COSTS, sentences

LINKS_SINCE = "2025-06-18"
"""The revision of MCP that brought links to resources. Clients of older revisions fail on them."""
SHOWN = 200
"""Characters of a prompt in a text."""
NO_PREVIEW = "There is no preview: the picture is too large for one, or could not be read. The URL has it."

logger = logging.getLogger(__name__)


class ImageList(BaseModel):
    """A page of images, newest first."""

    images: list[ImageDetails]
    next_cursor: str | None


class SeenImage(ImageFacts):
    """An image's details. Of somebody else's image a caller without `read-all` knows what everybody may know."""

    sources: Sequence[SourceDetails] = Field(description=SOURCES)
    generation: UUID | None = Field(description="The generation that made it; null for somebody else's image.")
    caller: str | None = Field(description="The name of the API key that asked for it, if it may be known.")
    cost: CostDetails | None = Field(description=f"{COST} Also null for somebody else's image.")
    parameters: dict[str, Any] | None = Field(description="What was asked for besides prompt and inputs.")

    @classmethod
    def of(cls, image: Image, *, base_url: str, origin: Origin | None, names: Names) -> Self:
        """The details of an image; `origin` None: the caller may not know it."""
        if origin is not None:
            return cls(**ImageDetails.of(image, base_url=base_url, origin=origin, names=names).model_dump())
        public = PublicImageDetails.of(image, base_url=base_url).model_dump()
        sources = [{**source, "guid": None, "url": None} for source in public.pop("sources")]
        return cls(**public, sources=sources, generation=None, caller=None, parameters=None, cost=None)


async def about_image(call: Call, image: Image, *, text: str, document: BaseModel, preview: bool) -> CallToolResult:
    """The answer about an image."""
    content: list[ContentBlock] = [TextContent(text=text), *links_to(call, image)]
    if preview:
        data = await preview_of(call, image)
        content.append(
            TextContent(text=NO_PREVIEW)
            if data is None
            else ImageContent(data=b64encode(data).decode(), mime_type="image/webp")
        )
    return CallToolResult(content=content, structured_content=document.model_dump(mode="json"))


async def preview_of(call: Call, image: Image) -> bytes | None:
    """The preview; None if there is none. No fault of it hides the URL of a picture that was paid for."""
    try:
        return await call.previews.of(image)
    except Exception as error:  # MemoryError, for one
        logger.error("image %s: no preview", image.guid, exc_info=error)
        return None


def about_images(page: ImageList) -> CallToolResult:
    """The answer with a list."""
    lines = [
        f"{each.guid} {each.url} {each.created_at:%Y-%m-%d %H:%M} {shortened(each.prompt)}" for each in page.images
    ]
    more = "There are more: pass next_cursor as cursor." if page.next_cursor else "These are all."
    text = "\n".join([*lines, more]) if lines else "There are no such images."
    return CallToolResult(content=[TextContent(text=text)], structured_content=page.model_dump(mode="json"))


def about_generation(call: Call, generation: Generation, *, names: Names) -> CallToolResult:
    """The answer about a generation in any state; `names`: of the callers."""
    content: list[ContentBlock] = [TextContent(text=describe_state(generation, base_url=call.base_url))]
    for image in generation.images:
        content += links_to(call, image)
    document = GenerationDetails.of(generation, base_url=call.base_url, viewer=call.caller, names=names)
    return CallToolResult(content=content, structured_content=document.model_dump(mode="json"))


def describe_state(generation: Generation, *, base_url: str) -> str:
    """The state of a generation, in words."""
    if generation.state is GenerationState.RUNNING:
        return (
            f"Generation {generation.guid} is still running. Call get_generation with this guid again after some "
            "seconds; do not ask for the same picture again, it would be bought twice."
        )
    if generation.state is GenerationState.FAILED:
        error = generation.error or {}
        cost = COSTS.get(str(error.get("cost")), COSTS["unknown"])
        reason = sentences(error.get("title"), error.get("detail"))
        return f"Generation {generation.guid} failed. {reason} {cost}"
    drawn = " ".join(describe_image(image, base_url=base_url) for image in generation.images)
    return f"Generation {generation.guid} succeeded. {drawn or 'Its image was deleted since.'}"


def describe_image(image: Image, *, base_url: str) -> str:
    """An image in words."""
    details = PublicImageDetails.of(image, base_url=base_url)
    return (
        f"{details.url} is the picture's permanent URL: image {details.guid}, {details.width}x{details.height} pixels, "
        f"{details.content_type}, {details.size_bytes} bytes, drawn by {details.model}."
    )


def links_to(call: Call, image: Image) -> list[ContentBlock]:
    """A link to the picture, for clients that know links."""
    if not is_version_at_least(call.protocol_version, LINKS_SINCE):
        return []
    details = PublicImageDetails.of(image, base_url=call.base_url)
    return [
        ResourceLink(
            uri=details.url,
            name=details.filename,
            description=shortened(details.prompt),
            mime_type=details.content_type,
            size=details.size_bytes,
        )
    ]


def shortened(prompt: str) -> str:
    """A prompt on one line, cut short."""
    line = " ".join(prompt.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
