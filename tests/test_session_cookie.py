"""What the cookie of a session opens, and for whom: our own pages, pages of other origins, keys beside it, caches."""

import logging
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.types import Message, Scope

from pixyproxy.core.exceptions import DatabaseUnavailableError
from pixyproxy.core.keys import CONFIGURED_CALLER, OF_A_NEW_KEY, Caller
from pixyproxy.service.keys import digest
from pixyproxy.service.sessions import IDLE
from pixyproxy.web.app import create_api
from pixyproxy.web.auth.authentication import optional_caller
from pixyproxy.web.log.request_log import SCOPE_KEY, RequestRecord
from tests import planted
from tests.browser_sessions import FOREIGN, OWN, SAME, a_stage, ask, log_in, problem_of, raw_headers, status
from tests.stage import BASE_URL, KEY, Stage
from tests.test_authentication import BODIES, PUBLIC, every_route

pytestmark = pytest.mark.anyio


# --- What it may do


def unsafe_routes(*, own: bool) -> list[tuple[str, str]]:
    """Every private route that may change something: of our own dialect, or of the others."""
    return [
        (method, path)
        for method, path in every_route()
        if (method, path) not in PUBLIC
        and method not in ("GET", "HEAD")
        and path.startswith(("/v1", "/mcp")) is not own
    ]


def test_the_walk_sees_every_route_that_may_change_something() -> None:
    known = {("POST", "/image"), ("POST", "/image/"), ("DELETE", "/image/{guid}"), ("DELETE", "/session")}
    assert known <= set(unsafe_routes(own=True))
    assert {("POST", "/v1/images/edits"), ("POST", "/mcp")} <= set(unsafe_routes(own=False))


@pytest.mark.parametrize("foreign", [*FOREIGN.values(), {}], ids=[*FOREIGN, "nothing"])
async def test_with_the_cookie_every_unsafe_request_of_another_page_is_refused(foreign: dict[str, str]) -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage)
    for method, path in unsafe_routes(own=True):
        for content, headers in BODIES.values():
            answer = await ask(stage, method, path.replace("{guid}", "x"), cookie, foreign, headers, content=content)
            assert problem_of(answer) == (403, "cross-site"), (method, path)
            assert answer.json().get("cost") == ("none" if method == "POST" else None)
    assert await status(stage, cookie) == 200, "nothing was ended"
    assert stage.generations.generations == {}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
async def test_with_the_cookie_our_own_page_may_do_what_a_key_may(own: dict[str, str]) -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage, name="laptop")
    made = await ask(stage, "POST", "/image", cookie, own, json={"prompt": "a dot"})
    assert made.status_code == 201
    guid = made.json()["guid"]
    for path in ("/image", "/generation", f"/generation/{next(iter(stage.generations.generations))}", "/session"):
        assert (await ask(stage, "GET", path, cookie)).status_code == 200
    assert next(iter(stage.generations.generations.values())).api_key_id == 1
    assert (await ask(stage, "DELETE", f"/image/{guid}", cookie, own)).status_code == 204
    for method, path in unsafe_routes(own=True):
        cookie = await log_in(stage)  # with every scope; and one of the routes logs out
        answer = await ask(stage, method, path.replace("{guid}", "x"), cookie, own)
        assert answer.status_code not in (401, 403), (method, path)


async def test_an_origin_of_the_public_url_is_our_own() -> None:
    stage, _ = a_stage(public_url="https://pictures.example/base")
    cookie = await log_in(stage)
    for origin, expected in (
        ("https://pictures.example", 201),
        ("https://pictures.example:443", 201),
        (BASE_URL, 201),
        ("http://pictures.example", 403),
        ("https://pictures.example.evil.example", 403),
    ):
        answer = await ask(stage, "POST", "/image", cookie, {"Origin": origin}, json={"prompt": "a dot"})
        assert answer.status_code == expected, origin


async def test_without_a_public_url_an_empty_origin_is_nobodys() -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage)
    for origin in ("", "/", "null", "about:blank"):
        answer = await ask(stage, "POST", "/image", cookie, {"Origin": origin}, json={"prompt": "a dot"})
        assert answer.status_code == 403, origin


async def test_two_headers_that_say_where_a_request_comes_from_say_nothing() -> None:
    stage, _ = a_stage()
    cookie = (await log_in(stage))["Cookie"]
    async with stage.client(key=False) as client:
        for name, values in (("sec-fetch-site", ("same-origin",) * 2), ("origin", (BASE_URL, "http://evil.example"))):
            headers = [("cookie", cookie), *((name, value) for value in values)]
            assert (await client.post("/image", json={"prompt": "a dot"}, headers=headers)).status_code == 403


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
async def test_reading_does_not_ask_where_a_request_comes_from(foreign: dict[str, str]) -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage)
    for method in ("GET", "HEAD"):
        for path in ("/image", "/generation", "/session"):
            assert (await ask(stage, method, path, cookie, foreign)).status_code == 200


async def test_the_cookie_is_no_credential_below_v1_and_at_mcp() -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage)
    others = [route for route in every_route() if route[1].startswith(("/v1", "/mcp"))]
    assert len(others) > 5
    for method, path in others:
        answer = await ask(stage, method, path.replace("{model}", "x"), cookie, SAME)
        assert answer.status_code == 401, (method, path)


async def test_a_key_is_judged_as_before_and_wins() -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage, name="laptop")
    foreign = FOREIGN["another site"]
    made = await ask(stage, "POST", "/image", cookie, KEY, foreign, json={"prompt": "a dot"})
    assert made.status_code == 201
    assert next(iter(stage.generations.generations.values())).api_key_id == CONFIGURED_CALLER.api_key_id
    assert (await ask(stage, "GET", "/session", cookie, KEY)).json()["caller"] == CONFIGURED_CALLER.name
    for wrong in ("Bearer wrong", "Bearer", "", "Basic YTpi", planted.API_KEY):
        for method in ("GET", "POST"):
            answer = await ask(stage, method, "/image", cookie, {"Authorization": wrong}, SAME)
            assert problem_of(answer) == (401, "unauthorized")


async def test_a_401_is_the_same_with_every_cookie_and_wins_over_the_403() -> None:
    stage, clock = a_stage()
    ended, revoked, old = await log_in(stage), await log_in(stage, name="laptop"), await log_in(stage)
    assert (await ask(stage, "DELETE", "/session", ended, SAME)).status_code == 204
    await stage.keys.revoke("laptop")
    clock.now += IDLE
    seen = set()
    for cookie in ({}, ended, revoked, old, {"Cookie": f"pixyproxy-80={'A' * 43}"}):
        for headers in (FOREIGN["another site"], SAME, {}):
            answer = await ask(stage, "POST", "/image", cookie, headers, content=b"x" * 2_000_000)
            problem = answer.json()
            seen.add((answer.status_code, problem["type"], problem["title"], problem["detail"]))
            assert answer.headers["www-authenticate"] == "Bearer"
    assert len(seen) == 1


async def test_a_403_comes_before_anything_of_the_body_is_read() -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage)
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body is read")

    async def send(message: Message) -> None:
        sent.append(message)

    for method, path in unsafe_routes(own=True):
        headers = {**cookie, **FOREIGN["another site"], "Content-Type": "application/json", "Content-Length": "9"}
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path.replace("{guid}", "x"),
            "query_string": b"",
            "scheme": "http",
            "headers": raw_headers(headers),
        }
        await stage.app(scope, receive, send)
        assert sent[0]["status"] == 403
        sent.clear()


# --- What surrounds it


async def test_while_the_database_is_away_nobody_is_taken_for_a_stranger() -> None:
    stage, clock = a_stage()
    cookie = await log_in(stage)
    code = await stage.sessions.make_code(CONFIGURED_CALLER)
    stage.session_records.failure = DatabaseUnavailableError("away")
    clock.now += timedelta(seconds=1)
    for method, path in (("GET", "/image"), ("GET", "/session"), ("POST", "/image"), ("DELETE", "/session")):
        answer = await ask(stage, method, path, cookie, SAME)
        assert problem_of(answer) == (503, "database-unavailable")
        assert answer.headers["retry-after"]
    for body in ({"code": code}, {"key": planted.API_KEY}):
        answer = await ask(stage, "POST", "/session", json=body)
        assert (problem_of(answer), answer.json()["cost"]) == ((503, "database-unavailable"), "none")
    assert (await ask(stage, "GET", "/image", {"Cookie": "pixyproxy-80=nonsense"})).status_code == 401
    assert problem_of(await ask(stage, "POST", "/session", json={"code": "nonsense"})) == (401, "login-code")
    assert (await ask(stage, "GET", "/image", KEY)).status_code == 200, "the configured key needs no record"
    stage.session_records.failure = None
    assert await status(stage, cookie) == 200
    assert (await ask(stage, "POST", "/session", json={"code": code})).status_code == 201, "it was not spent"


async def test_the_log_names_the_caller_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stage, _ = a_stage()
    key = await stage.keys.create("laptop")
    caller = await stage.keys.authenticate(key)
    codes = [await stage.sessions.make_code(caller) for _ in range(2)]
    answers = [await ask(stage, "POST", "/session", json=body) for body in ({"code": codes[0]}, {"key": key})]
    tokens = [answer.headers["set-cookie"].partition(";")[0].partition("=")[2] for answer in answers]
    cookie = {"Cookie": f"pixyproxy-80={tokens[0]}"}
    await ask(stage, "GET", "/image", cookie)
    await ask(stage, "POST", "/image", cookie, FOREIGN["another site"])
    await ask(stage, "POST", "/session", json={"code": codes[0]})
    await ask(stage, "DELETE", "/session", cookie, SAME)
    said = caplog.text
    ends = [line for line in said.splitlines() if "REQUEST END" in line]
    assert [" caller=laptop" in line for line in ends] == [True, True, True, False, False, True]
    assert "problem=cross-site" in ends[3]
    assert "problem=login-code" in ends[4]
    for secret in (*codes, *tokens, key, *map(digest, (*codes, *tokens))):
        assert secret not in said


@pytest.mark.parametrize("origins", [("*",), ("https://app.example",)])
async def test_no_script_of_another_origin_reads_what_the_cookie_opens(origins: tuple[str, ...]) -> None:
    stage, _ = a_stage(cors_origins=origins)
    guid = (await stage.create())["guid"]
    cookie = await log_in(stage)
    scripts = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    generation = next(iter(stage.generations.generations))
    for path in ("/image", "/generation", f"/generation/{generation}", "/session"):
        answer = await ask(stage, "GET", path, cookie, scripts)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control-")], path
    for method, path in every_route():
        path = path.replace("{guid}", guid).replace("{extension}", "png").replace("{model}", "x")
        answer = await ask(stage, method, path, cookie, scripts)
        assert "access-control-allow-credentials" not in answer.headers, "a browser then withholds the answer"


async def test_no_cache_keeps_what_the_cookie_opens() -> None:
    stage, _ = a_stage()
    await stage.create()
    await stage.keys.create("laptop")
    cookie = await log_in(stage)
    generation = str(next(iter(stage.generations.generations)))
    private = [path for method, path in every_route() if method == "GET" and (method, path) not in PUBLIC]
    own = [path for path in private if not path.startswith(("/v1", "/mcp"))]
    assert {"/image", "/generation", "/generation/{guid}", "/session"} <= set(own)
    for path in own:
        answer = await ask(stage, "GET", path.replace("{guid}", generation).replace("{name}", "laptop"), cookie)
        assert answer.status_code == 200, path
        assert {"no-store", "private"} & set(answer.headers["cache-control"].replace(",", " ").split()), path


def test_openapi_says_where_the_cookie_is_accepted() -> None:
    document = create_api(Stage().services, version="test").openapi()
    assert document["components"]["securitySchemes"]["Session"]["in"] == "cookie"
    assert document["paths"]["/session"]["post"]["security"] == []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            private = (method.upper(), path) not in PUBLIC
            names = {name for requirement in operation["security"] for name in requirement}
            assert ("HTTPBearer" in names) is private, (method, path)
            assert ("Session" in names) is (private and not path.startswith("/v1")), (method, path)
            if private and method not in ("get", "head") and not path.startswith("/v1"):
                assert "cross-site" in operation["responses"]["403"]["description"]


# --- Callers who are optional


def a_request(stage: Stage, **headers: str) -> Request:
    """A GET of a public route."""
    api = create_api(stage.services, version="test")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/image/x",
        "scheme": "http",
        "app": api,
        "headers": raw_headers(headers),
        SCOPE_KEY: RequestRecord("id", "GET", "/image/x"),
    }
    return Request(scope)


async def test_a_public_route_can_ask_who_calls() -> None:
    stage, _ = a_stage()
    cookie = await log_in(stage, name="laptop")
    assert await optional_caller(a_request(stage, **cookie)) == Caller(api_key_id=1, name="laptop", scopes=OF_A_NEW_KEY)
    assert await optional_caller(a_request(stage, **KEY)) == CONFIGURED_CALLER
    for nobody in ({}, {"Cookie": "theme=dark"}, {"Cookie": f"pixyproxy-80={'A' * 43}"}, {"Authorization": "Bearer x"}):
        assert await optional_caller(a_request(stage, **nobody)) is None
    assert await optional_caller(a_request(stage, **cookie, Authorization="Bearer x")) is None


async def test_a_caller_does_not_silently_get_less_while_the_database_is_away() -> None:
    stage, clock = a_stage()
    cookie = await log_in(stage)
    stage.session_records.failure = DatabaseUnavailableError("away")
    clock.now += timedelta(seconds=1)
    with pytest.raises(DatabaseUnavailableError):
        await optional_caller(a_request(stage, **cookie))
    for nobody in ({}, {"Cookie": "theme=dark"}):
        assert await optional_caller(a_request(stage, **nobody)) is None


async def test_a_request_without_credentials_costs_no_look_at_anything() -> None:
    request = a_request(Stage())
    del request.scope["app"], request.scope[SCOPE_KEY]
    assert await optional_caller(request) is None
