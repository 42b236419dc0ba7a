"""The client of the MCP SDK, which others wrote, as a client of the application."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ContentBlock, TextContent

from tests.stage import KEY

ERAS = ("legacy", "2026-07-28")
"""How clients speak: with the handshake of the revisions up to 2025-11-25, and without one as since 2026-07-28."""
PATIENCE = 60


@asynccontextmanager
async def mcp_client(
    url: str,
    *,
    era: str = "2026-07-28",
    headers: Mapping[str, str] = KEY,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncIterator[Client]:
    """A client that has introduced itself."""
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE, transport=transport) as http:
        connection = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(connection, mode=cast(Any, era), read_timeout_seconds=PATIENCE) as client:
            yield client


def text_of(result: CallToolResult) -> str:
    """The texts of an answer."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def kinds_of(result: CallToolResult) -> list[str]:
    """The kinds of the blocks of an answer."""
    return [kind_of(block) for block in result.content]


def kind_of(block: ContentBlock) -> str:
    """The kind of a block."""
    return block.type


def request(method: str, *, number: int = 1, **params: Any) -> dict[str, Any]:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A call of a tool."""
    return request("tools/call", name=tool, arguments=arguments)
