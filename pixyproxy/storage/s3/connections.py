"""The connections of the event loop to the server: for readers, and for pictures that are put."""

import ssl
from dataclasses import dataclass

import aiohttp

from pixyproxy.core.limits import S3, S3Limits

BUFFER = 128 * 1024
"""Bytes that aiohttp holds for a reader before it reads no further; measured, twice as much costs more."""
TRANSFER = (aiohttp.ClientError, TimeoutError, OSError)
"""No answer, or an incomplete one."""


@dataclass(frozen=True)
class Route:
    """How the server is reached: the proxy, and the TLS context (None: the system's authorities)."""

    proxy: str | None = None
    tls: ssl.SSLContext | None = None


class Connections:
    """aiohttp's pool over a route. Readers share it with writers: a connection is used by whoever comes next."""

    def __init__(self, route: Route, *, limits: S3Limits = S3) -> None:
        self._route = route
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    @property
    def proxy(self) -> str | None:
        """The proxy of each request."""
        return self._route.proxy

    @property
    def connecting(self) -> aiohttp.ClientTimeout:
        """The times of a request that watches the rest itself."""
        return aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect)

    @property
    def session(self) -> aiohttp.ClientSession:
        """aiohttp's session. It belongs to the event loop in which it is first asked for."""
        limits = self._limits
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Without a limit: a slow client keeps its connection, and others must not wait for it.
                connector=aiohttp.TCPConnector(limit=0, ssl=self._route.tls or True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.read),
                read_bufsize=BUFFER,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),  # no compression is wanted
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
