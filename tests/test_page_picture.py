"""The open picture: what is known of it, what can be done with it, and editing."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from tests import planted
from tests.browsing import Browsers
from tests.page_stage import CALLER, KEY, PageService, Person, serve_page, someone

MAY_COPY: dict[str, Any] = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with three pictures, for tests that leave them alone."""
    with serve_page(tmp_path_factory.mktemp("three")) as service:
        for prompt in ("the oldest", "the middle one", "the newest"):
            service.post(prompt, quality="low")
        yield service


def open_picture(person: Person, prompt: str) -> None:
    """Open a picture of the gallery."""
    person.tile(prompt).click()
    expect(person.dialog).to_contain_text(prompt)


def copied(person: Person) -> str:
    """What is in the clipboard."""
    return str(person.page.evaluate("navigator.clipboard.readText()"))


def test_it_says_what_is_known(three: PageService, browsers: Browsers) -> None:
    person = someone(browsers, three)
    open_picture(person, "the middle one")
    details = next(image for image in three.get("/image") if image["prompt"] == "the middle one")
    assert person.page.url.endswith(f"#p={details['guid']}")
    facts = person.dialog.locator("dl")
    for said in ("48 × 32", "PNG", details["model"], "quality low", CALLER, "tokens", "Costunknown", "Today"):
        expect(facts).to_contain_text(said)
    expect(facts).to_contain_text(re.compile(r"in \d+\.\d s"))
    picture = person.dialog.get_by_role("img", name="the middle one")
    expect(picture).to_have_js_property("naturalWidth", 48)
    person.watched.require_access()


def test_it_says_what_it_cost(page_service: PageService, browsers: Browsers) -> None:
    page_service.run("prices", "set", "*", "--per-image", "0.04")
    page_service.post("a fox")
    person = someone(browsers, page_service)
    open_picture(person, "a fox")
    expect(person.dialog.locator("dl")).to_contain_text("Cost$0.04")


def test_its_address_opens_it_in_another_browser(three: PageService, browsers: Browsers) -> None:
    person, other = someone(browsers, three), someone(browsers, three)
    open_picture(person, "the oldest")
    other.page.goto(person.page.url)
    other.page.reload()
    expect(other.dialog).to_contain_text("the oldest")
    other.close_picture()
    expect(other.tile("the oldest")).to_be_visible()


def test_url_and_prompt_are_copied_and_the_url_needs_no_key(three: PageService, browsers: Browsers) -> None:
    person = someone(browsers, three, **MAY_COPY)
    open_picture(person, "the newest")
    person.dialog.get_by_role("button", name="Copy URL").click()
    expect(person.dialog).to_contain_text("It does not expire.")
    url = copied(person)
    answer = httpx2.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert url == next(image["url"] for image in three.get("/image") if image["prompt"] == "the newest")
    person.dialog.get_by_role("button", name="Copy prompt").click()
    expect(person.dialog).to_contain_text("The prompt is copied.")
    assert copied(person) == "the newest"


def test_without_a_clipboard_the_url_can_still_be_copied(three: PageService, browsers: Browsers) -> None:
    person = someone(browsers, three, **MAY_COPY)
    person.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    person.reload()
    open_picture(person, "the newest")
    person.dialog.get_by_role("button", name="Copy prompt").click()
    expect(person.dialog).to_contain_text("The prompt is copied.")


def test_what_the_browser_does_not_let_the_page_copy_is_shown(three: PageService, browsers: Browsers) -> None:
    person = someone(browsers, three)
    person.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined }); document.execCommand = () => false;"
    )
    person.reload()
    open_picture(person, "the newest")
    copy = person.dialog.get_by_role("button", name="Copy prompt")
    copy.click()
    expect(person.dialog).to_contain_text("Copy it from here: the newest")
    expect(copy).to_be_focused()


def test_a_copied_url_begins_with_the_public_one(tmp_path: Path, servers: ExitStack, browsers: Browsers) -> None:
    settings = {"PIXYPROXY_PUBLIC_URL": "https://pictures.example/base"}
    service = servers.enter_context(serve_page(tmp_path, settings))
    service.post("a fox")
    watched = browsers.new(service.url, **MAY_COPY)
    watched.expect(401, "/session")
    watched.open()
    person = Person(watched)
    person.page.get_by_label("API key").fill(planted.API_KEY)
    person.page.get_by_role("button", name="Log in").click()
    open_picture(person, "a fox")
    person.dialog.get_by_role("button", name="Copy URL").click()
    expect(person.dialog).to_contain_text("It does not expire.")
    assert copied(person).startswith("https://pictures.example/base/image/")


def test_it_is_downloaded_under_its_name(three: PageService, browsers: Browsers) -> None:
    person = someone(browsers, three)
    open_picture(person, "the newest")
    with person.page.expect_download() as download:
        person.dialog.get_by_role("button", name="Download").click()
    details = next(image for image in three.get("/image") if image["prompt"] == "the newest")
    assert download.value.suggested_filename == details["filename"]
    assert len(download.value.path().read_bytes()) == details["size_bytes"]


def test_arrows_go_to_the_neighbours_and_say_where_the_ends_are(three: PageService, browsers: Browsers) -> None:
    person = someone(browsers, three)
    open_picture(person, "the middle one")
    person.page.keyboard.press("ArrowLeft")
    expect(person.dialog).to_contain_text("the newest")
    expect(person.said).to_have_text("the newest")
    person.page.keyboard.press("ArrowLeft")
    expect(person.said).to_have_text("This is the newest picture.")
    for _ in range(2):
        person.dialog.get_by_role("button", name="Older picture").click()
    expect(person.dialog).to_contain_text("the oldest")
    person.page.keyboard.press("ArrowRight")
    expect(person.said).to_have_text("This is the oldest picture.")
    person.page.go_back()
    expect(person.dialog).to_be_hidden()
    expect(person.tile("the oldest")).to_be_focused()


def test_it_is_used_as_input_of_an_edit_and_the_edit_says_where_it_came_from(
    page_service: PageService, browsers: Browsers
) -> None:
    source = page_service.post("a fox", size="128x128")
    person = someone(browsers, page_service)
    open_picture(person, "a fox")
    person.dialog.get_by_role("button", name="Use as input").click()
    expect(person.page.get_by_role("list", name="Pictures to edit")).to_contain_text("a fox")
    expect(person.prompt).to_be_focused()
    person.reload()
    expect(person.page.get_by_role("list", name="Pictures to edit")).to_contain_text("a fox")
    person.prompt.fill("the same fox at night")
    person.page.get_by_role("button", name="Edit", exact=True).click()
    edited = person.page.get_by_role("link", name="the same fox at night").first
    expect(edited).to_be_visible()
    (image,) = [each for each in page_service.get("/image") if each["prompt"] == "the same fox at night"]
    assert [each["guid"] for each in image["sources"]] == [source["guid"]]
    edited.click()
    expect(person.dialog.locator("dl")).to_contain_text("Edited from")
    person.dialog.get_by_role("link", name="a picture").click()
    expect(person.dialog.locator(".prompt")).to_have_text("a fox")


def test_a_mask_is_painted_and_sent(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a fox", size="128x128")
    person = someone(browsers, page_service)
    open_picture(person, "a fox")
    person.dialog.get_by_role("button", name="Use as input").click()
    person.page.get_by_role("button", name="Mask", exact=True).click()
    easel = person.page.get_by_role("dialog", name="Paint what is to change")
    canvas = easel.get_by_role("img", name="The mask over the picture")
    box = canvas.bounding_box()
    assert box is not None

    def paint() -> None:
        person.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        person.page.mouse.down()
        person.page.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2, steps=5)
        person.page.mouse.up()

    paint()
    person.watched.require_access()
    easel.get_by_role("button", name="Start over").click()
    easel.get_by_role("button", name="Use this mask").click()
    expect(easel).to_contain_text("Nothing is painted yet.")
    expect(canvas).to_be_focused()
    paint()
    easel.get_by_role("button", name="Use this mask").click()
    masked = person.page.get_by_role("button", name="Mask ✓")
    expect(masked).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(easel).to_contain_text("counts until you use another one")
    easel.get_by_role("button", name="Cancel").click()
    expect(masked).to_be_focused()
    person.prompt.fill("a fox with a hat")
    person.page.get_by_role("button", name="Edit", exact=True).click()
    expect(person.page.get_by_role("link", name="a fox with a hat").first).to_be_visible()
    assert "mask" in [field["name"] for field in page_service.upstream.requests[-1]["form"]]
    (image,) = [each for each in page_service.get("/image") if each["prompt"] == "a fox with a hat"]
    assert [each["role"] for each in image["sources"]] == ["image", "mask"]


def test_it_is_made_again_as_a_purchase_of_its_own(page_service: PageService, browsers: Browsers) -> None:
    page_service.post("a fox", quality="high", output_format="webp")
    person = someone(browsers, page_service)
    open_picture(person, "a fox")
    person.dialog.get_by_role("button", name="Make it again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    images = page_service.get("/image")
    assert len({image["guid"] for image in images}) == 2
    assert {image["content_type"] for image in images} == {"image/webp"}
    requests = [each["request"] for each in page_service.get("/generation")]
    assert [request["quality"] for request in requests] == ["high", "high"]
    assert page_service.upstream.received == 2


def test_a_deleted_picture_and_lost_bytes_are_said_in_words(page_service: PageService, browsers: Browsers) -> None:
    gone, lost = page_service.post("deleted elsewhere"), page_service.post("lost")
    person = someone(browsers, page_service)
    person.watched.expect(502, f"/image/{lost['guid']}/.*")
    for file in page_service.folder.rglob(lost["filename"]):
        file.unlink()
    open_picture(person, "lost")
    expect(person.dialog.locator(".stage p")).to_contain_text("The storage holds no object")
    person.close_picture()
    httpx2.delete(f"{page_service.url}/image/{gone['guid']}", headers=KEY)
    person.watched.expect(404, f"/image/{gone['guid']}.*")
    person.page.goto(f"{page_service.url}/#p={gone['guid']}")
    person.page.reload()
    expect(person.dialog).to_contain_text("There is no such picture, or it was deleted.")
    person.watched.require_access()
