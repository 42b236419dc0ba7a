"""A gallery of 500 pictures of several days, scrolled to its end."""

import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from tests.browsing import Browsers
from tests.page_stage import KEY, PageService, Person, serve_page
from tests.test_page_gallery import SIZES, STILL, all_guids, scroll_to_the_end

IMAGES = 500
AT_ONCE = 10
"""Images of one request, the most that the API allows."""
DAYS = 5
OF_A_TILE = 3
"""Elements: a list item, a link, a picture."""
IN_SIGHT = """[...document.querySelectorAll("#gallery a.tile img")]
    .filter((each) => each.getBoundingClientRect().bottom > 0)"""


@pytest.fixture(scope="module")
def five_hundred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with 500 pictures: today's 100, yesterday's 100, and so on."""
    with serve_page(tmp_path_factory.mktemp("endless")) as service, httpx2.Client(headers=KEY, timeout=60) as client:

        def draw(number: int) -> None:
            sent = {"prompt": f"fox number {number:02}", "n": AT_ONCE, "size": SIZES[number % len(SIZES)]}
            answer = client.post(f"{service.url}/v1/images/generations", json=sent)
            assert answer.status_code == 200, answer.text

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(draw, range(IMAGES // AT_ONCE)))
        of_a_day = IMAGES // DAYS
        earlier = f"date(created_at, '-' || (({IMAGES} - id) / {of_a_day}) || ' days') || substr(created_at, 11)"
        assert service.change(f"UPDATE images SET created_at = {earlier}") == IMAGES
        yield service


def thumbnail() -> bytes:
    """Bytes that stand for every thumbnail: to make 500 takes longer than everything else here."""
    data = io.BytesIO()
    Image.new("RGB", (48, 32), "teal").save(data, "WEBP")
    return data.getvalue()


def test_five_hundred_pictures_are_reached_by_day_and_nothing_moves_or_is_asked_for_twice(
    five_hundred: PageService, browsers: Browsers
) -> None:
    watched = browsers.new(five_hundred.url)
    asked, lists = Counter[str](), Counter[str]()
    picture = thumbnail()

    def answer(route: Route) -> None:
        asked[route.request.url] += 1
        route.fulfill(body=picture, content_type="image/webp")

    watched.page.route("**/thumbnail?*", answer)
    watched.page.on("request", lambda request: lists.update([request.url] if "/image?" in request.url else []))
    watched.page.goto(five_hundred.login_url())
    person = Person(watched).wait()
    person.page.mouse.move(600, 500)
    scroll_to_the_end(person)
    expect(person.page.get_by_text("That is all: 500 pictures.")).to_be_visible()
    assert watched.shift() <= STILL
    guids = all_guids(five_hundred)
    assert len(set(guids)) == IMAGES
    shown = person.page.eval_on_selector_all("#gallery li[data-guid]", "all => all.map((each) => each.dataset.guid)")
    assert shown == guids
    assert set(lists.values()) == {1}
    assert len(asked) > IMAGES / 2
    assert set(asked.values()) == {1}
    of_tiles = IMAGES * OF_A_TILE
    assert of_tiles <= person.page.locator("#gallery .days *").count() <= of_tiles + DAYS * OF_A_TILE
    days = person.page.locator("#gallery section")
    assert days.count() == DAYS
    for number in range(DAYS):
        assert days.nth(number).locator("a.tile").count() == IMAGES // DAYS
    assert days.locator("h3").all_inner_texts()[:2] == ["Today", "Yesterday"]
    person.page.mouse.wheel(0, 100_000)
    watched.wait_for(f"{IN_SIGHT}.every((each) => each.complete && each.naturalWidth)")
    assert watched.page.evaluate(f"{IN_SIGHT}.length") > 5
