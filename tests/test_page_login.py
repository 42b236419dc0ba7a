"""Logging in to the page, by code and by key, and what a session is good for."""

import re
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Cookie, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests import planted
from tests.browsing import Browsers, Watched, held_back, let_go
from tests.listening import listening
from tests.page_stage import CALLER, PageService, Person, serve_page, someone

POLLING = re.compile(r"/generation\?")
"""What asks by itself."""
WRONG_KEY = "pxp_" + "0" * 40


def cookies(watched: Watched) -> list[Cookie]:
    """The cookies of a browser."""
    return watched.page.context.cookies()


def before_login(browsers: Browsers, service: PageService, path: str = "/") -> Person:
    """Somebody who is asked to log in."""
    watched = browsers.new(service.url)
    watched.expect(401, "/session")
    watched.open(path)
    person = Person(watched)
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()
    return person


def log_in_by_key(person: Person, key: str) -> None:
    """Type a key and send it."""
    person.page.get_by_label("API key").fill(key)
    person.page.get_by_role("button", name="Log in").click()


def test_a_code_logs_in_and_leaves_the_address_and_every_log(page_service: PageService, browsers: Browsers) -> None:
    code = page_service.login_url().partition("#code=")[2]
    watched = browsers.new(page_service.url)
    requested: list[str] = []
    watched.page.on("request", lambda request: requested.append(request.url + str(request.headers)))
    watched.open(f"/#code={code}")
    person = Person(watched)
    expect(person.account).to_have_text(CALLER)
    assert urlsplit(watched.page.url).fragment == ""
    assert watched.page.evaluate("document.referrer") == ""
    assert len(requested) > 3
    assert not [each for each in requested if code in each]
    watched.page.go_back()
    assert code not in watched.page.url, "going back does not bring it back"
    assert code not in page_service.replica.process.output_with("POST /session")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    (cookie,) = cookies(person.watched)
    assert cookie["name"] == f"pixyproxy-{page_service.replica.port}"
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert cookie["expires"] == -1, "it ends with the browser"
    assert person.page.evaluate("document.cookie") == ""
    stored = person.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert cookie["value"] not in stored
    assert cookie["value"] not in page_service.replica.process.output()


def test_a_session_outlives_a_reload_and_counts_in_a_second_tab(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    person.reload()
    expect(person.account).to_be_visible()
    Person(browsers.tab(person.page.context, page_service.url)).open()


def test_a_code_is_good_once(page_service: PageService, browsers: Browsers) -> None:
    url = page_service.login_url()
    first = browsers.new(page_service.url)
    first.page.goto(url)
    expect(Person(first).account).to_be_visible()
    second = browsers.new(page_service.url)
    second.expect(401, "/session")
    second.page.goto(url)
    expect(second.page.get_by_role("alert")).to_contain_text("code")
    assert cookies(second) == []
    log_in_by_key(Person(second), planted.API_KEY)
    expect(Person(second).account).to_be_visible()


def test_a_code_of_a_key_logs_in_as_that_key(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("laptop")
    expect(someone(browsers, page_service, key="laptop").account).to_have_text("laptop")


def test_a_wrong_key_is_refused_in_words_and_the_right_one_logs_in(
    page_service: PageService, browsers: Browsers
) -> None:
    person = before_login(browsers, page_service)
    log_in_by_key(person, WRONG_KEY)
    expect(person.page.get_by_role("alert")).to_have_text("This key is wrong, or it was revoked.")
    assert cookies(person.watched) == []
    person.watched.require_access()
    log_in_by_key(person, f" {planted.API_KEY} ")
    expect(person.account).to_have_text(CALLER)
    stored = person.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.body.innerHTML])")
    assert planted.API_KEY not in stored, "the page keeps no key"


def test_who_is_not_logged_in_sees_no_picture_and_cannot_close_the_question(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.post("a secret fox")
    person = before_login(browsers, page_service)
    for _ in range(3):
        person.page.keyboard.press("Escape")
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()
    assert "fox" not in person.page.content()


def test_a_key_that_is_revoked_ends_the_session_and_the_prompt_stays(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.create_key("laptop")
    other = page_service.create_key("phone")
    person = someone(browsers, page_service, key="laptop")
    person.watched.expect(401, r"/(session|image|generation)")
    person.prompt.fill("a fox that is not finished")
    held = held_back(person.page, POLLING)
    page_service.run("keys", "revoke", "laptop")
    (cookie,) = cookies(person.watched)
    sent = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    person.watched.wait_until(
        lambda: httpx2.get(f"{page_service.url}/session", headers=sent).status_code == 401,
        "replicas refuse a revoked key within two seconds",
    )
    person.page.get_by_role("button", name="Make", exact=True).click()
    login = person.page.get_by_role("dialog", name="PixyProxy")
    expect(login).to_be_visible()
    expect(person.page.get_by_role("alert")).to_contain_text("revoked")
    log_in_by_key(person, other)
    expect(login).to_be_hidden()
    let_go(person.page, held)
    expect(person.prompt).to_have_value("a fox that is not finished")
    expect(person.account).to_have_text("phone")
    assert page_service.upstream.received == 0


def test_logging_out_ends_the_session_for_whoever_has_its_cookie(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    (cookie,) = cookies(person.watched)
    sent = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    assert httpx2.get(f"{page_service.url}/session", headers=sent).status_code == 200
    person.watched.expect(401, r"/(session|image|generation)")  # it may ask once more before it is left
    person.open_menu()
    person.page.get_by_role("button", name="Log out").click()
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()
    assert cookies(person.watched) == []
    assert httpx2.get(f"{page_service.url}/session", headers=sent).status_code == 401


def test_a_failed_log_out_is_said_and_a_successful_one_forgets_the_draft(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    person.watched.expect(503, "/session")
    person.prompt.fill("a secret fox")
    problem = {"type": "urn:pixyproxy:problem:database-unavailable", "title": "x", "detail": "The database is away."}
    person.page.route("**/session", lambda route: route.fulfill(status=503, json=problem))
    person.open_menu()
    person.page.get_by_role("button", name="Log out").click()
    expect(person.page.locator("#banner")).to_have_text("You are still logged in. The database is away.")
    expect(person.said).to_contain_text("You are still logged in.")
    expect(person.prompt).to_have_value("a secret fox")
    person.page.unroute("**/session")
    person.watched.expect(401, r"/(session|image|generation)")
    person.page.get_by_role("button", name="Log out").click()
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()
    assert "fox" not in person.page.evaluate("JSON.stringify({...sessionStorage})")
    log_in_by_key(person, planted.API_KEY)
    person.wait()
    expect(person.prompt).not_to_have_value("a secret fox")


def test_a_code_in_the_address_of_an_open_page_is_spent_there(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("laptop")
    person = before_login(browsers, page_service)
    login = person.page.get_by_role("dialog", name="PixyProxy")
    person.page.goto(f"{page_service.url}/#code=wrong")
    expect(person.page.get_by_role("alert")).not_to_be_empty()
    expect(login).to_be_visible()
    person.page.goto(page_service.login_url())
    expect(login).to_be_hidden()
    expect(person.account).to_have_text(CALLER)
    assert "code" not in person.page.url
    person.page.goto(page_service.login_url(key="laptop"))
    expect(person.account).to_have_text("laptop")
    assert "code" not in person.page.url


def test_a_used_code_does_not_end_the_session_that_there_is(page_service: PageService, browsers: Browsers) -> None:
    url = page_service.login_url()
    watched = browsers.new(page_service.url)
    watched.page.goto(url)
    Person(watched).wait()
    again = browsers.tab(watched.page.context, page_service.url)
    again.expect(401, "/session")
    again.page.goto(url)
    expect(Person(again).account).to_have_text(CALLER)
    expect(again.page.get_by_role("dialog")).to_have_count(0)


ATTACK = """<!doctype html><title>x</title><script>
const target = "TARGET";
async function run() {
    const said = [];
    for (const [method, path, headers, body] of [
        ["POST", "/image", {"Content-Type": "text/plain"}, '{"prompt": "bought by another site"}'],
        ["POST", "/image", {"Content-Type": "application/json"}, '{"prompt": "bought by another site"}'],
        ["DELETE", "/image/GUID", {}, undefined],
        ["DELETE", "/session", {}, undefined],
        ["POST", "/session", {"Content-Type": "text/plain"}, '{"key": "KEY"}'],
    ]) {
        for (const mode of ["cors", "no-cors"]) {
            await fetch(target + path, { method, headers, body, mode, credentials: "include" })
                .then((answer) => said.push(answer.status), () => said.push("failed"));
        }
    }
    return said;
}
</script><form method="post" action="TARGET/image" enctype="text/plain"><input name='{"prompt": "x", "a": "' value='"}'>
</form>"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_can_neither_buy_nor_delete_with_the_cookie(
    page_service: PageService, browsers: Browsers, host: str
) -> None:
    details = page_service.post("a fox")
    person = someone(browsers, page_service)
    bought = page_service.upstream.received
    words = {"TARGET": page_service.url, "GUID": details["guid"], "KEY": planted.API_KEY}
    text = re.sub("|".join(words), lambda found: words[found[0]], ATTACK)
    with listening(Starlette(routes=[Route("/", lambda _: HTMLResponse(text))])) as evil:
        tab = browsers.tab(person.page.context, evil.replace("127.0.0.1", host))
        tab.open()
        answers = tab.page.evaluate("run()")
        assert len(answers) == 10
        assert not [answer for answer in answers if answer not in ("failed", 0)], "no answer can be read"
        tab.page.evaluate("document.forms[0].submit()")
        expect(tab.page.locator("body")).to_contain_text("cross-site" if host == "127.0.0.1" else "unauthorized")
        tab.complaints.clear()
    assert page_service.upstream.received == bought
    person.reload()
    expect(person.account).to_have_text(CALLER)
    expect(person.tile("a fox")).to_be_visible()


def test_two_services_on_one_machine_do_not_log_each_other_out(
    page_service: PageService, servers: ExitStack, browsers: Browsers, tmp_path: Path
) -> None:
    other = servers.enter_context(serve_page(tmp_path / "other"))
    person = someone(browsers, page_service)
    second = browsers.tab(person.page.context, other.url)
    second.page.goto(other.login_url())
    expect(Person(second).account).to_be_visible()
    person.reload()
    expect(person.account).to_be_visible()
    assert len(cookies(person.watched)) == 2
