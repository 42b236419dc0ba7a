"""What the page buys: never twice for one click, whatever happens to the answers."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.browsing import Browsers
from tests.page_stage import PageService, someone

POSTED = re.compile(r"/image$")
LISTED = re.compile(r"/generation\?limit=")
GALLERY = re.compile(r"/image\?limit=")


@pytest.fixture
def keys() -> list[str]:
    """The Idempotency-Keys of the POSTs that a test has seen."""
    return []


def proxied(keys: list[str], *, first: str) -> Callable[[Route], None]:
    """A proxy before the service that spoils the first answer to a POST: `lost`, or `html` of its own."""

    def handle(route: Route) -> None:
        if route.request.method != "POST":
            route.fallback()
            return
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
            return
        route.fetch()  # the service takes it
        if first == "lost":
            route.abort("connectionreset")
        else:
            route.fulfill(status=504, content_type="text/html", body="<h1>504 Gateway Time-out</h1>")

    return handle


@pytest.mark.parametrize("first", ["html", "lost"])
def test_an_answer_that_is_lost_costs_nothing_and_the_picture_comes_to_its_tile(
    page_service: PageService, browsers: Browsers, keys: list[str], first: str
) -> None:
    person = someone(browsers, page_service)
    person.watched.expect(504, "/image")
    person.page.route(POSTED, proxied(keys, first=first))
    person.make("a fox")
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    expect(person.now).to_have_count(1)
    expect(person.page.get_by_role("button", name="Buy another")).to_have_count(0)
    assert page_service.upstream.received == 1
    person.watched.complaints = [said for said in person.watched.complaints if "ERR_CONNECTION_RESET" not in said]


def test_before_it_is_known_what_happened_only_the_same_key_is_offered(
    page_service: PageService, browsers: Browsers, keys: list[str]
) -> None:
    person = someone(browsers, page_service)
    person.watched.expect(504, "/image")
    for listed in (LISTED, GALLERY):  # polling does not find it either
        person.page.route(listed, lambda route: route.fulfill(json=[]))
    person.page.route(POSTED, proxied(keys, first="html"))
    person.make("a fox")
    expect(person.now).to_contain_text("nothing is bought twice")
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert keys[0] == keys[1]
    assert page_service.upstream.received == 1


def test_a_key_that_is_held_down_and_a_double_click_buy_one_picture(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    person.prompt.fill("a fox")
    person.prompt.focus()
    person.page.keyboard.down("Control")
    for _ in range(5):
        person.page.keyboard.down("Enter")
    person.page.keyboard.up("Enter")
    person.page.keyboard.up("Control")
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert page_service.upstream.received == 1
    person.prompt.fill("a wolf")
    person.page.get_by_role("button", name="Make", exact=True).dblclick()
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
    assert page_service.upstream.received == 2


def test_partial_images_are_bought_only_for_tiles_that_show_them(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    wanted: list[int] = []

    def note(route: Route) -> None:
        if route.request.method == "POST":
            wanted.append((route.request.post_data_json or {}).get("partial_images", 0))
        route.fallback()

    person.page.route(POSTED, note)
    person.page.get_by_label("Watch it come").check()
    person.make("a fox", count="4")
    expect(person.now.get_by_role("img", name="a fox")).to_have_count(4)
    assert sorted(wanted) == [0, 0, 1, 1]


def test_a_request_that_is_refused_as_it_stands_says_why_and_sells_nothing(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    person.watched.expect(422, "/image")
    person.page.route(
        POSTED,
        lambda route: (
            route.continue_(post_data='{"prompt": "a fox", "size": ""}')
            if route.request.method == "POST"
            else route.fallback()
        ),
    )
    person.make("a fox")
    expect(person.now).to_contain_text("Nothing was billed")
    expect(person.now).to_contain_text("size")
    expect(person.now.get_by_role("button", name="Buy another")).to_have_count(0)
    assert page_service.upstream.received == 0


def test_polling_goes_on_after_an_answer_that_cannot_be_read(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    person.page.route(LISTED, lambda route: route.fulfill(content_type="text/html", body="<h1>Maintenance</h1>"))
    person.make("a fox")
    expect(person.page.locator("#banner")).to_be_visible()
    person.page.unroute(LISTED)
    page_service.post("a wolf")
    expect(person.page.locator("#banner")).to_be_hidden(timeout=90_000)
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
