"""Addresses to listen on."""

from socket import socket

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.web.server.accepting import bind, close_all

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not listened on


def open_sockets(host: str, number: int, *, remedy: str) -> list[socket]:
    """Sockets for this address. `ConfigurationError` if it cannot be bound; `remedy` names the settings."""
    try:
        return bind(host, number)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not an address"
        raise ConfigurationError(f"cannot listen on {host}:{number} ({reason}): choose another with {remedy}") from None


def require_free_port(host: str, number: int, *, remedy: str) -> int:
    """The port, or a free one for 0, which can be bound now; raises as `open_sockets`."""
    sockets = open_sockets(host, number, remedy=remedy)
    found: int = sockets[0].getsockname()[1]
    close_all(sockets)
    return found


def url_of(host: str, number: int) -> str:
    """The URL of a server that listens there."""
    if host in ANY_ADDRESS:
        host = "localhost"
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"


def login_url(base_url: str, code: str) -> str:
    """The address that logs in. The code is in the fragment, which browsers do not send: no log has it, no Referer."""
    return f"{base_url}/#code={code}"
