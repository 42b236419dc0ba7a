"""Real SQL servers for the tests, each on 127.0.0.1: MariaDB, and MySQL with TLS."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import pymysql
import pytest
from sqlalchemy import make_url

from tests import planted
from tests.certificates import write_certificates
from tests.servers import BIN, Process, free_ports, missing, wait_until

SHARES = (Path("/usr/share/mysql"), Path("/usr/share/mariadb"))
MYSQL = BIN.parent / "mysql"
"""Where deploy/install-mysql puts the server, and a new data folder."""
ME = ["--user=root"] if os.geteuid() == 0 else []

NUMBERS = (
    "WITH RECURSIVE dozen AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM dozen WHERE n < 11), "
    "numbers AS (SELECT a.n + 12 * b.n + 144 * c.n + 1728 * d.n AS n FROM dozen a, dozen b, dozen c, dozen d) "
)
"""The rows of `numbers` are 0 to 20735, on every server."""


class SqlServer:
    """A server that speaks MySQL's protocol, with a data folder of its own."""

    name: str
    user = "pixyproxy"
    statement_timeout: str
    """The variable that ends a statement that runs too long."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.superuser: dict[str, Any] = {"unix_socket": str(folder / "socket"), "user": "root"}
        self.process = Process(
            [
                *command,
                *ME,
                f"--datadir={folder / 'data'}",
                f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                "--innodb-flush-log-at-trx-commit=2",
                "--max-connections=300",
                "--character-set-server=latin1",  # as a plain server may be: our tables must say what they are
            ],
            folder / "server.log",
        )
        self.start()
        self.prepare()

    def prepare(self) -> None:
        """Make the user of the product."""
        self.query("CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY %s", self.user, planted.DATABASE_PASSWORD)
        self.query("GRANT ALL ON `test\\_%%`.* TO %s@'%%'", self.user)
        self.version: str = self.query("SELECT VERSION()")[0][0]

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        (self.folder / "socket").unlink(missing_ok=True)  # of one that was killed
        self.process.start()

        def answers() -> None:
            if not (self.folder / "socket").exists():  # PyMySQL leaks the socket of a connection that fails
                raise ConnectionError
            self.query("SELECT 1")

        wait_until(answers, seconds=60, what=self.name, process=self.process)

    def connect(self, database: str | None = None, **options: Any) -> "pymysql.connections.Connection[Any]":
        """A connection of the superuser, without TLS, which would take most of its time."""
        return pymysql.connect(**self.superuser, **options, database=database, charset="utf8mb4", ssl_disabled=True)

    def query(self, sql: str, *parameters: object, database: str | None = None) -> list[Any]:
        """The rows of a statement of the superuser: a look at the other side with plain SQL."""
        with self.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def create(self, name: str) -> str:
        """An empty database, and the URL under which PixyProxy reaches it."""
        self.query(f"CREATE DATABASE `test_{name}`")
        return self.url(name)

    def url(self, name: str, *, port: int | None = None, **options: object) -> str:
        """The URL of a database, through another port if one is given, with options of the connection."""
        password, query = planted.DATABASE_PASSWORD, f"?{urlencode(options)}" if options else ""
        return f"mysql+pymysql://{self.user}:{password}@127.0.0.1:{port or self.port}/test_{name}{query}"


class MariaDB(SqlServer):
    """A MariaDB server."""

    name = "MariaDB"
    statement_timeout = "max_statement_time"

    def __init__(self, folder: Path) -> None:
        server = shutil.which("mariadbd") or shutil.which("mysqld")
        share = next((path for path in SHARES if (path / "mysql_system_tables.sql").exists()), None)
        if server is None or share is None:
            missing("MariaDB", "apt-get install mariadb-server-core")
        data = folder / "data"
        data.mkdir(parents=True)
        # What mariadb-install-db does, which needs a package more than the server itself.
        tables = [(share / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data")]
        subprocess.run(
            [str(server), "--no-defaults", "--bootstrap", f"--datadir={data}", *ME],
            input="CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n" + "\n".join(tables),
            text=True,
            check=True,
            capture_output=True,
        )
        super().__init__(folder, [server, "--no-defaults"])


class MySQL(SqlServer):
    """A MySQL server that offers TLS with certificates of the tests, unless its arguments say otherwise."""

    name = "MySQL"
    statement_timeout = "max_execution_time"

    def __init__(self, folder: Path, *arguments: str) -> None:
        if not (MYSQL / "mysqld").exists():
            missing("MySQL", f"deploy/install-mysql {MYSQL}, or PIXYPROXY_TEST_MYSQL_URL")
        folder.mkdir(parents=True)
        shutil.copytree(MYSQL / "data", folder / "data")
        write_certificates(folder / "data")
        self.certificates = folder / "data"
        # Not to wait for the disk makes migrations twice as fast, and loses nothing when the server alone is killed.
        fixed = ["--mysqlx=OFF", "--secure-file-priv=NULL", "--skip-log-bin", "--innodb-flush-method=nosync"]
        super().__init__(folder, [str(MYSQL / "mysqld"), *fixed, "--performance-schema=OFF", *arguments])


class ForeignMySQL(SqlServer):
    """A MySQL server of this machine that somebody else started, by the URL of its superuser.

    A test that needs a server of its own is skipped: one that stops it, or changes what all connections share.
    """

    name = "MySQL"
    statement_timeout = "max_execution_time"

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.host != "127.0.0.1":
            raise ValueError("PIXYPROXY_TEST_MYSQL_URL must name a server at 127.0.0.1")
        self.port = parsed.port or 3306
        self.superuser = {"host": parsed.host, "port": self.port, "user": parsed.username, "password": parsed.password}
        self.prepare()

    def query(self, sql: str, *parameters: object, database: str | None = None) -> list[Any]:
        """The rows of a statement that concerns this test alone."""
        if "GLOBAL" in sql or sql.startswith("KILL"):
            self.skip(sql)
        return super().query(sql, *parameters, database=database)

    def __getattr__(self, name: str) -> NoReturn:
        self.skip(name)

    def skip(self, what: str) -> NoReturn:
        """Skip the test that needs this."""
        pytest.skip(f"the server of PIXYPROXY_TEST_MYSQL_URL is not the tests' own: {what}")
