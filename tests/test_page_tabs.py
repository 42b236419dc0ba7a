"""Two tabs of one session, a session that ends while its page is open, and requests with several pictures."""

import time
from datetime import UTC, datetime, timedelta

import httpx2
from playwright.sync_api import Request, expect

from pixyproxy.data.conversions import time_to_column
from tests import planted
from tests.browsing import PATIENCE_MS, Browsers, held_back, let_go
from tests.page_stage import KEY, SMALL, PageService, Person, someone
from tests.test_page_login import POLLING, cookies, log_in_by_key


def count_purchases(person: Person) -> list[str]:
    """The idempotency keys of all requests for a picture that this page sends from now on."""
    sent: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/image"):
            sent.append(request.headers["idempotency-key"])

    person.page.on("request", note)
    return sent


def test_two_tabs_make_at_the_same_time_and_each_sees_the_others(page_service: PageService, browsers: Browsers) -> None:
    one = someone(browsers, page_service)
    two = Person(browsers.tab(one.page.context, page_service.url)).open()
    bought = {person: count_purchases(person) for person in (one, two)}
    with page_service.drawing():
        one.make("a fox of the first tab")
        two.prompt.fill("a wolf of the second tab")
        two.page.get_by_role("button", name="Make", exact=True).dblclick()
        for person in (one, two):
            expect(person.now).to_have_count(2)
            expect(person.now.filter(has_text="a fox of the first tab")).to_contain_text("Drawing")
            expect(person.now.filter(has_text="a wolf of the second tab")).to_contain_text("Drawing")
            expect(person.page.locator("#running-count")).to_have_text("2 running")
    for person in (one, two):
        expect(person.now.get_by_role("img", name="a fox of the first tab")).to_be_visible()
        expect(person.now.get_by_role("img", name="a wolf of the second tab")).to_be_visible()
        expect(person.page.locator("#running-count")).to_be_hidden()
        expect(person.now).to_have_count(2)
    assert [len(bought[person]) for person in (one, two)] == [1, 1], "one request each: a double click is one click"
    assert page_service.upstream.received == 2
    assert len(page_service.get("/image")) == 2


def let_session_end(service: PageService, person: Person) -> None:
    """Nobody has used the session for 12 hours: so its row says, and the service refuses its cookie."""
    (cookie,) = cookies(person.watched)
    sent = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    assert httpx2.get(f"{service.url}/session", headers=sent).status_code == 200
    ended = time_to_column(datetime.now(UTC) - timedelta(seconds=1))
    assert service.change(f"UPDATE sessions SET expires_at = '{ended}'") == 1
    end = time.monotonic() + PATIENCE_MS / 1000
    while httpx2.get(f"{service.url}/session", headers=sent).status_code != 401:
        assert time.monotonic() < end, "the session does not end"
        time.sleep(0.1)


def test_after_an_idle_session_has_ended_one_logs_in_again_where_one_was(
    page_service: PageService, browsers: Browsers
) -> None:
    for number in range(24):
        page_service.post(f"fox {number}")
    person = someone(browsers, page_service)
    bought = count_purchases(person)
    person.watched.expect(401, r"/(session|image|generation)")
    expect(person.tiles).to_have_count(24)
    person.search("fox")
    expect(person.said).to_have_text("24 found")
    person.prompt.fill("a fox that is not finished")
    person.page.evaluate("document.querySelector('#gallery a.tile').dataset.kept = 'yes'")
    held = held_back(person.page, POLLING)
    let_session_end(page_service, person)
    person.page.get_by_role("button", name="Make", exact=True).click()
    login = person.page.get_by_role("dialog", name="PixyProxy")
    expect(login).to_be_visible()
    expect(person.page.get_by_role("alert")).to_contain_text("The session has ended")
    expect(person.page.get_by_label("API key")).to_be_focused()
    person.watched.require_access()
    log_in_by_key(person, planted.API_KEY)
    expect(login).to_be_hidden()
    let_go(person.page, held)
    expect(person.page.get_by_role("button", name="Make", exact=True)).to_be_focused()
    expect(person.prompt).to_have_value("a fox that is not finished")
    expect(person.page.get_by_role("searchbox")).to_have_value("fox")
    expect(person.tiles).to_have_count(24)
    assert person.page.evaluate("document.querySelector('#gallery a.tile').dataset.kept") == "yes"
    assert page_service.upstream.received == 24, "nothing is bought before somebody asks again"
    person.page.keyboard.press("Enter")
    expect(person.now.get_by_role("img", name="a fox that is not finished")).to_be_visible()
    assert len(bought) == 2
    assert page_service.upstream.received == 25


def test_a_picture_that_an_ended_session_did_not_buy_was_not_billed_and_can_be_tried_again(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    bought = count_purchases(person)
    person.watched.expect(401, r"/(session|image|generation)")
    held = held_back(person.page, POLLING)
    let_session_end(page_service, person)
    person.make("a fox")
    log_in_by_key(person, planted.API_KEY)
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_hidden()
    let_go(person.page, held)
    expect(person.now).not_to_contain_text("Bearer")
    expect(person.now).to_contain_text("Nothing was billed.")
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert len(bought) == 2
    assert len(set(bought)) == 1
    assert page_service.upstream.received == 1


def test_a_session_that_ends_while_nobody_touches_the_page_asks_for_the_key_by_itself(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.post("a fox")
    person = someone(browsers, page_service)
    person.watched.expect(401, r"/(session|image|generation)")
    person.tile("a fox").click()
    expect(person.dialog).to_be_visible()
    let_session_end(page_service, person)
    login = person.page.get_by_role("dialog", name="PixyProxy")
    expect(login).to_be_visible(timeout=60_000)  # an idle page asks every 15 s
    assert login.count() == 1
    log_in_by_key(person, planted.API_KEY)
    expect(login).to_be_hidden()
    expect(person.dialog).to_be_visible()
    person.close_picture()
    page_service.post("a wolf that came later")
    person.reload()
    expect(person.tile("a wolf that came later")).to_be_visible()


def test_a_request_for_three_pictures_has_a_badge_and_all_three_are_in_the_gallery(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    sent = {"prompt": "three foxes", "n": 3, "size": SMALL}
    answer = httpx2.post(f"{page_service.url}/v1/images/generations", json=sent, headers=KEY, timeout=30)
    assert answer.status_code == 200, answer.text
    person.page.evaluate("dispatchEvent(new Event('online'))")  # an idle page asks every 15 s, and when it hears this
    expect(person.now).to_have_count(1)
    expect(person.now.locator(".badge")).to_have_text("+2")
    person.now.get_by_role("link", name="three foxes").click()
    expect(person.dialog).to_be_visible()
    seen = [person.page.url]
    for _ in range(2):
        person.page.keyboard.press("ArrowLeft")
        expect(person.page).not_to_have_url(seen[-1])
        seen.append(person.page.url)
    guids = {image["guid"] for image in page_service.get("/image")}
    assert {url.rpartition("#p=")[2] for url in seen} == guids
    assert len(guids) == 3
    person.close_picture()
    person.page.get_by_role("link", name="PixyProxy").click()
    expect(person.tiles).to_have_count(3)
    expect(person.now).to_have_count(0)
    shown = person.page.eval_on_selector_all("#gallery li[data-guid]", "all => all.map((each) => each.dataset.guid)")
    assert set(shown) == guids
