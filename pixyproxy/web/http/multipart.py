"""Forms (`multipart/form-data`, RFC 7578) read part by part as they arrive. Bytes that were read are not kept."""

import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from pixyproxy.core import limits
from pixyproxy.core.exceptions import MalformedRequestError

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = limits.MAX_PARTS
MAX_PART_HEADERS = 16
MAX_PART_HEADER = 8 * 1024
"""Bytes. A filename may be a complete path."""
BROKEN_OFF = "The form broke off before its end."


@dataclass
class PartHead:
    """The headers of a part. Clients send any `content_type` with texts, and leave out filenames of files."""

    name: str = ""
    has_filename: bool = False
    content_type: str = "text/plain"


@dataclass
class Part:
    """A part. Iterating reads its bytes; unread bytes are skipped."""

    head: PartHead
    _form: "Form" = field(repr=False)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes; `MalformedRequestError` if the form breaks off."""
        while (piece := await self._form.next_piece()) is not None:
            yield piece


class Form:
    """The parts of a request's body, one after the other. `MalformedRequestError` for a body that is not a form."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        # A part, its bytes, and None at its end
        self._events: deque[Part | bytes | None] = deque()
        self._ended = False
        self._parts = 0
        self._head = PartHead()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._parser = MultipartParser(
            boundary_of(request),
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self._events.append(Part(self._head, self)),
                "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                "on_part_end": lambda: self._events.append(None),
                "on_end": self._on_end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER,
        )
        self._parser.logger = logging.Logger("forms", logging.CRITICAL)  # it warns of mistakes of the client

    async def __aiter__(self) -> AsyncIterator[Part]:
        """The parts in their order."""
        while await self._fill():
            event = self._events.popleft()
            if isinstance(event, Part):
                yield event
        async for _ in self._stream:  # the epilogue, which is ignored (RFC 2046, section 5.1.1)
            pass

    async def next_piece(self) -> bytes | None:
        """The next bytes of the current part; None at its end."""
        if not await self._fill():
            return None
        event = self._events.popleft()
        return event if isinstance(event, bytes) else None

    async def _fill(self) -> bool:
        """Whether there is another event; reads until there is one."""
        while not self._events and not self._ended:
            try:
                chunk = await anext(self._stream, b"")
                if not chunk:
                    raise MalformedRequestError(BROKEN_OFF)
                self._parser.write(chunk)
            except ClientDisconnect:
                raise MalformedRequestError(BROKEN_OFF) from None
            except FormParserError as error:
                raise MalformedRequestError("The body is not a form with the boundary of its Content-Type.") from error
        return bool(self._events)

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedRequestError(f"A form may have {MAX_PARTS} parts.")
        self._head = PartHead()

    def _on_header_end(self) -> None:
        name, value = (bytes(each) for each in self._header)
        self._header[0].clear()
        self._header[1].clear()
        if name.lower() == b"content-disposition":
            _, options = parse_options_header(value)
            self._head.name = options.get(b"name", b"").decode(errors="replace")
            self._head.has_filename = b"filename" in options or b"filename*=" in value
        elif name.lower() == b"content-type":
            self._head.content_type = value.decode("latin-1").strip().lower() or "text/plain"

    def _on_end(self) -> None:
        self._ended = True


def boundary_of(request: Request) -> bytes:
    """The one boundary that the Content-Type names."""
    values = request.headers.getlist("content-type")
    _, options = parse_options_header(values[0] if values else None)
    boundary = options.get(b"boundary", b"")
    if len(values) != 1 or values[0].lower().count("boundary=") != 1 or not 1 <= len(boundary) <= 70:
        raise MalformedRequestError("Name one boundary of 1 to 70 characters in one Content-Type (RFC 2046).")
    return boundary
