"""The tools: the name, the arguments, the answer and the function of each."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.types import CallToolResult, Tool, ToolAnnotations
from pydantic import BaseModel

from pixyproxy.service.queries import ImageQuery
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.images.details import listed
from pixyproxy.web.log.request_log import record_of
from pixyproxy.web.mcp.answers import (
    ImageList,
    SeenImage,
    about_generation,
    about_image,
    about_images,
    describe_image,
)
from pixyproxy.web.mcp.arguments import EditImage, GenerateImage, GetGeneration, GetImage, ListImages, schema_of
from pixyproxy.web.mcp.call import Call, parse_arguments
from pixyproxy.web.mcp.drawing import edit_image, generate_image
from pixyproxy.web.mcp.message import DRAWING_TOOLS

Run = Callable[[Call, Mapping[str, Any]], Awaitable[CallToolResult]]
DRAWS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)


@dataclass(frozen=True)
class OwnTool:
    """A tool: how it is listed, and its function."""

    described: Tool
    run: Run


async def list_images(call: Call, arguments: Mapping[str, Any]) -> CallToolResult:
    """A page of images."""
    asked = parse_arguments(ListImages, arguments)
    page = await call.services.private.list(ImageQuery(**asked.model_dump()), caller=call.caller)
    images = await listed(page.images, callers=call.services.callers, base_url=call.base_url)
    return about_images(ImageList(images=images, next_cursor=page.next_cursor))


async def get_image(call: Call, arguments: Mapping[str, Any]) -> CallToolResult:
    """An image."""
    asked = parse_arguments(GetImage, arguments)
    record_of(call.request.scope).facts["guid"] = str(asked.guid)
    callers = call.services.callers
    image = await call.services.public.get(asked.guid)
    origin = await callers.origin_for(call.caller, image)
    names = {} if origin is None else await callers.names_of([origin])
    return await about_image(
        call,
        image,
        text=describe_image(image, base_url=call.base_url),
        document=SeenImage.of(image, base_url=call.base_url, origin=origin, names=names),
        preview=asked.inline_preview,
    )


async def get_generation(call: Call, arguments: Mapping[str, Any]) -> CallToolResult:
    """A generation."""
    asked = parse_arguments(GetGeneration, arguments)
    record_of(call.request.scope).facts["generation"] = str(asked.guid)
    generation = await call.services.private.generation(asked.guid, caller=call.caller)
    return about_generation(call, generation, names=await call.services.callers.names_of([generation]))


def tool(
    run: Run, description: str, *, title: str, takes: type[BaseModel], answers: type[BaseModel]
) -> tuple[str, OwnTool]:
    """A tool under the name of its function."""
    name = run.__name__
    described_tool = Tool(
        name=name,
        title=title,
        description=description,
        input_schema=schema_of(takes),
        output_schema=schema_of(answers, mode="serialization"),
        annotations=DRAWS if name in DRAWING_TOOLS else READS,
    )
    return name, OwnTool(described_tool, run=run)


TOOLS = dict(
    (
        tool(
            generate_image,
            "Have an image drawn from a prompt. It is stored, and the answer has its permanent URL. Costs money and "
            "takes 10 to 180 seconds. The answer comes when picture and record are stored; a call that is cut off ends "
            "nothing, and the picture is then in list_images. To change an image that exists, use edit_image.",
            title="Draw an image",
            takes=GenerateImage,
            answers=GenerationDetails,
        ),
        tool(
            edit_image,
            "Have a new image made from images that are stored here, by a prompt that says what to change. The sources "
            "stay as they are. Costs money and takes 10 to 180 seconds, as generate_image does.",
            title="Edit images",
            takes=EditImage,
            answers=GenerationDetails,
        ),
        tool(
            list_images,
            "Your images that are stored here (everybody's, if your API key may read all), newest first, with prompt "
            "and permanent URL. q finds those whose prompt has all of its words; a page may be empty and have a "
            "next_cursor. Look here before you draw what may exist.",
            title="List images",
            takes=ListImages,
            answers=ImageList,
        ),
        tool(
            get_image,
            "The details of an image: prompt, permanent URL, size, model, and what it was edited from. With "
            "inline_preview you also see it.",
            title="Look at an image",
            takes=GetImage,
            answers=SeenImage,
        ),
        tool(
            get_generation,
            "The state of a request for an image: running, succeeded with its images, or failed with the reason and "
            "whether it was billed. For a call of generate_image or edit_image that was cut off.",
            title="Look at a generation",
            takes=GetGeneration,
            answers=GenerationDetails,
        ),
    )
)
"""Every tool, by its name."""
