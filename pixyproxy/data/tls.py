"""Connections to MySQL that share one TLS context.

PyMySQL makes a context for each connection, and loads the system's certificates into it: 56 ms of CPU a connection
against 2.3 with a shared context (benchmarks/connects.py). MySQL offers TLS by default, and PyMySQL takes it. What is
verified is PyMySQL's: with `ssl_ca` in the URL the server's certificate and name, without it nothing.
"""

import ssl
from typing import TYPE_CHECKING, Any

import pymysql.connections

if TYPE_CHECKING:
    PyMySQLConnection = pymysql.connections.Connection[Any]
else:
    PyMySQLConnection = pymysql.connections.Connection

_contexts: dict[str, ssl.SSLContext] = {}


class Connection(PyMySQLConnection):
    """PyMySQL's connection, whose contexts are shared by all connections with the same TLS options."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if isinstance(sslp, ssl.SSLContext):
            return sslp
        options = repr(sorted(sslp.items()))
        if options not in _contexts:
            _contexts[options] = super()._create_ssl_ctx(sslp)  # type: ignore[misc]  # a private method
        return _contexts[options]


def connect(_dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> Connection:
    """Connect; the `do_connect` event of SQLAlchemy."""
    return Connection(*arguments, **parameters)
