"""Keys over HTTP: who administers them, what is shown, what is refused, and how the last way in is kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from pixyproxy.core.exceptions import DatabaseUnavailableError
from pixyproxy.core.keys import EVERYTHING, KeyLimits, KeyRights, Scope
from pixyproxy.data.cached_keys import NAME_TTL
from pixyproxy.service.keys import is_well_formed
from tests.stage import KEY, Stage

pytestmark = pytest.mark.anyio

FUTURE = "2126-12-31T00:00:00Z"
ADMIN = KeyRights(scopes=frozenset({Scope.ADMIN}))
DETAILS = {
    "prefix", "name", "scopes", "state", "configured", "note", "rate_per_minute", "running_limit", "replica_share",
    "created_at", "expires_at", "revoked_at", "former_until", "budgets",
}  # fmt: skip


async def ask(stage: Stage, method: str, path: str, *, key: str | None = None, **sent: Any) -> httpx2.Response:
    """The answer to a request with this key; with the configured one if none is named."""
    headers = KEY if key is None else {"Authorization": f"Bearer {key}"}
    async with stage.client(key=False) as client:
        return await client.request(method, path, headers=headers | sent.pop("headers", {}), **sent)


async def make(stage: Stage, name: str = "shop", **body: Any) -> dict[str, Any]:
    """The answer with a new key."""
    answer = await ask(stage, "POST", "/key", json={"name": name, **body})
    assert answer.status_code == 201, answer.text
    details: dict[str, Any] = answer.json()
    return details


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Status and name of a problem."""
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def pointers(answer: httpx2.Response) -> list[str]:
    """Where the broken rules are."""
    assert problem(answer) == (422, "invalid-request"), answer.text
    return [each["pointer"] for each in answer.json()["errors"]]


async def status(stage: Stage, key: str) -> int:
    """Of the answer to a key that asks who it is."""
    return (await ask(stage, "GET", "/key/self", key=key)).status_code


# --- Making, showing


async def test_a_key_is_shown_once_and_may_do_what_a_new_key_may() -> None:
    stage = Stage()
    answer = await ask(stage, "POST", "/key", json={"name": "shop"})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/key/shop")
    assert answer.headers["cache-control"] == "no-store"
    key = made.pop("key")
    assert is_well_formed(key)
    assert set(made) == DETAILS
    assert made["scopes"] == ["draw", "read", "delete"]
    assert (made["state"], made["prefix"], made["configured"]) == ("in-force", key[:8], False)
    for path, by in (("/key/shop", None), ("/key/self", key)):
        shown = await ask(stage, "GET", path, key=by)
        assert shown.json() == made
        assert shown.headers["cache-control"] == "no-store"
    assert key not in (await ask(stage, "GET", "/key")).text


async def test_everything_that_a_key_may_do_is_set_and_shown() -> None:
    stage = Stage()
    rights: dict[str, Any] = {
        "scopes": ["draw", "read-all", "admin"],
        "expires_at": FUTURE,
        "note": "für die Küche 🎨",
        "rate_per_minute": 30,
        "running_limit": 4,
        "replica_share": 50,
    }
    made = await make(stage, **rights)
    assert rights.items() <= made.items()
    caller = await stage.keys.authenticate(made["key"])
    assert caller.limits == KeyLimits(rate_per_minute=30, running_limit=4, replica_share=50)
    assert caller.scopes == {Scope.DRAW, Scope.READ_ALL, Scope.ADMIN}


async def test_the_list_has_all_keys_oldest_first_and_that_of_the_setting_before_them() -> None:
    stage = Stage()
    for name in ("one", "two"):
        await make(stage, name)
    await ask(stage, "DELETE", "/key/one")
    listed = (await ask(stage, "GET", "/key")).json()
    assert [(key["name"], key["state"], key["configured"]) for key in listed] == [
        ("PIXYPROXY_API_KEY", "in-force", True),
        ("one", "revoked", False),
        ("two", "in-force", False),
    ]
    other = stage.replica(configured_key=None)
    listed = (await ask(other, "GET", "/key", key=(await make(stage, "boss", scopes=["admin"]))["key"])).json()
    assert [key["name"] for key in listed] == ["one", "two", "boss"]


async def test_the_key_of_the_setting_says_who_it_is_and_is_changed_where_it_is_set() -> None:
    stage = Stage()
    own = (await ask(stage, "GET", "/key/self")).json()
    assert (own["name"], own["configured"], own["state"]) == ("PIXYPROXY_API_KEY", True, "in-force")
    assert own["scopes"] == [scope.value for scope in Scope]
    assert (await ask(stage, "GET", "/key/PIXYPROXY_API_KEY")).json() == own
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = await ask(stage, method, f"/key/PIXYPROXY_API_KEY{path}", json={} if method != "DELETE" else None)
        assert problem(answer) == (409, "conflict")
        assert "where the service is configured" in answer.json()["detail"]
    assert (await ask(stage, "GET", "/key/self")).status_code == 200


# --- Changing


async def test_what_is_left_out_stays_and_null_removes() -> None:
    stage = Stage()
    made = await make(stage, note="a note", rate_per_minute=30, running_limit=4, expires_at=FUTURE)
    changed = await ask(stage, "PATCH", "/key/shop", json={"note": None, "running_limit": 5, "expires_at": None})
    expected = {name: value for name, value in made.items() if name != "key"}
    assert changed.json() == {**expected, "note": None, "running_limit": 5, "expires_at": None}
    assert (await ask(stage, "PATCH", "/key/shop", json={})).json() == changed.json()
    assert (await ask(stage, "GET", "/key/shop")).json() == changed.json()


async def test_a_renamed_key_keeps_what_it_has_drawn() -> None:
    stage = Stage()
    key = (await make(stage))["key"]
    drawn = (await ask(stage, "POST", "/image", key=key, json={"prompt": "a dot"})).json()
    assert (await ask(stage, "PATCH", "/key/shop", json={"name": "store"})).json()["name"] == "store"
    (image,) = (await ask(stage, "GET", "/image", key=key)).json()
    assert (image["guid"], image["caller"]) == (drawn["guid"], "store")
    assert [each["guid"] for each in (await ask(stage, "GET", "/image?caller=store")).json()] == [drawn["guid"]]
    assert (await ask(stage, "GET", "/image?caller=shop")).json() == []
    assert problem(await ask(stage, "GET", "/key/shop")) == (404, "key-not-found")


async def test_a_renamed_key_has_its_new_name_at_once_here_and_soon_elsewhere() -> None:
    now = 0.0
    stage = Stage(clock=lambda: now)
    other = stage.replica()
    key = (await make(stage))["key"]
    await ask(stage, "POST", "/image", key=key, json={"prompt": "a dot"})

    async def name_at(replica: Stage) -> str:
        (image,) = (await ask(replica, "GET", "/image")).json()
        return str(image["caller"])

    assert [await name_at(replica) for replica in (stage, other)] == ["shop", "shop"]
    await ask(stage, "PATCH", "/key/shop", json={"name": "store"})
    assert await name_at(stage) == "store"
    now += NAME_TTL
    assert await name_at(other) == "store"


async def test_a_narrowed_key_is_narrow_at_once_here_and_soon_elsewhere() -> None:
    now = 0.0
    stage = Stage(clock=lambda: now)
    other = stage.replica()
    key = (await make(stage))["key"]
    for replica in (stage, other):
        assert (await ask(replica, "GET", "/image", key=key)).status_code == 200
    await ask(stage, "PATCH", "/key/shop", json={"scopes": ["draw"]})
    answer = await ask(stage, "GET", "/image", key=key)
    assert (problem(answer), answer.json()["scope"]) == ((403, "not-allowed"), "read")
    now += stage.key_ttl
    assert problem(await ask(other, "GET", "/image", key=key)) == (403, "not-allowed")


# --- Ending


@pytest.mark.parametrize("with_cookie", [False, True], ids=["key", "session"])
async def test_a_revoked_key_and_its_sessions_are_out_at_once_here_and_soon_elsewhere(*, with_cookie: bool) -> None:
    now = 0.0
    stage = Stage(clock=lambda: now)
    other = stage.replica()
    key = (await make(stage))["key"]
    headers = {"Authorization": f"Bearer {key}"}
    if with_cookie:
        logged_in = await ask(stage, "POST", "/session", json={"key": key})
        headers = {"Cookie": logged_in.headers["set-cookie"].partition(";")[0]}

    async def answer(replica: Stage) -> int:
        async with replica.client(key=False) as client:
            return (await client.get("/image", headers=headers)).status_code

    assert [await answer(replica) for replica in (stage, other)] == [200, 200]
    assert (await ask(stage, "DELETE", "/key/shop")).status_code == 204
    assert await answer(stage) == 401
    now += stage.key_ttl
    assert await answer(other) == 401
    assert problem(await ask(stage, "DELETE", "/key/shop")) == (404, "key-not-found")
    assert (await ask(stage, "GET", "/key/shop")).json()["state"] == "revoked"


async def test_without_a_cache_a_key_is_read_for_every_request_and_is_out_everywhere_at_once() -> None:
    stage = Stage(key_ttl=0)
    other = stage.replica()
    key = (await make(stage))["key"]
    before = stage.key_records.reads
    for _ in range(3):
        assert (await ask(other, "GET", "/session", key=key)).status_code == 200
    assert stage.key_records.reads == before + 3
    await ask(stage, "DELETE", "/key/shop")
    assert await status(other, key) == 401


async def test_an_expired_key_its_sessions_and_its_login_codes_open_nothing() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    stage = Stage(now=lambda: moment)
    key = (await make(stage, expires_at="2027-01-01T00:00:00Z"))["key"]
    caller = await stage.keys.authenticate(key)
    code = await stage.sessions.make_code(caller)
    token, _ = await stage.sessions.begin(caller, key=key)
    cookie = {"Cookie": f"pixyproxy-80={token}"}
    assert await status(stage, key) == 200
    async with stage.client(key=False) as client:
        assert (await client.get("/session", headers=cookie)).json()["expires_at"] == "2027-01-01T00:00:00Z"
        moment += timedelta(seconds=1)
        assert (await client.get("/session", headers=cookie)).status_code == 401
        assert (await client.post("/session", json={"code": code})).status_code == 401
        assert (await client.post("/session", json={"key": key})).status_code == 401
    assert await status(stage, key) == 401
    assert (await ask(stage, "PATCH", "/key/shop", json={"expires_at": None})).status_code == 200
    assert await status(stage, key) == 200


async def test_a_session_has_the_scopes_that_its_key_has_now() -> None:
    stage = Stage()
    key = (await make(stage))["key"]
    logged_in = await ask(stage, "POST", "/session", json={"key": key})
    assert logged_in.json()["scopes"] == ["draw", "read", "delete"]
    await ask(stage, "PATCH", "/key/shop", json={"scopes": ["read"]})
    cookie = {"Cookie": logged_in.headers["set-cookie"].partition(";")[0], "Sec-Fetch-Site": "same-origin"}
    async with stage.client(key=False) as client:
        assert (await client.get("/session", headers=cookie)).json()["scopes"] == ["read"]
        refused = await client.post("/image", headers=cookie, json={"prompt": "a dot"})
    assert (problem(refused), refused.json()["scope"], refused.json()["cost"]) == ((403, "not-allowed"), "draw", "none")


# --- Rotating


async def test_both_secrets_of_a_rotated_key_are_the_same_caller_until_the_former_ends() -> None:
    moment = datetime.now(UTC)
    stage = Stage(now=lambda: moment)
    old = (await make(stage))["key"]
    drawn = (await ask(stage, "POST", "/image", key=old, json={"prompt": "a dot"})).json()
    answer = await ask(stage, "POST", "/key/shop/rotate", json={"overlap": 60})
    new = answer.json()["key"]
    assert (answer.status_code, answer.json()["prefix"]) == (200, new[:8])
    assert datetime.fromisoformat(answer.json()["former_until"]) == moment + timedelta(seconds=60)
    for key in (old, new):
        assert [each["guid"] for each in (await ask(stage, "GET", "/image", key=key)).json()] == [drawn["guid"]]
    moment += timedelta(seconds=60)
    assert [await status(stage, key) for key in (old, new)] == [401, 200]
    assert (await ask(stage, "GET", "/key/shop")).json()["former_until"] is None


async def test_a_session_ends_with_the_secret_with_which_it_began() -> None:
    stage = Stage()
    old = (await make(stage))["key"]
    sessions = {"old": await ask(stage, "POST", "/session", json={"key": old})}
    new = (await ask(stage, "POST", "/key/shop/rotate")).json()["key"]
    sessions["old, begun in the overlap"] = await ask(stage, "POST", "/session", json={"key": old})
    sessions["new"] = await ask(stage, "POST", "/session", json={"key": new})
    await ask(stage, "POST", "/key/shop/rotate", json={"overlap": 3600})
    assert [each.status_code for each in sessions.values()] == [201] * 3
    last = (await ask(stage, "POST", "/key/shop/rotate", json={"overlap": 0})).json()["key"]
    sessions["last"] = await ask(stage, "POST", "/session", json={"key": last})
    open_now = []
    for name, answer in sessions.items():
        async with stage.client(key=False) as client:
            cookie = answer.headers["set-cookie"].partition(";")[0]
            if (await client.get("/session", headers={"Cookie": cookie})).status_code == 200:
                open_now.append(name)
    assert open_now == ["last"]


async def test_a_key_that_is_not_in_force_is_not_rotated() -> None:
    moment = datetime.now(UTC)
    stage = Stage(now=lambda: moment)
    await make(stage, "revoked")
    await ask(stage, "DELETE", "/key/revoked")
    await make(stage, "expired", expires_at=(moment + timedelta(seconds=1)).isoformat())
    moment += timedelta(seconds=2)
    for name in ("revoked", "expired"):
        assert problem(await ask(stage, "POST", f"/key/{name}/rotate")) == (409, "conflict")
    assert (await ask(stage, "GET", "/key/expired")).json()["state"] == "expired"


# --- The last way in


async def test_the_last_key_that_may_administer_is_kept() -> None:
    stage = Stage(configured_key=None)
    boss = await stage.keys.create("boss", KeyRights(scopes=EVERYTHING))
    other = await stage.keys.create("other", KeyRights(scopes=EVERYTHING))
    assert (await ask(stage, "DELETE", "/key/other", key=boss)).status_code == 204
    losses: tuple[tuple[str, dict[str, Any] | None], ...] = (
        ("DELETE", None),
        ("PATCH", {"scopes": ["draw"]}),
        ("PATCH", {"expires_at": FUTURE}),
    )
    for method, body in losses:
        answer = await ask(stage, method, "/key/boss", key=boss, json=body)
        assert problem(answer) == (409, "conflict"), body
        assert "'admin'" in answer.json()["detail"]
    assert await status(stage, other) == 401
    for method, path, body in (("PATCH", "", {"name": "chief"}), ("POST", "/rotate", None)):
        assert (await ask(stage, method, f"/key/{'boss' if body else 'chief'}{path}", key=boss, json=body)).is_success
    assert (await ask(stage, "POST", "/key", key=boss, json={"name": "deputy", "scopes": ["admin"]})).is_success
    assert (await ask(stage, "DELETE", "/key/chief", key=boss)).status_code == 204


async def test_where_the_setting_has_a_key_every_other_may_go() -> None:
    stage = Stage()
    boss = await stage.keys.create("boss", ADMIN)
    assert (await ask(stage, "DELETE", "/key/boss", key=boss)).status_code == 204
    assert await status(stage, boss) == 401


async def test_keys_that_expire_are_ways_in_as_long_as_no_other_is_there() -> None:
    stage = Stage(configured_key=None)
    rights = ADMIN.model_copy(update={"expires_at": datetime.fromisoformat(FUTURE)})
    boss, _ = [await stage.keys.create(name, rights) for name in ("boss", "other")]
    assert (await ask(stage, "DELETE", "/key/other", key=boss)).status_code == 204
    assert problem(await ask(stage, "DELETE", "/key/boss", key=boss)) == (409, "conflict")


# --- Bad input


BAD_KEYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no name": ({}, ["#/name"]),
    "an empty name": ({"name": ""}, ["#/name"]),
    "a name with a space": ({"name": "a b"}, ["#/name"]),
    "a long name": ({"name": "a" * 65}, ["#/name"]),
    "a name of a former secret": ({"name": "~" + "1" * 32}, ["#/name"]),
    "the name of the setting": ({"name": "PIXYPROXY_API_KEY"}, ["#/name"]),
    "the name self": ({"name": "self"}, ["#/name"]),
    "a dot": ({"name": "."}, ["#/name"]),
    "two dots": ({"name": ".."}, ["#/name"]),
    "an unknown scope": ({"scopes": ["draw", "paint"]}, ["#/scopes/1"]),
    "no scope": ({"scopes": []}, ["#/scopes"]),
    "scopes in a text": ({"scopes": "draw"}, ["#/scopes"]),
    "no scopes at all": ({"scopes": None}, ["#/scopes"]),
    "a past expiry": ({"expires_at": "2026-01-01T00:00:00Z"}, ["#/expires_at"]),
    "an expiry without a zone": ({"expires_at": "2126-01-01T00:00:00"}, ["#/expires_at"]),
    "an expiry at the end of time": ({"expires_at": "9999-12-31T23:59:59-14:00"}, ["#/expires_at"]),
    "an expiry that is no time": ({"expires_at": "soon"}, ["#/expires_at"]),
    "a negative rate": ({"rate_per_minute": -1}, ["#/rate_per_minute"]),
    "a rate of 0": ({"rate_per_minute": 0}, ["#/rate_per_minute"]),
    "a rate in a text": ({"rate_per_minute": "30"}, ["#/rate_per_minute"]),
    "half a generation": ({"running_limit": 0.5}, ["#/running_limit"]),
    "an endless limit": ({"running_limit": 10**30}, ["#/running_limit"]),
    "more than a replica": ({"replica_share": 101}, ["#/replica_share"]),
    "a true share": ({"replica_share": True}, ["#/replica_share"]),
    "a long note": ({"note": "x" * 501}, ["#/note"]),
    "a note with NUL": ({"note": "a\x00b"}, ["#/note"]),
    "an unknown field": ({"budget": "20/month"}, ["#"]),
    "several": ({"name": "a b", "scopes": ["draw", "x"], "note": 5}, ["#/name", "#/scopes/1", "#/note"]),
}


@pytest.mark.parametrize(("body", "expected"), BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_a_bad_key_is_refused_and_so_is_a_bad_change(body: dict[str, Any], expected: list[str]) -> None:
    stage = Stage()
    named = {"name": "good", **body} if expected != ["#/name"] or "name" in body else body
    assert pointers(await ask(stage, "POST", "/key", json=named)) == expected
    assert await stage.keys.list() == ()
    if body:
        before = await make(stage)
        assert pointers(await ask(stage, "PATCH", "/key/shop", json=body)) == expected
        assert {**(await ask(stage, "GET", "/key/shop")).json(), "key": before["key"]} == before


async def test_a_name_is_used_once_by_keys_in_force_and_revoked_ones() -> None:
    stage = Stage()
    for name in ("one", "two"):
        await make(stage, name)
    await ask(stage, "DELETE", "/key/one")
    for method, path, body in (("POST", "/key", {"name": "one"}), ("PATCH", "/key/two", {"name": "one"})):
        answer = await ask(stage, method, path, json=body)
        assert problem(answer) == (409, "conflict")
        assert "'one'" in answer.json()["detail"]
    assert (await ask(stage, "PATCH", "/key/two", json={"name": "two"})).status_code == 200


@pytest.mark.parametrize(
    "name", ["nobody", "a%20b", "%F0%9F%8E%A8", "~11111111111111111111111111111111", "a" * 65, "%00", "NOBODY'--"]
)
async def test_a_name_that_no_key_has_is_not_found(name: str) -> None:
    stage = Stage()
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = await ask(stage, method, f"/key/{name}{path}", json={} if method in ("PATCH", "POST") else None)
        assert problem(answer) == (404, "key-not-found"), method


@pytest.mark.parametrize("overlap", [-1, 90 * 86_400 + 1, 0.5, "60", True, None, 10**30])
async def test_a_bad_overlap_is_refused(overlap: object) -> None:
    stage = Stage()
    key = (await make(stage))["key"]
    assert pointers(await ask(stage, "POST", "/key/shop/rotate", json={"overlap": overlap})) == ["#/overlap"]
    assert await status(stage, key) == 200


async def test_nobody_without_the_scope_learns_which_keys_there_are() -> None:
    stage = Stage()
    await make(stage, "boss", scopes=["admin"])
    key = (await make(stage))["key"]
    for name in ("boss", "nobody", "shop"):
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
            answer = await ask(stage, method, f"/key/{name}{path}", key=key, content=b"{")
            assert (problem(answer), answer.json()["scope"]) == ((403, "not-allowed"), "admin")


async def test_an_administrator_draws_and_reads_nothing_without_the_scopes_for_it() -> None:
    stage = Stage()
    boss = (await make(stage, "boss", scopes=["admin"]))["key"]
    for method, path, scope in (("POST", "/image", "draw"), ("GET", "/image", "read"), ("GET", "/generation", "read")):
        answer = await ask(stage, method, path, key=boss, json={"prompt": "a dot"} if method == "POST" else None)
        assert (problem(answer), answer.json()["scope"]) == ((403, "not-allowed"), scope)
    assert not stage.generator.requests


async def test_a_database_that_is_away_is_a_503_and_changes_nothing() -> None:
    stage = Stage()
    key = (await make(stage))["key"]
    stage.key_records.failure = DatabaseUnavailableError("away")
    stage.start()
    assert problem(await ask(stage, "GET", "/key/self", key=key)) == (503, "database-unavailable")
