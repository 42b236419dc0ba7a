"""Reads requests, and bounds the heads of each connection and of all connections together."""

from typing import Any, ClassVar

from pixyproxy.core import limits
from pixyproxy.core.exceptions import HeaderTooLargeError, PixyProxyException, TooManyConnectionsError
from pixyproxy.web.http.content import CONNECTION
from pixyproxy.web.server.client import ClientConnection
from pixyproxy.web.server.heads import (
    HEADER_COST,
    MAX_HEAD,
    MAX_HEADERS,
    HeadMemory,
    check_head,
    size_of,
    too_large,
    unfinished_bytes,
)


class StopReadingError(Exception):
    """Ends the parsing of what has arrived: nothing more of this connection is read."""


class BoundedReading(ClientConnection):
    """The callbacks of the parser that count what arrives; `HttpProtocol` calls the rest."""

    head_memory: ClassVar[HeadMemory] = HeadMemory(limits.MAX_ALL_HEADS)
    """Shared by all connections of the process."""
    _in_head = False
    _head_began = False
    """Whether the head began in the bytes that arrived last."""
    _unfinished = 0
    """Bytes of an incomplete head."""
    _bodies = 0
    """Bytes of bodies among those that arrived last."""
    _held = 0
    """The share of `head_memory` that this connection uses."""
    _trailers = 0
    """Bytes of a request's trailers."""
    _has_body = False
    """Whether the head announces a body."""
    _deaf: PixyProxyException | None = None
    """Why nothing more of this connection is read."""

    def on_message_begin(self) -> None:
        """Called at a request's first byte."""
        self._in_head = self._head_began = True
        self._unfinished = self._trailers = 0
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CONNECTION] = self

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with a header, or a trailer."""
        if not self._in_head:  # a trailer, which must not become a header (RFC 9110, section 6.5.1)
            self._trailers += len(name) + len(value) + 4
            if self._trailers > MAX_HEAD:
                self._fail(too_large())
        elif len(self.headers) < MAX_HEADERS:
            super().on_header(name, value)
        else:
            self._fail(HeaderTooLargeError(f"A request may have {MAX_HEADERS} headers."))

    def on_headers_complete(self) -> None:
        """Called at the end of a request's head."""
        try:
            self._has_body = check_head(self.url, self.headers, http_version=self.parser.get_http_version())
        except PixyProxyException as error:
            self._fail(error)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called with a piece of a request's body."""
        self._bodies += len(body)
        super().on_body(body)

    @property
    def is_deaf(self) -> bool:
        """Whether nothing more of this connection is read."""
        return self._deaf is not None

    def _parse(self, data: bytes) -> None:
        self._head_began, self._bodies = False, 0
        self.parser.feed_data(data)

    def _head_bound_exceeded(self, data: bytes) -> PixyProxyException | None:
        """Count the bytes that were parsed.

        Returns a problem if this connection, or all together, use too much memory.
        """
        if not (self._in_head or self.pipeline or self._held):
            return None
        if self._in_head:
            self._unfinished += unfinished_bytes(data, bodies=self._bodies) if self._head_began else len(data)
            if self._unfinished > MAX_HEAD:
                return too_large()
        if self._hold_heads() > 0 and self.head_memory.exceeded:
            return TooManyConnectionsError("Too many requests are arriving slowly; try again soon.")
        return None

    def _hold_heads(self) -> int:
        """Count the memory of the incomplete and waiting heads. Returns by how much it has grown."""
        held = sum(size_of(cycle.scope["headers"]) for cycle, _ in self.pipeline)
        if self._in_head:
            held += self._unfinished + HEADER_COST * len(self.headers)
        grown, self._held = held - self._held, held
        self.head_memory.change(grown)
        return grown

    def _forget_head(self) -> None:
        """Free an incomplete head; nothing more is parsed."""
        self._in_head = False
        self.parser = None  # type: ignore[assignment]
        self._hold_heads()

    def _fail(self, error: PixyProxyException) -> None:
        """Refuse the request that is being parsed; called from a callback of the parser."""
        self._deaf = error
        raise StopReadingError
