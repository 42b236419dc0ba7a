"""Sessions of the page: logging in, the cookie, and how a session ends."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import httpx2
import pytest

from pixyproxy.core.exceptions import DatabaseUnavailableError
from pixyproxy.core.generations import Background, OutputFormat
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.service.keys import digest
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.service.sessions import CODE_LIFE, IDLE, LIFE, RENEW_AFTER
from pixyproxy.web.session.details import BACKGROUNDS, FORMATS
from tests import planted
from tests.browser_sessions import FOREIGN, OWN, SAME, a_stage, ask, log_in, problem_of, status
from tests.listening import listening
from tests.stage import KEY, Stage

pytestmark = pytest.mark.anyio


# --- Logging in


async def test_a_code_logs_in_once() -> None:
    stage, _ = a_stage()
    caller = await stage.keys.authenticate(await stage.keys.create("laptop"))
    code = await stage.sessions.make_code(caller)
    first = await ask(stage, "POST", "/session", json={"code": code})
    assert (first.status_code, first.json()["caller"], first.headers["cache-control"]) == (201, "laptop", "no-store")
    assert problem_of(await ask(stage, "POST", "/session", json={"code": code})) == (401, "login-code")
    cookie = {"Cookie": first.headers["set-cookie"].partition(";")[0]}
    session = await ask(stage, "GET", "/session", cookie)
    assert (session.status_code, session.json(), session.headers["cache-control"]) == (200, first.json(), "no-store")


async def test_a_key_logs_in_and_white_space_around_it_does_not_count() -> None:
    stage, _ = a_stage()
    made = await stage.keys.create("laptop")
    for key, name in ((made, "laptop"), (f" {made}\n", "laptop"), (planted.API_KEY, "PIXYPROXY_API_KEY")):
        answer = await ask(stage, "POST", "/session", json={"key": key})
        assert (answer.status_code, answer.json()["caller"]) == (201, name)
        assert await status(stage, {"Cookie": answer.headers["set-cookie"].partition(";")[0]}) == 200


async def test_every_code_that_is_not_good_gets_the_same_answer() -> None:
    stage, clock = a_stage()
    laptop = await stage.keys.authenticate(await stage.keys.create("laptop"))
    used, old, revoked = [await stage.sessions.make_code(laptop) for _ in range(3)]
    changed = await stage.replica(configured_key="another-configured-key").sessions.make_code(CONFIGURED_CALLER)
    await ask(stage, "POST", "/session", json={"code": used})
    await stage.keys.revoke("laptop")
    seen = [
        await ask(stage, "POST", "/session", json={"code": code})
        for code in (used, revoked, changed, "x", "", "ä" * 43, "A" * 43, planted.API_KEY)
    ]
    clock.now += CODE_LIFE
    seen.append(await ask(stage, "POST", "/session", json={"code": old}))
    assert {problem_of(answer) for answer in seen} == {(401, "login-code")}
    assert len({answer.json()["detail"] for answer in seen}) == 1
    assert {answer.headers["www-authenticate"] for answer in seen} == {"Bearer"}
    assert not any("set-cookie" in answer.headers for answer in seen)


async def test_a_code_is_good_for_15_minutes() -> None:
    stage, clock = a_stage()
    code = await stage.sessions.make_code(CONFIGURED_CALLER)
    clock.now += timedelta(minutes=15) - timedelta(microseconds=1)
    assert (await ask(stage, "POST", "/session", json={"code": code})).status_code == 201


async def test_a_wrong_key_gets_the_401_of_every_wrong_key() -> None:
    stage, _ = a_stage()
    bearer = await ask(stage, "GET", "/image", {"Authorization": "Bearer wrong"})
    for key in ("wrong", "", "pxp_" + "0" * 49):
        answer = await ask(stage, "POST", "/session", json={"key": key})
        assert problem_of(answer) == (401, "unauthorized")
        assert answer.json()["detail"] == bearer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({"json": {}}, (422, "invalid-request")),
        ({"json": {"code": "a-secret", "key": "a-secret"}}, (422, "invalid-request")),
        ({"json": {"code": "a-secret", "more": 1}}, (422, "invalid-request")),
        ({"json": {"code": ["a-secret"]}}, (422, "invalid-request")),
        ({"content": b'{"key": "a-secret\\ud800"}', "headers": "json"}, (422, "invalid-request")),
        ({"content": b'{"code": "a-secret', "headers": "json"}, (400, "malformed-request")),
        ({"data": {"code": "a-secret"}}, (415, "unsupported-media-type")),
        ({"content": b'{"code": "a-secret"}'}, (415, "unsupported-media-type")),
        ({"json": {"key": "a-secret" * 3000}}, (413, "payload-too-large")),
    ],
)
async def test_a_body_that_logs_nobody_in_is_refused_and_not_repeated(
    sent: dict[str, Any], problem: tuple[int, str]
) -> None:
    headers = [{"Content-Type": "application/json"}] if sent.pop("headers", None) else []
    answer = await ask(Stage(), "POST", "/session", *headers, **sent)
    assert problem_of(answer) == problem
    assert "a-secret" not in answer.text


async def test_nobody_is_logged_in_by_a_page_of_another_origin() -> None:
    stage, _ = a_stage()
    for headers in FOREIGN.values():
        code = await stage.sessions.make_code(CONFIGURED_CALLER)
        refused = await ask(stage, "POST", "/session", headers, json={"code": code})
        assert (problem_of(refused), refused.json()["cost"]) == ((403, "cross-site"), "none")
        assert "set-cookie" not in refused.headers
        assert (await ask(stage, "POST", "/session", SAME, json={"code": code})).status_code == 201, "it is not spent"
    for headers in OWN.values():
        assert (await ask(stage, "POST", "/session", headers, json={"key": planted.API_KEY})).status_code == 201


async def test_the_caller_learns_what_may_be_drawn_here() -> None:
    models = ModelCatalogue("gpt-image-2.5-flare", others=("gpt-image-2",), aliases={"dall-e-3": "gpt-image-2"})
    stage, clock = a_stage(models=models, public_url="https://pictures.example", demo=True, maximum=7)
    expected = {
        "caller": "PIXYPROXY_API_KEY",
        "scopes": ["draw", "read", "read-all", "delete", "delete-all", "admin"],
        "demo": True,
        "models": ["gpt-image-2.5-flare", "gpt-image-2"],
        "model": "gpt-image-2.5-flare",
        "quality": "medium",
        "sizes": ["auto", "1024x1024", "1536x1024", "1024x1536"],
        "qualities": ["auto", "low", "medium", "high"],
        "formats": ["png", "webp", "jpeg"],
        "backgrounds": ["auto", "opaque", "transparent"],
        "max_prompt": 32_000,
        "max_generations": 7,
        "max_sources": 16,
        "partial_images": 3,
        "public_url": "https://pictures.example",
    }
    answer = await ask(stage, "GET", "/session", KEY)
    assert answer.json() == {**expected, "expires_at": None}
    cookie = await log_in(stage)
    until = (clock.now + IDLE).isoformat().replace("+00:00", "Z")
    assert (await ask(stage, "GET", "/session", cookie)).json() == {**expected, "expires_at": until}
    assert (await ask(stage, "HEAD", "/session", cookie)).status_code == 200
    assert problem_of(await ask(stage, "GET", "/session")) == (401, "unauthorized")
    assert set(FORMATS) == set(get_args(OutputFormat))
    assert set(BACKGROUNDS) == set(get_args(Background))


async def test_whatever_the_page_offers_can_be_drawn() -> None:
    stage = Stage()
    offered = (await ask(stage, "GET", "/session", KEY)).json()
    for field, values in (("size", "sizes"), ("quality", "qualities"), ("background", "backgrounds")):
        for value in offered[values]:
            assert (await stage.create(**{field: value}))["guid"]
    for value in offered["formats"]:
        assert (await stage.create(output_format=value, partial_images=offered["partial_images"]))["guid"]


# --- The cookie


async def test_the_cookie_is_for_no_script_no_other_site_and_this_run_of_the_browser() -> None:
    stage, _ = a_stage()
    answer = await ask(stage, "POST", "/session", json={"key": planted.API_KEY})
    token, *attributes = answer.headers["set-cookie"].split("; ")
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"]
    name, _, value = token.partition("=")
    assert name == "pixyproxy-80"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
    assert value not in answer.text
    assert set(stage.session_records.sessions) == {digest(value)}
    assert value not in repr(stage.session_records.sessions)


@pytest.mark.parametrize(
    ("url", "public_url", "name"),
    [
        ("http://127.0.0.1:8000", None, "pixyproxy-8000"),
        ("http://localhost", None, "pixyproxy-80"),
        ("http://[::1]:8001", None, "pixyproxy-8001"),
        ("http://localhost:8000", "http://localhost:8000", "pixyproxy-8000"),
        ("https://pictures.example", None, "__Host-pixyproxy"),
        ("https://pictures.example:8443", None, "__Host-pixyproxy"),
        ("https://pictures.example", "http://pictures.example", "__Host-pixyproxy"),
        ("http://pictures.example", "https://pictures.example", "__Host-pixyproxy"),
        ("http://pictures.example:8443", "https://Pictures.Example:8443/base", "__Host-pixyproxy"),
        ("http://127.0.0.1:8000", "https://pictures.example", "pixyproxy-8000"),
    ],
)
async def test_the_name_of_the_cookie_says_how_the_page_was_reached(
    url: str, public_url: str | None, name: str
) -> None:
    stage, _ = a_stage(public_url=public_url)
    transport = httpx2.ASGITransport(app=stage.app)
    async with httpx2.AsyncClient(transport=transport, base_url=url) as client:
        answer = await client.post("/session", json={"key": planted.API_KEY})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{name}=")
        assert ("; Secure" in cookie) is (name == "__Host-pixyproxy")
        client.cookies.clear()
        headers = {"Cookie": cookie.partition(";")[0]}
        assert (await client.get("/image", headers=headers)).status_code == 200
        ended = await client.delete("/session", headers={**headers, **SAME})
    assert ended.headers["set-cookie"].startswith(f"{name}=; Path=/; ")
    assert "Max-Age=0" in ended.headers["set-cookie"]


def test_behind_a_proxy_that_ends_tls_the_cookie_is_secure() -> None:
    stage = Stage()
    with listening(stage.app) as url:
        headers = {"X-Forwarded-Proto": "https", "Host": "pictures.example"}
        answer = httpx2.post(f"{url}/session", json={"key": planted.API_KEY}, headers=headers)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-pixyproxy=")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")
        headers["Cookie"] = cookie.partition(";")[0]
        assert httpx2.get(f"{url}/session", headers=headers).status_code == 200
        drawn = {**headers, "Origin": "https://pictures.example"}
        assert httpx2.post(f"{url}/image", json={"prompt": "a dot"}, headers=drawn).status_code == 201
        drawn["Origin"] = "http://pictures.example"
        assert httpx2.post(f"{url}/image", json={"prompt": "a dot"}, headers=drawn).status_code == 403
        plain = httpx2.post(f"{url}/session", json={"key": planted.API_KEY})
        assert plain.headers["set-cookie"].startswith(f"pixyproxy-{url.rpartition(':')[2]}=")


async def test_two_instances_on_one_machine_do_not_log_each_other_out() -> None:
    stages = {8000: Stage(), 8001: Stage()}
    async with httpx2.AsyncClient(
        mounts={f"http://127.0.0.1:{port}": httpx2.ASGITransport(app=stage.app) for port, stage in stages.items()}
    ) as browser:
        for port in stages:
            answer = await browser.post(f"http://127.0.0.1:{port}/session", json={"key": planted.API_KEY})
            assert answer.status_code == 201
        assert len(browser.cookies) == 2
        for port in (*stages, *stages):
            assert (await browser.get(f"http://127.0.0.1:{port}/image")).status_code == 200
        await browser.delete("http://127.0.0.1:8001/session", headers=SAME)
        assert (await browser.get("http://127.0.0.1:8001/image")).status_code == 401
        assert (await browser.get("http://127.0.0.1:8000/image")).status_code == 200


async def test_cookies_that_are_not_ours_or_no_token_of_ours_open_nothing() -> None:
    stage, _ = a_stage()
    good = (await log_in(stage))["Cookie"]
    name, _, token = good.partition("=")
    lookups = stage.session_records.lookups
    for cookie in (
        f"session={token}",
        f"__Host-pixyproxy={token}",
        f"pixyproxy-8000={token}",
        f"{name}=",
        name,
        f"{name}={token[:-1]}",
        f"{name}={token}x",
        f'{name}="{token}"',
        f"{name}={token[:-1]}%41",
        f"{name}={planted.API_KEY}",
        f"{good}; {good}",
        f"{good}; {name}=x",
    ):
        assert problem_of(await ask(stage, "GET", "/image", {"Cookie": cookie})) == (401, "unauthorized"), cookie
    assert stage.session_records.lookups == lookups, "none of them asks the database"
    for cookie in (f"theme=dark; {good}; a=b", f"{good};x", f"x=y=z;{good}"):
        assert (await ask(stage, "GET", "/image", {"Cookie": cookie})).status_code == 200, cookie


# --- How it ends


async def test_a_session_ends_12_hours_after_its_last_request() -> None:
    stage, clock = a_stage()
    unused, used = await log_in(stage), await log_in(stage)
    clock.now += timedelta(hours=11, minutes=59)
    assert await status(stage, used) == 200
    clock.now += timedelta(minutes=1)
    assert (await status(stage, unused), await status(stage, used)) == (401, 200)
    clock.now += timedelta(hours=11, minutes=58)
    assert await status(stage, used) == 200
    clock.now += timedelta(hours=12)
    assert await status(stage, used) == 401


async def test_a_session_ends_after_7_days_however_much_it_is_used() -> None:
    stage, clock = a_stage()
    cookie, began = await log_in(stage), clock.now
    while clock.now < began + LIFE:
        answer = await ask(stage, "GET", "/session", cookie)
        assert answer.status_code == 200
        assert datetime.fromisoformat(answer.json()["expires_at"]) <= began + LIFE
        clock.now += timedelta(hours=7)
    assert clock.now - began == timedelta(days=7)
    assert await status(stage, cookie) == 401


async def test_a_session_is_written_once_in_five_minutes_at_most() -> None:
    stage, clock = a_stage()
    cookie = await log_in(stage)
    written = set()
    for _ in range(60):
        clock.now += timedelta(seconds=10)
        assert await status(stage, cookie) == 200
        written |= {session.seen_at for session in stage.session_records.sessions.values()}
    assert len(written) == 1 + timedelta(minutes=10) / RENEW_AFTER


async def test_a_session_is_not_ended_by_a_database_that_takes_no_writes() -> None:
    stage, clock = a_stage()
    cookie = await log_in(stage)
    clock.now += timedelta(hours=1)

    class ReadOnly(type(stage.session_records)):  # type: ignore[misc]
        async def renew(self, **_: object) -> None:
            raise DatabaseUnavailableError("read-only")

    stage.session_records.__class__ = ReadOnly
    assert await status(stage, cookie) == 200


async def test_revoking_a_key_ends_its_sessions_and_no_other() -> None:
    stage, clock = a_stage()
    replica = stage.replica()
    laptop, other = await log_in(stage, name="laptop"), await log_in(stage, name="other")
    for each in (stage, replica):
        assert [await status(each, cookie) for cookie in (laptop, other)] == [200, 200]
    await stage.keys.revoke("laptop")
    clock.now += timedelta(seconds=1)
    for each in (stage, replica):
        assert [await status(each, cookie) for cookie in (laptop, other)] == [401, 200]


@pytest.mark.parametrize("configured", ["another-configured-key", None])
async def test_a_changed_or_removed_configured_key_ends_its_sessions_and_no_other(configured: str | None) -> None:
    stage, _ = a_stage()
    mine, laptop = await log_in(stage), await log_in(stage, name="laptop")
    restarted = stage.replica(configured_key=configured)
    assert [await status(restarted, cookie) for cookie in (mine, laptop)] == [401, 200]
    assert await status(stage.replica(), mine) == 200, "with the key of before it is open"


async def test_the_configured_key_cannot_be_found_by_trying_what_is_recorded() -> None:
    stage, _ = a_stage()
    first, second = await log_in(stage), await log_in(stage)
    seals = {session.seal for session in stage.session_records.sessions.values()}
    assert first != second
    assert len(seals) == 2, "the seal depends on the token, which is not recorded"
    assert None not in seals


async def test_logging_out_ends_the_session_everywhere_and_removes_the_cookie() -> None:
    stage, clock = a_stage()
    replica = stage.replica()
    cookie, other = await log_in(stage), await log_in(stage)
    for each in (stage, replica):
        assert await status(each, cookie) == 200
    answer = await ask(stage, "DELETE", "/session", cookie, SAME)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["clear-site-data"] == '"storage"'
    assert answer.headers["set-cookie"] == "pixyproxy-80=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    assert await status(stage, cookie) == 401
    clock.now += timedelta(seconds=1)
    assert await status(replica, cookie) == 401
    assert len(stage.session_records.sessions) == 1
    assert await status(stage, other) == 200
    assert (await ask(stage, "DELETE", "/session", cookie, SAME)).status_code == 401


async def test_a_key_has_no_session_to_end_unless_it_brings_one() -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage)
    assert (await ask(stage, "DELETE", "/session", KEY)).status_code == 204
    assert await status(stage, cookie) == 200
    assert (await ask(stage, "DELETE", "/session", KEY, cookie)).status_code == 204
    assert await status(stage, cookie) == 401


async def test_the_reconciler_removes_what_expired_a_day_ago() -> None:
    stage, clock = a_stage()
    clock.now = datetime.now(UTC) - timedelta(days=3)
    await log_in(stage)
    await stage.sessions.make_code(CONFIGURED_CALLER)
    clock.now = datetime.now(UTC)
    cookie = await log_in(stage)
    await stage.reconciler(apply=False).settle()
    assert (len(stage.session_records.codes), len(stage.session_records.sessions)) == (3, 2)
    await stage.reconciler().settle()
    assert (len(stage.session_records.codes), len(stage.session_records.sessions)) == (1, 1)
    assert await status(stage, cookie) == 200
