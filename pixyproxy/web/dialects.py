"""Dialects: routes below a prefix, and the form of their errors."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import PixyProxyException

SLASHES = re.compile("/{2,}")
Render = Callable[[PixyProxyException, Request], Response]
"""The answer to a problem of a request, in a dialect's own form."""


@dataclass(frozen=True)
class Dialect:
    """Routers whose URLs begin with `prefix`, and the form of every error below it, unknown URLs included."""

    prefix: str
    routers: tuple[APIRouter, ...]
    render: Render
    key_header: str | None = None
    """A header that may carry the API key instead of `Authorization`."""
    add_plain_routes: Callable[[APIRouter], None] | None = None
    """Adds its plain routes to the application's own router."""
    takes_cookie: bool = False
    """Whether the cookie of a session of the page is accepted, as an API key is."""

    def speaks(self, path: str) -> bool:
        """Whether the URL belongs to this dialect. Without a prefix it is every URL, `*` of OPTIONS included."""
        return not self.prefix or path == self.prefix or path.startswith(f"{self.prefix}/")


def dialect_of(request: Request) -> Dialect:
    """The dialect of a request: the one with the longest prefix of its path."""
    return dialect_at(request.scope["path"], request.app.state.dialects)


def with_single_slashes(path: str) -> str:
    """The path, with one slash where clients join two settings that both have one."""
    return SLASHES.sub("/", path)


def dialect_at(path: str, dialects: Iterable[Dialect]) -> Dialect:
    """The dialect of a URL, which may have extra slashes; `ValueError` if it belongs to none of them."""
    path = with_single_slashes(path)
    return max((each for each in dialects if each.speaks(path)), key=lambda each: len(each.prefix))


def render_in(dialects: Iterable[Dialect], problem: PixyProxyException, request: Request) -> Response:
    """The answer to a problem in the dialect of the request's path."""
    return dialect_at(request.scope["path"], dialects).render(problem, request)
