"""A visit by keyboard alone, from logging in to logging out, and selecting by keyboard: the focus is always seen."""

import re
import time
from typing import Any

from playwright.sync_api import Locator, expect

from tests import planted
from tests.browsing import PATIENCE_MS, Browsers
from tests.page_stage import PageService, Person, someone
from tests.test_page_access import focused, tab_to
from tests.test_page_login import before_login

MAY_COPY: dict[str, Any] = {"permissions": ["clipboard-read", "clipboard-write"]}
WRITING = "input, textarea"
"""They show a caret. What Tab does not reach, such as the title of a dialog, needs no mark either."""
FOCUS = """(writing) => {
    const { activeElement: each } = document;
    if (each === document.body) return "nothing has the focus";
    const { left, top, right, bottom } = each.getBoundingClientRect();
    const x = (Math.max(left, 0) + Math.min(right, innerWidth)) / 2;
    const y = (Math.max(top, 0) + Math.min(bottom, innerHeight)) / 2;
    if (!each.contains(document.elementFromPoint(x, y))) return `out of sight: ${each.outerHTML.slice(0, 200)}`;
    const { outlineStyle, outlineWidth } = getComputedStyle(each);
    const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
    const seen = outlined || each.tabIndex < 0 || each.matches(writing);
    return seen ? "" : `looks as without it: ${each.outerHTML.slice(0, 200)}`;
}"""


class Typist:
    """Somebody without a mouse, who sees after each key where the focus is."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def look(self) -> None:
        """The focus is on something that is in the window, and seen there."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while wrong := self.person.page.evaluate(FOCUS, WRITING):
            assert time.monotonic() < end, wrong
            self.person.page.wait_for_timeout(50)

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.person.page.keyboard.press(key)
            self.look()

    def type(self, text: str) -> None:
        """Type a text."""
        self.person.page.keyboard.type(text)
        self.look()

    def go_to(self, name: str) -> None:
        """Press Tab until something with this name has the focus."""
        tab_to(self.person, name)
        self.look()

    def go_back_to(self, name: str) -> None:
        """Press Shift+Tab until something with this name has the focus."""
        for _ in range(20):
            self.press("Shift+Tab")
            if focused(self.person) == name:
                return
        raise AssertionError(f"Shift+Tab does not reach {name}")

    def sees_focus_on(self, place: Locator) -> None:
        """The focus comes to this."""
        expect(place).to_be_focused()
        self.look()


def test_a_visit_by_keyboard_alone(page_service: PageService, browsers: Browsers) -> None:
    wolf = page_service.post("a wolf", size="128x128")
    person = before_login(browsers, page_service)
    person.page.context.grant_permissions(MAY_COPY["permissions"])
    typist, dialog, keyboard = Typist(person), person.dialog, person.page.keyboard

    typist.sees_focus_on(person.page.get_by_label("API key"))
    typist.type(planted.API_KEY)
    keyboard.press("Enter")
    person.wait()
    typist.sees_focus_on(person.prompt)
    typist.type("a fox by keyboard")
    typist.press("Control+Enter")
    expect(person.now.get_by_role("img", name="a fox by keyboard")).to_be_visible()
    typist.look()

    typist.go_to("a wolf")
    assert person.page.evaluate("document.activeElement.closest('#gallery') !== null")
    keyboard.press("Enter")
    expect(dialog).to_be_visible()
    typist.press("c")
    expect(dialog).to_contain_text("The URL is copied")
    assert person.page.evaluate("navigator.clipboard.readText()") == wolf["url"]
    typist.press("p")
    expect(dialog).to_contain_text("The prompt is copied")
    assert person.page.evaluate("navigator.clipboard.readText()") == "a wolf"
    keyboard.press("e")
    expect(dialog).to_be_hidden()
    expect(person.page.get_by_role("list", name="Pictures to edit")).to_contain_text("a wolf")
    typist.sees_focus_on(person.prompt)
    typist.go_to("Do not use a wolf")
    keyboard.press("Enter")
    expect(person.page.get_by_role("list", name="Pictures to edit").get_by_role("listitem")).to_have_count(0)

    typist.go_to("a wolf")
    keyboard.press("Enter")
    expect(dialog).to_be_visible()
    person.close_picture()
    typist.sees_focus_on(person.tile("a wolf"))

    typist.press("/")
    typist.sees_focus_on(person.page.get_by_role("searchbox"))
    typist.type("wolf")
    expect(person.said).to_have_text("1 found")
    typist.press("Control+A", "Delete")
    expect(person.tiles).to_have_count(2)
    typist.go_to("Gallery")
    typist.press("n")
    typist.sees_focus_on(person.prompt)

    typist.go_back_to("Activity")
    keyboard.press("Enter")
    expect(person.page.get_by_role("row")).to_have_count(3)
    typist.press("Tab")
    typist.sees_focus_on(person.page.get_by_label("State"))
    typist.go_to("Generations")
    help_ = person.page.get_by_role("dialog", name="Keyboard")
    typist.press("?")
    expect(help_).to_be_visible()
    typist.press("Escape")
    expect(help_).to_be_hidden()
    typist.sees_focus_on(person.page.get_by_role("region", name="Generations"))
    typist.go_back_to("Gallery")
    keyboard.press("Enter")
    expect(person.tile("a wolf")).to_be_visible()

    typist.go_to("Select")
    typist.press("Tab", "ArrowRight")
    typist.sees_focus_on(person.tile("a wolf"))
    keyboard.press("Enter")
    expect(dialog).to_be_visible()
    typist.press("Delete")
    typist.sees_focus_on(dialog.get_by_role("button", name="Delete for good"))
    typist.press("Tab")
    typist.sees_focus_on(dialog.get_by_role("button", name="Keep it"))
    typist.press("Enter")
    assert len(page_service.get("/image")) == 2, "it asks first"
    typist.press("Delete")
    keyboard.press("Enter")
    expect(person.tile("a wolf")).to_have_count(0)
    expect(person.said).to_have_text("The picture is deleted.")
    assert [image["prompt"] for image in page_service.get("/image")] == ["a fox by keyboard"]
    typist.look()

    typist.go_back_to("Account PIXYPROXY_API_KEY")
    typist.press("Enter")
    typist.go_to("Log out")
    keyboard.press("Enter")
    typist.sees_focus_on(person.page.get_by_label("API key"))


def test_pictures_are_selected_by_keyboard_one_by_one_and_in_a_range_and_deleting_asks_twice(
    page_service: PageService, browsers: Browsers
) -> None:
    for number in range(6):
        page_service.post(f"fox {number}")
    person = someone(browsers, page_service)
    expect(person.tiles).to_have_count(6)
    typist = Typist(person)
    bar = person.page.get_by_role("toolbar", name="Selected pictures")
    checked = person.page.get_by_role("checkbox", checked=True)

    typist.go_to("Select")
    typist.press("Enter")
    expect(person.said).to_have_text("Select pictures with Enter or a click.")
    typist.go_to("fox 5")
    typist.press("Space")
    expect(bar).to_contain_text("1 selected")
    typist.press("ArrowRight", "ArrowRight", "ArrowRight", "Shift+Enter")
    expect(bar).to_contain_text("4 selected")
    assert checked.evaluate_all("all => all.map((each) => each.querySelector('img').alt)") == [
        "fox 5",
        "fox 4",
        "fox 3",
        "fox 2",
    ]
    typist.press("ArrowLeft", "Space")
    expect(bar).to_contain_text("3 selected")
    person.page.get_by_role("checkbox", name="fox 5").click()
    person.page.get_by_role("checkbox", name="fox 4").click(modifiers=["Shift"])
    expect(bar).to_contain_text("1 selected")
    typist.press("Enter")
    expect(bar).to_contain_text("2 selected")
    person.watched.require_access()

    typist.go_to("Delete…")
    typist.press("Enter")
    expect(person.said).to_have_text("Delete 2 pictures for good? Press again.")
    assert len(page_service.get("/image")) == 6
    person.page.get_by_role("checkbox", name="fox 0").click()
    expect(bar.get_by_role("button", name="Delete…")).to_be_visible()
    typist.go_to("Delete…")
    typist.press("Enter")
    expect(bar.get_by_role("button", name="Delete 3 pictures for good")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(person.said).to_have_text("3 pictures are deleted.")
    expect(person.page.locator("#gallery a.tile")).to_have_count(3)
    expect(bar).to_be_hidden()
    typist.look()
    assert {image["prompt"] for image in page_service.get("/image")} == {"fox 1", "fox 3", "fox 5"}
    expect(person.page.get_by_role("button", name=re.compile("Select"))).to_have_attribute("aria-pressed", "false")
