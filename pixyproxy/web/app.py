"""The application: routes, the exception handler, and the request log around everything."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.web import health
from pixyproxy.web.dependencies import Services
from pixyproxy.web.generations import routes as generations
from pixyproxy.web.images import private, public
from pixyproxy.web.log.request_log import RequestLog, record_route
from pixyproxy.web.plain_route import PlainRoutes
from pixyproxy.web.problems import Problem, handle_exception
from pixyproxy.web.server.draining import STEPS, DrainingSteps

DESCRIPTION = """
Every image you pay an image model for, kept in your own bucket, recorded in your own database, served at a URL that
does not expire. Errors are RFC 9457 problems; every answer carries `X-Request-ID`.
"""


Background = Callable[[], AbstractAsyncContextManager[None]]


def create_api(services: Services, *, version: str, background: Background | None = None) -> FastAPI:
    """The FastAPI application; `background` is what runs while it serves."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, DrainingSteps]]:
        steps = DrainingSteps(announce=services.readiness.announce_end, finish=services.runner.drain)
        async with nullcontext() if background is None else background():
            yield {STEPS: steps}

    api = FastAPI(
        title="PixyProxy",
        version=version,
        description=DESCRIPTION,
        dependencies=[Depends(record_route)],
        redirect_slashes=False,
        lifespan=lifespan,
        # It would hand bodies and stack traces to whatever collector the environment names.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    api.state.services = services
    public.add_routes(api.router)
    for router in (private.router, generations.router, health.router):
        api.include_router(router)
    for kind in (PixyProxyException, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, handle_exception)
    describe_problems(api)
    return api


def describe_problems(api: FastAPI) -> None:
    """Put the schema of problems into OpenAPI, and take out what FastAPI believes of validation errors."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = generate()
            schemas = schema["components"]["schemas"]
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= {**problem.pop("$defs"), "Problem": problem}
            del schemas["HTTPValidationError"], schemas["ValidationError"]
            for operations in schema["paths"].values():
                for operation in operations.values():
                    # A path that does not parse is a 404; the routes that answer 422 say so themselves.
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
        return api.openapi_schema or {}

    api.openapi = openapi  # type: ignore[method-assign]


def create_app(services: Services, *, version: str, background: Background | None = None) -> RequestLog:
    """The whole as an ASGI application."""
    return RequestLog(PlainRoutes(create_api(services, version=version, background=background)))
