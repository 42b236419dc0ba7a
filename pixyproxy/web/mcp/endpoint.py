"""The MCP server behind the route, and how the SDK serves one request with it."""

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from pixyproxy.core import limits
from pixyproxy.web.auth.authentication import authenticate
from pixyproxy.web.dependencies import Services, base_url
from pixyproxy.web.log.request_log import record_of
from pixyproxy.web.mcp.call import Call
from pixyproxy.web.mcp.failures import error_result
from pixyproxy.web.mcp.message import DRAWING_TOOLS
from pixyproxy.web.mcp.sending import AnswerSender
from pixyproxy.web.mcp.tools import TOOLS
from pixyproxy.web.problems import noted_problem

INSTRUCTIONS = """PixyProxy has images drawn by an image model and keeps them. Each image has a permanent URL: show or \
pass on that URL, and do not download the picture to store it elsewhere. Drawing costs money and takes 10 to 180 \
seconds; progress is reported. If a call is cut off, ask get_generation or list_images before you draw again, or call \
again with the same idempotency_key, which never buys twice."""

Context = ServerRequestContext[dict[str, object], Request]


class McpEndpoint:
    """Serves messages of MCP. It keeps no state between two of them."""

    def __init__(self, services: Services, *, version: str) -> None:
        # The SDK's library of event streams ends them all at SIGTERM. Here they end with their generations.
        AppStatus.enable_automatic_graceful_drain = False
        self._services = services
        self._server = Server(
            "pixyproxy",
            title="PixyProxy",
            version=version,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            get_tool_input_schema=lambda name: TOOLS[name].described.input_schema if name in TOOLS else None,
        )
        self._server.middleware.clear()  # it would export what clients send to the collector that the environment names

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, body: bytes, streamed: bool) -> None:
        """Answer the message in the body.

        Its tool ends when the client leaves; the generation that it began continues.
        """
        manager = StreamableHTTPSessionManager(
            self._server, stateless=True, json_response=not streamed, max_request_body_size=limits.MAX_BODY
        )
        read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return read.pop() if read else await receive()

        with anyio.CancelScope() as answering:
            sender = AnswerSender(scope, send, patience=self._services.client_patience, answering=answering)
            async with manager.run():
                await manager.handle_request(scope, receive_again, sender.send)

    async def _list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[tool.described for tool in TOOLS.values()])

    async def _call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool, request = TOOLS.get(params.name), context.request
        if tool is None or request is None:
            raise MCPError(INVALID_PARAMS, "There is no such tool; tools/list lists the tools.")
        record = record_of(request.scope)
        record.facts["tool"] = tool.described.name
        try:
            call = Call(
                services=self._services,
                previews=self._services.previews,
                caller=await authenticate(request),
                request=request,
                base_url=base_url(request),
                protocol_version=context.protocol_version,
                session=context.session,
            )
            return await tool.run(call, params.arguments or {})
        except Exception as error:  # noqa: BLE001 -- as the one exception handler does
            bought = params.name in DRAWING_TOOLS
            return error_result(noted_problem(request, error), request_id=record.request_id, bought=bought)
