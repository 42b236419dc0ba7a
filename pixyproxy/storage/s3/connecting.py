"""Opens connections to a server: to the addresses of its name or through a proxy, with TLS or without."""

import asyncio
import base64
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohappyeyeballs import start_connection
from cachetools import TTLCache

from pixyproxy.core.limits import S3Limits
from pixyproxy.storage.s3.address import Url

if TYPE_CHECKING:
    from pixyproxy.storage.s3.http_reader import Exchange

NAME_AGE = 10.0
"""Seconds for which the addresses of a name are used."""
NEXT_ADDRESS = 0.25
"""Seconds until a server's next address is tried too."""


@dataclass(frozen=True)
class Route:
    """How the server is reached: the proxy, and the TLS context (None: the system's authorities)."""

    proxy: str | None = None
    tls: ssl.SSLContext | None = None


class Connector:
    """Connects over a route."""

    def __init__(self, route: Route, *, limits: S3Limits) -> None:
        self._proxy = Url(route.proxy) if route.proxy else None
        self._login = ""
        if self._proxy is not None and self._proxy.login:
            login = base64.b64encode(unquote(self._proxy.login).encode()).decode()
            self._login = f"Proxy-Authorization: Basic {login}\r\n"
        self._tls = route.tls
        self._limits = limits
        self._addresses: TTLCache[tuple[str, int], Any] = TTLCache(64, NAME_AGE)
        self._resolving = asyncio.Lock()

    def request(self, url: Url, *, header: str = "") -> bytes:
        """A GET of the URL; `header` is a line with its end. A proxy is asked for the URL itself."""
        target = url.target
        if self._proxy is not None and not url.secure:
            target, header = f"http://{url.host}{target}", header + self._login
        return f"GET {target} HTTP/1.1\r\nHost: {url.host}\r\n{header}\r\n".encode()

    async def connect(self, exchange: "Exchange", url: Url) -> "Exchange":
        """Connect it to where the URL leads, within `limits.connect` seconds; `OSError` if that fails."""
        first = self._proxy or url
        try:
            async with asyncio.timeout(self._limits.connect):
                opened = await start_connection(await self._resolve(first), happy_eyeballs_delay=NEXT_ADDRESS)
                tls: dict[str, Any] = (
                    {"ssl": self._context(), "server_hostname": first.address[0]} if first.secure else {}
                )
                await asyncio.get_running_loop().create_connection(lambda: exchange, sock=opened, **tls)
                if self._proxy is not None and url.secure:
                    await self._tunnel(exchange, url)
            if exchange.transport is None or exchange.transport.is_closing():  # asyncio does not raise in a handshake
                raise ConnectionResetError("The connection was closed.")
        except BaseException:
            if exchange.transport is not None:
                exchange.transport.abort()
            raise
        return exchange

    async def _resolve(self, url: Url) -> Any:
        async with self._resolving:  # those who come at once ask once
            if (found := self._addresses.get(url.address)) is None:
                host, port = url.address
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                self._addresses[url.address] = found
        return found

    async def _tunnel(self, exchange: "Exchange", url: Url) -> None:
        host, port = url.address
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await exchange.ask(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{self._login}\r\n".encode())
        if exchange.status != 200:
            raise ConnectionError(f"The proxy answers {exchange.status}.")
        exchange.transport = await asyncio.get_running_loop().start_tls(
            exchange.transport, exchange, self._context(), server_hostname=host
        )

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls
