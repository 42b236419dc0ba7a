"""Fixtures that several files share, and the end of the report: what ran on which real server."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser

from pixyproxy.data.init import migrate
from pixyproxy.web.log.format import TextFormatter
from tests import planted
from tests.browsing import Browsers, chromium
from tests.certificates import write_certificates
from tests.page_stage import PageService, serve_page
from tests.servers import ForeignMySQL, MariaDB, MySQL, SeaweedFS, SqlServer

SERVERS = ("mysql", "mariadb", "seaweedfs")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of every log of this run: ours, and those of the processes that the tests start.

    At the end of the run no secret and no prompt stands in any of them.
    """
    folder = tmp_path_factory.mktemp("logs")
    yield folder
    texts = {file.name: file.read_text(errors="replace") for file in folder.rglob("*.log")}
    assert "".join(texts.values()), "there must be a log to look at"
    found = {(name, secret) for name, text in texts.items() for secret in planted.SECRETS if secret in text}
    assert found == set(), "a secret or a prompt stands in a log"


@pytest.fixture(scope="session", autouse=True)
def own_log(logs: Path) -> Iterator[None]:
    """What the product logs inside the test process goes to a file too, in its production form."""
    handler = logging.FileHandler(logs / "in-process.log")
    handler.setFormatter(TextFormatter())
    root, ours = logging.getLogger(), logging.getLogger("pixyproxy")
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    ours.info("the run begins")  # so that there is a log to look at, whichever tests run
    yield
    root.removeHandler(handler)
    handler.close()


@pytest.fixture(scope="session", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Clients in the test process trust one authority, not all of the world's.

    Each client, and each `httpx2.get`, loads those that it trusts: 42 ms of CPU for the world's, 5 ms for this one.
    The processes that the tests start know nothing of it.
    """
    folder = tmp_path_factory.mktemp("authorities")
    write_certificates(folder)
    os.environ["SSL_CERT_FILE"] = str(folder / "ca.pem")


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB server for the whole run."""
    server = MariaDB(tmp_path_factory.mktemp("mariadb") / "server")
    VERSIONS["mariadb"] = f"MariaDB {server.version}"
    yield server
    server.process.stop(how=signal.SIGKILL)  # its folder goes with the run; a clean end would take seconds


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQL]:
    """A MySQL server for the whole run."""
    url = os.environ.get("PIXYPROXY_TEST_MYSQL_URL")
    server = ForeignMySQL(url) if url else MySQL(tmp_path_factory.mktemp("mysql") / "server")
    VERSIONS["mysql"] = f"MySQL {server.version}"
    yield server
    if not url:
        server.process.stop(how=signal.SIGKILL)  # its folder goes with the run; a clean end would take seconds


@pytest.fixture(params=["mysql", "mariadb"])
def sql_server(request: pytest.FixtureRequest) -> SqlServer:
    """Each of the database servers, one after the other."""
    server: SqlServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A SeaweedFS server for the whole run."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "server")
    VERSIONS["seaweedfs"] = "SeaweedFS"
    yield server
    server.process.stop(how=signal.SIGKILL)  # its folder goes with the run; a clean end would take seconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for the tests of a file, none of which may be async: see `chromium`."""
    with chromium() as started:
        yield started


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Servers of a test. They end after its browsers: a page complains of a server that is gone."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def browsers(browser: Browser, servers: ExitStack) -> Iterator[Browsers]:
    """Makes browsers of people. At the end of the test a complaint of one of their pages is a failure."""
    made = Browsers(browser)
    yield made
    made.close()


@pytest.fixture
def page_service(tmp_path: Path, servers: ExitStack) -> PageService:
    """The service with its page, over SQLite and a folder, and an upstream that the test can make misbehave."""
    return servers.enter_context(serve_page(tmp_path))


@pytest.fixture(scope="session")
def unique() -> Callable[[], str]:
    """Names that no other test has, of this run or of an earlier one, for databases and buckets."""
    run, counter = uuid4().hex[:8], iter(range(1, 1_000_000))
    return lambda: f"pixy{run}{next(counter):06d}"


@pytest.fixture(scope="module")
def migrated() -> dict[str, str]:
    """The URL of a migrated database on each server: to migrate one for each test takes minutes in all."""
    return {}


@pytest.fixture(scope="module")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file to copy, as `migrate` leaves it."""
    file = tmp_path_factory.mktemp("migrated") / "pixyproxy.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of SeaweedFS where boto3's own chain finds them, and nothing else there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", planted.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", planted.S3_SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup: servers would ignore it too, as they should
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

VERSIONS: dict[str, str] = {}
LONGEST = (
    "test_real_stack.py",
    "test_draining.py",
    "test_storage.py",
    "test_faults.py",
    "test_state_machine.py",
    "test_database_errors.py",
    "test_cli.py",
    "test_crash_matrix.py",
    "test_retries_at_replicas.py",
    "test_full_disk.py",
    "test_rolling_upgrade.py",
    "test_page_making.py",
    "test_page_gallery.py",
    "test_page_prompts.py",
    "test_page_access.py",
    "test_page_login.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many processes as cores, at most 4 (Makefile): of the longest files, most time is waiting."""
    return 2 * len(os.sched_getaffinity(0))


def servers_of(item: pytest.Item) -> list[str]:
    """The real servers that a test uses: by the names of its fixtures, by its parameters, and as it says itself."""
    chosen = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    used = {*getattr(item, "fixturenames", ()), *getattr(item, "used_servers", ())}
    used |= {each for each in chosen if isinstance(each, str)}
    return [server for server in SERVERS if server in used]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real server, and put the longest files first, so that no worker ends long after the others."""
    for item in items:
        for server in servers_of(item):
            item.add_marker(server)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note on which real servers a test ran."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        report.user_properties += [(server, VERSIONS[server]) for server in servers_of(item) if server in VERSIONS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what ran on real servers, in all workers."""
    terminalreporter.section("real servers")
    for server in SERVERS:
        ran = [dict(report.user_properties).get(server) for report in terminalreporter.getreports("passed")]
        names = {name for name in ran if name} or {f"{server} (not started)"}
        terminalreporter.write_line(f"{len([name for name in ran if name])} tests passed on {', '.join(names)}")


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the service."""
    return "asyncio"
