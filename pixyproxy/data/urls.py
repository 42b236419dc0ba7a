"""URLs of databases, and what the first connection shows to be wrong with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, exc, make_url

from pixyproxy.core.exceptions import ConfigurationError, PixyProxyException
from pixyproxy.data.database import driver_errors, error_code

WRONG_URL: dict[int | str, str] = {
    1044: "the server says that the user may not use this database (1044)",
    1045: "the server refuses the user or the password (1045); in a URL @ : / and # are percent-encoded",
    1049: "the server has no such database (1049)",
    1698: "the server refuses the user or the password (1698)",
    2026: "its options ask for TLS, which the server does not offer (2026)",
    "SQLITE_CANTOPEN": "the file cannot be opened; an absolute path needs four slashes: sqlite:////path/pixyproxy.db",
    "SQLITE_NOTADB": "the file is not an SQLite database",
}


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database. `ConfigurationError` for a URL that cannot be used."""
    parsed = parse_url(url)
    return Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite file, with any characters in its path."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def parse_url(text: str) -> URL:
    """The URL of a supported database. `ConfigurationError` says what is wrong, and does not repeat the URL."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError("it is not a database URL") from None
    if url.drivername in ("mysql", "mariadb", "mariadb+pymysql"):
        url = url.set(drivername="mysql+pymysql")
    if url.drivername == "mysql+pymysql":
        if not url.host or not url.database:
            raise ConfigurationError(
                "it needs a host and a database: mysql+pymysql://user:password@host:3306/pixyproxy"
            )
        return url
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigurationError("SQLite needs a file: sqlite:////path/to/pixyproxy.db")
        return url
    raise ConfigurationError("only mysql+pymysql:// and sqlite:// are known")


@contextmanager
def first_contact() -> Iterator[None]:
    """Errors of a first connection that mean a wrong URL become a `ConfigurationError`."""
    try:
        with driver_errors():
            yield
    except PixyProxyException as error:
        cause = error.__cause__
        code = error_code(cause) if isinstance(cause, exc.DBAPIError) else 0
        if code in WRONG_URL:
            raise ConfigurationError(WRONG_URL[code]) from error
        raise
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"one of its options, or its folder, cannot be used ({type(error).__name__})"
        ) from error
