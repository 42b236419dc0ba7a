"""Routes that need a caller."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Security
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.keys import Caller, Scope
from pixyproxy.service.rights import require
from pixyproxy.web.auth.authentication import authenticate, authenticated_caller
from pixyproxy.web.http.body_limit import EDIT_BODY, EDIT_JSON, SMALL_BODY, BodyLimit, is_json, with_body_limit
from pixyproxy.web.log.request_log import record_of

SCOPE = "x-scope"
"""The member of an operation in OpenAPI that names the scope which it needs."""


def needs(scope: Scope) -> dict[str, Any]:
    """The `openapi_extra` of a route that needs a scope."""
    return {SCOPE: scope.value}


async def allowed_caller(request: Request, scope: Scope | None) -> Caller:
    """The caller. `AuthenticationError`; `NotAllowedError` for one without the scope, if one is needed."""
    with nothing_spent():
        caller = await authenticate(request)
    if scope is not None:
        require(caller, scope)
    return caller


class PrivateRoute(APIRoute):
    """A route that finds its caller first: FastAPI reads and parses the body before its dependencies run.

    A caller without the scope that the route `needs` is refused before its body is read. Services ask for it again.
    """

    def body_limit(self, request: Request) -> BodyLimit:  # noqa: ARG002 -- for the subclass
        """The limit of the body of this request."""
        return SMALL_BODY

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the authentication and the limit of the body."""
        handle = super().get_route_handler()
        scope = (self.openapi_extra or {}).get(SCOPE)

        async def handle_authenticated(request: Request) -> Response:
            await allowed_caller(request, None if scope is None else Scope(scope))
            inner = with_body_limit(request, self.body_limit(request))
            response = await handle(inner)
            if await inner.is_disconnected():
                record_of(request.scope).facts["aborted"] = "yes"
            return response

        return handle_authenticated


class PrivateUploadRoute(PrivateRoute):
    """A private route whose body may have images."""

    def body_limit(self, request: Request) -> BodyLimit:
        """JSON may be larger than a form, for its images are base64."""
        return EDIT_JSON if is_json(request) else EDIT_BODY


def private_router(route_class: type[PrivateRoute] = PrivateRoute) -> APIRouter:
    """A router whose routes are all private; the dependency stands here too, for OpenAPI and for readers."""
    return APIRouter(route_class=route_class, dependencies=[Security(authenticated_caller)])
