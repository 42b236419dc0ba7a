"""The page of somebody whose key may not do everything: what it may not do is not offered, or the page says why."""

from playwright.sync_api import Locator, expect

from tests.browsing import Browsers
from tests.page_stage import PageService, Person, someone

OTHERS = "a picture of somebody else"


def visitor(browsers: Browsers, service: PageService, *, key: str) -> Person:
    """Somebody who has logged in; the prompt may not take the focus."""
    watched = browsers.new(service.url)
    watched.page.goto(service.login_url(key=key))
    person = Person(watched)
    expect(person.account).to_have_text(key)
    return person


def hint(person: Person) -> Locator:
    """What the page says under the prompt."""
    return person.page.locator("#make .hint")


def everybody(person: Person) -> Locator:
    """The switch between everybody's pictures and one's own."""
    return person.page.get_by_role("group", name="Whose pictures")


def test_a_new_key_makes_and_deletes_its_own_pictures_and_sees_no_others(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.post(OTHERS)
    page_service.create_key("laptop", scopes="draw,read,delete")
    person = someone(browsers, page_service, key="laptop")
    expect(person.page.locator("#gallery h2").first).to_have_text("Your pictures")
    expect(everybody(person)).to_be_hidden()
    expect(person.tiles).to_have_count(0)
    person.make("a picture of my own", size="1024x1024")
    expect(person.page.locator("#now a")).to_have_count(1)
    person.page.locator("#now a").click()
    expect(person.dialog).to_be_visible()
    person.page.keyboard.press("Delete")
    person.page.get_by_role("button", name="Delete for good").click()
    expect(person.said).to_have_text("The picture is deleted.")
    assert [image["prompt"] for image in page_service.get("/image")] == [OTHERS]


def test_a_key_that_may_not_draw_looks_and_is_told_why_it_makes_nothing(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.post(OTHERS)
    page_service.create_key("viewer", scopes="read-all")
    person = visitor(browsers, page_service, key="viewer")
    expect(hint(person)).to_contain_text("lacks the scope “draw”")
    assert person.page.locator("#make form").evaluate("form => form.inert")
    expect(everybody(person)).to_be_visible()
    person.tile(OTHERS).click()
    expect(person.dialog).to_be_visible()
    for name in ("Use as input", "Make it again", "Delete…"):
        expect(person.dialog.get_by_role("button", name=name)).to_have_count(0)
    for key in ("e", "Delete"):
        person.page.keyboard.press(key)
    expect(person.dialog.get_by_role("button", name="Copy URL")).to_be_visible()
    expect(person.dialog.get_by_role("button", name="Delete for good")).to_have_count(0)


def test_a_key_deletes_of_what_it_has_selected_only_its_own(page_service: PageService, browsers: Browsers) -> None:
    key = page_service.create_key("both", scopes="draw,read-all,delete")
    page_service.post("a picture of my own", key=key)
    page_service.post(OTHERS)
    person = someone(browsers, page_service, key="both")
    person.tile(OTHERS).click()
    expect(person.dialog).to_be_visible()
    expect(person.dialog.get_by_role("button", name="Delete…")).to_have_count(0)
    person.close_picture()
    person.page.get_by_role("button", name="Select", exact=True).click()
    for tile in person.tiles.all():
        tile.click()
    person.page.get_by_role("button", name="Delete…").click()
    person.page.get_by_role("button", name="Delete 2 pictures for good").click()
    expect(person.page.locator("#banner")).to_have_text("1 of 2 belong to others: your key may not delete them.")
    expect(person.said).to_have_text("The picture is deleted.")
    assert [image["prompt"] for image in page_service.get("/image")] == [OTHERS]
    expect(person.tile(OTHERS)).to_be_visible()


def test_a_key_that_may_only_draw_is_told_that_it_is_for_programs(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.create_key("robot", scopes="draw")
    watched = browsers.new(page_service.url)
    watched.expect(403, "/image")
    watched.expect(403, "/generation")
    watched.page.goto(page_service.login_url(key="robot"))
    person = Person(watched)
    expect(hint(person)).to_contain_text("lacks the scope “read”")
    expect(person.page.locator("#gallery")).to_contain_text("needs the scope 'read'")
    expect(person.page.locator("#banner")).to_be_hidden()


def test_a_narrowed_key_is_refused_in_words_on_the_page_that_is_open(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.create_key("intern", scopes="draw,read")
    person = someone(browsers, page_service, key="intern")
    page_service.run("keys", "set", "intern", "--scope", "read")
    person.watched.expect(403, "/image")
    person.watched.wait_for("fetch('session').then((a) => a.json()).then((s) => !s.scopes.includes('draw'))")
    person.make("one more", size="1024x1024")
    expect(person.now).to_contain_text("needs the scope 'draw'")
    assert page_service.get("/generation") == []
