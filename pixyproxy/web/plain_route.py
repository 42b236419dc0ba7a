"""Routes for what is called most: FastAPI documents them, and does not run them."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pixyproxy.web.request_log import note_route


class PlainRoute(APIRoute):
    """A route whose endpoint gets the request and nothing else: `endpoint(request) -> Response`.

    FastAPI's dependencies cost several times what such an endpoint does; the one of the whole app, `note_route`, is
    called here. What the endpoint reads from the request stands in `openapi_extra`. Exceptions go the common way.
    """

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            await note_route(request)
            response = await endpoint(request)
            await response(scope, receive, send)

        self.app = serve
