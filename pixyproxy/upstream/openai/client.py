"""The official openai client: one request, no retries, no redirects."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

from pixyproxy.core.limits import UPSTREAM_CONNECT
from pixyproxy.upstream.openai.in_process import InProcessTransport
from pixyproxy.upstream.openai.transport import AioHttpTransport

OPENAI_BASE_URL = "https://api.openai.com/v1"


def open_client(
    *,
    api_key: str,
    base_url: str | None,
    connections: int,
    connect_timeout: float = UPSTREAM_CONNECT,
    asgi_app: Callable[..., Any] | None = None,
) -> openai.AsyncOpenAI:
    """A client that sends each request once and follows no redirect; one for the process.

    Its only timeout is for connecting. Any other would also run while the answer is deliberately not read;
    `OpenAIImageGenerator` has the deadline. `asgi_app` answers instead of the network: the demo upstream inside the
    process.
    """
    address = base_url or OPENAI_BASE_URL
    transport: httpx2.AsyncBaseTransport | None
    if asgi_app is not None:
        transport = InProcessTransport(asgi_app)
    elif is_behind_a_proxy(address):
        transport = None  # the SDK's own transport, which supports proxies
    else:
        transport = AioHttpTransport(connections=connections)
    timeout = httpx2.Timeout(None, connect=connect_timeout)
    return openai.AsyncOpenAI(
        api_key=api_key,
        base_url=address,
        max_retries=0,
        timeout=timeout,
        default_headers={"Accept-Encoding": "identity"},  # decompressing base64 costs more than it saves
        http_client=openai.DefaultAsyncHttpx2Client(
            follow_redirects=False,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=connections),
            transport=transport,
        ),
    )


def is_behind_a_proxy(address: str) -> bool:
    """Whether the environment has a proxy for this URL (`HTTPS_PROXY`, `NO_PROXY`, …)."""
    parts = urlsplit(address)
    proxies = getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.netloc)
