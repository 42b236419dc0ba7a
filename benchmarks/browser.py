"""Chromium before the page, for what is measured there."""

from typing import Any

from playwright.sync_api import Browser, CDPSession, Page

from tests import planted
from tests.servers import PixyProxy

WINDOW = {"width": 1440, "height": 900}
PATIENCE_MS = 300_000
WATCH = """
window.seen = { shift: 0, longest: 0 };
const watch = (type, use) =>
    new PerformanceObserver((list) => list.getEntries().forEach(use)).observe({ type, buffered: true });
watch("layout-shift", (entry) => { if (!entry.hadRecentInput) window.seen.shift += entry.value; });
watch("longtask", (entry) => { window.seen.longest = Math.max(window.seen.longest, entry.duration); });
"""
SCROLL_TO_END = """async () => {
    const end = document.querySelector("#gallery .end");
    while (!end.textContent.startsWith("That is all")) {
        if (end.querySelector("button")) throw new Error(end.textContent);
        scrollBy(0, 600);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    scrollTo(0, document.documentElement.scrollHeight);
}"""


class Network:
    """What a page has loaded: requests, and the bytes of their answers on the wire."""

    def __init__(self, session: CDPSession) -> None:
        self.requests = 0
        self.bytes = self.thumbnail_bytes = 0.0
        self._urls: dict[str, str] = {}
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", self._begun)
        session.on("Network.loadingFinished", self._ended)

    def _begun(self, event: dict[str, Any]) -> None:
        self._urls[event["requestId"]] = event["request"]["url"]
        self.requests += 1

    def _ended(self, event: dict[str, Any]) -> None:
        self.bytes += event["encodedDataLength"]
        if "/thumbnail" in self._urls.get(event["requestId"], ""):
            self.thumbnail_bytes += event["encodedDataLength"]


def open_page(browser: Browser, ours: PixyProxy) -> tuple[Page, Network]:
    """The page as somebody sees it who has logged in before."""
    context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
    context.request.post(f"{ours.url}/session", data={"key": planted.API_KEY})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(WATCH)
    network = Network(context.new_cdp_session(page))
    page.goto(ours.url)
    page.locator("#gallery a.tile").first.wait_for()
    return page, network
