"""Everything on the page by keyboard alone, in narrow and enlarged windows, light and dark."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from pixyproxy.upstream.demo.faults import Fault
from tests.browsing import Browsers
from tests.page_stage import PageService, Person, serve_page, someone

WINDOWS: dict[str, dict[str, Any]] = {
    "320 px": {"viewport": {"width": 320, "height": 640}},
    "a phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "200 % zoom": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
    "wide": {"viewport": {"width": 2560, "height": 1300}},
}
"""Zoom by 200 % is a window with half of the CSS pixels, each of them twice as large."""
TARGET = 24
"""CSS pixels that a target has at least in both directions, or in its distance from others (WCAG 2.5.8)."""


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with some pictures and a failure."""
    with serve_page(tmp_path_factory.mktemp("some")) as service:
        for number in range(9):
            service.post(f"a fox {number}", size=("48x32", "32x48", "32x32")[number % 3])
        yield service


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_in_every_window_nothing_is_cut_off_and_axe_finds_nothing(
    some: PageService, browsers: Browsers, window: dict[str, Any]
) -> None:
    person = someone(browsers, some, **window)
    expect(person.tiles).to_have_count(9)
    assert person.watched.too_wide() == []
    person.watched.require_access()
    expect(person.page.get_by_role("button", name="Make", exact=True)).to_be_visible()
    person.tiles.first.click()
    expect(person.dialog).to_be_visible()
    assert person.watched.too_wide() == []
    for name in ("Copy URL", "Download", "Use as input", "Delete…", "Close"):
        button = person.dialog.get_by_role("button", name=name)
        button.scroll_into_view_if_needed()
        expect(button).to_be_in_viewport()
    person.watched.require_access()
    person.close_picture()
    person.page.goto(f"{some.url}/#activity")
    expect(person.page.get_by_role("row").nth(1)).to_be_visible()
    assert person.watched.too_wide() == []
    person.watched.require_access()


def test_axe_finds_nothing_while_pictures_come_and_fail(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    person.watched.require_access()
    person.make("a fox [refuse]")
    expect(person.now.locator(".failure")).to_be_visible()
    with page_service.drawing():
        person.make("a fox")
        expect(person.now.last).to_contain_text("Drawing")
        person.watched.require_access()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    page_service.upstream.fault = Fault("break")
    person.make("another fox")
    expect(person.now.last).to_contain_text("may have been billed")
    person.watched.require_access()
    person.open_menu()
    person.watched.require_access()
    person.page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(person.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    person.watched.require_access()


def test_with_colours_of_ones_own_everything_is_still_told_apart(some: PageService, browsers: Browsers) -> None:
    person = someone(browsers, some, forced_colors="active")
    expect(person.tiles).to_have_count(9)
    button = person.page.get_by_role("button", name="Make", exact=True)
    assert button.evaluate("(each) => getComputedStyle(each).borderStyle") != "none"
    person.prompt.focus()
    assert person.prompt.evaluate("(each) => getComputedStyle(each).outlineStyle") == "solid"
    person.tiles.first.focus()
    outline = person.tiles.first.evaluate("(each) => getComputedStyle(each).outlineStyle")
    assert outline != "none"


def test_in_a_low_window_the_top_of_the_page_scrolls_away(some: PageService, browsers: Browsers) -> None:
    person = someone(browsers, some, viewport={"width": 640, "height": 360})
    expect(person.tiles).to_have_count(9)
    person.page.mouse.move(300, 200)
    person.page.mouse.wheel(0, 300)
    expect(person.page.get_by_role("banner")).not_to_be_in_viewport()
    person.page.set_viewport_size({"width": 640, "height": 600})
    expect(person.page.get_by_role("banner")).to_be_in_viewport()


def test_who_wants_less_motion_sees_none(some: PageService, browsers: Browsers) -> None:
    person = someone(browsers, some, reduced_motion="reduce")
    expect(person.tiles).to_have_count(9)
    person.tiles.first.click()
    expect(person.dialog).to_be_visible()
    moving = person.page.evaluate(
        "document.getAnimations().filter((each) => Number(each.effect.getComputedTiming().duration) > 10).length"
    )
    assert moving == 0


def focused(person: Person) -> str:
    """The name of what has the focus, as far as the tests need it."""
    said: str = person.page.evaluate(
        """() => {
            const { activeElement: each } = document;
            return each.getAttribute("aria-label") ?? each.querySelector("img")?.alt ?? each.textContent.trim();
        }"""
    )
    return said


def tab_to(person: Person, name: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(40):
        person.page.keyboard.press("Tab")
        if focused(person) == name:
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_everything_by_keyboard_alone(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a wolf")
    person = someone(browsers, page_service, permissions=["clipboard-read", "clipboard-write"])
    keyboard = person.page.keyboard
    expect(person.tile("a wolf")).to_be_visible()
    keyboard.press("Escape")  # leaves the prompt, which has the focus at first
    keyboard.press("n")
    expect(person.prompt).to_be_focused()
    keyboard.press("Control+A")
    keyboard.type("a fox by keyboard")
    keyboard.press("Control+Enter")
    expect(person.now.get_by_role("img", name="a fox by keyboard")).to_be_visible()
    tab_to(person, "a fox by keyboard")
    keyboard.press("Enter")
    expect(person.dialog).to_be_visible()
    keyboard.press("c")
    expect(person.dialog).to_contain_text("The URL is copied")
    keyboard.press("p")
    expect(person.dialog).to_contain_text("The prompt is copied")
    assert person.page.evaluate("navigator.clipboard.readText()") == "a fox by keyboard"
    with person.page.expect_download():
        keyboard.press("d")
    keyboard.press("ArrowRight")
    expect(person.dialog.locator(".prompt")).to_have_text("a wolf")
    keyboard.press("Delete")
    expect(person.dialog).to_contain_text("Delete it?")
    keyboard.press("Enter")
    expect(person.dialog).to_be_hidden()
    expect(person.tile("a wolf")).to_have_count(0)
    keyboard.press("/")
    expect(person.page.get_by_role("searchbox")).to_be_focused()
    keyboard.type("walrus")
    expect(person.said).to_have_text("Nothing found")
    keyboard.press("Escape")
    keyboard.press("Tab")
    keyboard.press("?")
    help_ = person.page.get_by_role("dialog", name="Keyboard")
    expect(help_).to_be_visible()
    keyboard.press("Escape")
    expect(help_).to_be_hidden()
    assert len(page_service.get("/image")) == 1


def test_use_as_input_by_its_key(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a wolf", size="128x128")
    person = someone(browsers, page_service)
    person.tile("a wolf").focus()
    person.page.keyboard.press("Enter")
    expect(person.dialog).to_be_visible()
    person.page.keyboard.press("e")
    expect(person.page.get_by_role("list", name="Pictures to edit")).to_contain_text("a wolf")
    expect(person.prompt).to_be_focused()


def test_arrows_move_in_four_directions_and_tab_leaves_the_gallery(some: PageService, browsers: Browsers) -> None:
    person = someone(browsers, some, viewport={"width": 700, "height": 900})
    expect(person.tiles).to_have_count(9)
    person.tiles.first.focus()
    steps = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        person.page.keyboard.press(key)
        steps.append(person.tiles.evaluate_all("(all) => all.indexOf(document.activeElement)"))
    right, down, left, up = steps
    assert right == 1
    assert down > right + 1
    assert left == down - 1
    assert up < left
    assert person.page.locator("#gallery a.tile[tabindex='0']").count() == 1
    person.page.keyboard.press("Tab")
    assert person.page.evaluate("document.activeElement.closest('#gallery ol') === null")


def test_single_keys_can_be_switched_off(some: PageService, browsers: Browsers) -> None:
    person = someone(browsers, some)
    person.open_menu()
    person.page.get_by_role("button", name="Keyboard shortcuts").click()
    help_ = person.page.get_by_role("dialog", name="Keyboard")
    help_.get_by_label("Single keys work").uncheck()
    help_.get_by_role("button", name="Close").click()
    person.reload()
    expect(person.tiles).to_have_count(9)
    person.tiles.first.focus()
    person.page.keyboard.press("/")
    expect(person.page.get_by_role("searchbox")).not_to_be_focused()
    person.page.keyboard.press("Enter")
    expect(person.dialog).to_be_visible()
    person.close_picture()


def test_targets_are_large_enough(some: PageService, browsers: Browsers) -> None:
    person = someone(browsers, some)
    expect(person.tiles).to_have_count(9)
    small = person.page.evaluate(
        """(least) => [...document.querySelectorAll("a, button, input, select, textarea, [tabindex='0']")]
            .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.matches(".skip"))
            .map((each) => each.closest("label") ?? each)
            .filter((each) => each.getBoundingClientRect().width < least || each.getBoundingClientRect().height < least)
            .map((each) => each.outerHTML.slice(0, 100))""",
        TARGET,
    )
    assert small == []


def test_what_happens_is_said_once_and_politely(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    regions = person.page.locator("[aria-live]:not([aria-live=off])")
    assert regions.count() == 1
    person.make("a fox")
    expect(person.said).to_have_text("Picture ready: a fox")
    assert re.search(r"\d:\d\d", person.said.inner_text()) is None
    person.page.get_by_role("link", name="a fox").first.click()
    person.dialog.get_by_role("button", name="Copy prompt").click()
    expect(person.dialog.locator("#said")).to_have_text(re.compile("copy|copied"))  # outside it would not be heard
    assert person.dialog.locator("[role=status]").count() == 1
