"""The page at `/` and its files, as HTTP serves them."""

import gzip
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from pixyproxy.web.app import create_app
from pixyproxy.web.page.contents import MEDIA_TYPES, build_page, load_page
from tests.stage import BASE_URL, Stage

pytestmark = pytest.mark.anyio

FILES = {
    "index.html": b'<script src="{static}/app.js"></script>',
    "app.js": b"1;",
    "page.css": b"p {}",
    "icon.svg": b"<svg/>",
}


async def ask(method: str, path: str, *, app: ASGIApp | None = None, **headers: str) -> httpx2.Response:
    """The answer to a request without a key; `_` stands for `-` in the names of headers."""
    transport = httpx2.ASGITransport(app=app or Stage().app)
    named = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        return await client.request(method, path, headers=named)


def urls() -> Iterator[str]:
    """The path of every file of the page."""
    page = load_page()
    yield from (f"/static/{page.version}/{name}" for name in page.files)


async def test_the_document_may_run_nothing_but_the_pages_own_files() -> None:
    answer = await ask("GET", "/")
    assert answer.status_code == 200
    expected = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
            "trusted-types 'none'"
        ),
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "vary": "Accept-Encoding",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "://" not in answer.text, "no other host"
    assert re.findall(r"<script(?! [^>]*src=)|<style| style=| on[a-z]+=", answer.text) == []


async def test_every_file_that_the_document_names_is_there_and_may_be_kept_for_ever() -> None:
    named = re.findall(r'(?:src|href)="(static/[^"]+)"', (await ask("GET", "/")).text)
    assert {name.rpartition(".")[2] for name in named} == {"js", "css", "svg"}
    assert set(urls()) >= {f"/{name}" for name in named}
    for url in urls():
        answer = await ask("GET", url)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == MEDIA_TYPES[url[url.rindex(".") :]]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", *urls()], ids=lambda path: path.rpartition("/")[2])
async def test_each_is_compressed_once_and_answers_head_and_conditions(path: str) -> None:
    plain = await ask("GET", path)
    packed = await ask("GET", path, Accept_Encoding="gzip")
    assert "content-encoding" not in plain.headers
    assert packed.headers.get_list("content-encoding") == ["gzip"]
    assert packed.content == plain.content, "the client decodes one layer"
    assert int(packed.headers["content-length"]) == len(file_at(path).packed)
    assert gzip.decompress(file_at(path).packed) == plain.content
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}"
    assert packed.headers.get_list("vary") == plain.headers.get_list("vary") == ["Accept-Encoding"]
    for known in (plain, packed):
        again = await ask("GET", path, Accept_Encoding="gzip", If_None_Match=known.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == known.headers["etag"]
        assert again.headers["cache-control"] == plain.headers["cache-control"]
        assert again.headers.get_list("vary") == ["Accept-Encoding"]
    head = await ask("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == plain.headers["content-length"]
    assert (await ask("GET", path, If_None_Match='"another"')).status_code == 200


def file_at(path: str) -> Any:
    """The file that a path names."""
    page = load_page()
    return page.document if path == "/" else page.files[path.rpartition("/")[2]]


async def test_another_version_or_name_is_a_problem() -> None:
    version = load_page().version
    for path in (
        f"/static/{'0' * len(version)}/app.js",
        f"/static/{version}/missing.js",
        f"/static/{version}/index.html",
        f"/static/{version}/../routes.py",
        f"/static/{version}/%2e%2e%2froutes.py",
        f"/static/{version}",
    ):
        answer = await ask("GET", path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert answer.headers["cache-control"] == "no-store", "it may be there when the upgrade is over"


async def test_no_script_of_another_origin_reads_the_page() -> None:
    for path in ("/", *urls()):
        for method in ("GET", "OPTIONS"):
            answer = await ask(method, path, Origin="https://app.example", Access_Control_Request_Method="GET")
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_behind_a_prefix_the_same_document_finds_its_files() -> None:
    app = create_app(Stage().services, version="test")

    async def below_a_prefix(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": "/base"}, receive, send)

    document = await ask("GET", "/base/", app=below_a_prefix)
    assert document.text == (await ask("GET", "/")).text
    for name in re.findall(r'"(static/[^"]+)"', document.text):
        assert (await ask("GET", f"/base/{name}", app=below_a_prefix)).status_code == 200


def test_the_version_changes_with_every_file_and_with_its_name() -> None:
    versions = {build_page(FILES).version}
    for name in FILES:
        versions.add(build_page({**FILES, name: FILES[name] + b" "}).version)
    versions.add(build_page({**FILES, "more.js": b""}).version)
    renamed = dict(FILES)
    renamed["other.css"] = renamed.pop("page.css")
    versions.add(build_page(renamed).version)
    assert len(versions) == len(FILES) + 3
    assert build_page(dict(reversed(FILES.items()))).version == build_page(FILES).version


def test_files_of_other_types_are_no_part_of_the_page() -> None:
    page = build_page({**FILES, "app.js~": b"", "notes.txt": b"", ".app.js.swp": b""})
    assert set(page.files) == {"app.js", "page.css", "icon.svg"}
    assert page.version == build_page(FILES).version
    assert page.document.plain == f'<script src="static/{page.version}/app.js"></script>'.encode()


def test_the_document_preloads_exactly_the_modules_that_the_first_view_imports() -> None:
    page = load_page()
    document = page.document.plain.decode()
    imported = {"app.js"}
    waiting = list(imported)
    while waiting:
        script = page.files[waiting.pop()].plain.decode()
        found = set(re.findall(r'^import [^;]*? from "\./([\w-]+\.js)";', script, re.MULTILINE)) - imported
        imported |= found
        waiting += found
    assert set(re.findall(r'rel="modulepreload" href="static/\w+/([\w-]+\.js)"', document)) == imported - {"app.js"}
    assert len(imported) > 10, "it found the imports"
