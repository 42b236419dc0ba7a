"""The page in Chromium: it loads under its policy, is kept by the browser, and is framed by nobody."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from pixyproxy.web.page.contents import load_page
from tests.browsing import Browsers, chromium
from tests.listening import listening
from tests.stage import Stage

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'"


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The service over fakes."""
    with listening(Stage().app) as url:
        yield url


def test_the_page_loads_and_runs_under_its_policy(service: str, browsers: Browsers) -> None:
    watched = browsers.new(service)
    watched.expect(401, "/session")
    watched.open()
    assert watched.page.title() == "PixyProxy"
    watched.wait_for("document.body.innerText.trim() !== ''")
    watched.require_access()
    assert watched.shift() <= 0.01


def test_loaded_again_the_document_is_a_304_and_its_files_come_from_the_cache(browsers: Browsers) -> None:
    app = Stage().app
    answers: list[tuple[str, int]] = []

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                answers.append((scope["path"], message["status"]))
            await send(message)

        await app(scope, receive, note)

    with listening(noted) as url:
        watched = browsers.new(url)
        watched.expect(401, "/session")
        watched.open()
        assert {("/", 200), (f"/static/{load_page().version}/page.css", 200)} <= set(answers)
        answers.clear()
        watched.open()
        asked = [answer for answer in answers if answer[0] == "/" or answer[0].endswith((".css", ".js"))]
        assert asked == [("/", 304)]


def test_no_other_page_can_frame_it(service: str, browsers: Browsers) -> None:
    frame = Starlette(routes=[Route("/", lambda _: HTMLResponse(f"<iframe src='{service}/'></iframe>"))])
    with listening(frame) as other:
        watched = browsers.new(other)
        watched.open()
        watched.wait_for("frames.length === 1")
        watched.wait_until(lambda: len(watched.complaints) > 1, "the browser says why")
        assert [each.url for each in watched.page.frames[1:]] == ["chrome-error://chromewebdata/"]
        complaints, watched.complaints = watched.complaints, []
    assert f"a request to {service}/" in complaints
    assert any("frame-ancestors 'none'" in said for said in complaints)


BAD = {
    "a console error": ("console.error('planted')", "error: planted"),
    "an error": ("setTimeout(() => { throw new Error('planted'); })", "error: planted"),
    "a rejection": ("Promise.reject(new Error('planted'))", "error: planted"),
    "what the policy forbids": (
        "document.body.setAttribute('style', 'color: red')",
        "the policy forbids style-src-attr",
    ),
    "a request to another host": ("fetch('http://localhost:9/').catch(() => 0)", "a request to http://localhost:9/"),
    "a failed request": ("fetch('/missing')", "a status of 404"),
}


@pytest.mark.parametrize(("script", "complaint"), BAD.values(), ids=BAD.keys())
def test_a_page_that_is_watched_keeps_no_complaint_to_itself(browsers: Browsers, script: str, complaint: str) -> None:
    policy = {"Content-Security-Policy": "connect-src *; " + POLICY}
    page = HTMLResponse("<!doctype html><body><script src='bad.js'></script>", headers=policy)
    bad = PlainTextResponse(script, media_type="text/javascript")
    with listening(Starlette(routes=[Route("/", lambda _: page), Route("/bad.js", lambda _: bad)])) as url:
        watched = browsers.new(url)
        watched.open()
        watched.wait_until(lambda: any(complaint in said for said in watched.complaints), complaint)
        with pytest.raises(AssertionError, match=re.escape(complaint)):
            watched.require_silence()
        watched.page.close()  # a second complaint of the same cause may be on its way
        watched.complaints.clear()


def test_what_axe_finds_what_moves_and_what_is_too_wide_is_seen(browsers: Browsers) -> None:
    page = HTMLResponse("<!doctype html><title>x</title><body><img src='data:,'><p>text<p style='width: 200vw'>wide")
    with listening(Starlette(routes=[Route("/", lambda _: page)])) as url:
        watched = browsers.new(url)
        watched.open()
        with pytest.raises(AssertionError, match="image-alt"):
            watched.require_access()
        assert watched.too_wide() != []
        assert watched.shift() == 0
        watched.page.evaluate("document.body.prepend(Object.assign(new Image(300, 300)))")
        watched.wait_for("window.seen.shift > 0.01")
        watched.complaints = []


def test_when_the_browser_has_ended_async_tests_can_run_in_its_thread() -> None:
    def run() -> None:
        with chromium() as browser:
            assert browser.is_connected()
            assert asyncio.get_running_loop().is_running()
        asyncio.run(asyncio.sleep(0))

    with ThreadPoolExecutor(1) as thread:  # this thread has the browser of the other tests
        thread.submit(run).result()
