"""Pictures from one's own device as inputs of an edit."""

import hashlib
import io

from PIL import Image
from playwright.sync_api import FilePayload, Locator, expect

from tests.browsing import Browsers
from tests.page_stage import PageService, Person, someone

MOST = 16
"""Inputs of one edit."""


def picture(name: str, colour: str = "teal", format_: str = "PNG") -> FilePayload:
    """A picture on the device."""
    data = io.BytesIO()
    Image.new("RGB", (128, 96), colour).save(data, format_)
    return {"name": name, "mimeType": f"image/{format_.lower()}", "buffer": data.getvalue()}


def choose(person: Person, *files: FilePayload) -> None:
    """Choose files as one does after a click on "Add picture"."""
    with person.page.expect_file_chooser() as chooser:
        person.page.get_by_role("button", name="Add picture").click()
    chooser.value.set_files(files)


def inputs(person: Person) -> Locator:
    """The pictures that are to be edited."""
    return person.page.get_by_role("list", name="Pictures to edit").get_by_role("listitem")


def test_a_picture_from_the_device_is_edited_as_it_is_and_only_its_tab_has_it(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    file = picture("holiday.webp", format_="WEBP")
    choose(person, file)
    expect(inputs(person)).to_contain_text("holiday.webp")
    expect(inputs(person).locator("img")).to_have_js_property("naturalWidth", 128)
    expect(person.said).to_have_text("holiday.webp is used as input.")
    expect(person.prompt).to_be_focused()
    person.watched.require_access()
    person.prompt.fill("the beach at night")
    person.page.get_by_role("button", name="Edit", exact=True).click()
    expect(person.now.get_by_role("img", name="the beach at night")).to_be_visible()
    sha256 = hashlib.sha256(file["buffer"]).hexdigest()
    (sent,) = [field for field in page_service.upstream.requests[-1]["form"] if field["name"].startswith("image")]
    assert sent["sha256"] == sha256
    (image,) = page_service.get("/image")
    assert [(each["role"], each["guid"], each["sha256"]) for each in image["sources"]] == [("image", None, sha256)]
    person.reload()
    expect(inputs(person)).to_have_count(0)
    expect(person.page.get_by_role("button", name="Make", exact=True)).to_be_visible()
    person.tile("the beach at night").click()
    expect(person.dialog.locator("dl")).to_contain_text("Edited from")
    person.dialog.get_by_role("button", name="Make it again").click()
    expect(person.prompt).to_have_value("the beach at night")
    assert page_service.upstream.received == 1, "without its input it is not made again"


def test_a_file_that_is_no_picture_is_refused_in_words_and_the_others_are_used(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    torn = picture("torn.png")
    torn["buffer"] = torn["buffer"][:40]
    notes: FilePayload = {"name": "notes <b>.png", "mimeType": "image/png", "buffer": b"These are notes."}
    choose(person, notes, picture("good.png"))
    expect(inputs(person)).to_have_count(1)
    expect(inputs(person)).to_contain_text("good.png")
    words = person.page.locator("#make")
    expect(words).to_contain_text("notes <b>.png is no PNG, WebP or JPEG that can be read.")
    person.watched.require_access()
    inputs(person).get_by_role("button", name="Do not use good.png").click()
    expect(inputs(person)).to_have_count(0)
    choose(person, torn)
    expect(words).to_contain_text("torn.png is no PNG, WebP or JPEG that can be read.")
    person.make("a fox")
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert "form" not in page_service.upstream.requests[-1]
    expect(words).not_to_contain_text("torn.png")


def test_every_file_that_is_no_picture_is_named(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    notes: FilePayload = {"name": "notes.png", "mimeType": "image/png", "buffer": b"x"}
    letter: FilePayload = {"name": "letter.png", "mimeType": "image/png", "buffer": b"x"}
    choose(person, notes, letter)
    for name in ("notes.png", "letter.png"):
        expect(person.page.locator("#make")).to_contain_text(f"{name} is no PNG")


def test_no_more_inputs_are_taken_than_an_edit_may_have(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    choose(person, *(picture(f"{number}.png", f"hsl({number * 20}, 80%, 50%)") for number in range(MOST + 1)))
    expect(inputs(person)).to_have_count(MOST)
    expect(person.page.locator("#make")).to_contain_text(f"An edit has at most {MOST} pictures.")
    person.watched.require_access()
    assert person.watched.too_wide() == []
    person.prompt.fill("all of them")
    person.page.get_by_role("button", name="Edit", exact=True).click()
    expect(person.now.get_by_role("img", name="all of them")).to_be_visible()
    (image,) = page_service.get("/image")
    assert len(image["sources"]) == MOST
