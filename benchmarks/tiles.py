"""A gallery of 10,000 tiles in Chromium: the longest task of its main thread, as time on the clock and on a CPU."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks.browser import SCROLL_TO_END, WINDOW, open_page
from benchmarks.lists import BEGUN
from benchmarks.store import Store
from benchmarks.wrk import WrongAnswerError
from tests.servers import PixyProxy

DAYS = 100
WIDTHS = (1100, 700, 320, WINDOW["width"])
TASKS = "disabled-by-default-devtools.timeline"
TASK, MAIN = "RunTask", "CrRendererMain"
OPENED = 3
"""Pictures that are opened and closed, here and there."""
PATIENCE_S = 60
SIZED_MS = 3000
"""After this the rows far from the window are sized for its width as well."""


def spread(store: Store, tiles: int) -> None:
    """Spread the images evenly over 100 days."""
    seconds = DAYS * 86_400 // tiles
    store.query(f"UPDATE images SET created_at = '{BEGUN:%Y-%m-%d %H:%M:%S}' + INTERVAL id * {seconds} SECOND")


def many_tiles(browser: Browser, ours: PixyProxy, count: int) -> dict[str, float]:
    """The longest tasks while one scrolls through all tiles, opens some, and changes the width of the window.

    The service answers every request. One that is answered in the browser by Playwright takes more of both cores.
    """
    page, _ = open_page(browser, ours)
    figures: dict[str, float] = {}
    with longest_task(browser, page, figures, ""):
        page.evaluate(SCROLL_TO_END)
    shown = page.locator("#gallery a.tile").count()
    if shown != count:
        raise WrongAnswerError(f"the gallery shows {shown} of {count} tiles")
    figures["layout_shift"] = float(page.evaluate("window.seen.shift"))
    figures["nodes"] = float(page.evaluate("document.querySelectorAll('*').length"))
    with longest_task(browser, page, figures, "open_"):
        for number in range(OPENED):
            open_and_close(page, count * (2 * number + 1) // (2 * OPENED))
    with longest_task(browser, page, figures, "resize_"):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": WINDOW["height"]})
            page.wait_for_timeout(SIZED_MS)
    page.context.close()
    return figures


def open_and_close(page: Page, number: int) -> None:
    """Open a picture of the gallery, and close it.

    Playwright's locators would look at every element, with a script of their own in the page's thread.
    """
    page.evaluate(
        """(number) => {
            const tile = document.querySelectorAll("#gallery a.tile")[number];
            tile.scrollIntoView();
            tile.click();
        }""",
        number,
    )
    wait_for(page, "document.querySelector('dialog.picture[open] img')?.complete")
    page.keyboard.press("Escape")
    wait_for(page, "!document.querySelector('dialog.picture[open]') && !location.hash.startsWith('#p=')")


def wait_for(page: Page, condition: str) -> None:
    """Wait until an expression is true; `WrongAnswerError` if it does not become true."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise WrongAnswerError(f"it does not become true: {condition}")
        page.wait_for_timeout(20)


@contextmanager
def longest_task(browser: Browser, page: Page, figures: dict[str, float], prefix: str) -> Iterator[None]:
    """Adds the milliseconds of the longest task of a main thread while the block runs to the figures."""
    browser.start_tracing(page=page, categories=[TASKS])
    try:
        yield
    finally:
        events: list[dict[str, Any]] = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {(event["pid"], event["tid"]) for event in events if event.get("args", {}).get("name") == MAIN}
    ended = [event for event in events if event["name"] == TASK and "dur" in event]  # one may be cut off at the end
    tasks = [event for event in ended if (event["pid"], event["tid"]) in mains]
    if not tasks:
        raise WrongAnswerError("Chromium's trace has no task")
    figures[f"{prefix}longest_task_ms"] = max(task["dur"] for task in tasks) / 1000
    figures[f"{prefix}longest_cpu_ms"] = max(task.get("tdur", 0) for task in tasks) / 1000
