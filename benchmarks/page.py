"""The page in Chromium: its first view, a scroll through 500 pictures, and 10,000 tiles."""

import io
import json

from PIL import Image as Pillow
from playwright.sync_api import Browser

from benchmarks import names
from benchmarks.browser import SCROLL_TO_END, open_page
from benchmarks.lists import fill
from benchmarks.measuring import median
from benchmarks.run import Run, stopping
from benchmarks.store import Store
from benchmarks.thumbnails import picture_of
from benchmarks.tiles import many_tiles, spread
from benchmarks.wrk import Address, WrongAnswerError, ask
from tests.browsing import chromium
from tests.servers import PixyProxy

PART = "page"
PICTURES, QUICK_PICTURES = 500, 40
TILES, QUICK_TILES = 10_000, 500
SHAPES = ((1024, 1024), (1536, 1024), (1024, 1536))
DEPTH = 4
"""Bits of noise: a PNG of 1024 x 1024 has about 1.5 MB then."""
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return (20 if quick else 120) + rounds * (20 if quick else 150)


def run(run: Run) -> None:
    """A view of a window, then the whole gallery; and a gallery of very many tiles."""
    run.progress.begin(PART, steps=run.rounds * 4)
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
        store.plant_thumbnails(small_webp())
        ours = store.serve("ours")
        with stopping(ours):
            for case in (names.MANY_TILES, names.MANY_DAYS):
                if case == names.MANY_DAYS:
                    spread(store, tiles)
                for number in range(1, run.rounds + 1):
                    found = many_tiles(browser, ours, tiles)
                    run.record(PART, case, names.OURS, number, **found)
                    run.progress.step(f"round {number}/{run.rounds} {case}: {json.dumps(found)}")


def plant(store: Store, count: int) -> float:
    """So many images of three shapes; returns the median KB of a picture."""
    shapes = [(picture_of(width, height, depth=DEPTH), width, height) for width, height in SHAPES]
    for number in range(count):
        picture, width, height = shapes[number % len(shapes)]
        store.plant_picture(picture, width=width, height=height)
    return median([len(picture) / 1000 for picture, _, _ in shapes])


def small_webp() -> bytes:
    """What stands for every thumbnail: a WebP of 400 pixels."""
    file = io.BytesIO()
    Pillow.open(io.BytesIO(picture_of(400, 267, depth=2))).save(file, "WEBP")
    return file.getvalue()


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
