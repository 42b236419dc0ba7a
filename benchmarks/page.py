"""The page in Chromium: its first view, a scroll through 500 pictures, and 10,000 tiles."""

import json
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, Route

from benchmarks import names
from benchmarks.lists import fill
from benchmarks.measuring import median
from benchmarks.run import Run, stopping
from benchmarks.store import Store
from benchmarks.thumbnails import picture_of
from benchmarks.wrk import Address, WrongAnswerError, ask
from tests import planted
from tests.browsing import chromium
from tests.servers import PixyProxy

PART = "page"
PICTURES, QUICK_PICTURES = 500, 40
TILES, QUICK_TILES = 10_000, 500
SHAPES = ((1024, 1024), (1536, 1024), (1024, 1536))
DEPTH = 4
"""Bits of noise: a PNG of 1024 x 1024 has about 1.5 MB then."""
WINDOW = {"width": 1440, "height": 900}
PATIENCE_MS = 300_000
WATCH = """
window.seen = { shift: 0, longest: 0 };
const watch = (type, use) =>
    new PerformanceObserver((list) => list.getEntries().forEach(use)).observe({ type, buffered: true });
watch("layout-shift", (entry) => { if (!entry.hadRecentInput) window.seen.shift += entry.value; });
watch("longtask", (entry) => { window.seen.longest = Math.max(window.seen.longest, entry.duration); });
"""
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SCROLL_TO_END = """async () => {
    while (!document.querySelector("#gallery .end").textContent.startsWith("That is all")) {
        scrollBy(0, 600);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    scrollTo(0, document.documentElement.scrollHeight);
}"""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return (20 if quick else 120) + rounds * (10 if quick else 60)


def run(run: Run) -> None:
    """A view of a window, then the whole gallery; and a gallery of very many tiles."""
    run.progress.begin(PART, steps=run.rounds * 3)
    pictures, tiles = (QUICK_PICTURES, QUICK_TILES) if run.quick else (PICTURES, TILES)
    with run.store(PART) as store, chromium() as browser:
        original_kb = plant(store, pictures)
        ours = store.serve("ours")
        with stopping(ours):
            make_thumbnails(store, ours)
            for number in range(1, run.rounds + 1):
                figures = view(browser, ours, original_kb=original_kb, pictures=pictures)
                for case, found in figures.items():
                    run.record(PART, case, names.OURS, number, **found)
                    run.progress.step(f"round {number}/{run.rounds} {case}: {json.dumps(found)}")
    with run.store(f"{PART}-tiles") as store, chromium() as browser:
        fill(store, tiles)
        ours = store.serve("ours")
        with stopping(ours):
            for number in range(1, run.rounds + 1):
                found = scroll_tiles(browser, ours, tiles)
                run.record(PART, names.MANY_TILES, names.OURS, number, **found)
                run.progress.step(f"round {number}/{run.rounds} {names.MANY_TILES}: {json.dumps(found)}")


def plant(store: Store, count: int) -> float:
    """So many images of three shapes; returns the median KB of a picture."""
    shapes = [(picture_of(width, height, depth=DEPTH), width, height) for width, height in SHAPES]
    for number in range(count):
        picture, width, height = shapes[number % len(shapes)]
        store.plant_picture(picture, width=width, height=height)
    return median([len(picture) / 1000 for picture, _, _ in shapes])


def make_thumbnails(store: Store, ours: PixyProxy) -> None:
    """Have every thumbnail made that the page asks for: the view is measured, not the making."""
    for (guid,) in store.query("SELECT guid FROM images"):
        for size in (400, 800):
            status, _, _ = ask(Address(ours.port, ()), f"/image/{guid}/thumbnail?size={size}")
            if status != 200:
                raise WrongAnswerError(f"a thumbnail: {status}")


def view(browser: Browser, ours: PixyProxy, *, original_kb: float, pictures: int) -> dict[str, dict[str, float]]:
    """The figures of the first view, and of a scroll through everything."""
    page, network = open_page(browser, ours)
    page.wait_for_load_state("networkidle")
    first = {
        "requests": float(network.requests),
        "kb": network.bytes / 1000,
        "first_paint_ms": float(page.evaluate(FIRST_PAINT)),
        "layout_shift": float(page.evaluate("window.seen.shift")),
    }
    page.evaluate(SCROLL_TO_END)
    page.wait_for_load_state("networkidle")
    shown = page.locator("#gallery a.tile").count()
    if shown != pictures:
        raise WrongAnswerError(f"the gallery shows {shown} of {pictures} pictures")
    whole = {
        "requests": float(network.requests),
        "kb": network.bytes / 1000,
        "lighter": original_kb * pictures / (network.thumbnail_bytes / 1000),
        "layout_shift": float(page.evaluate("window.seen.shift")),
    }
    page.context.close()
    return {names.FIRST_VIEW: first, names.WHOLE_GALLERY: whole}


def scroll_tiles(browser: Browser, ours: PixyProxy, count: int) -> dict[str, float]:
    """The longest task of the page's main thread while one scrolls through all tiles.

    Their pictures do not exist: each is answered with the same small one before it reaches the service.
    """
    small = picture_of(96, 64, depth=2)

    def answer(route: Route) -> None:
        route.fulfill(body=small, content_type="image/png")

    page, _ = open_page(browser, ours, thumbnails=answer)
    page.evaluate(SCROLL_TO_END)
    shown = page.locator("#gallery a.tile").count()
    if shown != count:
        raise WrongAnswerError(f"the gallery shows {shown} of {count} tiles")
    found: dict[str, Any] = page.evaluate(
        "({ longest_task_ms: window.seen.longest, layout_shift: window.seen.shift,"
        " nodes: document.querySelectorAll('*').length })"
    )
    page.context.close()
    return {name: float(value) for name, value in found.items()}


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


def open_page(browser: Browser, ours: PixyProxy, *, thumbnails: Any = None) -> tuple[Page, Network]:
    """The page as somebody sees it who has logged in before."""
    context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
    context.request.post(f"{ours.url}/session", data={"key": planted.API_KEY})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(WATCH)
    if thumbnails is not None:
        page.route("**/thumbnail?*", thumbnails)
    network = Network(context.new_cdp_session(page))
    page.goto(ours.url)
    page.locator("#gallery a.tile").first.wait_for()
    return page, network
