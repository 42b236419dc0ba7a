"""Activity: the table of all generations, its filters, and pictures opened from it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from playwright.sync_api import Locator, expect

from tests.browsing import Browsers
from tests.page_stage import CALLER, KEY, SMALL, PageService, Person, serve_page, someone
from tests.test_page_gallery import place_of

OF_THE_KEY, OF_THE_LAPTOP, REFUSED = 48, 6, 3
ALL = OF_THE_KEY + OF_THE_LAPTOP + REFUSED
FIRST = 50
"""Rows that are shown before somebody asks for more."""


def refuse(service: PageService, prompt: str) -> None:
    """Ask for what the upstream refuses."""
    body = {"prompt": f"{prompt} [refuse]", "size": SMALL}
    assert httpx2.post(f"{service.url}/image", json=body, headers=KEY, timeout=30).status_code == 422


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with more than a page of generations, of two keys, some of them refused."""
    with serve_page(tmp_path_factory.mktemp("busy")) as service, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: service.post(f"fox {number:02}"), range(OF_THE_KEY)))
        key = service.create_key("laptop")
        for number in range(OF_THE_LAPTOP):
            service.post(f"wolf {number}", key=key)
        for number in range(REFUSED):
            refuse(service, f"lynx {number}")
        yield service


def rows(person: Person) -> Locator:
    """The rows of generations."""
    return person.page.locator("#activity tbody tr")


def open_activity(browsers: Browsers, service: PageService) -> Person:
    """Somebody who looks at the table."""
    person = someone(browsers, service)
    person.page.get_by_role("link", name="Activity").click()
    expect(rows(person).first).to_be_visible()
    return person


def column(person: Person, name: str) -> list[str]:
    """What stands in the column with this heading."""
    headings = person.page.locator("#activity thead th").all_inner_texts()
    number = [each.casefold() for each in headings].index(name.casefold()) + 1
    return person.page.locator(f"#activity tbody td:nth-child({number})").all_inner_texts()


def test_every_generation_has_a_row_and_more_brings_the_older_ones(busy: PageService, browsers: Browsers) -> None:
    person = open_activity(browsers, busy)
    expect(rows(person)).to_have_count(FIRST)
    person.watched.require_access()
    newest = rows(person).first
    for said in ("Failed", CALLER, "lynx 2 [refuse]", "gpt-image-2.5-flare", "48 × 32", "Nothing was billed.", "Today"):
        expect(newest).to_contain_text(said)
    drawn = rows(person).nth(REFUSED)
    for said in ("Succeeded", "laptop", f"wolf {OF_THE_LAPTOP - 1}"):
        expect(drawn).to_contain_text(said)
    details = busy.get(f"/generation?limit={REFUSED + 1}")[-1]
    assert column(person, "Request")[REFUSED] == details["upstream_request_id"]
    assert column(person, "Tokens")[REFUSED] == str(details["usage"]["total_tokens"])
    assert column(person, "Cost")[REFUSED - 1 : REFUSED + 1] == ["$0", "unknown"]
    person.page.get_by_role("button", name="More").click()
    expect(person.page.locator("#activity")).to_contain_text("That is all.")
    expect(rows(person)).to_have_count(ALL)
    expect(person.said).to_have_text(f"{ALL} generations")
    assert len(set(column(person, "Prompt"))) == ALL


def test_rows_are_filtered_by_state_and_key(busy: PageService, browsers: Browsers) -> None:
    person = open_activity(browsers, busy)
    state, key = person.page.get_by_label("State"), person.page.get_by_label("Key", exact=True)
    state.select_option("Failed")
    expect(rows(person)).to_have_count(REFUSED)
    assert set(column(person, "State")) == {"Failed"}
    key.fill("laptop")
    key.press("Enter")
    expect(person.page.locator("#activity")).to_contain_text("No generation is like that.")
    expect(rows(person)).to_have_count(0)
    state.select_option("All")
    expect(rows(person)).to_have_count(OF_THE_LAPTOP)
    assert set(column(person, "Key")) == {"laptop"}
    key.fill(CALLER)
    key.press("Enter")
    expect(rows(person)).to_have_count(FIRST)
    assert set(column(person, "Key")) == {CALLER}
    person.page.get_by_role("button", name="More").click()
    expect(rows(person)).to_have_count(OF_THE_KEY + REFUSED)
    assert set(column(person, "Key")) == {CALLER}, "the next page is filtered too"
    key.fill("")
    key.press("Enter")
    expect(rows(person).filter(has_text="laptop")).to_have_count(OF_THE_LAPTOP)


def test_a_picture_opened_from_a_row_closes_onto_the_same_place_of_the_table(
    busy: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, busy)
    person.watched.scroll_by(900)
    gallery = person.watched.scroll_top()
    person.page.get_by_role("link", name="Activity").click()
    person.page.get_by_role("button", name="More").click()
    expect(rows(person)).to_have_count(ALL)
    link = person.page.get_by_role("link", name="fox 11")
    link.scroll_into_view_if_needed()
    top, place = person.watched.scroll_top(), place_of(link)
    assert top > 300
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url))
    for leave in (person.page.go_back, lambda: person.page.keyboard.press("Escape")):
        link.click()
        expect(person.dialog.locator(".prompt")).to_have_text("fox 11")
        leave()
        expect(person.dialog).to_be_hidden()
        expect(person.page).to_have_url(re.compile("#activity$"))
        expect(link).to_be_focused()
        assert (person.watched.scroll_top(), place_of(link)) == (top, place)
        expect(rows(person)).to_have_count(ALL)
    assert not [url for url in asked if "/generation?" in url and "limit=50" in url], "the table is not read again"
    person.page.get_by_role("link", name="Gallery").click()
    expect(person.tiles.first).to_be_visible()
    assert person.watched.scroll_top() == gallery, "the gallery is where it was left"


def test_a_row_that_runs_ends_while_one_looks(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a wolf")
    headers = {**KEY, "Prefer": "respond-async"}
    with page_service.drawing():
        answer = httpx2.post(f"{page_service.url}/image", json={"prompt": "a fox", "size": SMALL}, headers=headers)
        assert answer.status_code == 202
        person = open_activity(browsers, page_service)
        row = rows(person).filter(has_text="a fox")
        expect(row).to_contain_text("Running")
        assert column(person, "Duration")[0] == "–"
        expect(person.page.locator("#running-count")).to_have_text("1 running")
    expect(row).to_contain_text("Succeeded")
    assert re.fullmatch(r"[\d.]+ s", column(person, "Duration")[0])
    expect(person.page.locator("#running-count")).to_be_hidden()
    assert column(person, "Prompt") == ["a fox", "a wolf"]
    row.get_by_role("link", name="a fox").click()
    expect(person.dialog.get_by_role("img", name="a fox")).to_have_js_property("naturalWidth", 48)
