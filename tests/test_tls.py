"""TLS to the database: one SSLContext for all connections, verified if the URL says how."""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pixyproxy.core.exceptions import ConfigurationError, DatabaseUnavailableError
from pixyproxy.data.init import open_engine, require_current_schema
from tests import planted
from tests.certificates import write_certificates
from tests.servers import MySQL, SqlServer


@dataclass(frozen=True)
class Connected:
    """What a connection under a URL is like."""

    cipher: str
    context: ssl.SSLContext | None


@dataclass(frozen=True)
class Server:
    """The MySQL server, an empty database on it, and the certificates that it shows."""

    mysql: MySQL
    name: str

    @property
    def ca(self) -> Path:
        return self.mysql.certificates / "ca.pem"

    def url(self, **options: object) -> str:
        return self.mysql.url(self.name, options=options)


@pytest.fixture
def server(mysql: MySQL, unique: Callable[[], str]) -> Server:
    """A server that offers TLS."""
    mysql.create(name := unique())
    return Server(mysql, name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, mysql: MySQL) -> Iterator[SqlServer]:
    """A server that does not offer TLS."""
    assert mysql.certificates, "not a server of the tests' own"
    without = MySQL(tmp_path_factory.mktemp("plain") / "server", "--tls-version=")
    without.create("plain")
    yield without
    without.process.stop()


@pytest.fixture
def other_ca(tmp_path: Path) -> Path:
    """A CA that did not sign the server's certificate."""
    write_certificates(tmp_path)
    return tmp_path / "ca.pem"


def connect(url: str, *, use: Any = "writing") -> Connected:
    """Connect under the URL."""
    engine = open_engine(url, use=use)
    try:
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            ((_, cipher),) = cursor.fetchall()
            return Connected(cipher, getattr(connection.driver_connection, "ctx", None))
    finally:
        engine.dispose()


def test_all_connections_of_a_process_share_one_context(server: Server) -> None:
    uses = ("reading", "writing", "migrating", "reading")
    first, *others = [connect(server.url(), use=use).context for use in uses]
    assert first is not None
    assert all(other is first for other in others)


def test_without_options_a_connection_is_encrypted_and_not_verified(server: Server) -> None:
    connected = connect(server.url())
    assert connected.cipher
    assert connected.context
    assert connected.context.verify_mode is ssl.CERT_NONE


def test_a_server_without_tls_is_reached_without_it(plain: SqlServer) -> None:
    assert connect(plain.url("plain")).cipher == ""


@pytest.mark.parametrize("options", [{"ssl_ca": "ca.pem"}, {"ssl_verify_cert": "true"}, {"ssl_verify_cert": "false"}])
def test_a_server_without_tls_is_refused_if_the_url_asks_for_tls(
    plain: SqlServer, server: Server, options: dict[str, str]
) -> None:
    if "ssl_ca" in options:
        options = {"ssl_ca": str(server.ca)}
    with pytest.raises(ConfigurationError, match="2026"):
        require_current_schema(plain.url("plain", options=options))


def test_tls_can_be_switched_off(server: Server) -> None:
    assert connect(server.url(ssl_disabled="true")).cipher == ""
    assert connect(server.url(ssl_disabled="false")).cipher != ""


@pytest.mark.parametrize("how", [{}, {"ssl_verify_cert": "true"}, {"ssl_verify_identity": "true"}])
def test_with_a_ca_chain_and_name_are_verified(server: Server, other_ca: Path, how: dict[str, str]) -> None:
    connected = connect(server.url(ssl_ca=server.ca, **how))
    assert connected.cipher
    assert connected.context
    assert (connected.context.verify_mode, connected.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    with pytest.raises(DatabaseUnavailableError, match="2003"):
        require_current_schema(server.url(ssl_ca=other_ca, **how))
    by_name = server.url(ssl_ca=server.ca, **how).replace("@127.0.0.1", "@localhost")
    with pytest.raises(DatabaseUnavailableError, match="2003"):
        require_current_schema(by_name)


def test_the_name_alone_can_be_left_unverified(server: Server, other_ca: Path) -> None:
    for how in ({"ssl_check_hostname": "false"}, {"ssl_verify_identity": "false"}):
        assert connect(server.url(ssl_ca=server.ca, **how).replace("@127.0.0.1", "@localhost")).cipher
        with pytest.raises(DatabaseUnavailableError, match="2003"):
            require_current_schema(server.url(ssl_ca=other_ca, **how))


def test_the_cas_of_the_system_count_where_the_url_names_none(server: Server) -> None:
    for how in ("ssl_verify_cert", "ssl_verify_identity", "ssl_check_hostname"):
        with pytest.raises(DatabaseUnavailableError, match="2003"):
            require_current_schema(server.url(**{how: "true"}))


def test_a_client_certificate_is_shown(server: Server) -> None:
    user = f"x509_{server.name[-8:]}"
    server.mysql.query("CREATE USER %s@'%%' IDENTIFIED BY %s REQUIRE X509", user, planted.DATABASE_PASSWORD)
    server.mysql.query("GRANT ALL ON `test\\_%%`.* TO %s@'%%'", user)
    certificate, key = (server.mysql.certificates / f"client-{part}.pem" for part in ("cert", "key"))
    with pytest.raises(ConfigurationError, match="1045"):
        require_current_schema(server.url(ssl_ca=server.ca).replace("//pixyproxy:", f"//{user}:"))
    for verified in ({}, {"ssl_ca": server.ca}):
        url = server.url(**verified, ssl_cert=certificate, ssl_key=key).replace("//pixyproxy:", f"//{user}:")
        assert connect(url).cipher


def test_a_renewed_certificate_is_read_without_a_restart(server: Server, other_ca: Path) -> None:
    url = server.url(ssl_ca=other_ca)
    with pytest.raises(DatabaseUnavailableError):
        require_current_schema(url)
    other_ca.write_bytes(server.ca.read_bytes())
    os.utime(other_ca, ns=(0, 0))  # another moment, whatever the clock of the file system can tell apart
    assert connect(url).cipher


def test_a_switch_that_is_no_boolean_is_wrong_with_the_url(server: Server) -> None:
    with pytest.raises(ConfigurationError, match="options"):
        require_current_schema(server.url(ssl_verify_cert="perhaps"))
