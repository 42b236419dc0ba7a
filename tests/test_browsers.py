"""What browsers and other clients of HTTP expect: CORS, gzip, HEAD, the page at /docs, OpenAPI, other dialects."""

import gzip
import json
import re
import socket
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from pixyproxy.core.exceptions import ImageNotFoundError, PixyProxyException
from pixyproxy.core.model import Token
from pixyproxy.web.app import OWN_DIALECT, create_api, create_app
from pixyproxy.web.auth.private_route import private_router
from pixyproxy.web.dialects import Dialect
from pixyproxy.web.documentation import packed_swagger_file
from pixyproxy.web.http.compression import Gzip
from pixyproxy.web.images.body import CreateImageBody
from pixyproxy.web.log.request_log import RequestLog
from tests import planted
from tests.listening import listening
from tests.stage import BASE_URL, KEY, Stage

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
MISSING = "0f0e0d0c-0b0a-4908-8706-050403020100"


async def ask(stage: Stage, method: str, path: str, *, key: Any = False, **headers: Any) -> httpx2.Response:
    """The answer to one request; `_` stands for `-` in the names of headers."""
    async with stage.client(key=key) as client:
        return await client.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


# CORS


@pytest.mark.parametrize("suffix", ["", "/content", ".png"])
@pytest.mark.parametrize("headers", [{}, ORIGIN], ids=["without an origin", "with one"])
async def test_scripts_of_every_origin_may_read_images(suffix: str, headers: dict[str, str]) -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    for method in ("GET", "HEAD"):
        answer = await ask(stage, method, f"/image/{guid}{suffix}", **headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert {"etag", "content-range", "x-request-id"} <= exposed(answer)
    missing = await ask(stage, "GET", f"/image/{MISSING}{suffix}", **headers)
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, "*")


def exposed(answer: httpx2.Response) -> set[str]:
    """The headers that scripts may read."""
    return {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}


async def test_a_preflight_allows_to_read_and_nothing_else() -> None:
    answer = await ask(Stage(), "OPTIONS", f"/image/{MISSING}/content", **PREFLIGHT)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    assert "range" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/image"), ("POST", "/image"), ("GET", "/generation"), ("DELETE", f"/image/{MISSING}")]
)
async def test_private_routes_are_for_no_script_of_another_origin(method: str, path: str) -> None:
    answer = await ask(Stage(), method, path, key=True, **ORIGIN)
    assert "access-control-allow-origin" not in answer.headers


async def test_named_origins_are_allowed_alone_and_caches_are_informed() -> None:
    stage = Stage(cors_origins=("https://app.example",))
    guid = (await stage.create())["guid"]
    named = await ask(stage, "GET", f"/image/{guid}", **ORIGIN)
    varies = "Authorization, Cookie, Origin"
    assert (named.headers["access-control-allow-origin"], named.headers["vary"]) == ("https://app.example", varies)
    other = await ask(stage, "GET", f"/image/{guid}", Origin="https://other.example")
    assert ("access-control-allow-origin" in other.headers, other.headers["vary"]) == (False, varies)
    for headers in (ORIGIN, {"Origin": "https://other.example"}):
        picture = await ask(stage, "GET", f"/image/{guid}/content", **headers)
        assert picture.headers["vary"] == "Origin", "it does not depend on who asks"


async def test_no_origin_is_allowed_where_none_is_configured() -> None:
    stage = Stage(cors_origins=())
    guid = (await stage.create())["guid"]
    assert "access-control-allow-origin" not in (await ask(stage, "GET", f"/image/{guid}", **ORIGIN)).headers


# gzip and HEAD


async def raw(stage: Stage, path: str, **headers: str) -> tuple[dict[str, str], bytes]:
    """Headers and bytes as they are sent."""
    transport = httpx2.ASGITransport(app=stage.app)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=KEY) as client:
        async with client.stream("GET", path, headers={"Accept-Encoding": "identity", **headers}) as answer:
            return dict(answer.headers), b"".join([chunk async for chunk in answer.aiter_raw()])


async def test_a_list_over_1_kb_is_compressed_for_clients_that_accept_it() -> None:
    stage = Stage()
    for _ in range(5):
        await stage.create()
    _, plain = await raw(stage, "/image")
    headers, packed = await raw(stage, "/image", **{"Accept-Encoding": "gzip"})
    assert (headers["content-encoding"], "accept-encoding" in headers["vary"].lower()) == ("gzip", True)
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2


async def test_a_small_answer_and_a_picture_are_not_compressed() -> None:
    stage = Stage()
    details = await stage.create()
    for path in (f"/image/{details['guid']}", f"/image/{details['guid']}/content", "/healthz"):
        headers, _ = await raw(stage, path, **{"Accept-Encoding": "gzip"})
        assert "content-encoding" not in headers


async def test_compressed_details_have_a_weak_tag_that_still_revalidates() -> None:
    stage = Stage()
    guid = (await stage.create(prompt="a very long prompt " * 100))["guid"]
    strong, _ = await raw(stage, f"/image/{guid}")
    headers, _ = await raw(stage, f"/image/{guid}", **{"Accept-Encoding": "gzip"})
    assert headers["etag"] == f"W/{strong['etag']}"
    assert (await ask(stage, "GET", f"/image/{guid}", key=True, If_None_Match=headers["etag"])).status_code == 304


async def test_a_304_repeats_the_weak_tag_of_compressed_details() -> None:
    stage = Stage()
    path = f"/image/{(await stage.create(prompt='a very long prompt ' * 100))['guid']}"
    tag = (await raw(stage, path))[0]["etag"]
    weak = (await raw(stage, path, **{"Accept-Encoding": "gzip"}))[0]["etag"]
    assert (await ask(stage, "GET", path, key=True, If_None_Match=tag)).headers["etag"] == tag
    assert (await ask(stage, "GET", path, key=True, If_None_Match=weak)).headers["etag"] == weak


async def test_a_304_of_details_varies_as_their_200_does() -> None:
    stage = Stage()
    path = f"/image/{(await stage.create(prompt='a very long prompt ' * 100))['guid']}"
    whole, _ = await raw(stage, path)
    known = await ask(stage, "GET", path, key=True, If_None_Match=whole["etag"])
    assert (known.status_code, known.headers["vary"]) == (304, whole["vary"])


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, br", None),
        ("*;q=0", None),
        ("gzip;q=0, *", None),
        ("br", None),
        ("notgzip", None),
        ("", None),
    ],
)
async def test_gzip_is_sent_only_to_clients_that_accept_it(accepted: str, encoding: str | None) -> None:
    stage = Stage()
    for _ in range(5):
        await stage.create()
    headers, _ = await raw(stage, "/image", **{"Accept-Encoding": accepted})
    assert (headers.get("content-encoding"), headers["vary"]) == (encoding, "Accept-Encoding")


async def test_of_many_large_answers_at_once_one_is_compressed_and_the_others_do_not_wait_for_it() -> None:
    body = b"[" + b'"a lighthouse",' * 500_000 + b"0]"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body, media_type="application/json")(scope, receive, send)

    found: list[dict[str, str]] = []

    async def fetch(client: httpx2.AsyncClient) -> None:
        answer = await client.get("/image", headers={"Accept-Encoding": "gzip"})
        assert answer.content == body
        found.append(dict(answer.headers))

    transport = httpx2.ASGITransport(app=Gzip(app))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client, anyio.create_task_group() as many:
        for _ in range(4):
            many.start_soon(fetch, client)
    assert [headers.get("content-encoding") for headers in found].count("gzip") == 1
    assert {headers["vary"] for headers in found} == {"Accept-Encoding"}


async def test_head_is_answered_wherever_get_is_with_the_same_headers() -> None:
    stage = Stage()
    details = await stage.create()
    generation = (await ask(stage, "GET", "/generation", key=True)).json()[0]
    for path in (
        f"/image/{details['guid']}",
        "/image",
        "/generation",
        f"/generation/{generation['guid']}",
        "/",
        "/docs",
        "/openapi.json",
    ):
        got = await ask(stage, "GET", path, key=True)
        head = await ask(stage, "HEAD", path, key=True)
        assert (head.status_code, head.content) == (200, b""), path
        same = {"content-type", "content-length", "etag", "cache-control"}
        assert {name: head.headers.get(name) for name in same} == {name: got.headers.get(name) for name in same}
    assert (await ask(stage, "HEAD", "/image")).status_code == 401
    assert (await ask(stage, "HEAD", f"/image/{MISSING}")).status_code == 404


# URLs


async def test_a_location_has_the_path_of_the_public_url() -> None:
    stage = Stage(public_url="https://pictures.example/base")
    async with stage.client() as client:
        made = await client.post("/image", json={"prompt": "a dot"})
        waiting = await client.post("/image", json={"prompt": "a dot"}, headers={"Prefer": "respond-async"})
    assert made.headers["location"] == f"/base/image/{made.json()['guid']}"
    assert waiting.headers["location"] == f"/base/generation/{waiting.json()['guid']}"


# The page at /docs


async def test_the_page_at_docs_needs_no_other_host_and_runs_no_inline_script() -> None:
    stage = Stage()
    page = await ask(stage, "GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "https://" not in page.text
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert re.findall(r"<script(?! src)", page.text) == []
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 4
    for name in linked:
        answer = await ask(stage, "GET", f"/{name}")
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
        assert len(answer.content) > 100
    assert (await ask(stage, "GET", "/redoc")).status_code == 404


async def test_the_page_at_docs_sends_keys_to_the_service_that_shows_it_whatever_its_public_url_is() -> None:
    script = await ask(Stage(public_url="https://pictures.example/base"), "GET", "/docs/start.js")
    assert 'new URL(".", location).pathname' in script.text
    assert "servers: [{ url: here," in script.text
    assert "pictures.example" not in script.text


async def test_the_files_of_swagger_ui_are_compressed_once_for_everybody() -> None:
    stage = Stage()
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        _, plain = await raw(stage, f"/docs/{name}")
        headers, packed = await raw(stage, f"/docs/{name}", **{"Accept-Encoding": "gzip"})
        assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(packed) == plain
        assert int(headers["content-length"]) == len(packed)
        before = packed_swagger_file.cache_info()
        await raw(stage, f"/docs/{name}", **{"Accept-Encoding": "gzip"})
        after = packed_swagger_file.cache_info()
        assert (after.misses, after.hits) == (before.misses, before.hits + 1)


async def test_there_is_a_favicon() -> None:
    for path in ("/favicon.ico", "/favicon.svg"):
        answer = await ask(Stage(), "GET", path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


# OpenAPI


def document() -> dict[str, Any]:
    """The OpenAPI document, as a client reads it."""
    api = create_api(Stage(public_url="https://pictures.example").services, version="test")
    found: dict[str, Any] = json.loads(json.dumps(api.openapi()))
    return found


async def test_every_example_of_a_body_can_be_posted() -> None:
    schema = document()["components"]["schemas"]["CreateImageBody"]
    assert len(schema["examples"]) >= 1
    async with Stage().client() as client:
        for body in schema["examples"]:
            assert (await client.post("/image", json=body)).status_code == 201


def test_every_pattern_is_one_of_ecma_262_and_refuses_a_line_break_at_the_end() -> None:
    text = json.dumps(document())
    for pattern in re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', text):
        assert not re.search(r"\\\\[AzZ]|\(\?[P<i]", pattern), pattern
    tokens: TypeAdapter[str] = TypeAdapter(Token)
    assert tokens.validate_python("gpt-image-2") == "gpt-image-2"
    for wrong in ("gpt-image-2\n", "\ngpt-image-2", "a b", ""):
        with pytest.raises(ValidationError):
            tokens.validate_python(wrong)


async def test_a_prompt_is_trimmed_before_its_length_counts() -> None:
    async with Stage().client() as client:
        made = await client.post("/image", json={"prompt": " " * 20_000 + "a dot" + "\n" * 20_000})
        assert (made.status_code, made.json()["prompt"]) == (201, "a dot")
        assert (await client.post("/image", json={"prompt": " \n\t "})).status_code == 422
    prompt = CreateImageBody.model_json_schema()["properties"]["prompt"]
    assert ("maxLength" in prompt, prompt["pattern"]) == (False, r"\S")


def test_public_operations_need_no_key_and_headers_are_described() -> None:
    found = document()
    assert found["servers"][0]["url"] == "https://pictures.example"
    paths = found["paths"]
    for path in ("/image/{guid}", "/image/{guid}/content", "/image/{guid}.{extension}", "/healthz", "/readyz"):
        assert paths[path]["get"]["security"] == []
    responses = paths["/image"]["post"]["responses"]
    assert {"Location", "X-Request-ID", "Idempotent-Replayed"} <= responses["201"]["headers"].keys()
    assert {"Location", "Retry-After"} <= responses["202"]["headers"].keys()
    assert "Retry-After" in responses["503"]["headers"]
    assert "Link" in paths["/image"]["get"]["responses"]["200"]["headers"]
    assert "ETag" in paths["/image/{guid}/content"]["get"]["responses"]["304"]["headers"]
    error = found["components"]["schemas"]["GenerationDetails"]["properties"]["error"]
    assert {"$ref": "#/components/schemas/RecordedProblem"} in error["anyOf"]


UNDESCRIBED = {
    *("content-length", "content-type", "content-encoding", "vary"),
    *("x-content-type-options", "content-security-policy"),
}
"""Headers that no client acts on, and those of the body; besides them those of CORS."""


async def test_openapi_describes_every_header_that_is_sent() -> None:
    stage = Stage()
    body = {"prompt": planted.PROMPT}
    once = {"Idempotency-Key": "once", "Prefer": "wait=10"}
    paths = document()["paths"]
    async with stage.client() as client:
        made = await client.post("/image", json=body, headers=once)
        await client.post("/image", json=body)
        image, generation = made.json()["guid"], (await client.get("/generation")).json()[0]["guid"]
        contents = (
            ("/image/{guid}/content", f"/image/{image}/content"),
            ("/image/{guid}.{extension}", f"/image/{image}.png"),
        )
        seen: set[tuple[str, str, int]] = set()
        requests: list[tuple[str, tuple[str, str], dict[str, Any]]] = [
            ("post", ("/image", "/image"), {"json": body, "headers": once}),
            ("post", ("/image", "/image"), {"json": body, "headers": {"Prefer": "respond-async"}}),
            ("post", ("/image", "/image"), {"json": {}}),
            ("post", ("/image", "/image"), {"json": body, "headers": {"Authorization": "Bearer x"}}),
            ("get", ("/image", "/image?limit=1"), {}),
            ("get", ("/generation", "/generation?limit=1"), {}),
            ("get", ("/generation/{guid}", f"/generation/{generation}"), {}),
            ("get", ("/generation/{guid}", f"/generation/{generation}"), {"headers": {"Accept": "text/event-stream"}}),
            ("get", ("/image/{guid}", f"/image/{image}"), {}),
            ("get", ("/image/{guid}", f"/image/{image}"), {"headers": {"If-None-Match": "*"}}),
            ("get", ("/image/{guid}", f"/image/{MISSING}"), {}),
            *(
                (method, content, {"headers": {name: value} if name else {}})
                for content in contents
                for method in ("get", "head")
                for name, value in (
                    ("", ""),
                    ("Range", "bytes=0-1"),
                    ("Range", "bytes=99999999-"),
                    ("If-None-Match", "*"),
                    ("If-Match", '"x"'),
                )
            ),
            ("delete", ("/image/{guid}", f"/image/{image}"), {}),
            ("post", ("/image", "/image"), {"json": body, "headers": once}),
            ("post", ("/session", "/session"), {"json": {"key": planted.API_KEY}}),
            ("post", ("/session", "/session"), {"json": {"code": "x"}}),
            ("get", ("/session", "/session"), {}),
            ("delete", ("/session", "/session"), {}),
            ("get", ("/healthz", "/healthz"), {}),
        ]
        for method, (path, url), options in requests:
            answer = await client.request(method, url, **options)
            described = paths[path][method]["responses"][str(answer.status_code)]["headers"]
            sent = {name for name in answer.headers if not name.startswith(("access-control-", "cross-origin-"))}
            assert sent - UNDESCRIBED <= {name.lower() for name in described}, (method, path, answer.status_code)
            seen.add((method, path, answer.status_code))
    assert {status for _, _, status in seen} == {200, 201, 202, 204, 206, 304, 401, 404, 410, 412, 416, 422}


# Another dialect


def render_shout(problem: PixyProxyException, request: Request) -> Response:
    return JSONResponse({"shout": problem.name.upper()}, status_code=problem.status, headers=problem.headers)


SHOUTS = APIRouter()


@SHOUTS.get("/picture")
async def picture() -> None:
    raise ImageNotFoundError


PRIVATE_SHOUTS = private_router()


@PRIVATE_SHOUTS.post("/draw")
async def draw(body: CreateImageBody) -> None:
    raise ZeroDivisionError


async def test_the_dialect_of_a_route_renders_its_errors_and_those_of_unknown_urls_beside_it() -> None:
    stage = Stage()
    shouting = Dialect(prefix="/shouts", routers=(SHOUTS,), render=render_shout)
    stage.app = create_app(stage.services, version="test", dialects=(OWN_DIALECT, shouting))
    assert (await ask(stage, "GET", "/shouts/picture")).json() == {"shout": "IMAGE-NOT-FOUND"}
    assert (await ask(stage, "GET", "/shouts/nothing")).json() == {"shout": "NOT-FOUND"}
    assert (await ask(stage, "POST", "/shouts/picture")).json() == {"shout": "METHOD-NOT-ALLOWED"}
    assert (await ask(stage, "GET", f"/image/{MISSING}")).json()["type"] == "urn:pixyproxy:problem:image-not-found"
    assert (await ask(stage, "GET", "/shoutsless")).json()["type"] == "urn:pixyproxy:problem:not-found"


async def test_the_dialect_of_a_path_renders_even_what_the_exception_handler_does_not_see() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    def fail(problem: PixyProxyException, request: Request) -> Response:
        raise ZeroDivisionError

    shouting = Dialect(prefix="/shouts", routers=(), render=render_shout)
    failing = Dialect(prefix="/fails", routers=(), render=fail)
    app = RequestLog(broken, dialects=(OWN_DIALECT, shouting, failing))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE_URL) as client:
        shouted = await client.get("/shouts/picture")
        assert (shouted.status_code, shouted.json()) == (500, {"shout": "INTERNAL-ERROR"})
        assert shouted.headers["x-request-id"]
        for path in ("/image", "/fails/picture"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_every_kind_of_error_is_rendered_by_the_dialect() -> None:
    stage = Stage()
    shouting = Dialect(prefix="/shouts", routers=(SHOUTS, PRIVATE_SHOUTS), render=render_shout)
    stage.app = create_app(stage.services, version="test", dialects=(OWN_DIALECT, shouting))
    json_body = {"Content-Type": "application/json"}
    found = {}
    for name, key, content in (
        ("no key comes before the body", False, b"{"),
        ("malformed", True, b"{"),
        ("invalid", True, b'{"prompt": ""}'),
        ("too large", True, b" " * (1024 * 1024 + 1)),
        ("a fault", True, b'{"prompt": "a dot"}'),
    ):
        async with stage.client(key=key) as client:
            answer = await client.post("/shouts/draw", content=content, headers=json_body)
        found[name] = (answer.status_code, answer.json())
        assert answer.headers["x-request-id"]
    assert found == {
        "no key comes before the body": (401, {"shout": "UNAUTHORIZED"}),
        "malformed": (400, {"shout": "MALFORMED-REQUEST"}),
        "invalid": (422, {"shout": "INVALID-REQUEST"}),
        "too large": (413, {"shout": "PAYLOAD-TOO-LARGE"}),
        "a fault": (500, {"shout": "INTERNAL-ERROR"}),
    }


def test_options_of_the_whole_server_is_no_fault() -> None:
    with listening(Stage().app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"urn:pixyproxy:problem:not-found" in answer


# The log


@pytest.mark.parametrize(
    ("forwarded", "logged"),
    [
        (None, "127.0.0.1"),
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("[2001:DB8::1]:4711", "2001:db8::1"),
        (f"{planted.PROMPT} caller=admin", "invalid"),
    ],
)
def test_the_log_has_the_clients_address_and_no_other_text(
    caplog: pytest.LogCaptureFixture, forwarded: str | None, logged: str
) -> None:
    caplog.set_level("INFO", logger="pixyproxy")
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    with listening(Stage().app) as address:
        assert httpx2.get(f"{address}/healthz", headers=headers).status_code == 200
    (end,) = [message for message in caplog.messages if message.startswith("REQUEST END")]
    assert end.endswith(f" address={logged}")
    assert "admin" not in caplog.text
