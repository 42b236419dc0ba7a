"""Puts objects from the event loop: aiohttp sends, and botocore signs with a SHA-256 that is known already.

boto3 would hash and sum each picture again, in a thread: a fifth of what a generation costs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from yarl import URL

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.storage.s3.connections import TRANSFER, Connections

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

PIECE = 128 * 1024
"""Bytes that are handed to the transport at once."""
CREDENTIALS_AGE = 300.0
"""Seconds for which credentials are used: those of an instance role are renewed 10 minutes before they expire."""


class KnownPayloadAuth(S3SigV4Auth):
    """Signature V4 of a payload whose SHA-256 is known; S3 compares it with the bytes that come."""

    def __init__(self, credentials: "ReadOnlyCredentials", region: str, *, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 -- the method of botocore's signer
        """The SHA-256, in hexadecimal digits."""
        return self._sha256


class Picture(Payload):
    """The body of a put. The server may take nothing, or not answer, for `patience` seconds."""

    _autoclose = True  # nothing is open

    def __init__(self, data: bytes, silence: asyncio.Timeout, *, content_type: str, patience: float) -> None:
        super().__init__(data, content_type=content_type)
        self._size = len(data)
        self._silence = silence
        self._patience = patience

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Pictures are no text."""
        raise NotImplementedError

    async def write(self, writer: AbstractStreamWriter) -> None:
        """The bytes in pieces. aiohttp asks again if the connection was closed before it was used."""
        now = asyncio.get_running_loop().time
        view = memoryview(self._value)
        for start in range(0, len(view), PIECE):
            await writer.write(view[start : start + PIECE])
            self._silence.reschedule(now() + self._patience)


class S3Writing:
    """Puts objects below an address. `credentials` may ask a server; it raises ours if there are none."""

    def __init__(
        self,
        connections: Connections,
        credentials: "Callable[[], Awaitable[ReadOnlyCredentials]]",
        *,
        region: str,
        limits: S3Limits = S3,
    ) -> None:
        self._connections = connections
        self._credentials = credentials
        self._region = region
        self._limits = limits
        self._known: ReadOnlyCredentials | None = None
        self._known_until = 0.0

    async def put(self, url: str, data: bytes, *, content_type: str, sha256: str) -> bool:
        """Whether the server has taken the bytes, at one attempt. Whoever asks has another way if not."""
        try:
            headers = await self._signed(url, content_type=content_type, sha256=sha256)
            async with asyncio.timeout(self._limits.put) as silence:
                response = await self._connections.session.put(
                    URL(url, encoded=True),  # quoting it again would break the signature
                    data=Picture(data, silence, content_type=content_type, patience=self._limits.put),
                    headers=headers,
                    proxy=self._connections.proxy,
                    allow_redirects=False,
                    timeout=self._connections.connecting,
                )
                async with response:
                    taken = response.status == 200
        except (*TRANSFER, PixyProxyException):
            taken = False
        if not taken:
            self._known = None
        return taken

    async def _signed(self, url: str, *, content_type: str, sha256: str) -> dict[str, str]:
        if self._known is None or time.monotonic() > self._known_until:
            self._known = await self._credentials()
            self._known_until = time.monotonic() + CREDENTIALS_AGE
        request = AWSRequest("PUT", url, headers={"Content-Type": content_type})
        KnownPayloadAuth(self._known, self._region, sha256=sha256).add_auth(request)
        return dict(request.headers.items())
