"""Prompts are text, whatever they hold, and everything on the page can be done by everybody."""

import pytest
from playwright.sync_api import expect

from tests.browsing import Browsers
from tests.page_stage import PageService, someone

PROMPTS = {
    "a script": "<script>document.title = 'taken'</script> a fox",
    "a handler": "<img src=x onerror=\"document.title = 'taken'\"> a fox",
    "a link": "<a href='javascript:document.title=1'>a fox</a> &lt;b&gt; &amp;",
    "a template": "${document.title = 'taken'} {{1}} %s a fox",
    "Arabic": "ثعلب أحمر في الثلج (fox, 2026) عند الفجر",
    "a turned direction": "a fox \u202egnp.exe and back\u202c",
    "combining marks": "z̸a̷l̶g̵o̴ " * 20,
    "no space": "fox" * 400,
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_a_prompt_is_shown_as_it_was_written_and_does_nothing(
    page_service: PageService, browsers: Browsers, prompt: str
) -> None:
    prompt = prompt.strip()
    person = someone(browsers, page_service)
    person.make(f"{prompt} [refuse]")
    expect(person.now.locator(".failure")).to_be_visible()
    person.make(prompt)
    expect(person.now.locator("a.tile img")).to_be_visible()
    person.reload()
    expect(person.tiles).to_have_count(1)
    shown = person.tiles.first.get_by_role("img").get_attribute("alt")
    assert shown is not None
    assert prompt.startswith(shown.rstrip("…"))
    person.tiles.first.click()
    text = person.dialog.locator(".prompt")
    expect(text).to_be_visible()
    assert text.text_content() == prompt
    assert person.page.evaluate("document.querySelector('.prompt').children.length") == 0
    assert person.watched.too_wide() == []
    person.close_picture()
    person.page.get_by_role("link", name="Activity").click()
    expect(person.page.get_by_role("row")).to_have_count(3)
    expect(person.page).to_have_title("Activity · PixyProxy")


def test_the_longest_prompt_goes_through_everything(page_service: PageService, browsers: Browsers) -> None:
    prompt = ("狐狸 a fox " * 4000)[:32_000].strip()
    person = someone(browsers, page_service)
    person.make(prompt)
    expect(person.now.locator("a.tile img")).to_be_visible()
    assert page_service.get("/image")[0]["prompt"] == prompt
    person.reload()
    expect(person.prompt).to_have_value(prompt)
    person.tiles.first.click()
    assert person.dialog.locator(".prompt").text_content() == prompt
    expect(person.dialog.get_by_role("button", name="Copy URL")).to_be_in_viewport()
    assert person.watched.too_wide() == []


def test_direction_follows_the_prompt(page_service: PageService, browsers: Browsers) -> None:
    page_service.post(PROMPTS["Arabic"])
    person = someone(browsers, page_service)
    person.prompt.fill(PROMPTS["Arabic"])
    assert person.prompt.evaluate("(box) => getComputedStyle(box).direction") == "rtl"
    person.tiles.first.click()
    assert person.dialog.locator(".prompt").evaluate("(text) => getComputedStyle(text).direction") == "rtl"
