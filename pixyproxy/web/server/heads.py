"""Checks the heads of requests against RFC 9112, and counts the memory that they use."""

import re
from collections.abc import Iterable
from functools import lru_cache

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
HEADER_COST = 200
"""Bytes of memory that a header uses besides its text."""
BODY_HEADERS = (b"content-length", b"transfer-encoding")
UPGRADE_HEADERS = (b"connection", b"upgrade", b"http2-settings")
REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r?\n")
"""A request line with any method (RFC 9112, section 3)."""
HOST = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+\]"
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})*+)(:[0-9]*)?"
)
"""`host[:port]` (RFC 3986, sections 3.2.2 and 3.2.3); it may be empty. Possessive quantifiers prevent backtracking."""

Headers = Iterable[tuple[bytes, bytes]]


class HeadMemory:
    """The memory of the incomplete and the waiting heads of all connections.

    A head that arrives complete and is answered at once is not counted. So others are still served while slow clients
    use all of it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    @property
    def exceeded(self) -> bool:
        """Whether these heads use more than the limit."""
        return self.used > self._limit

    def change(self, size: int) -> None:
        """Add the bytes by which the share of a connection has grown; negative if it has shrunk."""
        self.used += size


def size_of(headers: Headers) -> int:
    """The memory that headers use, in bytes."""
    return sum(len(name) + len(value) + HEADER_COST for name, value in headers)


def unfinished_bytes(data: bytes, *, bodies: int) -> int:
    """How many of these bytes belong to a head that begins in them and is incomplete.

    Such a head begins after the last blank line, or after a body. `bodies`: the bytes of bodies among them.
    """
    blank_line = data.rfind(b"\r\n\r\n")
    behind = len(data) if blank_line < 0 else len(data) - blank_line - 4
    return max(0, behind - bodies)


def check_head(url: bytes, headers: Headers, *, http_version: str) -> bool:
    """Whether a complete head announces a body.

    `HeaderTooLargeError` for a head over the limit; `MalformedRequestError` and `HttpNotImplementedError` for what RFC
    9112 does not allow: sections 3.2 (Host) and 6.1 (transfer codings).
    """
    size, host, hosts, has_body = len(url), b"", 0, False
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"host":
            host, hosts = value, hosts + 1
        elif name in BODY_HEADERS:
            has_body = True
    if size > MAX_HEAD:
        raise too_large()
    if hosts > 1 or (not hosts and http_version == "1.1"):
        raise MalformedRequestError("Send one Host header.")
    if not is_host(host):
        raise MalformedRequestError("The Host header must be a host, or a host and a port.")
    if has_body and has_unknown_coding(headers):
        raise unknown_coding()
    return has_body


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Whether this is a value of the Host header. Most requests of a process have the same one."""
    return HOST.fullmatch(value.strip()) is not None


def parser_problem(error: httptools.HttpParserError, data: bytes, *, headers: Headers) -> PixyProxyException:
    """The problem of bytes that the parser refused; `headers` are those of the incomplete head."""
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
    """The head that the parser has read, without its request for an upgrade."""
    head = [parser.get_method() + b" " + url + b" HTTP/" + parser.get_http_version().encode()]
    head += [name + b": " + value for name, value in headers if name not in UPGRADE_HEADERS]
    if not parser.should_keep_alive():
        head.append(b"connection: close")
    return b"\r\n".join(head) + b"\r\n\r\n"
