"""Sends the SDK's messages to the client."""

import logging
from typing import Any

import anyio
from pydantic_core import from_json
from starlette.types import Message, Scope, Send

from pixyproxy.web.http.content import CONNECTION, Connection, Sending

OWN_HEADERS = (b"cache-control", b"connection")
"""Headers of the SDK's answers that are set here, or belong to the server."""
EVENT = b"event: message\r\ndata: "

logger = logging.getLogger(__name__)


class Outward:
    """Sends to the client.

    When the client has left or reads nothing, `answering` is cancelled, so that the SDK sees no error. A stream ends
    with its answer: clients close the connection as soon as they have it, which must not count as leaving early.
    """

    def __init__(self, scope: Scope, send: Send, *, patience: float, answering: anyio.CancelScope) -> None:
        self._connection: Connection | None = scope.get(CONNECTION)
        self._sending = Sending(send, self._connection, patience=patience)
        self._patience = patience
        self._answering = answering
        self._whole = False

    async def send(self, message: Message) -> None:
        """Send a message; nothing more after the last one."""
        if self._whole:
            return
        if message["type"] == "http.response.start":
            kept = [header for header in message["headers"] if header[0].lower() not in OWN_HEADERS]
            message = {**message, "headers": [*kept, (b"cache-control", b"no-store")]}
        elif not message.get("more_body", False) or is_answer(message["body"]):
            self._whole, message = True, {**message, "more_body": False}
        try:
            await self._sending.send(message)
            return
        except TimeoutError:
            logger.warning("the client read nothing for %g s", self._patience)
            if self._connection is not None:
                self._connection.abort()
        except ConnectionError:
            pass  # the log has it as aborted
        self._answering.cancel()
        await anyio.sleep_forever()


def is_answer(chunk: bytes) -> bool:
    """Whether a chunk of a stream is the event with the answer to the request."""
    if not chunk.startswith(EVENT):
        return False
    message: dict[str, Any] = from_json(chunk[len(EVENT) :])
    return "method" not in message
