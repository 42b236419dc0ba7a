"""The page where the service, or what is before it, answers wrongly: nothing is lost, and no requests storm."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browsing import Browsers, held_back
from tests.page_stage import KEY, PageService, serve_page, someone

MANY = 120
NEXT_PAGE = re.compile(r"/image\?.*cursor=")
NEWEST = re.compile(r"/image\?limit=")
AWAY = {"type": "urn:pixyproxy:problem:database-unavailable", "title": "x", "detail": "The database is away."}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with several pages of pictures, for tests that leave them alone."""
    with serve_page(tmp_path_factory.mktemp("many")) as service, httpx2.Client(headers=KEY, timeout=60) as client:
        for number in range(MANY // 10):
            sent = {"prompt": f"fox number {number:03}", "n": 10, "size": "48x32"}
            answer = client.post(f"{service.url}/v1/images/generations", json=sent)
            assert answer.status_code == 200, answer.text
        yield service


def answered(page: Page, url: re.Pattern[str], status: int, body: str) -> list[str]:
    """Answer these requests in the place of the service; returns what was asked for."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=status, body=body, content_type="application/json")

    page.route(url, answer)
    return asked


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, '{"type": "urn:pixyproxy:problem:database-unavailable", "detail": "It is away."}', "It is away."),
        (200, "<!doctype html><title>Wi-Fi</title>", "The service answered with something else."),
        (200, '[{"guid": "', "The service answered with something else."),
        (200, "{}", "The service answered with something else."),
    ],
    ids=["a problem", "a portal's page", "cut off", "no list"],
)
def test_a_page_that_fails_is_asked_for_again_in_its_place_by_the_person(
    many: PageService, browsers: Browsers, status: int, body: str, words: str
) -> None:
    person = someone(browsers, many)
    person.watched.expect(503, "/image")
    asked = answered(person.page, NEXT_PAGE, status, body)
    person.page.mouse.move(600, 500)
    person.page.mouse.wheel(0, 4000)
    again = person.page.locator("#gallery").get_by_role("button", name="Try again")
    expect(again).to_be_visible()
    expect(person.page.locator("#gallery")).to_contain_text(words)
    person.page.mouse.wheel(0, -2000)
    person.page.mouse.wheel(0, 4000)
    person.page.wait_for_timeout(1000)
    assert len(asked) == 1, "who scrolls asks for nothing"
    with person.page.expect_response(NEXT_PAGE):
        again.press("Enter")
    expect(again).to_be_focused()
    assert len(asked) == 2
    before = person.tiles.count()
    person.page.unroute(NEXT_PAGE)
    again.press("Enter")
    expect(again).to_have_count(0)
    assert person.tiles.count() > before
    index = person.page.evaluate("[...document.querySelectorAll('#gallery a.tile')].indexOf(document.activeElement)")
    assert index >= before, "the focus is on what is new"


def test_newest_pictures_that_do_not_come_leave_what_is_shown(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a fox")
    person = someone(browsers, page_service)
    person.watched.expect(503, "/image")
    person.make("a wolf")
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
    person.page.route(NEWEST, lambda route: route.fulfill(status=503, json=AWAY))
    person.page.get_by_role("link", name="PixyProxy").click()
    expect(person.page.locator("#banner")).to_contain_text("The database is away.")
    expect(person.tile("a fox")).to_be_visible()
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
    person.page.unroute(NEWEST)
    person.page.get_by_role("link", name="PixyProxy").click()
    expect(person.tile("a wolf")).to_be_visible()
    expect(person.now).to_have_count(0)
    expect(person.page.locator("#banner")).to_be_hidden()


def test_a_thumbnail_that_did_not_come_is_asked_for_again(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a fox")
    person = someone(browsers, page_service)
    person.watched.expect(503, "/image/.*/thumbnail")
    asked = answered(person.page, re.compile("/thumbnail"), 503, "{}")
    person.page.reload()
    person.watched.wait_for("document.querySelector('#gallery a.tile img')?.classList.contains('lost')")
    assert asked
    person.page.unroute(re.compile("/thumbnail"))
    came = "document.querySelector('#gallery a.tile img:not(.lost)')?.naturalWidth > 0"
    person.watched.wait_for(came, patience_ms=60_000)  # after 3, 10 and 30 s


def test_a_lost_thumbnail_is_said_in_words_and_the_browsers_broken_image_is_not_seen(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.post("a fox")
    person = someone(browsers, page_service)
    person.watched.expect(503, "/image/.*/thumbnail")
    asked = answered(person.page, re.compile("/thumbnail"), 503, "{}")
    person.page.clock.install()
    person.reload()
    picture = person.tile("a fox").get_by_role("img")
    for number, seconds in enumerate((3, 10, 30), start=1):  # until it is asked for again
        expect(picture).to_have_css("opacity", "0")
        person.watched.wait_for("document.querySelector('#gallery img').complete")
        assert len(asked) == number
        with person.page.expect_response(re.compile("/thumbnail")):
            person.page.clock.fast_forward(seconds * 1000)
    expect(person.tile("a fox")).to_contain_text("No preview. Open it to see why.")
    person.watched.require_access()
    person.page.unroute(re.compile("/thumbnail"))
    person.tile("a fox").click()
    expect(person.dialog.get_by_role("img", name="a fox")).to_have_js_property("naturalWidth", 48)


def test_an_older_picture_waits_for_the_page_that_is_being_read(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    held = held_back(person.page, NEXT_PAGE)
    person.page.mouse.move(600, 500)
    with person.page.expect_request(NEXT_PAGE):
        person.page.mouse.wheel(0, 4000)
    person.tiles.last.click()
    expect(person.dialog).to_be_visible()
    urls = [""]
    while person.page.url != urls[-1]:
        urls.append(person.page.url)
        person.page.keyboard.press("ArrowRight")
        person.page.wait_for_timeout(200)
    assert len(held) == 1
    held[0].continue_()
    person.watched.wait_for(f"location.href !== '{urls[-1]}'")
    expect(person.said).to_contain_text("fox number")


def test_only_the_picture_that_is_wanted_last_is_opened(page_service: PageService, browsers: Browsers) -> None:
    slow, wanted = page_service.post("the slow one"), page_service.post("the wanted one")
    person = someone(browsers, page_service)
    person.search("wanted")
    expect(person.tiles).to_have_count(1)
    held = held_back(person.page, f"**/image/{slow['guid']}")
    with person.page.expect_request(f"**/image/{slow['guid']}"):
        person.page.evaluate(f"location.hash = '#p={slow['guid']}'")
    person.page.evaluate(f"location.hash = '#p={wanted['guid']}'")
    expect(person.dialog).to_contain_text("the wanted one")
    with person.page.expect_response(f"**/image/{slow['guid']}"):
        held[0].continue_()
    person.page.wait_for_timeout(500)
    expect(person.dialog.locator(".prompt")).to_have_text("the wanted one")


def test_before_the_first_of_a_page_in_the_middle_there_are_newer_ones(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    for _ in range(6):
        person.watched.scroll_by(700)
    person.watched.wait_for("JSON.parse(sessionStorage.place).cursor !== ''")
    person.reload()
    expect(person.page.get_by_role("button", name="To the newest")).to_be_attached()
    person.tiles.first.click()
    expect(person.dialog).to_be_visible()
    person.page.keyboard.press("ArrowLeft")
    expect(person.said).to_contain_text("There are newer pictures")


def test_more_of_the_activity_goes_on_with_its_first_row(many: PageService, browsers: Browsers) -> None:
    for number in range(52):
        many.post(f"a wolf {number}")
    person = someone(browsers, many)
    person.page.goto(f"{many.url}/#activity")
    person.page.get_by_role("button", name="More").press("Enter")
    expect(person.page.get_by_role("row").nth(51)).to_be_focused()
