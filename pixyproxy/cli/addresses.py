"""Addresses to listen on."""

import socket

from pixyproxy.core.exceptions import ConfigurationError

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not listened on


def require_free_port(host: str, number: int, *, remedy: str) -> int:
    """The port, or a free one for 0. `ConfigurationError` if it cannot be bound; `remedy` names the settings."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as uvicorn does
            probe.bind(address)
            bound: int = probe.getsockname()[1]
            return bound
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not an address"
        raise ConfigurationError(f"cannot listen on {host}:{number} ({reason}): choose another with {remedy}") from None


def url_of(host: str, number: int) -> str:
    """The URL of a server that listens there."""
    if host in ANY_ADDRESS:
        host = "localhost"
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"
