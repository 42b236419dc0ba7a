"""Heads of requests: what RFC 9112 does not allow, and the memory that they take."""

import re
from collections.abc import Sequence

import httptools

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    HeaderTooLargeError,
    HttpNotImplementedError,
    MalformedRequestError,
    PixyProxyException,
)

MAX_HEAD = limits.MAX_HEAD
"""Bytes of a request's line and headers."""
MAX_HEADERS = limits.MAX_HEADERS
"""Headers of a request: each costs some 200 bytes of memory, however short it is."""
BODY_HEADERS = (b"content-length", b"transfer-encoding")
UPGRADE_HEADERS = (b"connection", b"upgrade", b"http2-settings")
REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r?\n")
"""Of a request with any method (RFC 9112, section 3)."""

Headers = Sequence[tuple[bytes, bytes]]


def head_problem(headers: Headers, *, http_version: str) -> PixyProxyException | None:
    """What RFC 9112 does not allow in a whole head: sections 3.2 (Host) and 6.1 (transfer codings)."""
    hosts = [value for name, value in headers if name == b"host"]
    if http_version == "1.1" and len(hosts) != 1:
        return MalformedRequestError("Send one Host header.")
    if has_unknown_coding(headers):
        return unknown_coding()
    return None


def parser_problem(error: httptools.HttpParserError, data: bytes, *, headers: Headers) -> PixyProxyException:
    """What bytes that the parser refused are answered with; `headers` are those of the head that has not ended."""
    if isinstance(error, httptools.HttpParserInvalidMethodError) and REQUEST_LINE.match(data):
        return HttpNotImplementedError("This method is not known here.")
    if has_unknown_coding(headers):
        return unknown_coding()
    return MalformedRequestError("The bytes sent are not an HTTP request.")


def has_unknown_coding(headers: Headers) -> bool:
    """Whether the body has a transfer coding other than `chunked`."""
    return any(value.strip().lower() != b"chunked" for name, value in headers if name == b"transfer-encoding")


def unknown_coding() -> PixyProxyException:
    """The problem of such a body."""
    return HttpNotImplementedError("The only transfer coding known here is chunked.")


def too_large() -> PixyProxyException:
    """The problem of a head over the limit."""
    return HeaderTooLargeError(f"A request's line and headers may have {MAX_HEAD} bytes.")


def without_upgrade(parser: httptools.HttpRequestParser, *, url: bytes, headers: Headers) -> bytes:
    """The head that the parser has read, without what asks for an upgrade."""
    head = [parser.get_method() + b" " + url + b" HTTP/" + parser.get_http_version().encode()]
    head += [name + b": " + value for name, value in headers if name not in UPGRADE_HEADERS]
    if not parser.should_keep_alive():
        head.append(b"connection: close")
    return b"\r\n".join(head) + b"\r\n\r\n"
