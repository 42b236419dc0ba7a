"""The command line, as processes: what a newcomer sees, what a mistake gets, and what keys do."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2
import pytest

from pixyproxy.cli.serve import SAMPLE_KEY
from pixyproxy.service.keys import is_well_formed
from pixyproxy.service.recovering.findings import Finding
from tests import planted
from tests.fakes import tiny_picture
from tests.servers import BIN, MariaDB, PixyProxy, clean_environment, free_ports, run_cli, wait_until


@pytest.fixture
def started(tmp_path: Path, logs: Path) -> Iterator[Callable[..., PixyProxy]]:
    """Starts processes, and ends them."""
    processes: list[PixyProxy] = []

    def start(
        environment: dict[str, str] | None = None, *arguments: str, path: str = "/healthz", installed: bool = False
    ) -> PixyProxy:
        process = PixyProxy(tmp_path, environment or {}, arguments=arguments or ("serve",), installed=installed)
        process.process.log = logs / f"cli-{len(list(logs.iterdir()))}.log"
        processes.append(process)
        return process.start(path=path)

    yield start
    for process in processes:
        process.process.stop()


ROOM = 5
"""How much slower than promised a start may be before a test fails: the machine has other work. README: measured."""

ENDED = (0, -signal.SIGTERM)
"""uvicorn ends its work and then passes the signal on to itself, as a shell expects it."""


def key_of(folder: Path) -> str:
    return (folder / "pixyproxy-data" / "api-key").read_text().strip()


def post(server: PixyProxy, key: str, **body: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(f"{server.url}/image", json={"prompt": planted.PROMPT, **body}, headers=headers, timeout=30)


def test_a_first_start_says_all_that_a_newcomer_needs(started: Callable[..., PixyProxy], tmp_path: Path) -> None:
    server = started(installed=True)
    said = server.process.output()
    key = key_of(tmp_path)
    assert is_well_formed(key)
    assert f"Your API key (kept in pixyproxy-data/api-key): {key}" in said
    assert f"PixyProxy listens on {server.url}" in said
    assert "demo upstream" in said
    assert "OPENAI_API_KEY" in said
    assert f'curl {server.url}/image -H "Authorization: Bearer $(cat pixyproxy-data/api-key)"' in said
    assert said.index("Try:") < said.index("REQUEST") if "REQUEST" in said else True
    mode = stat.S_IMODE((tmp_path / "pixyproxy-data" / "api-key").stat().st_mode)
    assert mode == 0o600
    details = post(server, key).json()
    assert details["model"] == "pixyproxy-demo"
    assert httpx2.get(details["url"]).content.startswith(b"\x89PNG")


def test_a_second_start_keeps_the_key_and_the_images_and_prints_no_key(
    started: Callable[..., PixyProxy], tmp_path: Path
) -> None:
    server = started()
    key = key_of(tmp_path)
    details = post(server, key).json()
    assert server.process.stop() in ENDED
    server = started()
    assert key_of(tmp_path) == key
    assert key not in server.process.output()
    assert httpx2.get(f"{server.url}/image/{details['guid']}").json()["sha256"] == details["sha256"]
    assert post(server, key).status_code == 201


def test_a_second_start_answers_within_three_seconds(started: Callable[..., PixyProxy]) -> None:
    started().process.stop()
    begin = time.monotonic()
    started(installed=True)
    assert time.monotonic() - begin < 3 * ROOM


def test_a_lost_key_file_is_replaced_and_a_revoked_or_broken_one_refused(
    started: Callable[..., PixyProxy], tmp_path: Path
) -> None:
    started().process.stop()
    first = key_of(tmp_path)
    file = tmp_path / "pixyproxy-data" / "api-key"
    file.unlink()
    server = started()
    assert key_of(tmp_path) != first
    assert post(server, key_of(tmp_path)).status_code == post(server, first).status_code == 201
    server.process.stop()
    name = run_cli(tmp_path, "keys", "list").stdout.splitlines()[-1].split()[0]
    assert run_cli(tmp_path, "keys", "revoke", name).returncode == 0
    refused = run_cli(tmp_path, "serve", "--port", "0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "is revoked or has expired: delete the file" in refused.stderr
    file.write_text("nonsense\n")
    refused = run_cli(tmp_path, "serve", "--port", "0")
    assert refused.returncode == 2
    assert "holds no API key" in refused.stderr
    assert "nonsense" not in refused.stderr


def test_two_workers_answer_and_end_together(started: Callable[..., PixyProxy], tmp_path: Path) -> None:
    server = started({"PIXYPROXY_API_KEY": planted.API_KEY}, "serve", "--workers", "2")
    assert not (tmp_path / "pixyproxy-data" / "api-key").exists()
    threads = set()
    for _ in range(200):
        threads.add(httpx2.get(f"{server.url}/healthz").headers["x-request-id"].rpartition("-")[2])
        if len(threads) == 2:
            break
    assert len(threads) == 2, "request-ids tell the worker processes apart"
    assert post(server, planted.API_KEY).status_code == 201
    assert server.process.stop(how=signal.SIGTERM) in ENDED
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(server.url)


def test_sigterm_lets_a_running_generation_finish(started: Callable[..., PixyProxy], tmp_path: Path) -> None:
    upstream = started({}, "demo-upstream", "--delay", "2", path="/")
    settings = {"OPENAI_API_KEY": planted.UPSTREAM_KEY, "OPENAI_BASE_URL": f"{upstream.url}/v1"}
    server = started(settings | {"PIXYPROXY_API_KEY": planted.API_KEY})
    with httpx2.Client(timeout=30) as client:
        request = client.build_request(
            "POST",
            f"{server.url}/image",
            json={"prompt": planted.PROMPT},
            headers={"Authorization": f"Bearer {planted.API_KEY}"},
        )
        answers: list[httpx2.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(client.send(request)))
        waiting.start()
        wait_until(lambda: post_has_begun(server), seconds=10, what="the generation")
        server.process.handle.terminate()
        waiting.join(30)
    assert answers[0].status_code == 201
    assert server.process.handle.wait(20) in ENDED


def post_has_begun(server: PixyProxy) -> None:
    server.process.output_with("REQUEST START POST /image")


def test_json_logs_are_json_line_by_line(started: Callable[..., PixyProxy], tmp_path: Path) -> None:
    server = started({"PIXYPROXY_LOG_FORMAT": "json", "PIXYPROXY_API_KEY": planted.API_KEY})
    post(server, planted.API_KEY)
    server.process.stop()
    log = server.process.output().partition("lighthouse at dawn\"}'\n")[2]  # what follows the greeting
    facts = [json.loads(line) for line in log.splitlines() if line]
    assert [fact for fact in facts if fact.get("status") == 201 and fact.get("caller") == "PIXYPROXY_API_KEY"]


def test_keys_are_made_shown_once_listed_and_revoked(started: Callable[..., PixyProxy], tmp_path: Path) -> None:
    nothing = run_cli(tmp_path, "keys", "list")
    assert (nothing.returncode, "nothing is at pixyproxy-data" in nothing.stderr) == (2, True)
    server = started({"PIXYPROXY_API_KEY": planted.API_KEY})
    made = run_cli(tmp_path, "keys", "create", "laptop")
    key = made.stdout.strip()
    assert is_well_formed(key)
    assert "only time" in made.stderr
    assert post(server, key).status_code == 201
    server.process.output_with("caller=laptop")
    listed = run_cli(tmp_path, "keys", "list").stdout
    assert re.fullmatch(rf"laptop +{key[:8]}…  created \S+ \S+Z  in force  draw,read,delete\n", listed)
    assert key not in listed
    assert run_cli(tmp_path, "keys", "revoke", "laptop").stdout == "laptop is revoked.\n"

    def is_refused() -> None:
        assert post(server, key).status_code == 401

    wait_until(is_refused, seconds=10, what="another process to refuse the key")
    assert "revoked 20" in run_cli(tmp_path, "keys", "list").stdout
    again = run_cli(tmp_path, "keys", "create", "laptop")
    assert (again.returncode, again.stdout) == (1, "")
    assert "the name 'laptop' already, in force or revoked" in again.stderr
    nobody = run_cli(tmp_path, "keys", "revoke", "nobody")
    assert nobody.returncode == 1
    assert "nobody" in nobody.stderr


def test_the_demo_upstream_serves_over_http(started: Callable[..., PixyProxy]) -> None:
    upstream = started({}, "demo-upstream", path="/")
    answer = httpx2.post(
        f"{upstream.url}/v1/images/generations",
        json={"prompt": "a dot", "size": "32x32"},
        headers={"Authorization": "Bearer anything"},
    )
    assert answer.status_code == 200
    assert answer.json()["data"][0]["b64_json"].startswith("iVBOR")
    edit = httpx2.post(
        f"{upstream.url}/v1/images/edits",
        data={"prompt": "a dot", "size": "32x32", "stream": "true", "partial_images": "1"},
        files={"image": ("dot.png", tiny_picture(), "image/png")},
        headers={"Authorization": "Bearer anything"},
    )
    assert edit.text.count("event: image_edit.") == 2


def test_serve_refuses_an_old_schema_and_says_what_to_do(
    mariadb: MariaDB, unique: Callable[[], str], tmp_path: Path
) -> None:
    real = {
        "PIXYPROXY_DATABASE_URL": mariadb.create(unique()),
        "PIXYPROXY_STORAGE_URL": f"file:{tmp_path}/images",
    }
    without_upstream = run_cli(tmp_path, "serve", "--port", "0", environment=real)
    assert (without_upstream.returncode, "OPENAI_API_KEY" in without_upstream.stderr) == (2, True)
    assert run_cli(tmp_path, "keys", "list", environment=real).returncode == 2, "not for want of an upstream"
    real["PIXYPROXY_DEMO"] = "1"
    refused = run_cli(tmp_path, "serve", "--port", "0", environment=real)
    assert refused.returncode == 2
    assert "PIXYPROXY_DATABASE_URL" in refused.stderr
    assert "run 'pixyproxy migrate'" in refused.stderr
    assert run_cli(tmp_path, "keys", "list", environment=real).returncode == 2
    assert run_cli(tmp_path, "migrate", environment=real).returncode == 0
    assert run_cli(tmp_path, "keys", "list", environment=real).returncode == 0


AGREED = (0, "Database and storage agree.\n")
OLD = time.time() - 2 * 86_400
"""A moment that is longer ago than the grace."""
NO_GRACE = {"PIXYPROXY_ORPHAN_GRACE": "0"}


def a_stray_object(folder: Path, first: str, *, written: float | None = None) -> Path:
    """An object of our key shape in the embedded default's storage, and no row."""
    if not (folder / "pixyproxy-data").exists():
        assert run_cli(folder, "migrate").returncode == 0
    guid = f"{first}1111111-1111-4111-8111-111111111111"
    file = folder / "pixyproxy-data" / "images" / guid[:2] / guid[2:4] / f"{guid}.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"stray")
    if written is not None:
        os.utime(file, (written, written))
    return file


def test_a_missing_folder_of_images_is_unavailable_and_never_created_again(
    started: Callable[..., PixyProxy], tmp_path: Path
) -> None:
    server = started()
    key = key_of(tmp_path)
    made = post(server, key, size="32x16").json()
    images, away = tmp_path / "pixyproxy-data" / "images", tmp_path / "elsewhere"
    images.rename(away)
    assert httpx2.get(made["url"]).json()["type"] == "urn:pixyproxy:problem:storage-unavailable"
    server.process.stop()
    server = started()
    assert httpx2.get(f"{server.url}/readyz").json()["failed"] == ["storage"]
    assert post(server, key).status_code == 503
    assert not images.exists()
    away.rename(images)
    wait_until(lambda: httpx2.get(f"{server.url}/readyz").raise_for_status(), seconds=20, what="the storage")
    assert httpx2.get(f"{server.url}/image/{made['guid']}/content").status_code == 200


def test_a_fresh_database_and_its_storage_agree(tmp_path: Path) -> None:
    assert run_cli(tmp_path, "migrate").returncode == 0
    for arguments in (["check"], ["reconcile"], ["reconcile", "--apply"]):
        result = run_cli(tmp_path, *arguments)
        assert (result.returncode, result.stdout) == AGREED
        assert result.stderr == ""


def test_an_object_without_a_row_is_removed_when_it_is_old_enough_and_only_if_that_is_asked_for(
    tmp_path: Path,
) -> None:
    young, old = a_stray_object(tmp_path, "a"), a_stray_object(tmp_path, "b", written=OLD)
    checked = run_cli(tmp_path, "check")
    assert checked.returncode == 1
    assert checked.stdout == (f"{young.name}  {Finding.ORPHAN}\n{old.name}  {Finding.ORPHAN}\n{Finding.ORPHAN}: 2\n")
    looked = run_cli(tmp_path, "reconcile")
    assert looked.returncode == 0
    assert looked.stdout == (
        f"{young.name}  {Finding.YOUNG}\n{old.name}  {Finding.ORPHAN}\n{Finding.YOUNG}: 1\n{Finding.ORPHAN}: 1\n"
        "Nothing was changed: run it with --apply to fix what can be fixed.\n"
    )
    assert young.exists()
    assert old.exists()
    applied = run_cli(tmp_path, "reconcile", "--apply")
    assert applied.returncode == 0
    assert f"{old.name}  {Finding.ORPHAN}: removed" in applied.stdout
    assert f"{Finding.ORPHAN}: 1, of these removed: 1" in applied.stdout
    assert young.exists()
    assert not old.exists()


def test_without_a_grace_every_object_without_a_row_is_removed_and_nothing_else(tmp_path: Path) -> None:
    stray = a_stray_object(tmp_path, "a")
    images = tmp_path / "pixyproxy-data" / "images"
    foreign = [images / "README.txt", stray.with_suffix(".svg"), stray.with_name("holiday.png"), images / stray.name]
    for file in foreign:
        file.write_bytes(b"foreign")
    assert run_cli(tmp_path, "reconcile", environment=NO_GRACE).returncode == 0
    assert stray.exists()
    applied = run_cli(tmp_path, "reconcile", "--apply", environment=NO_GRACE)
    assert applied.stdout == f"{stray.name}  {Finding.ORPHAN}: removed\n{Finding.ORPHAN}: 1, of these removed: 1\n"
    assert not stray.exists()
    assert all(file.exists() for file in foreign)
    again = run_cli(tmp_path, "check")
    assert (again.returncode, again.stdout) == AGREED


def test_a_run_removes_at_most_so_many_objects_and_says_how_to_go_on(tmp_path: Path) -> None:
    strays = [a_stray_object(tmp_path, first) for first in "abc"]
    after: list[str] = []
    for left in (2, 1, 0):
        result = run_cli(tmp_path, "reconcile", "--apply", "--max-deletes", "1", *after, environment=NO_GRACE)
        assert result.returncode == 0
        assert [stray.exists() for stray in strays] == [False] * (3 - left) + [True] * left
        goes_on = re.search(r"Continue with: (--after \S+)\n$", result.stdout)
        assert bool(goes_on) is (left > 0)
        after = goes_on[1].split() if goes_on else []
        assert after == (["--after", strays[2 - left].name] if left else [])


def test_what_a_process_left_behind_is_finished_and_a_row_without_an_object_is_only_reported(
    started: Callable[..., PixyProxy], tmp_path: Path
) -> None:
    server = started({"PIXYPROXY_API_KEY": planted.API_KEY})
    lost, deleted, kept = [post(server, planted.API_KEY).json() for _ in range(3)]
    server.process.stop()
    checked = run_cli(tmp_path, "check")
    assert (checked.returncode, checked.stdout) == AGREED
    images = tmp_path / "pixyproxy-data" / "images"
    files = {each["guid"]: next(images.rglob(each["filename"])) for each in (lost, deleted, kept)}
    files[lost["guid"]].unlink()
    database = sqlite3.connect(tmp_path / "pixyproxy-data" / "pixyproxy.db")
    database.execute("UPDATE images SET deleted_at = '2026-11-22 10:00:00.000000' WHERE guid = ?", [deleted["guid"]])
    database.commit()
    for _ in range(2):  # a look changes nothing
        checked = run_cli(tmp_path, "check")
        assert checked.returncode == 1
        assert checked.stdout == (
            f"{deleted['guid']}  {Finding.DELETION}\n{lost['filename']}  {Finding.LOST}\n"
            f"{Finding.DELETION}: 1\n{Finding.LOST}: 1\n"
        )
    applied = run_cli(tmp_path, "reconcile", "--apply", environment=NO_GRACE)
    assert applied.returncode == 0
    assert applied.stdout == (
        f"{deleted['guid']}  {Finding.DELETION}: finished\n{lost['filename']}  {Finding.LOST}\n"
        f"{Finding.DELETION}: 1, of these finished: 1\n{Finding.LOST}: 1\n"
    )
    left = {path for path in images.rglob("*") if path.is_file()}
    assert left == {files[kept["guid"]], images / ".pixyproxy-instance"}
    rows = database.execute("SELECT guid FROM images ORDER BY id").fetchall()
    database.close()
    assert rows == [(lost["guid"],), (kept["guid"],)]


REAL = {"PIXYPROXY_STORAGE_URL": "file:x", "PIXYPROXY_DEMO": "1"}
UNREACHABLE = f"mysql+pymysql://u:{planted.DATABASE_PASSWORD}@127.0.0.1:9/x"

MISTAKES: dict[str, tuple[list[str], dict[str, str], int, str]] = {
    "no command": ([], {}, 2, "COMMAND"),
    "unknown command": (["sevre"], {}, 2, "invalid choice"),
    "port": (["serve", "--port", "x"], {}, 2, "0 to 65535"),
    "workers": (["serve", "--workers", "0"], {}, 2, "from 1 on"),
    "delay": (["demo-upstream", "--delay", "-1"], {}, 2, "seconds"),
    "key name": (["keys", "create", "a b"], {"PIXYPROXY_DATA_DIR": "."}, 2, "1 to 64 characters"),
    "setting": (["serve"], {"PIXYPROXY_PORT": "x"}, 2, "PIXYPROXY_PORT"),
    "half set": (["serve"], {"PIXYPROXY_STORAGE_URL": "s3://bucket"}, 2, "PIXYPROXY_DATABASE_URL"),
    "bucket of a folder": (["migrate", "--create-bucket"], {}, 2, "PIXYPROXY_STORAGE_URL"),
    "no database": (["serve"], REAL | {"PIXYPROXY_DATABASE_URL": UNREACHABLE}, 1, "PIXYPROXY_DATABASE_URL"),
    "password with @": (
        ["migrate"],
        REAL | {"PIXYPROXY_DATABASE_URL": f"mysql+pymysql://u:a@b:{planted.DATABASE_PASSWORD}@127.0.0.1:9/x"},
        2,
        "PIXYPROXY_DATABASE_URL",
    ),
    "option": (["migrate"], REAL | {"PIXYPROXY_DATABASE_URL": f"{UNREACHABLE}?foo=bar"}, 2, "PIXYPROXY_DATABASE_URL"),
    "timeout": (
        ["serve"],
        REAL | {"PIXYPROXY_DATABASE_URL": f"{UNREACHABLE}?read_timeout=x"},
        2,
        "PIXYPROXY_DATABASE_URL",
    ),
    "folder of the database": (
        ["migrate"],
        REAL | {"PIXYPROXY_DATABASE_URL": "sqlite:////proc/nope/x.db"},
        2,
        "PIXYPROXY_DATABASE_URL",
    ),
    "no host": (["serve"], {"PIXYPROXY_HOST": "a..b"}, 2, "PIXYPROXY_HOST"),
    "TLS": (
        ["serve"],
        REAL | {"PIXYPROXY_DATABASE_URL": f"{UNREACHABLE}?ssl_ca=/none.pem"},
        2,
        "PIXYPROXY_DATABASE_URL",
    ),
    "data dir": (["serve"], {"PIXYPROXY_DATA_DIR": "/dev/null"}, 2, "PIXYPROXY_DATA_DIR"),
    "data dir below nothing": (["serve"], {"PIXYPROXY_DATA_DIR": "/proc/x"}, 2, "PIXYPROXY_DATA_DIR"),
    "host": (["serve"], {"PIXYPROXY_HOST": "192.0.2.1"}, 2, "PIXYPROXY_HOST"),
    "upstream key": (["serve"], {"OPENAI_API_KEY": "planted-key\n"}, 2, "OPENAI_API_KEY"),
    "profile": (
        ["serve"],
        REAL | {"PIXYPROXY_DATABASE_URL": UNREACHABLE, "PIXYPROXY_STORAGE_URL": "s3://bucket", "AWS_PROFILE": "nobody"},
        2,
        "PIXYPROXY_STORAGE_URL",
    ),
    "lower case": (["serve"], {"pixyproxy_port": "9"}, 2, "did you mean PIXYPROXY_PORT"),
    "no key to go on behind": (["reconcile", "--after", ""], {}, 2, "--after"),
    "no key of ours": (["reconcile", "--after", "some/file.png"], {}, 2, "--after"),
    "nothing to remove": (["reconcile", "--max-deletes", "0"], {}, 2, "--max-deletes"),
    "no number to remove": (["reconcile", "--max-deletes", "all"], {}, 2, "--max-deletes"),
    "nothing to reconcile": (["reconcile", "--apply"], {"PIXYPROXY_DATA_DIR": "nowhere"}, 2, "nothing is at nowhere"),
    "nothing to check": (["check"], {"PIXYPROXY_DATA_DIR": "nowhere"}, 2, "nothing is at nowhere"),
    "lease": (["check"], {"PIXYPROXY_LEASE": "0"}, 2, "PIXYPROXY_LEASE"),
}


@pytest.mark.parametrize(("arguments", "environment", "status", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_a_line_that_names_it(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    result = run_cli(tmp_path, *arguments, environment=environment)
    assert result.returncode == status
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert planted.DATABASE_PASSWORD not in result.stderr
    if environment:
        assert len(result.stderr.splitlines()) == 1


def test_an_address_that_is_taken_is_said_before_anything_else(
    started: Callable[..., PixyProxy], tmp_path: Path
) -> None:
    server = started()
    result = run_cli(tmp_path, "serve", "--port", str(server.port))
    assert (result.returncode, result.stdout) == (2, "")
    assert f"cannot listen on 127.0.0.1:{server.port}" in result.stderr


def test_an_address_that_is_taken_while_the_process_starts_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (number,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as bucket, socket.socket() as taker:

        def take_it_when_the_bucket_is_asked() -> None:
            with suppress(OSError):
                bucket.accept()[0].close()
                taker.bind(("127.0.0.1", number))
                taker.listen()
                while True:
                    bucket.accept()[0].close()

        threading.Thread(target=take_it_when_the_bucket_is_asked, daemon=True).start()
        environment = {
            "PIXYPROXY_DATABASE_URL": f"sqlite:///{tmp_path}/pixyproxy.db",
            "PIXYPROXY_STORAGE_URL": "s3://bucket",
            "PIXYPROXY_S3_ENDPOINT_URL": f"http://127.0.0.1:{bucket.getsockname()[1]}",
            "PIXYPROXY_DEMO": "1",
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "planted"),
        }
        elsewhere = {
            "PIXYPROXY_DATABASE_URL": environment["PIXYPROXY_DATABASE_URL"],
            "PIXYPROXY_STORAGE_URL": f"file:{tmp_path}/images",
        }
        assert run_cli(tmp_path, "migrate", environment=elsewhere).returncode == 0
        result = run_cli(tmp_path, "serve", "--port", str(number), environment=environment)
        bucket.shutdown(socket.SHUT_RDWR)
    assert result.returncode == 2
    assert f"cannot listen on 127.0.0.1:{number}" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_the_installed_script_runs_every_other_command(started: Callable[..., PixyProxy], tmp_path: Path) -> None:
    """As the first start runs `serve`. Elsewhere commands are forks that have imported everything already."""
    run = partial(run_cli, tmp_path, installed=True)
    assert run("migrate").returncode == 0
    assert is_well_formed(run("keys", "create", "laptop").stdout.strip())
    for command in (["check"], ["reconcile", "--apply"]):
        result = run(*command)
        assert (result.returncode, result.stdout) == AGREED
    upstream = started({}, "demo-upstream", path="/", installed=True)
    assert upstream.process.stop() in ENDED


def test_version_and_help_name_every_command(tmp_path: Path) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run_cli(tmp_path, "--version").stdout)
    said = run_cli(tmp_path, "--help").stdout
    for command in ("serve", "migrate", "keys", "reconcile", "check", "doctor", "demo-upstream"):
        assert command in said
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_takes_nothing_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [str(BIN / "pixyproxy"), "serve", "--port", "0"],
            cwd=tmp_path,
            env=clean_environment({}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        "pixyproxy: output cannot be written (No space left on device)\n",
    )


def test_a_file_that_cannot_be_opened_is_named_and_not_called_the_output(tmp_path: Path) -> None:
    (tmp_path / "pixyproxy-data" / "api-key").mkdir(parents=True)
    ended = run_cli(tmp_path, "serve", "--port", "0")
    assert (ended.returncode, ended.stderr) == (
        1,
        "pixyproxy: pixyproxy-data/api-key cannot be opened (Is a directory)\n",
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PIXYPROXY_API_KEY": "local-only-api-key-change-me"}, ["PIXYPROXY_API_KEY is the sample"]),
        ({"PIXYPROXY_HOST": "0.0.0.0"}, ["PIXYPROXY_PUBLIC_URL is not set"]),
        ({"PIXYPROXY_HOST": "0.0.0.0", "PIXYPROXY_PUBLIC_URL": "https://pictures.example"}, []),
        ({"PIXYPROXY_API_KEY": planted.API_KEY}, []),
    ],
)
def test_what_is_wrong_in_production_is_a_warning_at_start(
    tmp_path: Path, environment: dict[str, str], said: list[str]
) -> None:
    replica = PixyProxy(tmp_path, environment).start()
    replica.process.stop()
    warnings = [line for line in replica.process.output().splitlines() if line.startswith("Warning: ")]
    assert len(warnings) == len(said)
    assert all(text in warning for text, warning in zip(said, warnings, strict=True))


def test_the_sample_key_is_the_one_of_the_example() -> None:
    example = (Path(__file__).parent.parent / ".env.example").read_text()
    assert f"PIXYPROXY_API_KEY={SAMPLE_KEY}\n" in example
