"""`make screenshots`: the pictures of the page in docs/page/, taken from the real service with the demo upstream."""

import io
import itertools
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx2
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.browsing import chromium
from tests.servers import PixyProxy, run_cli

FOLDER = Path(__file__).parent.parent / "docs/page"
KEY_NAME = "studio"
DESKTOP, PHONE = {"width": 1360, "height": 850}, {"width": 390, "height": 844}
SUBJECTS = (
    "a lighthouse at dawn", "two foxes in the snow", "a harbour at night", "a paper boat", "an old bookshop",
    "a glass teapot", "a mountain railway", "the moon over rice fields", "a greenhouse in the rain",
    "a violin on a chair",
)  # fmt: skip
OTHERS = {"shop": 38, "newsletter": 26, "intern": 9}
"""Pictures of other keys."""
MANNERS = ("woodcut", "watercolour", "linocut in two colours", "pencil and wash")
SIZES = ("1536x1024", "1024x1024", "1024x1536", "1536x1024", "1024x1024", "1536x1024", "1024x1536")
DELAY = 8
"""Seconds of the slow upstream for a picture: its stream has shown a partial image after half of them."""


def main() -> int:
    """Take all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made, chromium() as browser:
        folder = Path(made)
        environment = {"PIXYPROXY_DATA_DIR": str(folder / "data")}
        service = PixyProxy(folder / "service", environment).start()
        try:
            key = create_key(folder, KEY_NAME, "all", environment)
            draw_all(service.url, key)
            take_still(browser, service.url, key)
            spend(service.url, key, folder, environment)
            with_page(browser, service.url, key, take_usage)
            with_page(browser, service.url, key, take_keys)
            # The other upstream has no prices, which a budget of everybody would need.
            run_cli(folder, "budgets", "remove", "everybody", "month", environment=environment)
        finally:
            service.process.stop()
        upstream = PixyProxy(folder / "upstream", {}, arguments=("demo-upstream", "--delay", str(DELAY))).start(
            path="/"
        )
        environment |= {"OPENAI_API_KEY": "sk-demo", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        service = PixyProxy(folder / "service", environment).start()
        try:
            take_running(browser, service.url, key)
        finally:
            service.process.stop()
            upstream.process.stop()
    print(*sorted(str(file.name) for file in FOLDER.iterdir()))
    return 0


def create_key(folder: Path, name: str, scope: str, environment: dict[str, str]) -> str:
    """A new API key."""
    return run_cli(folder, "keys", "create", name, "--scope", scope, environment=environment).stdout.split()[-1]


def draw_all(url: str, key: str, *, count: int | None = None) -> None:
    """Have enough pictures drawn for some rows, or so many."""
    prompts = [f"{subject}, {manner}" for manner, subject in itertools.product(MANNERS, SUBJECTS)][:count]

    def draw(prompt: str, size: str) -> None:
        body = {"prompt": prompt, "size": size}
        httpx2.post(
            f"{url}/image", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60
        ).raise_for_status()

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(draw, prompts, itertools.cycle(SIZES)))


def take_still(browser: Browser, url: str, key: str) -> None:
    """Gallery, open picture, activity: light, dark, and on a phone."""
    with_page(browser, url, key, partial(take, name="gallery"))
    with_page(browser, url, key, partial(take, name="dark"), color_scheme="dark")

    def open_picture(page: Page) -> None:
        page.locator("#gallery a.tile").nth(4).click()
        page.get_by_role("button", name="Copy URL").click()
        take(page, "picture")

    def open_activity(page: Page) -> None:
        page.get_by_role("link", name="Activity").click()
        page.locator("#activity tbody tr").first.wait_for()
        take(page, "activity")

    with_page(browser, url, key, open_picture, permissions=["clipboard-write"])
    with_page(browser, url, key, open_activity)
    with_page(browser, url, key, partial(take, name="phone"), viewport=PHONE, device_scale_factor=2, is_mobile=True)


def spend(url: str, key: str, folder: Path, environment: dict[str, str]) -> None:
    """Let pictures cost something, and several keys draw some; then let all of them be of many days."""
    run_cli(folder, "prices", "set", "*", "--upstream", "demo", "--per-image", "0.053", environment=environment)
    draw_all(url, key)
    for name, count in OTHERS.items():
        draw_all(url, create_key(folder, name, "draw", environment), count=count)
    run_cli(folder, "budgets", "set", "everybody", "20/month", environment=environment)
    for name, budget, note in (("shop", "5/month", "pictures of products"), ("intern", "1/day", "until the spring")):
        run_cli(folder, "keys", "set", name, "--budget", budget, "--note", note, environment=environment)
    with closing(sqlite3.connect(folder / "data/pixyproxy.db")) as database, database:
        moved = "strftime('%Y-%m-%d %H:%M:%f000', created_at, '-' || ((id * id * id + id * 11) % 29) || ' days')"
        database.execute(f"UPDATE generations SET created_at = {moved}")
        for table in ("usage_days", "usage_sums", "usage_open"):
            database.execute(f"DELETE FROM {table}")


def take_usage(page: Page) -> None:
    """What the keys have spent in 30 days."""
    page.get_by_role("link", name="Usage", exact=True).click()
    page.get_by_label("Days").select_option("Last 30 days")
    page.locator("#usage .chart svg").wait_for()
    take(page, "usage")


def take_keys(page: Page) -> None:
    """All keys, and what each may spend."""
    page.get_by_role("link", name="Keys", exact=True).click()
    page.locator("#keys tbody tr").first.wait_for()
    take(page, "keys")


def take_running(browser: Browser, url: str, key: str) -> None:
    """Pictures that are being drawn, with partial images, and one that the upstream refused."""

    def make(page: Page) -> None:
        for size, prompt, watched in (
            ("1536x1024", "a harbour at night, woodcut", True),
            ("1024x1024", "two foxes in the snow, linocut", True),
            ("1024x1024", "a paper boat [refuse]", False),
            ("1024x1024", "the moon over rice fields, watercolour", False),
        ):
            page.locator("select[name=size]").select_option(size)
            page.locator("input[name=partials]").set_checked(watched)
            page.locator("#prompt").fill(prompt)
            page.locator("#prompt").press("Control+Enter")
        page.locator("#now li.failed").wait_for()
        page.locator("#now img.partial:not([hidden])").nth(1).wait_for()
        take(page, "running", still=False)

    with_page(browser, url, key, make)


def with_page(browser: Browser, url: str, key: str, use: Callable[[Page], None], **options: object) -> None:
    """Use the page as somebody who has logged in."""
    context = browser.new_context(**{"viewport": DESKTOP, "device_scale_factor": 1.5, **options})  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    page.locator("#gallery a.tile").first.wait_for()
    use(page)
    context.close()


def take(page: Page, name: str, *, still: bool = True) -> None:
    """Take the picture; `still`: when everything in the window is loaded and nothing moves."""
    page.mouse.move(0, 0)
    if still:
        page.wait_for_load_state("networkidle")
        page.wait_for_function("[...document.images].every((image) => image.complete || image.loading === 'lazy')")
    page.wait_for_timeout(1000)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.save(FOLDER / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    sys.exit(main())
