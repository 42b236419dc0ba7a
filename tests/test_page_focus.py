"""After everything that takes away what has the focus, it is on something that is seen."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from pixyproxy.upstream.demo.faults import Fault
from tests.browsing import Browsers
from tests.page_stage import SMALL, PageService, Person, serve_page, someone
from tests.test_page_inputs import choose, inputs, picture
from tests.test_page_keyboard import Typist
from tests.test_page_making import NOTHING_BILLED, OVERLOADED


@pytest.fixture(scope="module")
def wolves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with 52 pictures, for tests that leave them alone."""
    with serve_page(tmp_path_factory.mktemp("wolves")) as service:
        for number in range(52):
            service.post(f"wolf {number:02}", size="128x128" if number > 48 else SMALL)
        yield service


def to_activity(person: Person) -> None:
    """By its link."""
    person.page.get_by_role("link", name="Activity").focus()
    person.page.keyboard.press("Enter")
    expect(person.page.locator("#activity tbody tr").first).to_be_visible()
    expect(person.page.get_by_role("heading", name="Activity")).to_be_focused()


def back_to_gallery(person: Person) -> None:
    """By going back from the table."""
    to_activity(person)
    person.page.get_by_label("State").focus()
    person.page.go_back()
    expect(person.tiles.first).to_be_visible()
    expect(person.page.get_by_role("heading", name="All pictures")).to_be_focused()


def to_gallery(person: Person) -> None:
    """By its link."""
    to_activity(person)
    person.page.get_by_role("link", name="Gallery").focus()
    person.page.keyboard.press("Enter")
    expect(person.tiles.first).to_be_visible()


def more(person: Person) -> None:
    """The last page of the table."""
    to_activity(person)
    person.page.get_by_role("button", name="More").focus()
    person.page.keyboard.press("Enter")
    expect(person.page.locator("#activity")).to_contain_text("That is all.")


def remove_input(person: Person) -> None:
    """Two pictures are not edited after all."""
    choose(person, picture("one.png"), picture("two.png", "red"))
    expect(inputs(person)).to_have_count(2)
    inputs(person).get_by_role("button", name="Do not use one.png").focus()
    person.page.keyboard.press("Enter")
    expect(inputs(person)).to_have_count(1)
    expect(inputs(person).get_by_role("button", name="Do not use two.png")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(inputs(person)).to_have_count(0)
    expect(person.prompt).to_be_focused()


def leave_mask(person: Person) -> None:
    """A mask is not painted after all."""
    choose(person, picture("one.png"))
    expect(person.prompt).to_be_focused()  # which comes after the files
    mask = person.page.get_by_role("button", name="Mask", exact=True)
    mask.focus()
    person.page.keyboard.press("Enter")
    easel = person.page.get_by_role("dialog", name="Paint what is to change")
    expect(easel).to_be_visible()
    person.page.keyboard.press("Escape")
    expect(easel).to_be_hidden()
    expect(mask).to_be_focused()


def end_selecting(person: Person) -> None:
    """By its button."""
    person.page.get_by_role("button", name="Select").click()
    person.page.get_by_role("button", name="Done").focus()
    person.page.keyboard.press("Enter")
    expect(person.page.get_by_role("toolbar", name="Selected pictures")).to_be_hidden()


def leave_keys(person: Person) -> None:
    """The list of keys, opened from the menu."""
    person.account.focus()
    person.page.keyboard.press("Enter")
    person.page.get_by_role("button", name="Keyboard shortcuts").focus()
    person.page.keyboard.press("Enter")
    expect(person.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    person.page.keyboard.press("Escape")
    expect(person.page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    expect(person.account).to_be_focused()


def leave_search(person: Person) -> None:
    """Esc in the search box, which empties it."""
    person.search("wolf 51")
    expect(person.tiles).to_have_count(1)
    person.page.get_by_role("searchbox").focus()
    person.page.keyboard.press("Escape")
    expect(person.tile("wolf 50")).to_be_visible()


def choose_whose(person: Person) -> None:
    """The switch between mine and everybody's."""
    person.page.get_by_role("button", name="Mine").focus()
    person.page.keyboard.press("Enter")
    expect(person.page.get_by_role("heading", name="Your pictures")).to_be_visible()
    expect(person.page.locator("#gallery .days:not([aria-busy])")).to_be_attached()


def leave_picture_by_its_button(person: Person) -> None:
    """The cross of an open picture."""
    person.tiles.nth(2).focus()
    person.page.keyboard.press("Enter")
    person.dialog.get_by_role("button", name="Close").focus()
    person.page.keyboard.press("Enter")
    expect(person.dialog).to_be_hidden()
    expect(person.tiles.nth(2)).to_be_focused()


ACTS = [
    to_activity,
    back_to_gallery,
    to_gallery,
    more,
    remove_input,
    leave_mask,
    end_selecting,
    leave_keys,
    leave_search,
    choose_whose,
    leave_picture_by_its_button,
]


@pytest.mark.parametrize("act", ACTS)
def test_the_focus_is_seen_after(wolves: PageService, browsers: Browsers, act: Callable[[Person], None]) -> None:
    person = someone(browsers, wolves)
    act(person)
    Typist(person).look()


def test_the_focus_is_seen_after_trying_again(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.fault = OVERLOADED
    person.make("a fox")
    expect(person.now).to_contain_text(NOTHING_BILLED)
    page_service.upstream.fault = None
    person.now.get_by_role("button", name="Try again").focus()
    with page_service.drawing():
        person.page.keyboard.press("Enter")
        expect(person.now).to_contain_text("Drawing")
        Typist(person).look()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    Typist(person).look()


def test_the_focus_is_seen_after_the_only_failure_is_dismissed(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.fault = Fault("break")
    person.make("a fox")
    expect(person.now).to_contain_text("may have been billed")
    person.now.get_by_role("button", name="Dismiss").focus()
    person.page.keyboard.press("Enter")
    expect(person.now).to_have_count(0)
    Typist(person).look()


def test_the_focus_is_seen_after_the_only_picture_is_deleted(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a fox")
    person = someone(browsers, page_service)
    person.tile("a fox").focus()
    person.page.keyboard.press("Delete")
    expect(person.dialog.get_by_role("button", name="Delete for good")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(person.tiles).to_have_count(0)
    expect(person.page.get_by_role("heading", name="All pictures")).to_be_focused()
    Typist(person).look()
    assert page_service.get("/image") == []


def test_arrows_begin_with_the_first_picture_in_sight(wolves: PageService, browsers: Browsers) -> None:
    person = someone(browsers, wolves)
    person.page.keyboard.press("Escape")  # leaves the prompt
    person.page.keyboard.press("ArrowRight")
    expect(person.tiles.first).to_be_focused()
    person.page.keyboard.press("ArrowRight")
    expect(person.tiles.nth(1)).to_be_focused()
    typist = Typist(person)
    typist.look()


def test_delete_on_a_tile_asks_and_keeps_what_is_kept(wolves: PageService, browsers: Browsers) -> None:
    person = someone(browsers, wolves)
    person.tile("wolf 50").focus()
    person.page.keyboard.press("Delete")
    expect(person.dialog.locator(".prompt")).to_have_text("wolf 50")
    expect(person.dialog.get_by_role("button", name="Delete for good")).to_be_focused()
    person.page.keyboard.press("Escape")
    expect(person.dialog.get_by_role("button", name="Delete for good")).to_have_count(0)
    person.close_picture()
    expect(person.tile("wolf 50")).to_be_focused()
    assert len(wolves.get("/image?limit=100")) == 52
