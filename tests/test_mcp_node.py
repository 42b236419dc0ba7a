"""The TypeScript SDK of MCP, in the versions of both eras, as clients of /mcp."""

from pathlib import Path

import pytest

from tests.fakes import tiny_picture
from tests.listening import listening
from tests.stage import Stage
from tests.test_node_clients import node

SCRIPT = Path(__file__).parent / "clients/mcp.mjs"


@pytest.mark.parametrize("client", ["@modelcontextprotocol/sdk", "@modelcontextprotocol/client"])
def test_the_typescript_sdk_calls_every_tool(client: str) -> None:
    stage = Stage()
    with listening(stage.app) as url:
        seen = node(SCRIPT.read_text(), url, CLIENT=client)
    assert seen["tools"] == ["generate_image", "edit_image", "list_images", "get_image", "get_generation"]
    drawn = seen["drawn"]
    assert [block["type"] for block in drawn["content"]] == ["text", "resource_link", "image"]
    (image,) = drawn["structuredContent"]["images"]
    assert image["url"] == f"{url}/image/{image['guid']}/content"
    assert seen["progress"][0] == f"Generation {drawn['structuredContent']['guid']} has begun."
    (source,) = seen["edited"]["structuredContent"]["images"][0]["sources"]
    assert source["guid"] == image["guid"]
    assert seen["listed"]["structuredContent"] == {"images": [image], "next_cursor": None}
    assert seen["image"]["structuredContent"] == image
    assert seen["generation"]["structuredContent"]["images"] == [image]
    assert seen["mistake"]["isError"] is True
    assert "colour" in seen["mistake"]["content"][0]["text"]
    assert "unauthorized" in seen["refused"].lower()
    assert stage.generator.inputs == [(), (tiny_picture("two foxes, woodcut"),)]
