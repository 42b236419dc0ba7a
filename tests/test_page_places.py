"""The places of the page: what the window is called, how a picture is left, and what waits in the table."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Locator, expect

from pixyproxy.upstream.demo.faults import Fault
from tests.browsing import Browsers
from tests.page_stage import KEY, SMALL, PageService, Person, serve_page, someone
from tests.test_page_gallery import STILL, place_of

CLICK_WHILE_CLOSING = """(name) => document.querySelector("dialog.picture").addEventListener("close", () =>
    [...document.querySelectorAll("a, button")].find((each) =>
        each.textContent === name || each.querySelector("img")?.alt === name).click(), { once: true })"""
"""The page has asked to go back in the history by then, and has not arrived."""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with four pictures, for tests that leave them alone."""
    with serve_page(tmp_path_factory.mktemp("four")) as service:
        for number in range(4):
            service.post(f"fox {number}", size="128x128")
        yield service


def ask_now(person: Person) -> None:
    """An idle page asks every 15 s, and when it hears this."""
    person.page.evaluate("dispatchEvent(new Event('online'))")


def rows(person: Person) -> Locator:
    """The rows of the table."""
    return person.page.locator("#activity tbody tr")


def to_activity(person: Person) -> None:
    """By its link."""
    person.page.get_by_role("link", name="Activity").click()
    expect(rows(person).first).to_be_visible()


def test_the_window_is_named_after_what_is_shown(four: PageService, browsers: Browsers) -> None:
    person = someone(browsers, four)
    expect(person.page).to_have_title("PixyProxy")
    person.tile("fox 2").click()
    expect(person.page).to_have_title("fox 2 · PixyProxy")
    person.page.keyboard.press("ArrowRight")
    expect(person.page).to_have_title("fox 1 · PixyProxy")
    person.close_picture()
    expect(person.page).to_have_title("PixyProxy")
    to_activity(person)
    expect(person.page).to_have_title("Activity · PixyProxy")
    person.page.get_by_role("link", name="fox 3").click()
    expect(person.page).to_have_title("fox 3 · PixyProxy")
    person.close_picture()
    expect(person.page).to_have_title("Activity · PixyProxy")
    person.search("fox")
    expect(person.page).to_have_title("“fox” · PixyProxy")
    person.reload()
    expect(person.page).to_have_title("“fox” · PixyProxy")


def test_a_click_right_after_escape_is_not_undone(four: PageService, browsers: Browsers) -> None:
    person = someone(browsers, four)
    guids = {image["prompt"]: image["guid"] for image in four.get("/image")}
    person.tile("fox 3").click()
    expect(person.dialog.locator(".prompt")).to_have_text("fox 3")
    person.page.evaluate(CLICK_WHILE_CLOSING, "fox 0")
    person.page.keyboard.press("Escape")
    expect(person.dialog.locator(".prompt")).to_have_text("fox 0")
    expect(person.page).to_have_url(re.compile(f"#p={guids['fox 0']}$"))
    person.page.evaluate(CLICK_WHILE_CLOSING, "Activity")
    person.page.keyboard.press("Escape")
    expect(rows(person).first).to_be_visible()
    expect(person.page).to_have_url(re.compile("#activity$"))
    expect(person.dialog).to_be_hidden()


def test_from_the_activity_a_picture_is_used_in_the_gallery(four: PageService, browsers: Browsers) -> None:
    person = someone(browsers, four)
    to_activity(person)
    person.page.get_by_role("link", name="fox 1").click()
    expect(person.dialog).to_be_visible()
    person.page.keyboard.press("e")
    expect(person.page.get_by_role("list", name="Pictures to edit")).to_contain_text("fox 1")
    expect(person.prompt).to_be_focused()
    expect(person.page).not_to_have_url(re.compile("#activity|#p="))


def test_who_goes_to_activity_right_after_typing_a_search_stays_there(four: PageService, browsers: Browsers) -> None:
    person = someone(browsers, four)
    person.search("fox 1")
    to_activity(person)
    person.page.wait_for_timeout(500)  # a search begins 150 ms after the last key
    expect(person.page).to_have_url(re.compile("#activity$"))


def test_at_the_ends_the_buttons_are_off_and_keep_the_focus(four: PageService, browsers: Browsers) -> None:
    person = someone(browsers, four)
    newer = person.dialog.get_by_role("button", name="Newer picture")
    older = person.dialog.get_by_role("button", name="Older picture")
    person.tile("fox 2").click()
    expect(newer).to_be_enabled()
    expect(older).to_be_enabled()
    newer.focus()
    person.page.keyboard.press("Enter")
    expect(person.dialog.locator(".prompt")).to_have_text("fox 3")
    expect(newer).to_be_disabled()
    expect(newer).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(person.said).to_have_text("This is the newest picture.")
    for number in (2, 1, 0):
        older.click()
        expect(person.dialog.locator(".prompt")).to_have_text(f"fox {number}")
    expect(older).to_be_disabled()
    expect(newer).to_be_enabled()
    person.watched.require_access()
    person.close_picture()
    person.search("fox 1")
    expect(person.tiles).to_have_count(1)
    gone = next(image["guid"] for image in four.get("/image") if image["prompt"] == "fox 3")
    person.page.evaluate(f"location.hash = '#p={gone}'")
    expect(person.dialog.locator(".prompt")).to_have_text("fox 3")
    expect(newer).to_be_disabled()
    expect(older).to_be_disabled()
    person.page.keyboard.press("ArrowLeft")
    expect(person.said).to_contain_text("not in the list that is shown")


def test_new_generations_wait_and_a_row_that_ends_moves_nothing(page_service: PageService, browsers: Browsers) -> None:
    for number in range(3):
        page_service.post(f"wolf {number}")
    page_service.upstream.fault = Fault("status", status=400, code="moderation_blocked", message="No. " * 60)
    with page_service.drawing():
        sent, headers = {"prompt": "a lynx", "size": SMALL}, {**KEY, "Prefer": "respond-async"}
        assert httpx2.post(f"{page_service.url}/image", json=sent, headers=headers, timeout=30).status_code == 202
        person = someone(browsers, page_service)
        expect(person.now).to_contain_text("Drawing")
        to_activity(person)
        row, first, last = rows(person).filter(has_text="a lynx"), rows(person).first, rows(person).last
        expect(row).to_contain_text("Running")
        expect(rows(person)).to_have_count(4)
        expect(person.page.locator("#activity table")).not_to_have_attribute("aria-busy", "true")
        row.focus()
        places, shift = [place_of(cell) for cell in (*row.locator("td").all(), last)], person.watched.shift()
    expect(row).to_contain_text("Failed")
    page_service.upstream.fault = None
    for number in range(2):
        page_service.post(f"a fox that came meanwhile {number}")
    ask_now(person)
    new = person.page.locator("#activity").get_by_role("button", name="2 new")
    expect(new).to_be_visible()
    assert [place_of(cell) for cell in (*row.locator("td").all(), last)] == places
    assert person.watched.shift() - shift <= STILL
    expect(row).to_be_focused()
    person.watched.require_access()
    row.get_by_text("Why?").click()
    expect(row).to_contain_text("Nothing was billed.")
    new.click()
    expect(rows(person)).to_have_count(6)
    expect(first).to_contain_text("a fox that came meanwhile 1")
    expect(first).to_be_focused()
    expect(new).to_be_hidden()
    expect(row).to_contain_text("Nothing was billed.")
    person.page.get_by_label("State").select_option("Failed")
    expect(rows(person)).to_have_count(1)
    page_service.post("a fox that is not asked for")
    ask_now(person)
    refused_one = {"prompt": "a bear [refuse]", "size": SMALL}
    assert httpx2.post(f"{page_service.url}/image", json=refused_one, headers=KEY, timeout=30).status_code == 422
    ask_now(person)
    expect(person.page.locator("#activity").get_by_role("button", name="1 new")).to_be_visible()
