"""Debian's Chromium, driven by Playwright, and pages that remember everything that they complain about."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from tests.lint_page import PACKAGES
from tests.servers import missing

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = PACKAGES / "node_modules/axe-core/axe.min.js"
PATIENCE_MS = 15_000
"""Two cores are shared by everything that the tests start."""
WATCHING = """
window.seen = { shift: 0 };
document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`the policy forbids ${event.effectiveDirective} ${event.blockedURI}`));
new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.seen.shift += entry.value; }))
    .observe({ type: "layout-shift", buffered: true });
"""
FAILED = re.compile(r"Failed to load resource: the server responded with a status of (\d{3})")
NO_ICON = (404, re.compile("/favicon.ico"))
"""Ours has one. The browser asks for it when it likes, also at the other servers of the tests."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window while the block runs.

    Playwright's synchronous API keeps an event loop running in this thread until then: no async test may run meanwhile.
    """
    if not CHROMIUM.exists():
        missing("Chromium", "apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@cache
def axe() -> str:
    """The source of axe-core."""
    if not AXE.exists():
        missing("axe-core", "deploy/install-packages tests/page/package.json .venv/page")
    return AXE.read_text()


@dataclass
class Watched:
    """A page, and what it complained about: errors, what its policy forbids, requests to another host.

    `expected`: the status and the path of answers that a test causes; Chromium reports them as errors. `deleted`: paths
    of what a page has deleted: its thumbnail may still be asked for by a slow browser, or by another page.
    """

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    expected: list[tuple[int, re.Pattern[str]]] = field(default_factory=lambda: [NO_ICON])
    deleted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.add_init_script(WATCHING)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("crash", lambda _: self.complaints.append("the page crashed"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning", "assert"):
            return
        url = message.location["url"]
        failed = FAILED.match(message.text)
        if not (failed and self._is_expected(int(failed[1]), urlsplit(url).path)):
            self.complaints.append(f"{message.type}: {message.text} ({url})")

    def _is_expected(self, status: int, path: str) -> bool:
        if status == 404 and path.endswith("/thumbnail") and path.removesuffix("/thumbnail") in self.deleted:
            return True
        return any(status == known and pattern.fullmatch(path) for known, pattern in self.expected)

    def _on_request(self, request: Request) -> None:
        if request.method == "DELETE":
            self.deleted.add(urlsplit(request.url).path)
        if not request.url.startswith((f"{self.origin}/", f"blob:{self.origin}/")):
            self.complaints.append(f"a request to {request.url}")

    def expect(self, status: int, path: str) -> None:
        """From now on answers with this status are no complaint, if the whole path matches the regular expression."""
        self.expected.append((status, re.compile(path)))

    def open(self, path: str = "/") -> "Watched":
        """Go to a path of the service."""
        self.page.goto(self.origin + path)
        return self

    def wait_for(self, expression: str, *, patience_ms: int = PATIENCE_MS) -> None:
        """Wait until an expression is true. Playwright's own way needs `eval`, which the page's policy forbids."""
        self.wait_until(lambda: self.page.evaluate(expression), expression, patience_ms=patience_ms)

    def wait_until(self, condition: Callable[[], Any], what: str, *, patience_ms: int = PATIENCE_MS) -> None:
        """Wait until a condition is true, and let the browser's events come meanwhile; `what` says what is missing."""
        end = time.monotonic() + patience_ms / 1000
        while not condition():
            assert time.monotonic() < end, f"it does not become true: {what}"
            self.page.wait_for_timeout(50)

    def scroll_by(self, pixels: int) -> None:
        """Scroll so far, as soon as there is so much, and let the page see it.

        A wheel scrolls smoothly: who measures after it does not know where.
        """
        wanted = self.scroll_top() + pixels
        self.wait_for(f"(scrollTo(0, {wanted}), scrollY >= {wanted} - 1)")
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def require_silence(self) -> None:
        """Nothing was complained about until now."""
        if not self.page.is_closed():
            self.page.evaluate("new Promise((done) => setTimeout(done))")  # Playwright hears of earlier events first
        assert self.complaints == [], self.complaints

    def require_access(self) -> None:
        """axe-core finds nothing wrong with what is shown, light and dark."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.evaluate(axe())
            result: dict[str, Any] = self.page.evaluate("axe.run()")
            found = [
                f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
                for each in result["violations"]
                for node in each["nodes"]
            ]
            assert found == [], f"{scheme}: {found}"
            assert len(result["passes"]) > 5, "it looked at nothing"
        self.page.emulate_media(color_scheme="null", reduced_motion="null")

    def shift(self) -> float:
        """How much has moved by itself since the page was opened: the sum of Chromium's layout shifts."""
        return float(self.page.evaluate("window.seen.shift"))

    def scroll_top(self) -> float:
        """How far the page is scrolled down."""
        return float(self.page.evaluate("document.scrollingElement.scrollTop"))

    def too_wide(self) -> list[str]:
        """What reaches beyond the right edge of the window, so that one would have to scroll to the side."""
        found: list[str] = self.page.evaluate(
            """() => {
                const width = document.documentElement.clientWidth;
                if (document.scrollingElement.scrollWidth <= width) return [];
                return [...document.querySelectorAll("body *")]
                    .filter((each) => each.getBoundingClientRect().right > width + 1)
                    .map((each) => each.outerHTML.slice(0, 120));
            }"""
        )
        return found


def held_back(page: Page, url: str | re.Pattern[str]) -> list[Route]:
    """Hold these requests back until the test lets them go on."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(url, hold)
    return held


def let_go(page: Page, held: list[Route]) -> None:
    """Let what was held back go on, and hold nothing back any more."""
    while held:
        held.pop().continue_()
    page.unroute_all()


class Browsers:
    """Browsers of people: each has cookies, storage and caches of its own."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._watched: list[Watched] = []
        self._deleted: set[str] = set()

    def new(self, origin: str, **options: Any) -> Watched:
        """A page in a browser of its own that watches a service. `options` are those of Playwright's contexts."""
        context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self._contexts.append(context)
        return self.tab(context, origin)

    def tab(self, context: BrowserContext, origin: str) -> Watched:
        """Another page in the same browser."""
        watched = Watched(context.new_page(), origin, deleted=self._deleted)
        self._watched.append(watched)
        return watched

    def close(self) -> None:
        """Close them all; a complaint of any of their pages is a failure."""
        try:
            for watched in self._watched:
                watched.require_silence()
        finally:
            for context in self._contexts:
                context.close()
