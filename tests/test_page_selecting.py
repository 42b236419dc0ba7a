"""Selecting pictures: what has just come too, ranges, and pictures that are gone meanwhile."""

import httpx2
from playwright.sync_api import Locator, expect

from tests.browsing import Browsers
from tests.page_stage import KEY, PageService, Person, someone


def bar(person: Person) -> Locator:
    """What can be done with the selected pictures."""
    return person.page.get_by_role("toolbar", name="Selected pictures")


def test_what_has_just_come_can_be_selected_also_while_it_comes(page_service: PageService, browsers: Browsers) -> None:
    for number in range(2):
        page_service.post(f"fox {number}")
    person = someone(browsers, page_service)
    person.make("a wolf")
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
    with page_service.drawing():
        person.make("a lynx")
        expect(person.now.filter(has_text="a lynx")).to_contain_text("Drawing")
        person.page.get_by_role("button", name="Select").click()
    for prompt in ("a lynx", "a wolf"):
        box = person.now.get_by_role("checkbox", name=prompt)
        box.click()
        expect(box).to_be_checked()
    expect(bar(person)).to_contain_text("2 selected")
    person.watched.require_access()
    person.page.get_by_role("checkbox", name="fox 1").click(modifiers=["Shift"])
    expect(bar(person)).to_contain_text("3 selected")
    person.now.get_by_role("checkbox", name="a lynx").focus()
    person.page.keyboard.press("Space")
    expect(bar(person)).to_contain_text("2 selected")
    person.page.keyboard.press("Delete")
    expect(bar(person).get_by_role("button", name="Delete 2 pictures for good")).to_be_focused()
    assert len(page_service.get("/image")) == 4, "it asks first"
    person.page.keyboard.press("Enter")
    expect(person.said).to_have_text("2 pictures are deleted.")
    expect(person.now).to_contain_text(["Deleted since.", ""])
    assert {image["prompt"] for image in page_service.get("/image")} == {"a lynx", "fox 0"}
    person.now.get_by_role("link", name="a lynx").click()
    expect(person.dialog.locator(".prompt")).to_have_text("a lynx")


def test_shift_and_space_select_a_range(page_service: PageService, browsers: Browsers) -> None:
    for number in range(4):
        page_service.post(f"fox {number}")
    person = someone(browsers, page_service)
    person.page.get_by_role("button", name="Select").click()
    person.tiles.first.focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "Shift+Space"):
        person.page.keyboard.press(key)
    expect(bar(person)).to_contain_text("3 selected")


def test_deleted_elsewhere_a_selected_picture_is_no_obstacle(page_service: PageService, browsers: Browsers) -> None:
    gone = [page_service.post(f"fox {number}") for number in range(3)][1]
    person = someone(browsers, page_service)
    person.watched.expect(404, f"/image/{gone['guid']}.*")
    person.page.get_by_role("button", name="Select").click()
    for number in range(3):
        person.page.get_by_role("checkbox", name=f"fox {number}").click()
    assert httpx2.delete(f"{page_service.url}/image/{gone['guid']}", headers=KEY).status_code == 204
    bar(person).get_by_role("button", name="Delete…").click()
    bar(person).get_by_role("button", name="Delete 3 pictures for good").click()
    expect(person.tiles).to_have_count(0)
    assert page_service.get("/image") == []


def test_no_more_pictures_at_once_are_offered_than_the_service_draws_at_once(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    counts = person.page.locator("#make select[name=count] option")
    expect(counts).to_have_text([str(number) for number in range(1, 9)])
    session = {**person.page.evaluate("fetch('session').then((answer) => answer.json())"), "max_generations": 3}
    person.page.route("**/session", lambda route: route.fulfill(json=session))
    person.reload()
    expect(counts).to_have_text(["1", "2", "3"])
