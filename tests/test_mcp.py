"""The tools of /mcp, called with the client of the MCP SDK, in both eras of the protocol."""

import io
from base64 import b64decode
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from mcp import MCPError
from mcp.types import ImageContent, ResourceLink
from PIL import Image as Pillow

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamDeadlineError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.service.previews import LONGEST_EDGE, MAX_BYTES
from pixyproxy.upstream.demo.drawing import draw_picture
from pixyproxy.web.mcp.message import DRAWING_TOOLS
from pixyproxy.web.mcp.tools import TOOLS
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.mcp_client import ERAS, kinds_of, mcp_client, text_of
from tests.stage import Stage

pytestmark = pytest.mark.anyio
NAMES = ["generate_image", "edit_image", "list_images", "get_image", "get_generation"]
PROBLEM = "pixyproxy/problem"


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    """Each era of the protocol."""
    found: str = request.param
    return found


@pytest.fixture
def stage() -> Stage:
    """The application over fakes."""
    return Stage()


@pytest.fixture
def url(stage: Stage) -> Iterator[str]:
    """Where it listens."""
    with listening(stage.app) as address:
        yield address


async def test_the_tools_are_listed_with_their_schemas_and_hints(url: str, era: str) -> None:
    async with mcp_client(url, era=era) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == NAMES
    for tool in tools:
        assert tool.description
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is not (tool.name in DRAWING_TOOLS)
        assert tool.input_schema["additionalProperties"] is False
        for name, schema in tool.input_schema["properties"].items():
            assert "description" in schema or "enum" in str(schema), (tool.name, name)


def test_the_tools_that_draw_are_tools() -> None:
    assert set(DRAWING_TOOLS) < set(TOOLS)


async def test_a_picture_is_drawn_stored_and_linked_and_never_sent(stage: Stage, url: str, era: str) -> None:
    async with mcp_client(url, era=era) as client:
        result = await client.call_tool("generate_image", {"prompt": planted.PROMPT, "output_format": "webp"})
    (image,) = stage.images.images.values()
    content = f"{url}/image/{image.guid}/content"
    assert (result.is_error, kinds_of(result)) == (False, ["text", "resource_link"])
    assert content in text_of(result)
    assert result.structured_content["state"] == "succeeded"
    assert result.structured_content["images"][0]["url"] == content
    link = result.content[1]
    assert isinstance(link, ResourceLink)
    assert (link.uri, link.name, link.mime_type, link.size) == (
        *(content, image.filename, "image/webp"),
        image.size_bytes,
    )
    assert stage.generator.requests[0].output_format == "webp"
    assert stage.generator.requests[0].n is None


async def test_a_stored_image_is_edited_by_its_guid_and_by_its_url(stage: Stage, url: str, era: str) -> None:
    source = await stage.create()
    stored = tiny_picture(planted.PROMPT)
    async with mcp_client(url, era=era) as client:
        by_guid = {"prompt": "in the snow", "sources": [source["guid"]], "mask": source["guid"]}
        result = await client.call_tool("edit_image", by_guid)
        by_url = {"prompt": "in the rain", "sources": [f"{url}/image/{source['guid']}/content"]}
        other = await client.call_tool("edit_image", by_url)
    assert not result.is_error
    assert not other.is_error
    assert stage.generator.inputs[1:] == [(stored, stored), (stored,)]
    assert [each["role"] for each in result.structured_content["images"][0]["sources"]] == ["image", "mask"]
    assert stage.spool.open_files == []


async def test_the_list_finds_by_text_and_has_pages(stage: Stage, url: str, era: str) -> None:
    for prompt in ("a red fox", "a blue fox", "a whale"):
        await stage.create(prompt=prompt)
    async with mcp_client(url, era=era) as client:
        first = await client.call_tool("list_images", {"q": "FOX", "limit": 1})
        cursor = first.structured_content["next_cursor"]
        second = await client.call_tool("list_images", {"q": "FOX", "limit": 1, "cursor": cursor})
        nothing = await client.call_tool("list_images", {"q": "a heron"})
        everything = await client.call_tool("list_images")
    found = [page.structured_content["images"] for page in (first, second, nothing, everything)]
    assert [[each["prompt"] for each in images] for images in found] == [
        ["a blue fox"],
        ["a red fox"],
        [],
        ["a whale", "a blue fox", "a red fox"],
    ]
    assert found[0][0]["url"] in text_of(first)
    assert second.structured_content["next_cursor"] is None


async def test_an_image_and_its_generation_are_looked_up(stage: Stage, url: str, era: str) -> None:
    details = await stage.create()
    (generation,) = stage.generations.generations
    async with mcp_client(url, era=era) as client:
        image = await client.call_tool("get_image", {"guid": details["guid"]})
        made = await client.call_tool("get_generation", {"guid": str(generation)})
    own = f"{url}/image/{details['guid']}"
    there = {"url": f"{own}/content", "thumbnail_url": f"{own}/thumbnail?size=400"}
    assert image.structured_content == details | there
    assert kinds_of(image) == kinds_of(made) == ["text", "resource_link"]
    assert made.structured_content["images"] == [image.structured_content]


async def test_a_preview_comes_only_when_asked_for_and_is_small(stage: Stage, url: str) -> None:
    stage.generator.pictures = (draw_picture("a fox", width=1536, height=1024),)
    details = await stage.create()
    async with mcp_client(url) as client:
        without = await client.call_tool("get_image", {"guid": details["guid"]})
        result = await client.call_tool("get_image", {"guid": details["guid"], "inline_preview": True})
        drawn = await client.call_tool("generate_image", {"prompt": "a fox", "inline_preview": True})
    assert kinds_of(without) == ["text", "resource_link"]
    assert kinds_of(result) == kinds_of(drawn) == ["text", "resource_link", "image"]
    preview = result.content[2]
    assert isinstance(preview, ImageContent)
    data = b64decode(preview.data)
    with Pillow.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == ("WEBP", (LONGEST_EDGE, 341))
    assert len(data) <= MAX_BYTES
    assert preview.mime_type == "image/webp"


@pytest.mark.parametrize("what", ["too large", "lost"])
async def test_an_answer_without_a_possible_preview_says_so(stage: Stage, url: str, what: str) -> None:
    details = await stage.create()
    (image,) = stage.images.images.values()
    if what == "lost":
        stage.storage.objects.clear()
    else:
        stage.images.images[image.guid] = image.model_copy(update={"width": 10_000, "height": 10_000})
    async with mcp_client(url) as client:
        result = await client.call_tool("get_image", {"guid": details["guid"], "inline_preview": True})
    assert (result.is_error, kinds_of(result)) == (False, ["text", "resource_link", "text"])
    assert "There is no preview" in text_of(result)


async def test_progress_names_the_generation_and_has_no_picture(stage: Stage, url: str, era: str) -> None:
    stage.generator.partials = (tiny_picture("a"), tiny_picture("b"))
    seen: list[tuple[float, str]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        seen.append((progress, message or ""))

    async with mcp_client(url, era=era) as client:
        arguments = {"prompt": planted.PROMPT, "partial_images": 2}
        result = await client.call_tool("generate_image", arguments, progress_callback=note)
    (generation,) = stage.generations.generations
    assert result.structured_content["guid"] == str(generation)
    assert seen[0][1] == f"Generation {generation} has begun."
    assert [message for _, message in seen[1:]] == [
        f"Generation {generation} has an unfinished picture, number {number}." for number in (1, 2)
    ]
    moments = [progress for progress, _ in seen]
    assert moments == sorted(set(moments))


UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("get_image", {"guid": UNKNOWN}, "There is no such image"),
        ("get_generation", {"guid": UNKNOWN}, "There is no such generation"),
        ("get_image", {"guid": 5}, "guid: must be a guid"),
        ("get_image", {}, "guid: is required"),
        ("edit_image", {"prompt": "x"}, "sources: is required"),
        ("edit_image", {"prompt": "x", "sources": []}, "sources: "),
        ("edit_image", {"prompt": "x", "sources": UNKNOWN}, "sources: must be a list"),
        ("edit_image", {"prompt": "x", "sources": [UNKNOWN]}, "sources/0: names no image that is stored here"),
        ("edit_image", {"prompt": "x", "sources": ["https://example.com/a.png"]}, "No other URL is fetched"),
        ("generate_image", {"prompt": " "}, "prompt: "),
        ("generate_image", {"prompt": "x", "sources": [UNKNOWN]}, "sources: is not an argument of this tool"),
        ("generate_image", {"prompt": "x", "size": "as large as possible"}, "size: must be one word"),
        ("generate_image", {"prompt": "x", "idempotency_key": "ä"}, "Idempotency-Key"),
        ("list_images", {"limit": 51}, "limit: "),
        ("list_images", {"cursor": "x"}, "is not a cursor"),
    ],
)
async def test_a_mistake_is_an_error_of_the_tool_that_names_it(
    stage: Stage, url: str, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with mcp_client(url) as client:
        result = await client.call_tool(tool, arguments)
    assert (result.is_error, kinds_of(result)) == (True, ["text"])
    assert said in text_of(result)
    assert ("Nothing was billed." in text_of(result)) is (tool in DRAWING_TOOLS)
    assert stage.generator.requests == []
    assert stage.spool.open_files == []


async def test_a_model_outside_of_a_closed_list_is_an_error_of_the_tool() -> None:
    stage = Stage(models=ModelCatalogue("gpt-image-2", closed=True))
    with listening(stage.app) as url:
        async with mcp_client(url) as client:
            result = await client.call_tool("generate_image", {"prompt": "x", "model": "dall-e-3"})
    assert result.is_error
    assert "does not offer the model" in text_of(result)
    assert stage.generator.requests == []


@pytest.mark.parametrize(
    ("failure", "cost", "said"),
    [
        (UpstreamUnavailableError, "none", "Nothing was billed."),
        (UpstreamRefusedError, "none", "Nothing was billed."),
        (UpstreamDeadlineError, "unknown", "It may have been billed"),
    ],
)
async def test_a_failure_of_the_upstream_names_the_generation_and_whether_it_was_billed(
    stage: Stage, url: str, era: str, failure: type[PixyProxyException], cost: str, said: str
) -> None:
    stage.generator.failure = failure("It is as it is", retry_after=7)
    async with mcp_client(url, era=era) as client:
        result = await client.call_tool("generate_image", {"prompt": planted.PROMPT})
    (generation,) = stage.generations.generations
    assert result.is_error
    assert f"It is as it is. {said}" in text_of(result)
    assert f"get_generation {generation}" in text_of(result)
    assert "Try again after 7 seconds." in text_of(result)
    problem = (result.meta or {})[PROBLEM]
    assert (problem["cost"], problem["generation"]) == (cost, str(generation))
    async with mcp_client(url, era=era) as client:
        looked_up = await client.call_tool("get_generation", {"guid": str(generation)})
    assert (looked_up.is_error, looked_up.structured_content["state"]) == (False, "failed")
    assert said in text_of(looked_up)


async def test_a_fault_of_ours_tells_nothing_of_its_cause(stage: Stage, url: str, era: str) -> None:
    stage.generator.failure = RuntimeError(planted.PROMPT)
    async with mcp_client(url, era=era) as client:
        result = await client.call_tool("generate_image", {"prompt": "a dot"})
    assert result.is_error
    assert "It may have been billed" in text_of(result)
    assert planted.PROMPT not in text_of(result)


async def test_a_tool_that_does_not_exist_is_an_error_of_the_protocol(url: str, era: str) -> None:
    async with mcp_client(url, era=era) as client:
        with pytest.raises(MCPError, match="There is no such tool"):
            await client.call_tool("delete_everything", {})


async def test_one_idempotency_key_buys_one_picture(stage: Stage, url: str, era: str) -> None:
    arguments = {"prompt": planted.PROMPT, "idempotency_key": f"key-{uuid4()}"}
    async with mcp_client(url, era=era) as client:
        first = await client.call_tool("generate_image", arguments)
        second = await client.call_tool("generate_image", arguments)
        other = await client.call_tool("generate_image", {**arguments, "prompt": "another"})
    assert first.structured_content["images"][0]["guid"] == second.structured_content["images"][0]["guid"]
    assert other.is_error
    assert len(stage.generator.requests) == 1


async def test_an_equal_call_after_an_answer_buys_another_picture(stage: Stage, url: str, era: str) -> None:
    guids = set()
    for _ in range(3):
        async with mcp_client(url, era=era) as client:
            result = await client.call_tool("generate_image", {"prompt": planted.PROMPT})
        guids.add(result.structured_content["guid"])
    assert len(guids) == len(stage.generator.requests) == 3
