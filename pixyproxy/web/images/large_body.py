"""Bodies of POST /image that are larger than texts can be: their pictures are extracted while they arrive."""

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core import limits
from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.service.uploads import InputCollector
from pixyproxy.web.auth.private_route import PrivateRoute
from pixyproxy.web.dependencies import base_url, services_of
from pixyproxy.web.http.body_limit import EDIT_JSON, SMALL_BODY, BodyLimit, is_json, skip_body
from pixyproxy.web.http.json_pictures import PictureCutter

COLLECTOR = "pixyproxy.collector"
"""The scope's key of the collector that holds the pictures of a large body."""


class LargeBody(Request):
    """A request whose JSON has pictures as `data:` URLs. Its body is the text without them."""

    async def body(self) -> bytes:
        """The text. The pictures went to a collector in the scope."""
        if not hasattr(self, "_body"):
            collector = services_of(self).uploads.collect(base_url=base_url(self))
            self.scope[COLLECTOR] = collector
            try:
                async with aclosing(self.stream()) as stream:
                    self._body = await PictureCutter(stream, collector.hold).read()
            except PixyProxyException:
                await skip_body(self)
                raise
        return self._body


def collector_of(request: Request) -> InputCollector | None:
    """The collector with the pictures of a large body; None for another body."""
    collector: InputCollector | None = request.scope.get(COLLECTOR)
    return collector


class LargeBodyRoute(PrivateRoute):
    """A private route whose JSON may have pictures: within `limits.MAX_BODY` as texts, above it as `LargeBody`."""

    def body_limit(self, request: Request) -> BodyLimit:
        """That of texts, unless JSON is announced that is larger."""
        announced = request.headers.get("content-length", "")
        large = announced.isdecimal() and int(announced) > limits.MAX_BODY
        return LARGE if large and is_json(request) else SMALL_BODY

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of private routes. What the collector still holds at its end is freed."""
        handle = super().get_route_handler()

        async def handle_and_free(request: Request) -> Response:
            try:
                return await handle(request)
            finally:
                collector = collector_of(request)
                if collector is not None:
                    collector.close()

        return handle_and_free


LARGE = BodyLimit(size=EDIT_JSON.size, rate=EDIT_JSON.rate, request_class=LargeBody)
