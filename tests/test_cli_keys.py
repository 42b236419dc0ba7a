"""`pixyproxy keys` as processes: what it prints, what it refuses, and what running replicas make of it."""

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pixyproxy.service.keys import is_well_formed
from tests import planted
from tests.fakes import tiny_picture
from tests.servers import PixyProxy, run_cli, wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ONCE = "This is the only time that the key is shown."


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command of `pixyproxy keys` over a database without a key."""
    assert run_cli(tmp_path, "migrate").returncode == 0
    return lambda *arguments, **environment: run_cli(tmp_path, "keys", *arguments, environment=environment)


def rows_of(text: str) -> dict[str, str]:
    """What `keys show` prints: a name and a value a line."""
    return {line[:22].strip(): line[22:].strip() for line in text.splitlines()}


def test_a_key_has_what_the_options_say(run: Run) -> None:
    made = run(
        *("create", "shop", "--scope", "draw,read-all", "--scope", "admin", "--rate", "30", "--running", "4"),
        *("--share", "50", "--expires", "90d", "--note", "für die Küche"),
    )
    assert (made.returncode, made.stderr.strip()) == (0, ONCE)
    assert is_well_formed(made.stdout.strip())
    shown = rows_of(run("show", "shop").stdout)
    assert shown.pop("created").endswith("Z")
    until = datetime.strptime(shown.pop("expires"), "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(days=89) < until - datetime.now(UTC) < timedelta(days=91)
    assert shown == {
        "name": "shop",
        "key": f"{made.stdout[:8]}…",
        "state": "in force",
        "scopes": "draw, read-all, admin",
        "former secret": "none",
        "generations a minute": "30",
        "generations at once": "4",
        "of one replica": "50 %",
        "note": "für die Küche",
    }


def test_a_key_of_which_nothing_is_said_is_a_new_key(run: Run) -> None:
    run("create", "shop")
    shown = rows_of(run("show", "shop").stdout)
    assert (shown["scopes"], shown["expires"]) == ("draw, read, delete", "never")
    assert {shown[name] for name in ("generations a minute", "generations at once", "of one replica")} == {"no limit"}
    assert run("list").stdout.endswith("Z  in force  draw,read,delete\n")


def test_a_key_is_changed_and_what_is_not_named_stays(run: Run) -> None:
    run("create", "shop", "--scope", "all", "--rate", "30", "--note", "a note", "--expires", "2126-12-31")
    changed = run("set", "shop", "--scope", "read", "--rate", "none", "--running", "2", "--name", "store")
    assert changed.returncode == 0, changed.stderr
    assert changed.stdout == run("show", "store").stdout
    shown = rows_of(changed.stdout)
    assert (shown["name"], shown["scopes"], shown["note"]) == ("store", "read", "a note")
    assert (shown["generations a minute"], shown["generations at once"]) == ("no limit", "2")
    assert shown["expires"] == "2126-12-31 00:00:00Z"
    assert rows_of(run("set", "store", "--expires", "none", "--note", "none").stdout)["expires"] == "never"
    assert run("show", "shop").returncode == 1


def test_whoever_takes_the_last_way_in_away_is_told(run: Run) -> None:
    run("create", "boss", "--scope", "all")
    for change in (("set", "boss", "--scope", "draw"), ("set", "boss", "--scope", "all", "--expires", "1h")):
        warned = run(*change)
        assert (warned.returncode, "Warning: no key that is valid" in warned.stderr) == (0, change[-1] == "draw")
    revoked = run("revoke", "boss")
    assert (revoked.returncode, revoked.stdout) == (0, "boss is revoked.\n")
    assert re.search(r"keys create NAME --scope all' makes one", revoked.stderr)
    run("create", "deputy", "--scope", "all")
    assert run("revoke", "deputy", PIXYPROXY_API_KEY=planted.API_KEY).stderr == ""


def test_the_key_of_the_setting_is_listed_where_it_is_set_and_changed_there_only(run: Run) -> None:
    assert run("list").stdout == ""
    run = partial(run, PIXYPROXY_API_KEY=planted.API_KEY)
    assert re.fullmatch(r"PIXYPROXY_API_KEY +the setting  in force  draw,read,.*,admin\n", run("list").stdout)
    assert rows_of(run("show", "PIXYPROXY_API_KEY").stdout)["key"] == "the setting"
    for command in (("set", "--rate", "3"), ("rotate",), ("revoke",)):
        refused = run(command[0], "PIXYPROXY_API_KEY", *command[1:])
        assert (refused.returncode, "where the service is configured" in refused.stderr) == (1, True)


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an unknown scope": (("create", "shop", "--scope", "draw,paint"), 2, "a scope is one of draw, read, read-all"),
    "an empty scope": (("create", "shop", "--scope", ""), 2, "a scope is one of"),
    "a rate of 0": (("create", "shop", "--rate", "0"), 2, "a whole number from 1"),
    "a negative rate": (("create", "shop", "--rate=-3"), 2, "a whole number from 1"),
    "no number": (("create", "shop", "--running", "many"), 2, "a whole number from 1"),
    "nothing to remove": (("create", "shop", "--rate", "none"), 2, "a whole number from 1"),
    "more than a replica": (("create", "shop", "--share", "101"), 2, "a whole number from 1 to 100"),
    "a past day": (("create", "shop", "--expires", "2026-01-01"), 2, "must be in the future"),
    "a time of nothing": (("create", "shop", "--expires", "0d"), 2, "must be in the future"),
    "a time without a zone": (("create", "shop", "--expires", "2126-01-01T00:00:00"), 2, "must say its zone"),
    "no time": (("create", "shop", "--expires", "soon"), 2, "must be like 90d"),
    "too long a time": (("create", "shop", "--expires", "999999w"), 2, "must be"),
    "a long note": (("create", "shop", "--note", "x" * 501), 2, "at most 500"),
    "two lines": (("create", "shop", "--note", "a\nb"), 2, "one line"),
    "a bad name": (("create", "a b"), 2, "1 to 64 characters"),
    "a reserved name": (("create", "self"), 2, "is no name for a key"),
    "two dots": (("create", ".."), 2, "is no name for a key"),
    "a name that exists": (("create", "known"), 1, "'known' already"),
    "an unknown key": (("show", "nobody"), 1, "'nobody'"),
    "a change of an unknown key": (("set", "nobody", "--rate", "3"), 1, "'nobody'"),
    "a rotation of an unknown key": (("rotate", "nobody"), 1, "'nobody'"),
    "a new name that exists": (("set", "other", "--name", "known"), 1, "'known' already"),
    "a new name that is none": (("set", "other", "--name", "a b"), 2, "a name has 1 to 64"),
    "a long overlap": (("rotate", "known", "--overlap", "91d"), 2, "at most 90d"),
    "no overlap": (("rotate", "known", "--overlap", "long"), 2, "such as 24h"),
}


def test_what_no_key_may_be_is_refused_in_a_line(run: Run) -> None:
    for name in ("known", "other"):
        run("create", name)
    before = run("list").stdout
    for case, (arguments, status, said) in REFUSED.items():
        refused = run(*arguments)
        assert (refused.returncode, refused.stdout) == (status, ""), case
        assert said in " ".join(refused.stderr.split()), (case, refused.stderr)
        assert "Traceback" not in refused.stderr, case
    assert run("list").stdout == before


# --- Running replicas


@pytest.fixture
def replicas(tmp_path: Path, logs: Path) -> Iterator[list[PixyProxy]]:
    """Two replicas over one database and one folder."""
    (tmp_path / "images").mkdir()
    environment = {
        "PIXYPROXY_DATABASE_URL": f"sqlite:///{tmp_path}/shared.db",
        "PIXYPROXY_STORAGE_URL": f"file:{tmp_path}/images",
        "PIXYPROXY_API_KEY": planted.API_KEY,
        "PIXYPROXY_DEMO": "1",
    }
    assert run_cli(tmp_path, "migrate", environment=environment).returncode == 0
    started = [PixyProxy(tmp_path / name, environment) for name in ("one", "two")]
    for replica in started:
        replica.process.log = logs / f"keys-{replica.port}.log"
        replica.start(path="/readyz")
    yield started
    for replica in started:
        replica.process.stop()


def ask(replica: PixyProxy, method: str, path: str, key: str = planted.API_KEY, **sent: Any) -> httpx2.Response:
    """The answer of a replica to this key, or to the headers that are sent."""
    headers = sent.pop("headers", {"Authorization": f"Bearer {key}"})
    return httpx2.request(method, replica.url + path, headers=headers, timeout=30, **sent)


def soon(replica: PixyProxy, expected: int, method: str, path: str, key: str, **sent: Any) -> None:
    """Wait until the replica answers so."""

    def answers() -> None:
        assert ask(replica, method, path, key, **sent).status_code == expected

    wait_until(answers, seconds=30, what=f"{method} {path} to be {expected}")


def test_a_key_that_one_replica_narrows_rotates_and_revokes_is_so_at_once_there_and_soon_at_the_other(
    replicas: list[PixyProxy],
) -> None:
    one, two = replicas
    key = ask(one, "POST", "/key", json={"name": "shop"}).json()["key"]
    begun = ask(two, "POST", "/session", headers={}, json={"key": key})
    name, _, token = begun.headers["set-cookie"].partition(";")[0].partition("=")
    cookies = {each.port: {"Cookie": f"{name.rpartition('-')[0]}-{each.port}={token}"} for each in replicas}
    for replica in replicas:
        assert ask(replica, "GET", "/image", key).status_code == 200
        assert ask(replica, "GET", "/image", headers=cookies[replica.port]).status_code == 200

    assert ask(one, "PATCH", "/key/shop", json={"scopes": ["draw"]}).status_code == 200
    assert ask(one, "GET", "/image", key).status_code == 403
    assert ask(one, "GET", "/image", headers=cookies[one.port]).status_code == 403
    soon(two, 403, "GET", "/image", key)
    soon(two, 403, "GET", "/image", key, headers=cookies[two.port])

    new = ask(one, "POST", "/key/shop/rotate", json={"overlap": 0}).json()["key"]
    assert ask(one, "GET", "/key/self", key).status_code == 401
    assert ask(one, "GET", "/session", headers=cookies[one.port]).status_code == 401
    soon(two, 401, "GET", "/key/self", key)
    soon(two, 401, "GET", "/session", key, headers=cookies[two.port])
    assert ask(two, "GET", "/key/self", new).json()["name"] == "shop"

    assert ask(two, "DELETE", "/key/shop").status_code == 204
    assert ask(two, "GET", "/key/self", new).status_code == 401
    soon(one, 401, "GET", "/key/self", new)


def test_a_key_that_the_command_line_rotates_has_two_secrets_at_running_replicas(
    replicas: list[PixyProxy], tmp_path: Path
) -> None:
    environment = {"PIXYPROXY_DATABASE_URL": f"sqlite:///{tmp_path}/shared.db"}
    environment["PIXYPROXY_STORAGE_URL"] = f"file:{tmp_path}/images"
    run = partial(run_cli, tmp_path, "keys", environment=environment)
    old = run("create", "shop").stdout.strip()
    drawn = ask(replicas[0], "POST", "/image", old, json={"prompt": planted.PROMPT}).json()
    rotated = run("rotate", "shop", "--overlap", "1h")
    assert re.match(rf"{re.escape(ONCE)} The former one is valid until \S+ \S+Z\.\n", rotated.stderr)
    assert rows_of(run("show", "shop").stdout)["former secret"].startswith("valid until")
    for replica in replicas:
        for key in (old, rotated.stdout.strip()):
            assert [each["guid"] for each in ask(replica, "GET", "/image", key).json()] == [drawn["guid"]]
    run("set", "shop", "--scope", "read")
    for replica in replicas:
        soon(replica, 403, "DELETE", f"/image/{drawn['guid']}", old)
    assert ask(replicas[1], "POST", "/v1/images/edits", old, data={"prompt": "x"}, files=EDITED).status_code == 403


def test_without_a_cache_a_running_process_refuses_a_revoked_key_and_its_session_at_once(
    tmp_path: Path, logs: Path
) -> None:
    replica = PixyProxy(tmp_path, {"PIXYPROXY_CACHE_TTL": "0"})
    replica.process.log = logs / f"keys-{replica.port}.log"
    replica.start(path="/readyz")
    try:
        for command in ("revoke", "set"):
            key = run_cli(tmp_path, "keys", "create", command).stdout.strip()
            begun = ask(replica, "POST", "/session", headers={}, json={"key": key})
            both = [{"Authorization": f"Bearer {key}"}, {"Cookie": begun.headers["set-cookie"].partition(";")[0]}]
            assert [ask(replica, "GET", "/image", headers=each).status_code for each in both] == [200, 200]
            options = ("--scope", "draw") if command == "set" else ()
            assert run_cli(tmp_path, "keys", command, command, *options).returncode == 0
            expected = 403 if command == "set" else 401
            assert [ask(replica, "GET", "/image", headers=each).status_code for each in both] == [expected] * 2
    finally:
        replica.process.stop()


EDITED = {"image": ("dot.png", tiny_picture(), "image/png")}
