"""Rows of a long gallery: packed anew at another width, and read to the end however one scrolls."""

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browsing import Browsers
from tests.made_up import MadeUp
from tests.page_stage import PageService, Person

WIDTHS = (700, 320, 1440, 1280)
HEIGHT = 800
MANY = 400
PATIENCE_MS = 180_000
ROWS = """() => {
    const boxes = [...document.querySelectorAll("#gallery li")].map((each) => each.getBoundingClientRect());
    const days = document.querySelector("#gallery .days").getBoundingClientRect();
    const rows = [];
    for (const { left, right, top, bottom } of boxes) {
        if (!rows.length || Math.abs(rows.at(-1).top - top) > 4) rows.push({ top, tiles: [] });
        rows.at(-1).tiles.push({ left: left - days.left, right: days.right - right, height: bottom - top });
    }
    return rows;
}"""
REPORT_WHEN_ASKED = """
const Observer = IntersectionObserver;
window.states = [];
window.IntersectionObserver = class extends Observer {
    constructor(use, options) {
        super((states) => {
            window.states.push(...states);
            window.report = () => use(window.states.splice(0));
        }, options);
    }
};"""
THUMBNAILS = (
    """(images) => images.map(({ src, width, height }) => [new URL(src).searchParams.get("size"), width, height])"""
)
FIRST_IN_SIGHT = """() => {
    const top = document.querySelector(".top").getBoundingClientRect().bottom;
    return [...document.querySelectorAll("#gallery li")]
        .find((each) => each.getBoundingClientRect().bottom > top)?.dataset.guid;
}"""


def rows_of(person: Person) -> list[dict[str, Any]]:
    """The rows of the gallery, and how far their tiles are from its edges."""
    rows: list[dict[str, Any]] = person.page.evaluate(ROWS)
    return rows


def faults_of(rows: list[dict[str, Any]], width: int) -> list[str]:
    """What is wrong with rows that end with a day."""
    gap, least, most = (3, 60, 321) if width < 600 else (6, 60, 171) if width < 1000 else (6, 80, 211)
    found = []
    for number, row in enumerate(rows):
        tiles, last = row["tiles"], row is rows[-1]
        heights = [tile["height"] for tile in tiles]
        after = rows[number + 1]["top"] - row["top"] if not last else None
        if abs(tiles[0]["left"]) > 1.5:
            found.append(f"row {number} begins at {tiles[0]['left']}")
        if tiles[-1]["right"] < -0.5 or (not last and tiles[-1]["right"] > 1.5):
            found.append(f"row {number} ends {tiles[-1]['right']} before the edge")
        if max(heights) - min(heights) > 1.5:
            found.append(f"row {number} is uneven: {heights}")
        if not least < heights[0] < most:
            found.append(f"row {number} is {heights[0]} high")
        if after is not None and abs(after - heights[0] - gap) > 1.5:
            found.append(f"row {number} is {heights[0]} high, and the next one begins {after} below")
    return found


def read_all(person: Person, made_up: MadeUp) -> None:
    """Scroll until everything is shown."""
    end = person.page.get_by_text(f"That is all: {len(made_up.guids)} pictures.")
    while not end.count():
        before = person.tiles.count()
        person.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        if not end.count():
            expect(person.tiles.nth(before)).to_be_attached()
            person.watched.wait_for("!document.querySelector('#gallery .days[aria-busy]')")


def resize(person: Person, width: int) -> None:
    """Make the window so wide, and require that all rows are complete."""
    gallery = person.page.locator("#gallery .days")
    before = gallery.evaluate("(days) => days.clientWidth")
    person.page.set_viewport_size({"width": width, "height": HEIGHT})
    person.watched.wait_for(f"document.querySelector('#gallery .days').clientWidth !== {before}")
    found = ["not looked at"]

    def are_complete() -> bool:
        found[:] = faults_of(rows_of(person), width)
        return not found

    try:
        person.watched.wait_until(are_complete, f"complete rows at {width}")
    except AssertionError:
        assert found == []
        raise
    assert person.watched.too_wide() == []


def tile(person: Person, guid: str) -> Locator:
    """The link of a picture in the gallery."""
    return person.page.locator(f"#gallery li[data-guid='{guid}'] a.tile")


def test_at_another_width_rows_are_complete_and_place_and_focus_stay(
    page_service: PageService, browsers: Browsers
) -> None:
    made_up = MadeUp(MANY)
    person = made_up.open(browsers, page_service)
    read_all(person, made_up)
    focused = made_up.guids[MANY // 2 + 3]
    tile(person, focused).focus()
    for width in WIDTHS:
        top = person.page.evaluate(FIRST_IN_SIGHT)
        resize(person, width)
        expect(tile(person, top)).to_be_in_viewport()
        expect(tile(person, focused)).to_be_focused()
        shown = person.page.eval_on_selector_all("#gallery li", "all => all.map((each) => each.dataset.guid)")
        assert shown == made_up.guids


def test_a_thumbnail_has_the_pixels_of_its_screen(page_service: PageService, browsers: Browsers) -> None:
    for pixels, wanted in ((1, {"400"}), (2, {"400", "800"})):
        made_up = MadeUp(40)
        person = made_up.open(browsers, page_service, device_scale_factor=pixels)
        read_all(person, made_up)
        shown = person.page.eval_on_selector_all("#gallery li img", THUMBNAILS)
        assert len(shown) == 40
        assert sizes_of(shown) == wanted
        assert not_for(pixels, shown) == []


@pytest.mark.parametrize("scroll", [False, True], ids=["at the beginning", "after scrolling"])
def test_on_a_screen_with_more_pixels_thumbnails_are_chosen_anew(
    page_service: PageService, browsers: Browsers, scroll: bool
) -> None:
    made_up = MadeUp(40)
    person = made_up.open(browsers, page_service)
    if scroll:
        read_all(person, made_up)
        person.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    top = person.page.evaluate(FIRST_IN_SIGHT)
    screen = person.page.context.new_cdp_session(person.page)

    def shown() -> list[tuple[str, float, float]]:
        found: list[tuple[str, float, float]] = person.page.eval_on_selector_all("#gallery li img", THUMBNAILS)
        return found

    assert sizes_of(shown()) == {"400"}
    for pixels in (2, 3):
        metrics = {"width": 1280, "height": HEIGHT, "deviceScaleFactor": pixels, "mobile": False}
        screen.send("Emulation.setDeviceMetricsOverride", metrics)
        # The emulation alone does not have the browser look at its media queries again, as another screen does.
        person.page.emulate_media(color_scheme="dark" if pixels == 2 else "light")
        person.watched.wait_for(f"devicePixelRatio === {pixels}")
        person.watched.wait_until(lambda: not_for(pixels, shown()) == [], f"thumbnails for {pixels} pixels")  # noqa: B023
        assert "800" in sizes_of(shown())
        assert person.page.evaluate(FIRST_IN_SIGHT) == top


def whole_of(shown: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Size, width and height of thumbnails without those that are cropped."""
    return [each for each in shown if 0.5 < each[1] / each[2] < 2.1]


def sizes_of(shown: list[tuple[str, float, float]]) -> set[str]:
    """The sizes that are asked for."""
    return {size for size, _, _ in whole_of(shown)}


def not_for(pixels: int, shown: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Those with another size than so many device pixels of a CSS pixel need."""
    return [
        (size, width, height)
        for size, width, height in whole_of(shown)
        if size != ("800" if width * pixels > 400 * min(1, width / height) * 2**0.5 else "400")
    ]


def test_a_deleted_picture_leaves_a_frame_until_rows_are_packed_anew(
    page_service: PageService, browsers: Browsers
) -> None:
    made_up = MadeUp(150)
    person = made_up.open(browsers, page_service)
    read_all(person, made_up)
    resize(person, 700)
    guids = made_up.guids
    gone = [guids[10], guids[119], guids[120], guids[-1]]
    person.page.get_by_role("button", name="Select", exact=True).click()
    before = rows_of(person)
    for guid in gone:
        tile(person, guid).click()
    bar = person.page.get_by_role("toolbar", name="Selected pictures")
    bar.get_by_role("button", name="Delete…").click()
    bar.get_by_role("button", name="Delete 4 pictures for good").click()
    expect(person.tiles).to_have_count(146)
    assert sorted(made_up.deleted) == sorted(gone)
    assert [len(row["tiles"]) for row in rows_of(person)] == [len(row["tiles"]) for row in before]
    for width in (1280, 320):
        resize(person, width)
        expect(person.page.locator("#gallery li")).to_have_count(146)
    shown = person.page.eval_on_selector_all("#gallery li", "all => all.map((each) => each.dataset.guid)")
    assert shown == [guid for guid in guids if guid not in gone]


@pytest.mark.parametrize("of_a_day", [100_000, 7], ids=["one day", "many days"])
def test_the_end_is_reached_by_key(page_service: PageService, browsers: Browsers, of_a_day: int) -> None:
    made_up = MadeUp(650, of_a_day=of_a_day)
    person = made_up.open(browsers, page_service)
    person.tiles.first.focus()

    def is_at_the_end() -> bool:
        person.page.keyboard.press("End")
        return bool(person.page.get_by_text("That is all: 650 pictures.").count())

    person.watched.wait_until(is_at_the_end, "the end of the gallery", patience_ms=PATIENCE_MS)
    expect(person.tiles).to_have_count(650)


def test_the_end_is_reached_in_small_steps(page_service: PageService, browsers: Browsers) -> None:
    made_up = MadeUp(600, of_a_day=250)
    person = made_up.open(browsers, page_service)
    person.page.mouse.move(600, 500)

    def is_at_the_end() -> bool:
        for _ in range(10):
            person.page.mouse.wheel(0, 90)
        return bool(person.page.get_by_text("That is all: 600 pictures.").count())

    person.watched.wait_until(is_at_the_end, "the end of the gallery", patience_ms=PATIENCE_MS)
    expect(person.tiles).to_have_count(600)


def test_the_next_page_is_read_where_a_busy_browser_reports_several_states_at_once(
    page_service: PageService, browsers: Browsers
) -> None:
    person = MadeUp(250).open(browsers, page_service, script=REPORT_WHEN_ASKED)
    end = person.page.get_by_text("That is all: 250 pictures.")
    while not end.count():
        before = person.tiles.count()
        person.watched.wait_for("window.states.map((state) => state.isIntersecting).join() === 'false'")
        person.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        person.watched.wait_for("window.states.map((state) => state.isIntersecting).join() === 'false,true'")
        person.page.evaluate("window.report()")
        expect(person.tiles.nth(before)).to_be_attached()
