"""The gallery: every picture, found again, and nothing that moves by itself."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Locator, expect

from tests.browsing import Browsers, held_back, let_go
from tests.page_stage import KEY, PageService, Person, serve_page, someone

MANY = 120
SIZES = ("48x32", "32x48", "32x32", "64x32")
STILL = 0.01
"""Layout shift that nobody sees."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with pictures of several shapes, for tests that add and delete a few of them at most."""
    with serve_page(tmp_path_factory.mktemp("many")) as service, httpx2.Client(headers=KEY, timeout=60) as client:
        for number in range(MANY // 10):
            sent = {"prompt": f"fox number {number:03}", "n": 10, "size": SIZES[number % len(SIZES)]}
            answer = client.post(f"{service.url}/v1/images/generations", json=sent)
            assert answer.status_code == 200, answer.text
        yield service


def place_of(tile: Locator) -> tuple[float, float]:
    """Where something is in the window."""
    box = tile.bounding_box()
    assert box is not None
    return box["x"], box["y"]


def all_guids(service: PageService) -> list[str]:
    """The guids of all images, newest first."""
    found, url = [], f"{service.url}/image?limit=100"
    while url:
        answer = httpx2.get(url, headers=KEY)
        found += [image["guid"] for image in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    return found


def scroll_to_the_end(person: Person) -> None:
    """Scroll until the gallery says that this is all."""
    end = person.page.get_by_text(re.compile("That is all"))

    def is_there() -> bool:
        if end.count():
            return True
        person.page.mouse.wheel(0, 2500)
        return False

    person.watched.wait_until(is_there, "the end of the gallery", patience_ms=120_000)
    expect(end).to_be_visible()


def test_everything_is_reached_by_scrolling_and_nothing_moves_by_itself(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    expect(person.tiles.first).to_be_visible()
    person.page.mouse.move(600, 500)
    scroll_to_the_end(person)
    assert person.watched.shift() <= STILL
    guids = person.page.eval_on_selector_all("#gallery li[data-guid]", "all => all.map((each) => each.dataset.guid)")
    assert guids == all_guids(many)


def test_rows_are_complete_and_as_wide_as_the_page(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    person.page.mouse.move(600, 500)
    scroll_to_the_end(person)
    rows: list[list[float]] = person.page.evaluate(
        """() => {
            const rows = new Map();
            for (const each of document.querySelectorAll("#gallery li[data-guid]")) {
                const { top, left, right, height } = each.getBoundingClientRect();
                const row = rows.get(Math.round(top)) ?? [left, right, height, height];
                rows.set(Math.round(top), [Math.min(row[0], left), Math.max(row[1], right),
                    Math.min(row[2], height), Math.max(row[3], height)]);
            }
            const list = document.querySelector("#gallery ol").getBoundingClientRect();
            return [...rows.values()].map((row) => [row[0] - list.left, list.right - row[1], row[3] - row[2], row[2]]);
        }"""
    )
    assert len(rows) > 5
    for left, right, uneven, height in rows[:-1]:
        assert abs(left) < 1.5
        assert abs(right) < 1.5
        assert uneven < 1.5
        assert 100 < height <= 212


def test_a_new_picture_waits_while_one_is_not_at_the_top(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    person.watched.scroll_by(900)
    tile = person.tiles.nth(12)
    top, place, shift = person.watched.scroll_top(), place_of(tile), person.watched.shift()
    assert top > 300
    many.post("a wolf that came meanwhile")
    new = person.page.get_by_role("button", name=re.compile(r"\d+ new"))
    expect(new).to_be_in_viewport(ratio=1, timeout=60_000)  # an idle page asks every 15 s
    bottom = person.page.get_by_role("banner").evaluate("(top) => top.getBoundingClientRect().bottom")
    assert place_of(new)[1] >= bottom, "the top of the page does not cover it"
    assert (person.watched.scroll_top(), place_of(tile)) == (top, place)
    assert person.watched.shift() - shift <= STILL
    new.click()
    expect(person.tile("a wolf that came meanwhile")).to_be_in_viewport()


def test_at_the_top_a_new_picture_appears_and_the_gallery_stays_in_its_order(
    many: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, many)
    person.make("a lynx that was made here", size="auto")
    expect(person.page.get_by_role("img", name="a lynx that was made here").first).to_be_visible()
    person.reload()
    expect(person.tiles.first.get_by_role("img")).to_have_attribute("alt", "a lynx that was made here")


def test_going_back_from_a_picture_returns_to_the_same_place(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    person.watched.scroll_by(1500)
    tile = person.page.locator("#gallery a.tile").nth(22)
    tile.scroll_into_view_if_needed()
    top, place = person.watched.scroll_top(), place_of(tile)
    for leave in (person.page.go_back, lambda: person.page.keyboard.press("Escape")):
        tile.click()
        expect(person.dialog).to_be_visible()
        leave()
        expect(person.dialog).to_be_hidden()
        expect(person.page).not_to_have_url(re.compile("#p="))
        expect(tile).to_be_focused()
        assert person.watched.scroll_top() == pytest.approx(top, abs=1)
        assert place_of(tile) == pytest.approx(place, abs=1)


def test_a_reload_returns_to_the_same_place(many: PageService, browsers: Browsers) -> None:
    person = someone(browsers, many)
    for _ in range(4):
        person.watched.scroll_by(700)
    guid = person.page.evaluate(
        """[...document.querySelectorAll("#gallery li[data-guid]")]
            .find((each) => each.getBoundingClientRect().top > 300).dataset.guid"""
    )
    expect(person.page.locator(f"li[data-guid='{guid}']")).to_be_in_viewport()
    person.reload()
    expect(person.page.locator(f"li[data-guid='{guid}']")).to_be_in_viewport()


def test_deleting_leaves_the_place_and_the_focus_beside_it(many: PageService, browsers: Browsers) -> None:
    details = [many.post(f"to be deleted {number}") for number in range(3)]
    person = someone(browsers, many)
    middle, neighbour = person.tile("to be deleted 1"), person.tile("to be deleted 0")
    place, shift = place_of(neighbour), person.watched.shift()
    middle.click()
    person.dialog.get_by_role("button", name="Delete…").click()
    person.dialog.get_by_role("button", name="Delete for good").click()
    expect(person.dialog).to_be_hidden()
    expect(middle).to_have_count(0)
    expect(person.said).to_have_text("The picture is deleted.")
    assert place_of(neighbour) == pytest.approx(place, abs=1)
    assert person.watched.shift() - shift <= STILL
    focused = person.page.evaluate("document.activeElement.closest('a.tile') !== null")
    assert focused, "the focus is on a picture beside it"
    assert httpx2.get(f"{many.url}/image/{details[1]['guid']}").status_code == 404


def test_deleting_can_be_thought_better_of(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a fox")
    person = someone(browsers, page_service)
    person.tile("a fox").click()
    person.dialog.get_by_role("button", name="Delete…").click()
    expect(person.dialog).to_contain_text("Its URL will stop working")
    person.dialog.get_by_role("button", name="Keep it").click()
    person.dialog.get_by_role("button", name="Delete…").click()
    person.page.keyboard.press("Escape")
    expect(person.dialog.get_by_role("button", name="Delete for good")).to_have_count(0)
    expect(person.dialog).to_be_visible()
    person.page.keyboard.press("Escape")
    expect(person.dialog).to_be_hidden()
    expect(person.tile("a fox")).to_be_visible()
    assert len(page_service.get("/image")) == 1


def test_several_are_selected_downloaded_and_deleted(page_service: PageService, browsers: Browsers) -> None:
    for number in range(4):
        page_service.post(f"fox {number}")
    person = someone(browsers, page_service)
    expect(person.tiles).to_have_count(4)
    person.page.get_by_role("button", name="Select").click()
    for number in (1, 2):
        person.page.get_by_role("checkbox", name=f"fox {number}").click()
    bar = person.page.get_by_role("toolbar", name="Selected pictures")
    expect(bar).to_contain_text("2 selected")
    bar.get_by_role("button", name="Done").click()
    expect(person.page.get_by_role("button", name="Select")).to_be_focused()
    person.page.keyboard.press("Enter")
    for number in (1, 2):
        person.page.get_by_role("checkbox", name=f"fox {number}").click()
    person.watched.require_access()
    names: set[str] = set()
    person.page.on("download", lambda download: names.add(download.suggested_filename))
    bar.get_by_role("button", name="Download").click()
    person.watched.wait_until(lambda: len(names) == 2, "both pictures are downloaded")
    assert {name.rpartition(".")[2] for name in names} == {"png"}
    bar.get_by_role("button", name="Delete…").click()
    assert len(page_service.get("/image")) == 4, "it asks first"
    bar.get_by_role("button", name="Delete 2 pictures for good").click()
    expect(person.tiles).to_have_count(2)
    expect(person.said).to_have_text("2 pictures are deleted.")
    assert {image["prompt"] for image in page_service.get("/image")} == {"fox 0", "fox 3"}


SEARCHES = {
    "a word": ("lighthouse", {"a lighthouse at dawn", "Leuchtturm, lighthouse, 灯塔"}),
    "words in any order": ("dawn lighthouse", {"a lighthouse at dawn"}),
    "the beginning of a word": ("lightho", {"a lighthouse at dawn", "Leuchtturm, lighthouse, 灯塔"}),
    "a phrase": ('"at dawn"', {"a lighthouse at dawn"}),
    "accents and case": ("CREME", {"Crème brûlée"}),
    "Chinese": ("狐狸", {"一只红色的狐狸在雪地里"}),
    "an emoji": ("🦊", {"a 🦊 in the snow"}),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with pictures to search."""
    with serve_page(tmp_path_factory.mktemp("searched")) as service:
        for prompt in sorted(set[str]().union(*(found for _, found in SEARCHES.values())) | {"a wolf"}):
            service.post(prompt)
        yield service


@pytest.mark.parametrize(("words", "found"), SEARCHES.values(), ids=SEARCHES.keys())
def test_a_search_finds_what_was_asked_for(
    searched: PageService, browsers: Browsers, words: str, found: set[str]
) -> None:
    person = someone(browsers, searched)
    expect(person.tile("a wolf")).to_be_visible()
    person.search(words)
    expect(person.tile("a wolf")).to_have_count(0)
    expect(person.tiles).to_have_count(len(found))
    shown = person.page.eval_on_selector_all("#gallery a.tile img", "all => all.map((each) => each.alt)")
    assert set(shown) == found
    expect(person.said).to_have_text(f"{len(found)} found")
    person.reload()
    expect(person.page.get_by_role("searchbox")).to_have_value(re.compile(re.escape(words)))
    expect(person.tiles).to_have_count(len(found))


def test_what_is_typed_before_the_gallery_is_there_is_searched_for(searched: PageService, browsers: Browsers) -> None:
    person = someone(browsers, searched)
    held = held_back(person.page, re.compile(r"/image\?limit="))
    person.page.reload()
    person.watched.wait_until(lambda: held, "the gallery is asked for")
    person.page.get_by_role("searchbox").press_sequentially("lighthouse dawn", delay=30)
    let_go(person.page, held)
    expect(person.page.get_by_role("searchbox")).to_have_value("lighthouse dawn")
    expect(person.page.get_by_role("searchbox")).to_be_focused()
    expect(person.tiles).to_have_count(1)


def test_while_one_types_results_come_and_the_last_word_wins(searched: PageService, browsers: Browsers) -> None:
    person = someone(browsers, searched)
    person.page.get_by_role("searchbox").press_sequentially("lighthouse dawn", delay=60)
    expect(person.tiles).to_have_count(1)
    expect(person.tile("a lighthouse at dawn")).to_be_visible()
    person.search("")
    expect(person.tile("a wolf")).to_be_visible()


def test_nothing_found_is_said_in_words(searched: PageService, browsers: Browsers) -> None:
    person = someone(browsers, searched)
    person.search("walrus")
    expect(person.page.locator("#gallery")).to_contain_text("Nothing matches “walrus”")
    expect(person.said).to_have_text("Nothing found")
    person.watched.require_access()


def test_mine_are_those_of_my_key(page_service: PageService, browsers: Browsers) -> None:
    key = page_service.create_key("laptop")
    page_service.post("of the configured key")
    page_service.post("of the laptop", key=key)
    person = someone(browsers, page_service, key="laptop")
    expect(person.tiles).to_have_count(2)
    person.page.get_by_role("button", name="Mine").click()
    expect(person.tiles).to_have_count(1)
    expect(person.tile("of the laptop")).to_be_visible()
    person.reload()
    expect(person.tiles).to_have_count(1)
    person.page.get_by_role("button", name="Everybody").click()
    expect(person.tiles).to_have_count(2)
