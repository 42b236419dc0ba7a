"""Routes for the most frequent requests: FastAPI documents them and does not run them."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pixyproxy.web.log.request_log import add_route
from pixyproxy.web.problems import handle_exception

Plain = Callable[[Request], Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route whose endpoint gets the request and nothing else: `endpoint(request) -> Response`.

    FastAPI's dependencies cost several times as much as such an endpoint. `add_route` replaces `record_route`, the
    dependency of all routes. `openapi_extra` describes what the endpoint reads from the request.
    """

    run: Plain | None = None
    """What runs in place of the endpoint, whose signature then describes what is read; see `run_by`."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        run = self.run or endpoint

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            try:
                add_route(scope)
                response = await run(request)
            except Exception as error:  # noqa: BLE001 -- the one handler renders it
                response = await handle_exception(request, error)
            await response(scope, receive, send)

        self.app = serve


def run_by(plain: Plain) -> type[PlainRoute]:
    """The class of plain routes that `plain` runs, and that an endpoint with FastAPI's parameters documents."""

    class DocumentedRoute(PlainRoute):
        run = staticmethod(plain)

    return DocumentedRoute


class PlainRoutes:
    """Serves requests for plain routes past the application's middleware; the application serves all others."""

    def __init__(self, api: FastAPI) -> None:
        self._api = api
        self._routes = [route for route in api.routes if isinstance(route, PlainRoute)]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and not scope.get("root_path"):
            for route in self._routes:
                if scope["method"] in (route.methods or ()) and (found := route.path_regex.match(scope["path"])):
                    scope.update(app=self._api, route=route, path_params=found.groupdict())
                    return route.app(scope, receive, send)
        return self._api(scope, receive, send)
