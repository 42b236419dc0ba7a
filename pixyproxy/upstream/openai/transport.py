"""HTTP to the upstream over aiohttp, for the openai client: half the CPU of its own transport.

The openai package has such a transport too. This one distinguishes whether a broken connection can have been billed,
has no limit of 100 connections, passes the body on in the pieces that arrive, and sends files from disk.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeGuard

import aiohttp
import anyio
import anyio.to_thread
import httpx2

READ_BUFFER = 16 * 1024
"""aiohttp stops reading a connection when twice so many bytes of a body are unread; the last read of the socket comes
on top. A larger buffer saves no CPU."""
KEEP_ALIVE = 2.0
"""Seconds for which an idle connection is used again: well under the 5 after which common servers close theirs. A
request on a closed connection has an unknown outcome."""
PIECE = 256 * 1024
"""Bytes of a file per read: each read is one switch of threads."""
READING_THREADS = 4
CANNOT_BE_SENT = re.compile(rb"[\r\n\0]")


class AioHttpTransport(httpx2.AsyncBaseTransport):
    """At most `connections` at once. Every request goes out once, and no redirect is followed.

    Raises `httpx2.ConnectError`, `ConnectTimeout`, `UnsupportedProtocol` or `LocalProtocolError` only if not a byte
    of the request was sent, and `httpx2.ReadError` for everything that breaks later.
    """

    def __init__(self, *, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._reading = anyio.CapacityLimiter(READING_THREADS)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, once its headers have arrived.

        If sending the body has begun, a failed request may have been drawn.
        """
        if any(CANNOT_BE_SENT.search(part) for header in request.headers.raw for part in header):
            raise httpx2.LocalProtocolError("A header holds a line break.", request=request)
        body = self._pieces(request.stream) if is_file_stream(request.stream) else await request.aread()
        timeout = request.extensions.get("timeout", {}).get("connect")
        with errors_before_the_answer():
            response = await self._opened().request(
                request.method,
                str(request.url),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(connect=timeout, sock_connect=timeout),
            )
        return httpx2.Response(
            response.status, headers=response.raw_headers, stream=AnswerStream(response), request=request
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _pieces(self, stream: httpx2.SyncByteStream) -> AsyncIterator[bytes]:
        """The stream, read in threads: a slow disk delays nothing else."""
        chunks = iter(stream)
        while piece := await anyio.to_thread.run_sync(next_piece, chunks, limiter=self._reading):
            yield piece

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # a session belongs to the running event loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, keepalive_timeout=KEEP_ALIVE, ssl=httpx2.create_ssl_context()
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BUFFER,
            )
        return self._session


class AnswerStream(httpx2.AsyncByteStream):
    """The body of an answer. Unread bytes stay in the kernel's buffers and at the upstream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in the pieces that arrive."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ReadError("The answer broke off.") from error

    async def aclose(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        self._response.release()


def is_file_stream(stream: object) -> TypeGuard[httpx2.SyncByteStream]:
    """Whether this is the body of a multipart request, which reads its files as it goes and knows its length."""
    return isinstance(stream, httpx2.SyncByteStream) and not isinstance(stream, httpx2.ByteStream)


def next_piece(chunks: Iterator[bytes]) -> bytes:
    """At least `PIECE` bytes of the chunks, or what is left of them."""
    parts, size = [], 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= PIECE:
            break
    return b"".join(parts)


@contextmanager
def errors_before_the_answer() -> Iterator[None]:
    """Translates errors of aiohttp to those of httpx2, by whether anything can have been sent."""
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise httpx2.UnsupportedProtocol("The address cannot be used.") from error
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx2.ConnectTimeout("Connecting took too long.") from error
    except aiohttp.ClientConnectorError as error:
        raise httpx2.ConnectError("It cannot be connected.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx2.ReadError("The connection broke.") from error
