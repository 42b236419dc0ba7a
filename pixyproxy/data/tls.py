"""TLS to MySQL and MariaDB: connections with the same options share one SSLContext.

PyMySQL makes a context for each connection, even to a server without TLS, and reads the system's certificates for it:
that takes ten times the CPU of a connection that shares one (benchmarks/connects.py).
"""

import ssl
from pathlib import Path
from threading import Lock
from typing import Any

from pymysql.connections import Connection
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import asbool

_lock = Lock()
_contexts: dict[frozenset[tuple[str, Any]], tuple[tuple[int, ...], ssl.SSLContext]] = {}
"""By options: the modification times of their files, and the context made from them."""


def connect(_: Dialect, __: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]) -> Connection:
    """Connect as the URL says; a listener of SQLAlchemy's `do_connect`.

    `ValueError` for a switch that is no boolean.
    """
    return _SharingConnection(*arguments, **_with_one_set_of_tls_options(options))


class _SharingConnection(Connection):
    """PyMySQL's connection, with one method replaced. tests/test_tls.py fails if PyMySQL stops calling it."""

    def _create_ssl_ctx(self, sslp: dict[str, Any]) -> ssl.SSLContext:
        options = frozenset(sslp.items())
        files = (Path(sslp[name]) for name in ("ca", "capath", "cert", "key") if sslp.get(name))
        written = tuple(file.stat().st_mtime_ns for file in files)
        with _lock:  # connections that are opened at the same time share one context
            known, context = _contexts.get(options, (None, None))
            if context is None or known != written:  # a renewed certificate is read
                context = self._create_context(sslp)
                _contexts[options] = written, context
        return context

    def _create_context(self, options: dict[str, Any]) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._create_ssl_ctx(options)  # type: ignore[misc]
        if options.get("check_hostname"):
            context.check_hostname = True  # PyMySQL drops this without a CA of one's own; the system's CAs count too
        return context


def _with_one_set_of_tls_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with all TLS options in the dictionary `ssl`.

    SQLAlchemy puts only some of the URL's TLS options there, and PyMySQL ignores these when others stand beside them.
    """
    plain = dict(options)
    tls: dict[str, Any] = plain.pop("ssl", {})
    if "ssl_verify_cert" in plain:
        tls["verify_mode"] = asbool(plain.pop("ssl_verify_cert"))
    if "ssl_verify_identity" in plain:
        tls["check_hostname"] = asbool(plain.pop("ssl_verify_identity"))
        if tls["check_hostname"]:
            tls["verify_mode"] = True
    if "ssl_key_password" in plain:
        tls["password"] = plain.pop("ssl_key_password")
    if "ssl_disabled" in plain:
        plain["ssl_disabled"] = asbool(plain["ssl_disabled"])
    return {**plain, "ssl": tls}
