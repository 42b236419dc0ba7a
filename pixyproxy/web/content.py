"""The answer that carries an image's bytes."""

import logging

import anyio
import anyio.lowlevel
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.models import Image
from pixyproxy.core.protocols import StoredObject

ABORT = "pixyproxy.abort"
"""The scope's key of what ends the connection at once; the server puts it there."""

logger = logging.getLogger(__name__)


def content_headers(image: Image) -> dict[str, str]:
    """The headers of every answer about an image's bytes: cacheable for ever, harmless wherever it is opened."""
    return {
        "Content-Type": image.content_type,
        "Content-Length": str(image.size_bytes),
        "Content-Disposition": f'inline; filename="{image.filename}"',
        "ETag": f'"{image.sha256}"',
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def head_response(image: Image) -> Response:
    """The answer to HEAD: what GET would say, known from the record alone."""
    response = Response()
    for name, value in content_headers(image).items():
        response.headers[name] = value
    return response


class ContentResponse(StreamingResponse):
    """Streams an opened object. One that breaks off ends the connection: its length was announced.

    So does a client that takes no chunk for `patience` seconds: it holds a connection to the storage.
    """

    def __init__(self, image: Image, content: StoredObject, *, patience: float) -> None:
        super().__init__(content, headers=content_headers(image), media_type=image.content_type)
        self._content = content
        self._patience = patience
        self._stalled = False

    async def stream_response(self, send: Send) -> None:
        """Send start and chunks; without the last message the server closes the connection uncleanly."""

        async def send_in_time(message: Message) -> None:
            with anyio.fail_after(self._patience):
                await send(message)
                await anyio.lowlevel.checkpoint()  # where it is noticed that the client has left

        try:
            await super().stream_response(send_in_time)
        except PixyProxyException as error:
            logger.error("the content broke off: %s", error.detail)
        except TimeoutError:
            self._stalled = True
            logger.warning("the client took nothing for %g s", self._patience)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, and close the object whatever becomes of the client."""
        try:
            await super().__call__(scope, receive, send)
            if self._stalled and ABORT in scope:
                scope[ABORT]()  # closing would wait for the client to take what is on its way
        finally:
            with anyio.CancelScope(shield=True):
                await self._content.aclose()
