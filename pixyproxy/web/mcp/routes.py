"""The route of MCP. The SDK is imported with the first request, because that takes most of a second."""

from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pixyproxy.core.exceptions import ClientLeftError, UnsupportedMediaTypeError
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import private_router
from pixyproxy.web.http.clients import client_of
from pixyproxy.web.http.event_stream import accepts_events
from pixyproxy.web.log.request_log import printable, record_of
from pixyproxy.web.mcp.message import message_of
from pixyproxy.web.mcp.origin import require_own_origin

if TYPE_CHECKING:
    from pixyproxy.web.mcp.endpoint import McpEndpoint

PREFIX = "/mcp"
API_KEY_HEADER = "x-api-key"
MAX_METHOD = 64
"""Characters of a method's name in the log."""

router = private_router()


@router.post("", include_in_schema=False)
@router.post("/", include_in_schema=False)
async def answer_message(request: Request, _: Authenticated) -> Response:
    """Answer one message of a client. Requests share no state, so any replica answers."""
    require_own_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaTypeError("Send the header 'Content-Type: application/json' with a JSON-RPC message.")
    try:
        body = await request.body()
    except ClientDisconnect:
        raise ClientLeftError from None
    message = message_of(body)
    record_of(request.scope).facts["mcp"] = printable(message.method)[:MAX_METHOD]
    if message.draws:
        client_of(request, may_repeat=True)  # before the SDK listens for the client itself
    endpoint = await endpoint_of(request.app)
    return McpResponse(endpoint, body, streamed=message.draws and accepts_events(request))


class McpResponse(Response):
    """The SDK's answer to one message. `streamed`: as events, with progress."""

    def __init__(self, endpoint: "McpEndpoint", body: bytes, *, streamed: bool) -> None:
        self.status_code = 200
        self.raw_headers = []
        self.background = None
        self._serve = partial(endpoint.serve, body=body, streamed=streamed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await self._serve(scope, receive, send)


async def endpoint_of(app: FastAPI) -> "McpEndpoint":
    """The endpoint of the application, built once."""
    if getattr(app.state, "mcp", None) is None:
        made = (await anyio.to_thread.run_sync(load))(app.state.services, version=app.version)
        app.state.mcp = getattr(app.state, "mcp", None) or made
    endpoint: McpEndpoint = app.state.mcp
    return endpoint


def load() -> type["McpEndpoint"]:
    """Import the SDK. Called in a thread: other requests are served meanwhile."""
    from pixyproxy.web.mcp.endpoint import McpEndpoint

    return McpEndpoint
