"""What a database is, for whoever looks whether it works."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from pixyproxy.data import schema_version
from pixyproxy.data.database import Transaction
from pixyproxy.data.init import alembic_config, open_engine
from pixyproxy.data.urls import first_contact


@dataclass(frozen=True)
class DatabaseFacts:
    """`server`: name and version. `cipher`: that of TLS; None without. `ahead`: seconds of its clock before ours.

    `current`: whether this version can work with its schema.
    """

    server: str
    cipher: str | None
    ahead: float
    current: bool


def facts_of(url: str) -> DatabaseFacts:
    """Ask a database that exists. `ConfigurationError` for a wrong URL or a schema of a newer version.

    `DatabaseUnavailableError` if it does not answer.
    """
    with first_contact():
        engine = open_engine(url, use="writing")
        try:
            with engine.connect() as connection:
                return DatabaseFacts(
                    server=server_of(connection),
                    cipher=cipher_of(connection),
                    ahead=ahead_of(connection),
                    current=schema_version.is_usable(connection, alembic_config()),
                )
        finally:
            engine.dispose()


def server_of(connection: Connection) -> str:
    """Such as `MySQL 8.4.3`."""
    version = ".".join(map(str, (connection.dialect.server_version_info or ())[:3]))
    if connection.dialect.name == "sqlite":
        return f"SQLite {version}"
    return f"{'MariaDB' if getattr(connection.dialect, 'is_mariadb', False) else 'MySQL'} {version}"


def cipher_of(connection: Connection) -> str | None:
    """The cipher of the connection's TLS; None without TLS."""
    if connection.dialect.name == "sqlite":
        return None
    row = Transaction(connection).one("SHOW STATUS LIKE 'Ssl_cipher'")
    return str(row["Value"]) or None if row is not None else None


def ahead_of(connection: Connection) -> float:
    """Seconds by which the database's clock is before ours, to half a round trip."""
    begun = time.time()
    theirs = Transaction(connection).now()
    ours = datetime.fromtimestamp((begun + time.time()) / 2, UTC)
    return (theirs - ours).total_seconds()
