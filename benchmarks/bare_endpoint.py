"""The least that FastAPI and Starlette do for a request: the measure of our 304."""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def bare() -> FastAPI:
    """FastAPI with one `async def` endpoint that returns an empty response."""
    app = FastAPI()

    @app.get("/")
    async def nothing() -> Response:
        return Response()

    return app


def plain() -> Starlette:
    """The same as a plain Starlette route."""

    async def nothing(_: Request) -> Response:
        return Response()

    return Starlette(routes=[Route("/", nothing)])
