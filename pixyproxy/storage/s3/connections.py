"""The connections of the event loop to the server: for readers, and for pictures that are put."""

import aiohttp

from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.storage.s3.connecting import Route
from pixyproxy.storage.s3.http_reader import HttpReader

TRANSFER = (aiohttp.ClientError, TimeoutError, OSError)
"""No answer, or an incomplete one."""


class Connections:
    """Those over a route: `reader` has its own, pictures are put on aiohttp's."""

    def __init__(self, route: Route, *, limits: S3Limits = S3) -> None:
        self._route = route
        self._limits = limits
        self.reader = HttpReader(route, limits=limits)
        self._session: aiohttp.ClientSession | None = None

    @property
    def proxy(self) -> str | None:
        """The proxy of each request of `session`."""
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
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),  # no compression is wanted
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection that nobody reads."""
        await self.reader.aclose()
        if self._session is not None:
            await self._session.close()
