"""Logging in to real replicas: the command and the greeting, one database, two processes; the database away."""

import asyncio
import os
import pty
import re
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from pixyproxy.bootstrap.adapters import make_storage
from pixyproxy.bootstrap.app import build
from pixyproxy.bootstrap.services import Parts
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.data.init import migrate
from pixyproxy.settings import Settings
from pixyproxy.web.app import create_app
from tests import command, planted
from tests.command import Forked
from tests.servers import SCRIPT, PixyProxy, SqlServer, clean_environment, free_ports, run_cli, wait_until
from tests.tcp_proxy import TcpProxy

SAME = {"Sec-Fetch-Site": "same-origin"}
HOST = "http://pictures.example"
"""The name under which a load balancer shows every replica."""
TOKEN = "[A-Za-z0-9_-]{43}"


# --- Two replicas


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> str:
    """A migrated, empty database on each kind of server."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        url = server.create(unique())
    migrate(url)
    return url


@asynccontextmanager
async def replica(url: str, folder: Path, *, api_key: str | None) -> AsyncIterator[tuple[Parts, httpx2.AsyncClient]]:
    """A process over the database, and a client of it."""
    settings = Settings(
        database_url=SecretStr(url),
        storage_url=f"file:{folder}/images",
        data_dir=folder,
        api_key=None if api_key is None else SecretStr(api_key),
        demo=True,
        reconcile_interval=3600,
    )
    parts = build(settings)
    await make_storage(parts.adapters)
    transport = httpx2.ASGITransport(app=create_app(parts.services, version="test"))
    async with parts.background(), httpx2.AsyncClient(transport=transport, base_url=HOST) as client:
        yield parts, client


@asynccontextmanager
async def two_replicas(
    url: str, folder: Path, *, keys: tuple[str | None, str | None] = (planted.API_KEY, planted.API_KEY)
) -> AsyncIterator[list[tuple[Parts, httpx2.AsyncClient]]]:
    """Two processes over one database and one storage, each with this PIXYPROXY_API_KEY."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(replica(url, folder, api_key=key)) for key in keys]


async def answers_soon(client: httpx2.AsyncClient, cookie: dict[str, str], status: int) -> bool:
    """Whether the session gets this status within two seconds."""
    end = time.monotonic() + 2
    while (await client.get("/image", headers=cookie)).status_code != status:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


@pytest.mark.anyio
async def test_a_code_is_taken_once_however_many_replicas_get_it_at_once(database_url: str, tmp_path: Path) -> None:
    async with two_replicas(database_url, tmp_path) as replicas:
        for _ in range(5):
            code = await replicas[0][0].services.sessions.make_code(CONFIGURED_CALLER)
            tries = [client.post("/session", json={"code": code}) for _, client in replicas for _ in range(4)]
            answers = await asyncio.gather(*tries)
            assert sorted(answer.status_code for answer in answers) == [201] + [401] * 7
            (taken,) = [answer for answer in answers if answer.status_code == 201]
            cookie = {"Cookie": taken.headers["set-cookie"].partition(";")[0]}
            for _, client in replicas:
                client.cookies.clear()
                assert (await client.get("/session", headers=cookie)).json() == taken.json()


@pytest.mark.anyio
async def test_what_ends_a_session_at_one_replica_ends_it_at_the_other(database_url: str, tmp_path: Path) -> None:
    async with two_replicas(database_url, tmp_path) as ((here, client), (_, other)):
        key = await here.services.keys.create("laptop")
        cookies = []
        for _ in range(2):
            begun = await client.post("/session", json={"key": key})
            cookies.append({"Cookie": begun.headers["set-cookie"].partition(";")[0]})
            client.cookies.clear()
        for cookie in cookies:
            assert (await other.get("/image", headers=cookie)).status_code == 200
        assert (await client.delete("/session", headers={**cookies[0], **SAME})).status_code == 204
        assert (await client.get("/image", headers=cookies[0])).status_code == 401
        assert await answers_soon(other, cookies[0], 401)
        assert (await other.get("/image", headers=cookies[1])).status_code == 200
        await here.services.keys.revoke("laptop")
        for each in (client, other):
            assert await answers_soon(each, cookies[1], 401)


@pytest.mark.anyio
@pytest.mark.parametrize("changed", ["another-configured-key", None])
async def test_a_replica_that_restarted_with_another_configured_key_ends_the_sessions_of_the_old_one(
    database_url: str, tmp_path: Path, changed: str | None
) -> None:
    async with two_replicas(database_url, tmp_path, keys=(planted.API_KEY, changed)) as ((_, old), (_, new)):
        begun = await old.post("/session", json={"key": planted.API_KEY})
        cookie = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
        assert (await old.get("/image", headers=cookie)).status_code == 200
        assert (await new.get("/image", headers=cookie)).status_code == 401


# --- The command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an embedded default whose database exists."""
    migrated = run_cli(tmp_path, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    return tmp_path


def log_in(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`pixyproxy login` with these arguments."""
    return run_cli(folder, "login", *arguments, environment=environment)


def test_the_command_prints_an_address_and_nothing_else_on_stdout(folder: Path) -> None:
    configured = {"PIXYPROXY_API_KEY": planted.API_KEY}
    for arguments, environment, address in (
        ((), {}, "http://127.0.0.1:8000"),
        ((), {"PIXYPROXY_PORT": "8080"}, "http://127.0.0.1:8080"),
        ((), {"PIXYPROXY_HOST": "0.0.0.0"}, "http://localhost:8000"),
        (("--host", "::1", "--port", "8081"), {"PIXYPROXY_PORT": "0"}, "http://[::1]:8081"),
        ((), {"PIXYPROXY_PUBLIC_URL": "https://pictures.example/base/"}, "https://pictures.example/base"),
        (("--port", "8081"), {"PIXYPROXY_PUBLIC_URL": "https://pictures.example"}, "http://127.0.0.1:8081"),
    ):
        said = log_in(folder, *arguments, **configured, **environment)
        assert said.returncode == 0, said.stderr
        assert re.fullmatch(rf"{re.escape(address)}/#code={TOKEN}\n", said.stdout), said.stdout
        assert "once" in said.stderr
        assert "15 minutes" in said.stderr
    refused = log_in(folder, PIXYPROXY_PORT="0", **configured)
    assert (refused.returncode, refused.stdout, "--port" in refused.stderr) == (2, "", True)


def test_without_a_name_it_takes_the_key_that_is_meant_and_says_so_if_none_is(folder: Path) -> None:
    refused = log_in(folder)
    assert (refused.returncode, refused.stdout, "keys create NAME" in refused.stderr) == (2, "", True)
    run_cli(folder, "keys", "create", "laptop")
    assert log_in(folder).returncode == 0, "it is the only one"
    run_cli(folder, "keys", "create", "phone")
    refused = log_in(folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "pixyproxy: several API keys are in force; choose one with --key NAME: phone, laptop\n"
    assert log_in(folder, "--key", "phone").returncode == 0
    assert log_in(folder, PIXYPROXY_API_KEY=planted.API_KEY).returncode == 0
    for name in ("nobody", "PIXYPROXY_API_KEY"):
        refused = log_in(folder, "--key", name)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == f"pixyproxy: No API key in force has the name '{name}'; these are: phone, laptop.\n"
    run_cli(folder, "keys", "revoke", "phone")
    assert log_in(folder).returncode == 0, "a revoked one is no choice"
    assert log_in(folder, "--key", "phone").returncode == 1


def test_it_needs_a_database_that_exists(tmp_path: Path) -> None:
    refused = log_in(tmp_path)
    assert (refused.returncode, refused.stdout, "nothing is at" in refused.stderr) == (2, "", True)
    url = f"sqlite:///{tmp_path}/old.db"
    refused = log_in(tmp_path, PIXYPROXY_DATABASE_URL=url, PIXYPROXY_STORAGE_URL=f"file:{tmp_path}")
    assert (refused.returncode, "pixyproxy migrate" in refused.stderr) == (2, True)


# --- What `serve` prints


@contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """The address of `pixyproxy serve` on a terminal, and what it has printed there."""
    terminal, other = pty.openpty()
    (port,) = free_ports(1)
    screen = Path(os.ttyname(other))
    arguments, variables = ["serve", "--port", str(port)], clean_environment(environment)
    process = Forked(command.run, SCRIPT, arguments, variables, folder, screen, screen)
    os.close(other)
    os.set_blocking(terminal, False)
    read = bytearray()

    def said() -> str:
        while True:
            try:
                chunk = os.read(terminal, 65536)
            except (BlockingIOError, OSError):
                return read.decode().replace("\r\n", "\n")
            read.extend(chunk)

    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: (said(), httpx2.get(f"{url}/healthz")), seconds=60, what="PixyProxy on a terminal")
        yield url, said
    finally:
        process.terminate()
        while process.poll() is None:
            said()
            time.sleep(0.01)
        os.close(terminal)


def test_on_a_terminal_it_prints_an_address_that_logs_in_once(tmp_path: Path) -> None:
    with serving(tmp_path, {"PIXYPROXY_DRAIN_DELAY": "0"}) as (url, said):
        command = rf"\S+ login --port {url.rpartition(':')[2]}"
        line = rf"^Open (\S+#code={TOKEN})  \(once, for 15 minutes; '{command}' makes another\)$"
        (address,) = re.findall(line, said(), re.M)
        assert address.startswith(f"{url}/#code=")
        code = address.partition("#code=")[2]
        first, second = (httpx2.post(f"{url}/session", json={"code": code}) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 401)
        assert first.json()["caller"].startswith("first-start-")
        assert first.json()["demo"] is True
        made = log_in(tmp_path, "--port", url.rpartition(":")[2]).stdout.strip()
        later = httpx2.post(f"{url}/session", json={"code": made.partition("#code=")[2]})
        assert (made.partition("#")[0], later.json()["caller"]) == (f"{url}/", first.json()["caller"])
        log = said().partition("Open ")[2].partition("\n")[2]
        assert "REQUEST END POST /session 201" in log
        for secret in (code, made.partition("#code=")[2], *first.cookies.values()):
            assert secret not in log


def test_with_several_keys_it_prints_no_address(folder: Path) -> None:
    for name in ("laptop", "phone"):
        run_cli(folder, "keys", "create", name)
    environment = {
        "PIXYPROXY_DATABASE_URL": f"sqlite:///{folder}/pixyproxy-data/pixyproxy.db",
        "PIXYPROXY_STORAGE_URL": f"file:{folder}/pixyproxy-data/images",
        "PIXYPROXY_DEMO": "1",
        "PIXYPROXY_DRAIN_DELAY": "0",
        "PIXYPROXY_PUBLIC_URL": "https://pictures.example",
    }
    with serving(folder, environment) as (_, said):
        assert "#code=" not in said()
        assert "PixyProxy listens on" in said()
    with serving(folder, {**environment, "PIXYPROXY_API_KEY": planted.API_KEY}) as (_, said):
        assert "Open https://pictures.example/#code=" in said()


def test_where_no_terminal_is_no_code_is_made(tmp_path: Path, logs: Path) -> None:
    server = PixyProxy(tmp_path, {})
    server.process.log = logs / "no-terminal.log"
    try:
        assert "#code=" not in server.start().process.output()
    finally:
        server.process.stop()
    with closing(sqlite3.connect(tmp_path / "pixyproxy-data" / "pixyproxy.db")) as database:
        assert database.execute("SELECT count(*) FROM login_codes").fetchone() == (0,)


# --- The database away


def test_while_the_database_is_away_sessions_wait_and_are_open_afterwards(
    mariadb: SqlServer, unique: Callable[[], str], tmp_path: Path, logs: Path
) -> None:
    server, name = mariadb, unique()
    migrate(server.create(name))
    proxy = TcpProxy(server.port)
    replica = PixyProxy(
        tmp_path,
        {
            "PIXYPROXY_DATABASE_URL": server.url(name, port=proxy.port),
            "PIXYPROXY_STORAGE_URL": f"file:{tmp_path}/images",
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "PIXYPROXY_DEMO": "1",
        },
    )
    replica.process.log = logs / "database-away.log"
    try:
        (tmp_path / "images").mkdir()
        replica.start(path="/readyz")
        begun = httpx2.post(f"{replica.url}/session", json={"key": planted.API_KEY})
        cookie = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
        assert httpx2.get(f"{replica.url}/session", headers=cookie).status_code == 200
        proxy.mode = "refuse"
        time.sleep(1)  # what was read a second ago is believed
        for method, path, headers, body in (
            ("GET", "/session", cookie, None),
            ("DELETE", "/session", {**cookie, **SAME}, None),
            ("POST", "/session", {}, {"key": planted.API_KEY}),
            ("POST", "/session", {}, {"code": "A" * 43}),
        ):
            answer = httpx2.request(method, f"{replica.url}{path}", headers=headers, json=body, timeout=30)
            assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "database-unavailable")
        proxy.mode = "pass"
        wait_until(
            lambda: httpx2.get(f"{replica.url}/session", headers=cookie).raise_for_status(),
            seconds=20,
            what="the session",
        )
    finally:
        replica.process.stop()
        proxy.close()
