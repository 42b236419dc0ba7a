"""The application: routes, the exception handler, and the wrappers around all requests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.web import documentation, health
from pixyproxy.web.api_document import complete_document
from pixyproxy.web.dependencies import Services
from pixyproxy.web.dialects import Dialect, render_in
from pixyproxy.web.generations import routes as generations
from pixyproxy.web.http.clients import WatchedClients
from pixyproxy.web.http.compression import Gzip
from pixyproxy.web.http.cors import PublicCors
from pixyproxy.web.http.head import HeadAsGet
from pixyproxy.web.images import private, public, thumbnails
from pixyproxy.web.keys import everybody
from pixyproxy.web.keys import routes as keys
from pixyproxy.web.log.request_log import RequestLog, record_route
from pixyproxy.web.mcp import routes as mcp
from pixyproxy.web.mcp.errors import render_rpc_error
from pixyproxy.web.openai import edits
from pixyproxy.web.openai import routes as openai
from pixyproxy.web.openai.errors import render_error
from pixyproxy.web.openai.paths import PREFIX, SinglePaths
from pixyproxy.web.page import routes as page
from pixyproxy.web.page.contents import load_page
from pixyproxy.web.plain_route import PlainRoutes
from pixyproxy.web.prices import routes as prices
from pixyproxy.web.problems import handle_exception, render_problem
from pixyproxy.web.server.draining import STEPS, DrainingSteps
from pixyproxy.web.server.refusals import RENDER
from pixyproxy.web.session import routes as session
from pixyproxy.web.usage import routes as usage

DESCRIPTION = """
Every image you pay an image model for, kept in your own bucket, recorded in your own database, served at a URL that
does not expire. Errors are RFC 9457 problems; every answer carries `X-Request-ID`.
"""


Background = Callable[[], AbstractAsyncContextManager[None]]


OWN_DIALECT = Dialect(
    prefix="",
    routers=(
        private.router,
        generations.router,
        session.router,
        session.open_router,
        keys.router,
        everybody.router,
        prices.router,
        usage.router,
        health.router,
        documentation.router,
        page.router,
    ),
    render=render_problem,
    add_plain_routes=private.add_routes,
    takes_cookie=True,
)
OPENAI_DIALECT = Dialect(
    prefix=PREFIX, routers=(openai.router, edits.router), render=render_error, key_header=openai.API_KEY_HEADER
)
MCP_DIALECT = Dialect(prefix=mcp.PREFIX, routers=(mcp.router,), render=render_rpc_error, key_header=mcp.API_KEY_HEADER)
DIALECTS = (OWN_DIALECT, OPENAI_DIALECT, MCP_DIALECT)
"""Every dialect. A new one has a folder of its own beside `images/` and `generations/`, and an entry here."""


def create_api(
    services: Services,
    *,
    version: str,
    background: Background | None = None,
    dialects: tuple[Dialect, ...] = DIALECTS,
) -> FastAPI:
    """The FastAPI application; `background` runs while it serves."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        async def finish() -> None:
            services.thumbnails.stop()
            await services.runner.drain()

        steps = DrainingSteps(announce=services.readiness.announce_end, finish=finish)
        async with nullcontext() if background is None else background():
            yield {STEPS: steps, RENDER: partial(render_in, dialects)}

    api = FastAPI(
        title="PixyProxy",
        version=version,
        description=DESCRIPTION,
        dependencies=[Depends(record_route)],
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # It would export bodies and stack traces to the collector that the environment names.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    api.state.services = services
    api.state.dialects = dialects
    api.state.page = load_page()
    public.add_routes(api.router)
    thumbnails.add_routes(api.router)
    for dialect in dialects:
        for router in dialect.routers:
            api.include_router(router, prefix=dialect.prefix)
        if dialect.add_plain_routes is not None:
            dialect.add_plain_routes(api.router)
    for kind in (PixyProxyException, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, handle_exception)
    complete_document(api, public_url=services.public_url)
    return api


def create_app(
    services: Services,
    *,
    version: str,
    background: Background | None = None,
    dialects: tuple[Dialect, ...] = DIALECTS,
) -> RequestLog:
    """The complete ASGI application. Whatever concerns all requests is an ASGI wrapper in this list.

    The FastAPI application has no middleware of its own: plain routes would bypass it. The request log is the outermost
    wrapper, so that it sees everything.
    """
    wrappers: tuple[Callable[[ASGIApp], ASGIApp], ...] = (
        WatchedClients,  # outside the wrappers that copy the scope: the server writes to it
        partial(PublicCors, origins=services.cors_origins),
        SinglePaths,
        HeadAsGet,
        Gzip,
    )
    app: ASGIApp = PlainRoutes(create_api(services, version=version, background=background, dialects=dialects))
    for wrap in reversed(wrappers):
        app = wrap(app)
    return RequestLog(app, dialects=dialects)
