"""The routes of sessions. They speak to the page, and `GET /session` to every caller."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    AuthenticationError,
    CrossSiteError,
    DatabaseUnavailableError,
    InvalidRequestError,
    LoginCodeError,
    MalformedRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)
from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.keys import Caller
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import private_router
from pixyproxy.web.auth.same_origin import require_same_origin
from pixyproxy.web.auth.session_cookie import expire_cookie, session_of, set_cookie, tokens_of
from pixyproxy.web.dependencies import Services, services_of
from pixyproxy.web.http.body_limit import BodyLimit, with_body_limit
from pixyproxy.web.log.request_log import add_facts
from pixyproxy.web.problems import responses_for
from pixyproxy.web.session.body import LogInBody
from pixyproxy.web.session.details import SessionDetails

LOG_IN_BODY = BodyLimit(size=limits.MAX_LOG_IN)


class LogInRoute(APIRoute):
    """A route that anybody may call, but no page of another origin: it would log people in as somebody else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the origin and the limit of the body."""
        handle = super().get_route_handler()

        async def handle_own(request: Request) -> Response:
            require_same_origin(request, silent=True)
            return await handle(with_body_limit(request, LOG_IN_BODY))

        return handle_own


router = private_router()
open_router = APIRouter(route_class=LogInRoute)


@open_router.post(
    "/session",
    status_code=201,
    summary="Log in",
    tags=["session"],
    response_model=SessionDetails,
    responses=responses_for(
        MalformedRequestError,
        AuthenticationError,
        LoginCodeError,
        CrossSiteError,
        RequestTimeoutError,
        PayloadTooLargeError,
        UnsupportedMediaTypeError,
        InvalidRequestError,
        DatabaseUnavailableError,
    ),
    openapi_extra={"security": []},
)
async def log_in(body: LogInBody, request: Request, response: Response) -> SessionDetails:
    """Begin a session with a login code, which is good once, or with an API key. Its token is in the cookie only."""
    services = services_of(request)
    with nothing_spent():
        caller = await caller_of(body, services)
        token, session = await services.sessions.begin(caller, key=key_in(body))
    add_facts(caller=caller.name)
    response.headers["Set-Cookie"] = set_cookie(request, token)
    response.headers["Cache-Control"] = "no-store"
    return SessionDetails.of(caller, services=services, expires_at=session.expires_at)


async def caller_of(body: LogInBody, services: Services) -> Caller:
    """Who logs in."""
    if body.code is not None:
        return await services.sessions.spend_code(body.code)
    return await services.keys.authenticate(key_in(body) or "")


def key_in(body: LogInBody) -> str | None:
    """The API key, if the body has one."""
    return None if body.key is None else body.key.strip()


@router.get(
    "/session",
    summary="Who is logged in, and what may be drawn",
    tags=["session"],
    response_model=SessionDetails,
    responses=responses_for(AuthenticationError, DatabaseUnavailableError),
)
async def get_session(caller: Authenticated, request: Request, response: Response) -> SessionDetails:
    """The name of the caller's key, the models, sizes and limits, and whether the demo upstream draws."""
    session = session_of(request)
    response.headers["Cache-Control"] = "no-store"
    return SessionDetails.of(
        caller, services=services_of(request), expires_at=None if session is None else session.expires_at
    )


@router.delete(
    "/session",
    status_code=204,
    response_class=Response,
    summary="Log out",
    tags=["session"],
    responses=responses_for(AuthenticationError, CrossSiteError, DatabaseUnavailableError),
)
async def log_out(_: Authenticated, request: Request) -> Response:
    """End the session of the cookie, at every replica within a second. A request without the cookie ends nothing."""
    for token in tokens_of(request):
        await services_of(request).sessions.end(token)
    headers = {
        "Set-Cookie": expire_cookie(request),
        "Clear-Site-Data": '"storage"',
        "Cache-Control": "no-store",
    }
    return Response(status_code=204, headers=headers)
