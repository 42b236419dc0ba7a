"""The place "Keys": who is offered it, and keys that are made, changed, rotated and revoked there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import APIResponse, Locator, Request, Route, expect

from pixyproxy.data.cached_keys import KEY_TTL
from tests.browsing import Browsers, held_back, let_go
from tests.page_stage import CALLER, KEY, PageService, Person, serve_page, someone
from tests.test_page_access import WINDOWS, focused, tab_to
from tests.test_page_login import log_in_by_key

CLIPBOARD = ["clipboard-read", "clipboard-write"]
UNSEEN_BY = re.compile(r"/(key(/(?!self).*)?|budget(/.*)?|static/.*/(keyring|key-.*|form-dialog)\.(js|css))$")
"""What nobody asks for who may not administer, or has not come to the place."""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service with keys of every kind, which the tests only look at."""
    with serve_page(tmp_path_factory.mktemp("office")) as service:
        service.run("prices", "set", "*", "--per-image", "0.25")
        service.run("keys", "create", "shop", "--scope", "draw,read", "--rate", "30", "--running", "4",
                    "--expires", "90d", "--note", "the web shop <b>", "--budget", "1/month")  # fmt: skip
        service.run("keys", "create", "ci", "--scope", "draw", "--share", "50", "--budget", "0.25/total")
        key = service.run("keys", "rotate", "ci").split()[0]
        service.run("keys", "create", "old")
        service.run("keys", "revoke", "old")
        service.run("keys", "create", f"long-{'x' * 59}", "--note", "w" * 500)
        service.run("budgets", "set", "everybody", "20/day")
        service.post("a fox", key=key)
        yield service


def keys(person: Person) -> Locator:
    """The rows of keys."""
    return person.page.locator("#keys tbody tr")


def row(person: Person, name: str) -> Locator:
    """The row of a key."""
    return person.page.locator(f'#keys tbody tr[data-name="{name}"]')


def form(person: Person) -> Locator:
    """The open dialog."""
    return person.page.locator("dialog.form[open]")


def open_keys(browsers: Browsers, service: PageService, **options: Any) -> Person:
    """Somebody who looks at the keys."""
    person = someone(browsers, service, **options)
    person.page.get_by_role("link", name="Keys").click()
    expect(person.page.locator("#keys:not([aria-busy]) tbody")).to_be_attached()
    return person


def press(person: Person, name: str) -> None:
    """Press a button of the open dialog."""
    form(person).get_by_role("button", name=name, exact=True).click()


def status(service: PageService, key: str) -> int:
    """Of the answer to a key that asks who it is."""
    return httpx2.get(f"{service.url}/key/self", headers={"Authorization": f"Bearer {key}"}, timeout=30).status_code


def wait_for_status(person: Person, service: PageService, key: str, expected: int) -> None:
    """Wait until a key is known, or is no more."""
    person.watched.wait_until(lambda: status(service, key) == expected, f"{expected} for the key")


def asked_by(person: Person) -> list[str]:
    """The paths that a person's browser asks for from now on, and that `UNSEEN_BY` matches."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if UNSEEN_BY.search(request.url):
            asked.append(request.url)

    person.page.on("request", note)
    return asked


# --- Who is offered it


def test_who_may_not_administer_is_offered_no_keys_and_asks_for_none(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.create_key("laptop", scopes="draw,read-all,delete-all")
    person = someone(browsers, page_service, key="laptop")
    asked = asked_by(person)
    person.page.goto(f"{page_service.url}/#keys")
    person.page.reload()
    expect(person.account).to_have_text("laptop")
    expect(person.page.get_by_role("link", name="Keys")).to_have_count(0)
    expect(person.page.locator("#gallery")).to_be_visible()
    expect(person.page.locator("#keys")).to_have_count(0)
    person.page.get_by_role("link", name="Activity").click()
    expect(person.page.locator("#activity")).to_be_visible()
    assert asked == []


def test_nothing_of_it_is_loaded_before_somebody_comes_to_it(office: PageService, browsers: Browsers) -> None:
    watched = browsers.new(office.url)
    person = Person(watched)
    asked = asked_by(person)
    watched.page.goto(office.login_url())
    person.wait()
    assert asked == []
    person.page.get_by_role("link", name="Keys").click()
    expect(row(person, "shop")).to_be_visible()
    assert {url.rpartition("/")[2] for url in asked} > {"key", "budget", "keyring.js", "keyring.css"}


# --- What it shows


def test_keys_and_budgets_are_shown_in_words(office: PageService, browsers: Browsers) -> None:
    person = open_keys(browsers, office)
    expect(person.page).to_have_title(re.compile("^Keys"))
    expect(person.page.locator(".everybody")).to_contain_text("$0.25 of $20 today")
    for said in (
        "the web shop <b>",
        "draw",
        "read",
        "$0 of $1 this month",
        "30 a minute",
        "4 at once",
        "Valid",
        "until",
    ):
        expect(row(person, "shop")).to_contain_text(said)
    for said in ("$0.25 of $0.25 in total", "spent", "no limit", "50 % of a replica", "former secret until"):
        expect(row(person, "ci") if said != "no limit" else row(person, CALLER)).to_contain_text(said)
    expect(row(person, CALLER)).to_contain_text("yours")
    expect(row(person, CALLER)).to_contain_text("Set where the service is configured.")
    expect(row(person, CALLER).get_by_role("button")).to_have_count(0)
    expect(row(person, "old")).to_have_count(0)
    person.page.get_by_label("Show 1 revoked").check()
    expect(row(person, "old")).to_contain_text("Revoked")
    expect(row(person, "old").get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_in_every_window_nothing_is_cut_off_and_axe_finds_nothing(
    office: PageService, browsers: Browsers, window: dict[str, Any]
) -> None:
    person = open_keys(browsers, office, **window)
    expect(keys(person)).to_have_count(4)
    person.page.get_by_label("Show 1 revoked").check()
    assert person.watched.too_wide() == []
    person.watched.require_access()
    button = row(person, "shop").get_by_role("button", name="Revoke")
    button.scroll_into_view_if_needed()
    expect(button).to_be_in_viewport()
    for name in ("Make a key", "Change shop", "Rotate shop", "Revoke… shop", "Change for all keys together"):
        person.page.get_by_role("button", name=name).click()
        expect(form(person)).to_be_visible()
        assert person.watched.too_wide() == []
        assert form(person).evaluate("(each) => each.scrollWidth <= each.clientWidth")
        person.watched.require_access()
        expect(form(person).locator(".buttons button").last).to_be_in_viewport()
        person.page.keyboard.press("Escape")
        expect(form(person)).to_have_count(0)


def test_with_colours_of_ones_own_bars_are_still_seen(office: PageService, browsers: Browsers) -> None:
    person = open_keys(browsers, office, forced_colors="active")
    bar = row(person, "ci").locator(".bar-of-budget")
    assert bar.evaluate("(each) => getComputedStyle(each).borderStyle") == "solid"
    assert bar.evaluate("(each) => getComputedStyle(each, '::before').width === getComputedStyle(each).width") is False
    filled, behind = (
        bar.evaluate(f"(each) => getComputedStyle(each{which}).backgroundColor") for which in (", '::before'", "")
    )
    assert filled != behind


# --- Making


def test_a_key_is_made_and_shown_once(page_service: PageService, browsers: Browsers) -> None:
    person = open_keys(browsers, page_service, permissions=CLIPBOARD)
    person.page.get_by_role("button", name="Make a key").click()
    dialog = form(person)
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Name").fill("shop")
    dialog.get_by_label("delete its own pictures").uncheck()
    dialog.get_by_label("see everybody").check()
    dialog.get_by_label("Dollars a month").fill(" $20.50 ")
    dialog.get_by_label("Pictures a minute").fill("30")
    dialog.get_by_label("Pictures at the same time").fill("4")
    dialog.get_by_label("Valid until").fill("2126-12-31T12:00")
    dialog.get_by_label("Note").fill("the web shop")
    press(person, "Make the key")
    expect(dialog.get_by_role("heading")).to_have_text("The key “shop” is made")
    expect(dialog).to_contain_text("This is the only time that it is shown.")
    key = dialog.get_by_label("The key").input_value()
    person.watched.require_access()
    person.page.keyboard.press("Escape")
    expect(dialog).to_contain_text("It was not copied yet.")
    press(person, "Copy")
    expect(person.said).to_have_text("Copied.")
    assert person.page.evaluate("navigator.clipboard.readText()") == key
    press(person, "Done")
    expect(dialog).to_have_count(0)
    expect(person.page.get_by_role("button", name="Make a key")).to_be_focused()
    expect(row(person, "shop")).to_contain_text("$0 of $20.50 this month")
    assert key not in person.page.content()
    wait_for_status(person, page_service, key, 200)
    details = page_service.get("/key/shop")
    assert details["scopes"] == ["draw", "read", "read-all"]
    assert [(each["period"], each["limit"]) for each in details["budgets"]] == [("month", "20.5")]
    assert (details["rate_per_minute"], details["running_limit"], details["replica_share"]) == (30, 4, None)
    assert details["expires_at"].startswith("2126-12-31")
    assert details["note"] == "the web shop"


def test_what_is_wrong_stands_beside_its_field(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("taken")
    person = open_keys(browsers, page_service)
    person.watched.expect(422, "/key")
    person.watched.expect(409, "/key")
    person.page.get_by_role("button", name="Make a key").click()
    dialog = form(person)
    wrong = {
        "Name": ("press office", "letters, digits"),
        "Dollars a day": ("-1", "Must not be negative."),
        "Dollars a month": ("NaN", "Must be a plain decimal number"),
        "Dollars in total": ("0.000000000001", "Must have at most 9 decimals."),
        "Pictures a minute": ("many", "A whole number"),
        "Percent of a replica": ("101", "A whole number from 1 to 100"),
        "Valid until": ("2020-01-01T00:00", "Must be in the future."),
    }
    for label, (typed, _) in wrong.items():
        if label != "Valid until":
            dialog.get_by_label(label).fill(typed)
    for box in dialog.get_by_role("checkbox").all():
        box.uncheck()
    press(person, "Make the key")
    for label, (_, said) in wrong.items():
        field = dialog.get_by_label(label)
        if label != "Valid until":
            expect(field).to_have_attribute("aria-invalid", "true")
            expect(field).to_have_accessible_description(re.compile(re.escape(said)))
    expect(dialog.locator("fieldset[data-field=scopes] > .wrong")).to_have_text(re.compile("Choose at least one"))
    expect(dialog.get_by_label("Name")).to_be_focused()
    expect(person.said).to_contain_text("Not saved.")
    person.watched.require_access()
    for label in wrong:
        dialog.get_by_label(label).fill("")
    dialog.get_by_label("make and edit pictures").check()
    dialog.get_by_label("Name").fill("taken")
    press(person, "Make the key")
    expect(dialog.get_by_label("Name")).to_have_accessible_description(re.compile("'taken' already"))
    expect(dialog.locator("[aria-invalid]")).to_have_count(1)
    dialog.get_by_label("Name").fill("free")
    typed, said = wrong["Valid until"]
    dialog.get_by_label("Valid until").fill(typed)
    press(person, "Make the key")
    expect(dialog.get_by_label("Valid until")).to_have_accessible_description(re.compile(said))
    person.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert [each["name"] for each in page_service.get("/key")] == [CALLER, "taken"]


def test_a_date_that_is_not_complete_is_not_taken_for_none(page_service: PageService, browsers: Browsers) -> None:
    page_service.run("keys", "create", "shop", "--expires", "2126-12-31")
    person = open_keys(browsers, page_service)
    person.page.get_by_role("button", name="Make a key").click()
    form(person).get_by_label("Name").fill("ci")
    ends = form(person).get_by_label("Valid until")
    ends.focus()
    person.page.keyboard.type("12")  # the month
    press(person, "Make the key")
    expect(ends).to_have_accessible_description(re.compile("The date is not complete."))
    expect(ends).to_have_attribute("aria-invalid", "true")
    expect(ends).to_be_focused()
    person.page.keyboard.press("Escape")
    expect(form(person)).to_have_count(0)
    person.page.get_by_role("button", name="Change shop").click()
    ends.focus()
    person.page.keyboard.press("Delete")
    press(person, "Save")
    expect(ends).to_have_accessible_description(re.compile("The date is not complete."))
    assert [each["name"] for each in page_service.get("/key")] == [CALLER, "shop"]
    assert page_service.get("/key/shop")["expires_at"].startswith("2126-12-31")


# --- Changing, rotating, revoking


def test_a_change_sends_what_is_different_and_the_focus_stays(page_service: PageService, browsers: Browsers) -> None:
    page_service.run("keys", "create", "shop", "--budget", "20/month", "--budget", "1/day", "--rate", "5")
    person = open_keys(browsers, page_service)
    sent: list[Any] = []
    person.page.on("request", lambda each: sent.append(each.post_data_json) if each.method == "PATCH" else None)
    change = person.page.get_by_role("button", name="Change shop")
    change.click()
    press(person, "Save")  # nothing is different
    expect(form(person)).to_have_count(0)
    change.click()
    form(person).get_by_label("Dollars a day").fill("")
    form(person).get_by_label("Dollars in total").fill("100")
    form(person).get_by_label("Pictures a minute").fill("")
    form(person).get_by_label("Note").fill("leaves in May")
    press(person, "Save")
    expect(form(person)).to_have_count(0)
    expect(change).to_be_focused()
    expect(row(person, "shop")).to_contain_text("leaves in May")
    expect(row(person, "shop")).to_contain_text("$0 of $100 in total")
    assert sent == [{"note": "leaves in May", "rate_per_minute": None, "budgets": {"day": None, "total": "100"}}]
    assert [each["period"] for each in page_service.get("/key/shop")["budgets"]] == ["month", "total"]


def test_a_key_is_renamed_and_found_by_its_new_name(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("shop")
    person = open_keys(browsers, page_service)
    person.page.get_by_role("button", name="Change shop").click()
    form(person).get_by_label("Name").fill("press@office")
    press(person, "Save")
    expect(row(person, "shop")).to_have_count(0)
    person.page.get_by_role("button", name="Change press@office").click()
    form(person).get_by_label("manage keys").uncheck()
    press(person, "Save")
    expect(form(person)).to_have_count(0)
    expect(row(person, "press@office")).not_to_contain_text("admin")
    assert "admin" not in page_service.get("/key/press@office")["scopes"]


@pytest.mark.parametrize(("words", "expected"), [("for a day", 200), ("no longer", 401)])
def test_a_rotated_key_is_shown_once_and_the_former_secret_ends_when_it_was_said(
    page_service: PageService, browsers: Browsers, words: str, expected: int
) -> None:
    former = page_service.create_key("shop")
    person = open_keys(browsers, page_service)
    rotate = person.page.get_by_role("button", name="Rotate shop")
    rotate.click()
    options = form(person).get_by_label("The former secret works")
    label = next(each for each in options.locator("option").all_inner_texts() if each.startswith(words))
    options.select_option(label)
    press(person, "Rotate")
    expect(form(person)).to_contain_text("This is the only time that it is shown.")
    key = form(person).get_by_label("The key").input_value()
    press(person, "Done")
    expect(rotate).to_be_focused()
    assert row(person, "shop").get_by_text("former secret until").count() == (1 if expected == 200 else 0)
    wait_for_status(person, page_service, key, 200)
    wait_for_status(person, page_service, former, expected)


@pytest.mark.parametrize("times", [1, 2])
def test_a_secret_on_its_way_is_not_lost_by_cancelling(
    page_service: PageService, browsers: Browsers, times: int
) -> None:
    page_service.create_key("shop")
    person = open_keys(browsers, page_service)
    person.page.get_by_role("button", name="Rotate shop").click()
    held = held_back(person.page, "**/key/shop/rotate")
    press(person, "Rotate")
    person.watched.wait_until(lambda: len(held) == 1, "the request")
    for _ in range(times):  # the second one in a row is the browser's, and closes every dialog
        person.page.keyboard.press("Escape")
    if times == 1:
        cancel = form(person).get_by_role("button", name="Cancel")
        expect(cancel).to_be_disabled()
        cancel.click(force=True)
        expect(form(person)).to_be_visible()
    let_go(person.page, held)
    expect(form(person)).to_contain_text("This is the only time that it is shown.")
    key = form(person).get_by_label("The key").input_value()
    press(person, "Done")
    expect(form(person)).to_have_count(0)
    wait_for_status(person, page_service, key, 200)


def test_a_key_is_revoked_after_a_question(page_service: PageService, browsers: Browsers) -> None:
    key = page_service.create_key("shop")
    page_service.create_key("ci")
    person = open_keys(browsers, page_service)
    revoke = person.page.get_by_role("button", name="Revoke… shop")
    revoke.click()
    expect(form(person)).to_contain_text("for ever")
    expect(form(person).get_by_role("button", name="Cancel")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(form(person)).to_have_count(0)
    expect(revoke).to_be_focused()
    assert status(page_service, key) == 200
    revoke.click()
    press(person, "Revoke for good")
    expect(row(person, "shop")).to_have_count(0)
    expect(person.page.get_by_role("button", name="Change ci")).to_be_focused()
    expect(person.said).to_have_text("shop is revoked.")
    wait_for_status(person, page_service, key, 401)
    person.page.get_by_label("Show 1 revoked").check()
    expect(row(person, "shop")).to_contain_text("Revoked")


def test_the_last_way_in_is_kept_and_the_page_says_so(tmp_path: Path, browsers: Browsers) -> None:
    with serve_page(tmp_path, {"PIXYPROXY_API_KEY": ""}) as service:
        person = open_keys(browsers, service)
        name = person.account.inner_text()
        person.watched.expect(409, f"/key/{name}")
        person.page.get_by_role("button", name=f"Revoke… {name}").click()
        expect(form(person)).to_contain_text("It is your own key")
        press(person, "Revoke for good")
        refusal = form(person).locator(".wrong:not(:empty)")
        expect(refusal).to_contain_text("No key would be left that has the scope 'admin'")
        expect(refusal).to_be_focused()
        expect(person.said).to_contain_text("No key would be left")
        person.page.keyboard.press("Escape")
        person.page.get_by_role("button", name=f"Change {name}").click()
        form(person).get_by_label("manage keys").uncheck()
        press(person, "Save")
        expect(refusal).to_contain_text("No key would be left that has the scope 'admin'")
        person.page.keyboard.press("Escape")
        expect(row(person, name)).to_contain_text("admin")
        person.page.close()


def test_who_revokes_their_own_key_is_logged_out(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("boss")
    person = open_keys(browsers, page_service, key="boss")
    person.watched.expect(401, "/.*")
    person.page.get_by_role("button", name="Revoke… boss").click()
    press(person, "Revoke for good")
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()


def test_who_gives_up_administering_is_offered_no_keys_any_more(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("boss")
    person = open_keys(browsers, page_service, key="boss")
    person.page.get_by_role("button", name="Change boss").click()
    form(person).get_by_label("manage keys").uncheck()
    press(person, "Save")
    expect(person.page.locator("#gallery")).to_be_visible()
    expect(person.page.get_by_role("link", name="Keys")).to_have_count(0)


def test_the_card_for_logging_in_waits_for_a_new_secret_of_ones_own(
    page_service: PageService, browsers: Browsers
) -> None:
    former = page_service.create_key("boss")
    watched = browsers.new(page_service.url)
    watched.expect(401, "/.*")
    watched.page.goto(page_service.url)
    person = Person(watched)
    log_in_by_key(person, former)
    person.wait()
    person.page.get_by_role("link", name="Keys").click()
    person.page.get_by_role("button", name="Rotate boss").click()
    expect(form(person)).to_contain_text("you are logged out when its former secret ends")
    form(person).get_by_label("The former secret works").select_option("0")
    answers: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        answers.append((route, route.fetch()))

    person.page.route("**/key/boss/rotate", hold)
    press(person, "Rotate")
    watched.wait_until(lambda: len(answers) == 1, "the answer")
    with person.page.expect_response(lambda each: each.status == 401):
        person.page.evaluate("dispatchEvent(new Event('online'))")  # the page asks what runs
    route, answer = answers[0]
    route.fulfill(response=answer)
    expect(form(person)).to_contain_text("This is the only time that it is shown.")
    key = form(person).get_by_label("The key").input_value()
    press(person, "Done")
    log_in_by_key(person, key)
    expect(person.page.get_by_role("dialog")).to_have_count(0)
    expect(person.page.get_by_role("button", name="Rotate boss")).to_be_visible()


def test_who_narrows_their_own_key_is_offered_what_it_may_still_do(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.create_key("boss")
    person = open_keys(browsers, page_service, key="boss")
    person.watched.expect(403, "/.*")
    person.page.get_by_role("button", name="Change boss").click()
    for words in ("make and edit pictures", "see its own pictures", "see everybody"):
        form(person).get_by_label(words).uncheck()
    press(person, "Save")
    expect(person.page.locator("#make .hint")).to_contain_text("it lacks the scope “draw”")
    expect(person.page.get_by_role("link", name="Keys")).to_be_visible()


def test_who_was_narrowed_sees_no_keys_when_they_come_back_to_them(
    page_service: PageService, browsers: Browsers
) -> None:
    page_service.create_key("boss")
    person = open_keys(browsers, page_service, key="boss")
    person.watched.expect(403, "/(key|budget)")
    person.page.get_by_role("link", name="Activity").click()
    expect(person.page.locator("#activity")).to_be_visible()
    change = {"scopes": ["draw", "read"]}
    assert httpx2.patch(f"{page_service.url}/key/boss", json=change, headers=KEY, timeout=30).status_code == 200
    person.page.get_by_role("link", name="Keys").click()
    expect(person.page.locator("#gallery")).to_be_visible()
    expect(person.page.get_by_role("link", name="Keys")).to_have_count(0)
    expect(person.page.locator("#keys")).to_have_count(0)


def test_who_logs_in_again_is_offered_what_the_key_may_do_now(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("boss")
    person = someone(browsers, page_service, key="boss")
    person.watched.expect(401, "/.*")
    expect(person.page.get_by_role("link", name="Keys")).to_be_visible()
    page_service.run("keys", "set", "boss", "--scope", "read")
    key = page_service.run("keys", "rotate", "boss").split()[0]
    page_service.change("DELETE FROM sessions")
    person.page.wait_for_timeout(2 * KEY_TTL * 1000)  # until the service reads the session again
    person.page.get_by_role("button", name="Mine").click()
    expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()
    log_in_by_key(person, key)
    expect(person.page.locator("#make .hint")).to_contain_text("it lacks the scope “draw”")
    expect(person.page.get_by_role("link", name="Keys")).to_have_count(0)


# --- Everybody's budgets


def test_budgets_of_everybody_are_set_changed_and_removed(page_service: PageService, browsers: Browsers) -> None:
    person = open_keys(browsers, page_service)
    person.watched.expect(422, "/budget/day")
    everybody = person.page.locator(".everybody")
    expect(everybody).to_contain_text("Nothing limits what all keys together may spend.")
    everybody.get_by_role("button").click()
    form(person).get_by_label("Dollars a day").fill("5,00")
    form(person).get_by_label("Dollars a month").fill("100")
    press(person, "Save")
    expect(form(person).get_by_label("Dollars a day")).to_have_accessible_description(re.compile("plain decimal"))
    form(person).get_by_label("Dollars a day").fill("5")
    press(person, "Save")
    expect(form(person)).to_have_count(0)
    expect(everybody).to_contain_text("$0 of $5 today")
    expect(everybody.get_by_role("button")).to_be_focused()
    everybody.get_by_role("button").click()
    form(person).get_by_label("Dollars a day").fill("")
    press(person, "Save")
    expect(everybody).not_to_contain_text("today")
    assert [(each["period"], each["limit"]) for each in page_service.get("/budget")] == [("month", "100")]


def test_of_budgets_that_are_saved_in_part_the_page_says_which(page_service: PageService, browsers: Browsers) -> None:
    person = open_keys(browsers, page_service)
    person.watched.expect(422, "/budget/month")
    everybody = person.page.locator(".everybody")
    everybody.get_by_role("button").click()
    form(person).get_by_label("Dollars a day").fill("5")
    form(person).get_by_label("Dollars a month").fill("100,00")
    press(person, "Save")
    expect(form(person).get_by_label("Dollars a month")).to_have_accessible_description(re.compile("plain decimal"))
    expect(form(person)).to_contain_text("Saved: day. Not saved: month.")
    expect(everybody).to_contain_text("$0 of $5 today")
    person.page.keyboard.press("Escape")
    expect(form(person)).to_have_count(0)
    expect(everybody.get_by_role("button")).to_be_focused()


# --- By keyboard, and when something fails


def test_everything_by_keyboard_alone(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    keyboard = person.page.keyboard
    keyboard.press("Escape")
    tab_to(person, "Keys")
    keyboard.press("Enter")
    expect(row(person, CALLER)).to_be_visible()
    tab_to(person, "Make a key")
    keyboard.press("Enter")
    keyboard.type("shop")
    keyboard.press("Tab")
    keyboard.press("Space")  # it may not draw
    keyboard.press("Enter")
    expect(form(person)).to_contain_text("This is the only time")
    tab_to(person, "Copy")
    keyboard.press("Enter")
    expect(person.said).to_have_text(re.compile("Copied|copy it yourself"))
    tab_to(person, "Done")
    keyboard.press("Enter")
    expect(form(person)).to_have_count(0)
    assert focused(person) == "Make a key"
    assert page_service.get("/key/shop")["scopes"] == ["read", "delete"]
    tab_to(person, "Revoke… shop")
    keyboard.press("Enter")
    tab_to(person, "Revoke for good")
    keyboard.press("Enter")
    expect(row(person, "shop")).to_have_count(0)
    assert page_service.get("/key/shop")["state"] == "revoked"


def test_a_service_that_does_not_answer_is_asked_again(page_service: PageService, browsers: Browsers) -> None:
    page_service.create_key("shop")
    person = someone(browsers, page_service)
    person.watched.expect(503, "/key")
    problem = {"type": "urn:pixyproxy:problem:database-unavailable", "title": "x", "detail": "The database is away."}
    person.page.route(re.compile("/key$"), lambda route: route.fulfill(status=503, json=problem))
    person.page.get_by_role("link", name="Keys").click()
    expect(person.page.locator("#keys")).to_contain_text("The database is away.")
    person.page.unroute_all()
    person.page.locator("#keys").get_by_role("button", name="Try again").click()
    expect(row(person, "shop")).to_be_visible()
