"""Answers of tools: a text for the model, the structured document, links, and a preview if requested."""

from base64 import b64encode
from typing import Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from mcp.types.version import is_version_at_least
from pydantic import BaseModel

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.generations import Generation, GenerationState
from pixyproxy.core.images import Image
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.images.details import ImageDetails
from pixyproxy.web.mcp.call import Call

LINKS_SINCE = "2025-06-18"
"""The revision of MCP that brought links to resources. Clients of older revisions fail on them."""
SHOWN = 200
"""Characters of a prompt in a text."""
PROBLEM = "pixyproxy/problem"
"""The member of `_meta` that has the RFC 9457 document of a failure."""
COSTS = {
    "none": "Nothing was billed.",
    "billed": "It was billed: do not ask for the same picture again.",
    "unknown": "It may have been billed: do not ask for the same picture again before you know.",
}
NO_PREVIEW = "There is no preview: the picture is too large for one, or could not be read. The URL has it."


class ImageList(BaseModel):
    """A page of images, newest first."""

    images: list[ImageDetails]
    next_cursor: str | None


async def about_image(call: Call, image: Image, *, text: str, document: BaseModel, preview: bool) -> CallToolResult:
    """The answer about an image."""
    content: list[ContentBlock] = [TextContent(text=text), *links_to(call, image)]
    if preview:
        data = await call.previews.of(image)
        content.append(
            TextContent(text=NO_PREVIEW)
            if data is None
            else ImageContent(data=b64encode(data).decode(), mime_type="image/webp")
        )
    return CallToolResult(content=content, structured_content=document.model_dump(mode="json"))


def about_images(page: ImageList) -> CallToolResult:
    """The answer with a list."""
    lines = [f"{each.guid} {each.url} {each.created_at:%Y-%m-%d %H:%M} {shown(each.prompt)}" for each in page.images]
    more = "There are more: pass next_cursor as cursor." if page.next_cursor else "These are all."
    text = "\n".join([*lines, more]) if lines else "There are no such images."
    return CallToolResult(content=[TextContent(text=text)], structured_content=page.model_dump(mode="json"))


def about_generation(call: Call, generation: Generation) -> CallToolResult:
    """The answer about a generation in any state."""
    content: list[ContentBlock] = [TextContent(text=standing(generation, base_url=call.base_url))]
    for image in generation.images:
        content += links_to(call, image)
    document = GenerationDetails.of(generation, base_url=call.base_url)
    return CallToolResult(content=content, structured_content=document.model_dump(mode="json"))


def standing(generation: Generation, *, base_url: str) -> str:
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
    drawn = " ".join(described(image, base_url=base_url) for image in generation.images)
    return f"Generation {generation.guid} succeeded. {drawn or 'Its image was deleted since.'}"


def described(image: Image, *, base_url: str) -> str:
    """An image in words."""
    details = ImageDetails.of(image, base_url=base_url)
    return (
        f"{details.url} is the picture's permanent URL: image {details.guid}, {details.width}x{details.height} pixels, "
        f"{details.content_type}, {details.size_bytes} bytes, drawn by {details.model}."
    )


def links_to(call: Call, image: Image) -> list[ContentBlock]:
    """A link to the picture, for clients that know links."""
    if not is_version_at_least(call.protocol_version, LINKS_SINCE):
        return []
    details = ImageDetails.of(image, base_url=call.base_url)
    return [
        ResourceLink(
            uri=details.url,
            name=details.filename,
            description=shown(details.prompt),
            mime_type=details.content_type,
            size=details.size_bytes,
        )
    ]


def shown(prompt: str) -> str:
    """A prompt on one line, cut short."""
    line = " ".join(prompt.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def failed(problem: PixyProxyException, *, request_id: str, bought: bool) -> CallToolResult:
    """The answer of a tool that failed. `bought`: whether the tool may buy, so that the text says what was billed."""
    document: dict[str, Any] = problem.document(request_id=request_id, bought=bought)
    rules = [f"{each['pointer'].removeprefix('#/')}: {each['detail']}" for each in document.get("errors", ())]
    said = [sentences(problem.title, "; ".join(rules) or problem.detail)]
    if bought:
        said.append(COSTS[problem.cost or "none"])
    if "generation" in document:
        said.append(f"get_generation {document['generation']} returns its state.")
    if problem.retry_after is not None:
        said.append(f"Try again after {problem.retry_after} seconds.")
    return CallToolResult(
        content=[TextContent(text=" ".join(said))],
        is_error=True,
        _meta={PROBLEM: document},
    )


def sentences(*texts: object) -> str:
    """The texts, each ended by a full stop."""
    found = [str(text) for text in texts if text]
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in found)
