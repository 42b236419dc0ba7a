"""What was spent, on the page: today's sum in the header, and the place Usage, compared with what the API says."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Locator, Route, expect

from pixyproxy.upstream.demo.faults import Fault
from tests.browsing import Browsers, held_back, let_go
from tests.page_stage import CALLER, KEY, SMALL, PageService, Person, serve_page, someone

PRICED, UNPRICED = "gpt-image-2.5-flare", "gpt-image-2"
OF_THE_PLACE = re.compile(r"/usage\?.*by=")
WORDS = {"cost": "Cost by day", "images": "Pictures by day"}
HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def put_a_price(service: PageService) -> None:
    """From now on a picture of one model costs $0.053, and nothing is known of the others."""
    service.run("prices", "set", PRICED, "--per-image", "0.053", "--from", "2026-01-01")


def break_off(service: PageService, key: str) -> None:
    """Have an upstream break off: the picture may have been billed, so its cost is estimated."""
    service.upstream.fault = Fault("break")
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx2.post(f"{service.url}/image", json={"prompt": "lost", "size": SMALL}, headers=headers, timeout=30)
    service.upstream.fault = None
    assert answer.status_code >= 500


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageService]:
    """A service where two keys have spent something on three days, for tests that leave it alone."""
    with serve_page(tmp_path_factory.mktemp("spent")) as service:
        put_a_price(service)
        shop = service.create_key("shop", scopes="draw,read")
        for key, model, count in (("", PRICED, 3), ("", UNPRICED, 1), (shop, PRICED, 2), (shop, UNPRICED, 2)):
            for number in range(count):
                service.post(f"fox {number}", model=model, **({"key": key} if key else {}))
        break_off(service, shop)
        refused = {"prompt": "a bear [refuse]", "size": SMALL}
        assert httpx2.post(f"{service.url}/image", json=refused, headers=KEY, timeout=30).status_code == 422
        for number, days in ((1, 3), (5, 3), (6, 9), (7, 9)):
            moved = f"strftime('%Y-%m-%d %H:%M:%f000', created_at, '-{days} days')"
            service.change(f"UPDATE generations SET created_at = {moved} WHERE id = {number}")
        for table in ("usage_days", "usage_sums", "usage_open"):
            service.change(f"DELETE FROM {table}")
        yield service


def today(person: Person) -> Locator:
    """The sum in the header."""
    return person.page.locator("#today")


def place(person: Person) -> Locator:
    """The place Usage."""
    return person.page.locator("#usage")


def to_usage(person: Person, *, days: str = "Last 30 days") -> None:
    """By its link, and to a range of days."""
    person.page.get_by_role("link", name="Usage", exact=True).click()
    person.page.get_by_label("Days").select_option(days)
    expect(place(person).locator(".spent")).not_to_have_attribute("aria-busy", "true")
    expect(place(person).locator(".end")).not_to_be_empty()


def ask_now(person: Person) -> None:
    """An idle page asks every 15 s, and when it hears this."""
    person.page.evaluate("dispatchEvent(new Event('online'))")


def last_30_days(service: PageService, by: str) -> dict[str, Any]:
    """What the API says of them."""
    day = datetime.now(UTC).date()
    report: dict[str, Any] = service.get(f"/usage?from={day - timedelta(days=29)}&to={day + timedelta(days=1)}&by={by}")
    return report


def rows_of(person: Person, name: str) -> dict[str, list[str]]:
    """The cells of a table by the first one of their row."""
    rows = person.page.get_by_role("table", name=name).locator("tbody tr, tfoot tr").all()
    found = [[text.strip() for text in row.locator("th, td").all_text_contents()] for row in rows]
    return {first: others for first, *others in found}


def dollars(amount: str) -> str:
    """As the tables say it."""
    return f"${Decimal(amount):.4f}" if Decimal(amount) else "$0"


def numbers_of(sums: dict[str, Any]) -> list[str]:
    """What stands in the row of a series."""
    known = Decimal(sums["cost"]) or not sums["unpriced"]
    return [
        str(sums["images"]),
        str(sums["generations"]),
        str(sums["failed"]),
        f"{sum(sums['tokens'].values()):,}",
        dollars(sums["cost"]) if known else f"{sums['unpriced']} unpriced",
        dollars(sums["estimated"]),
        str(sums["unpriced"]),
    ]


def test_todays_sum_follows_what_ends_and_an_unknown_cost_is_never_zero(
    page_service: PageService, browsers: Browsers
) -> None:
    put_a_price(page_service)
    person = someone(browsers, page_service)
    expect(today(person)).to_have_text("$0 today")
    page_service.post("a fox", model=UNPRICED)
    ask_now(person)
    expect(today(person)).to_have_text("1 unpriced today")
    for number in range(2):
        page_service.post(f"a wolf {number}", model=PRICED)
    ask_now(person)
    expect(today(person)).to_have_text("$0.11 + 1 unpriced today")
    break_off(page_service, KEY["Authorization"].removeprefix("Bearer "))
    ask_now(person)
    expect(today(person)).to_have_text("≈ $0.16 + 1 unpriced today, $0.05 of it estimated")
    today(person).click()
    expect(person.page).to_have_title("Usage · PixyProxy")
    expect(place(person)).to_contain_text("≈ $0.16")


def test_the_sum_is_not_asked_for_while_nobody_looks_and_is_right_afterwards(
    page_service: PageService, browsers: Browsers
) -> None:
    put_a_price(page_service)
    person = someone(browsers, page_service)
    expect(today(person)).to_have_text("$0 today")
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url) if "/usage" in request.url else None)
    person.page.evaluate(HIDE, True)
    page_service.post("a fox", model=PRICED)
    ask_now(person)
    person.page.wait_for_timeout(1000)  # a page that asked anyway would do it now
    assert asked == []
    person.page.evaluate(HIDE, False)
    expect(today(person)).to_have_text("$0.05 today")
    assert len(asked) == 1


def test_the_sum_has_what_ended_earlier_by_the_clock_of_another_replica(
    page_service: PageService, browsers: Browsers
) -> None:
    put_a_price(page_service)
    first = page_service.post("a fox", model=PRICED)
    person = someone(browsers, page_service)
    expect(today(person)).to_have_text("$0.05 today")

    def slow_clock(route: Route) -> None:
        answer = route.fetch()
        items = json.loads(answer.text())
        for each in items:
            if each["guid"] != first["generation"]:
                each["updated_at"] = "2026-01-01T00:00:00Z"
        route.fulfill(response=answer, json=items)

    person.page.route(re.compile(r"/generation\?"), slow_clock)
    page_service.post("a wolf", model=PRICED)
    ask_now(person)
    expect(today(person)).to_have_text("$0.11 today")


@pytest.mark.parametrize("days", ["Today", "Last 30 days"])
def test_an_open_place_goes_on_at_midnight(page_service: PageService, browsers: Browsers, days: str) -> None:
    put_a_price(page_service)
    page_service.post("a fox", model=PRICED)
    ahead = timedelta(days=-1)

    def at_another_time(route: Route) -> None:
        answer = route.fetch()
        date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
        route.fulfill(response=answer, headers={**answer.headers, "date": date})

    watched = browsers.new(page_service.url)
    watched.page.route("**/*", at_another_time)
    watched.page.goto(page_service.login_url())
    person = Person(watched).wait()
    expect(today(person)).to_have_text("$0 today")
    to_usage(person, days=days)
    expect(place(person)).to_contain_text(f"Nothing was drawn {days.lower().replace('last', 'in the last')}.")
    ahead = timedelta()
    ask_now(person)
    expect(today(person)).to_have_text("$0.05 today")
    expect(place(person).locator(".sum")).to_have_text("$0.05")
    ahead = timedelta(days=1)
    ask_now(person)
    expect(today(person)).to_have_text("$0 today")
    if days == "Today":
        expect(place(person)).to_contain_text("Nothing was drawn today.")
    else:
        expect(person.page.get_by_role("link", name="Download CSV")).to_have_attribute(
            "href", re.compile(f"from={datetime.now(UTC).date() - timedelta(days=28)}")
        )


@pytest.mark.parametrize("by", ["key", "model"])
def test_the_tables_the_words_and_the_bars_say_what_the_api_says(
    spent: PageService, browsers: Browsers, by: str
) -> None:
    person = someone(browsers, spent)
    to_usage(person)
    person.page.get_by_role("button", name=f"By {by}").click()
    expect(person.page.get_by_role("table", name=f"By {by}")).to_be_visible()
    whole, report = last_30_days(spent, by), last_30_days(spent, f"day,{by}")
    total = whole["total"]
    shown = rows_of(person, f"By {by}")
    assert {name: cells for name, cells in shown.items() if name != "All"} == {
        group[by]: numbers_of(group) for group in whole["groups"]
    }
    assert shown["All"] == numbers_of(total)
    words = place(person).locator(".words")
    for said in (
        f"≈ ${Decimal(total['cost']):.2f}",
        f"+ {total['unpriced']} unpriced",
        f"{total['images']} pictures in the last 30 days, by all keys.",
        f"{total['generations']} generations, {total['failed']} of them failed.",
        f"{sum(total['tokens'].values()):,} tokens.",
        f"${Decimal(total['estimated']):.2f} of the cost (≈) is estimated",
        f"{total['unpriced']} generations are unpriced",
    ):
        expect(words).to_contain_text(said)
    assert (total["failed"], total["unpriced"], total["cost"]) == (2, 3, "0.318"), "there is something to say"
    for measure, caption in WORDS.items():
        person.page.get_by_role("button", name="Pictures" if measure == "images" else "Cost").click()
        assert len(rows_of(person, caption)) == 3, "days that have something"
        drawn = [group for group in report["groups"] if Decimal(group[measure])]
        assert person.page.locator(".chart rect[class^=s]").count() == len(drawn) > 2
        height = person.page.eval_on_selector_all(
            ".chart rect[class^=s]", "all => all.map((each) => each.getBBox().height)"
        )
        most = max(Decimal(group[measure]) for group in drawn)
        least = min(Decimal(group[measure]) for group in drawn)
        assert abs(max(height) / min(height) - float(most / least)) < 0.1 * float(most / least) + 0.05
        titles = " ".join(person.page.locator(".chart title").all_text_contents())
        for group in drawn:
            value = f"${Decimal(group['cost']):.2f}" if measure == "cost" else str(group["images"])
            assert f"{group[by]}: {value}" in titles


def test_the_csv_is_that_of_the_api(spent: PageService, browsers: Browsers, tmp_path: Path) -> None:
    person = someone(browsers, spent)
    to_usage(person)
    link = person.page.get_by_role("link", name="Download CSV")
    path = link.get_attribute("href")
    with person.page.expect_download() as download:
        link.click()
    assert re.fullmatch(r"usage-\d{4}-\d\d-\d\d-by-day-and-key\.csv", download.value.suggested_filename)
    download.value.save_as(tmp_path / "usage.csv")
    answer = httpx2.get(f"{spent.url}/{path}", headers={**KEY, "Accept": "text/csv"}, timeout=30)
    assert (tmp_path / "usage.csv").read_bytes() == answer.content
    assert {line["key"] for line in csv.DictReader(answer.text.splitlines())} == {CALLER, "shop"}


def test_a_key_sees_its_own_and_none_that_may_not_read_is_offered_anything(
    spent: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, spent, key="shop")
    to_usage(person)
    expect(place(person)).to_contain_text("by your key.")
    expect(place(person).get_by_role("group", name="What a bar is made of")).to_be_hidden()
    shown = rows_of(person, "By model")
    theirs = [group for group in last_30_days(spent, "key,model")["groups"] if group["key"] == "shop"]
    assert {name: cells for name, cells in shown.items() if name != "All"} == {
        group["model"]: numbers_of(group) for group in theirs
    }
    assert CALLER not in place(person).inner_text()
    spent.create_key("robot", scopes="draw")
    watched = browsers.new(spent.url)
    watched.expect(403, "/image")
    watched.expect(403, "/generation")
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url))
    watched.page.goto(spent.login_url(key="robot"))
    robot = Person(watched)
    expect(robot.page.locator("#gallery")).to_contain_text("needs the scope 'read'")
    robot.page.goto(f"{spent.url}/#usage")
    expect(robot.page).to_have_title("PixyProxy")
    expect(robot.page.get_by_role("link", name="Usage")).to_have_count(0)
    expect(today(robot)).to_have_count(0)
    assert not [url for url in asked if "usage" in url or "today" in url]


def test_a_key_that_only_administers_sees_what_everybody_has_spent(spent: PageService, browsers: Browsers) -> None:
    spent.create_key("boss", scopes="admin")
    watched = browsers.new(spent.url)
    watched.expect(403, "/image")
    watched.expect(403, "/generation")
    watched.page.goto(spent.login_url(key="boss"))
    person = Person(watched)
    expect(today(person)).to_be_visible()
    to_usage(person)
    assert set(rows_of(person, "By key")) == {CALLER, "shop", "All"}


def test_the_sum_follows_what_a_key_that_only_administers_does_not_hear_of(
    page_service: PageService, browsers: Browsers
) -> None:
    put_a_price(page_service)
    page_service.create_key("boss", scopes="admin")
    watched = browsers.new(page_service.url)
    watched.expect(403, "/image")
    watched.expect(403, "/generation")
    watched.page.clock.install()
    watched.page.goto(page_service.login_url(key="boss"))
    person = Person(watched)
    expect(today(person)).to_have_text("$0 today")
    to_usage(person)
    page_service.post("a fox", model=PRICED)
    person.page.clock.fast_forward(31_000)
    expect(today(person)).to_have_text("$0.05 today")
    expect(place(person).locator(".sum")).to_have_text("$0.05")
    person.page.evaluate(HIDE, True)
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url))
    page_service.post("a wolf", model=PRICED)
    person.page.clock.fast_forward(31_000)
    assert asked == []
    person.page.evaluate(HIDE, False)
    person.page.clock.run_for(6_000)
    expect(today(person)).to_have_text("$0.11 today")


def test_keys_that_were_removed_are_added_up(page_service: PageService, browsers: Browsers) -> None:
    put_a_price(page_service)
    for number in range(3):
        page_service.post(f"fox {number}", model=PRICED)
    assert page_service.change("UPDATE generations SET api_key_id = 900 + id") == 3, "keys that are not there"
    person = someone(browsers, page_service)
    to_usage(person)
    (sums,) = last_30_days(page_service, "state")["groups"]
    assert sums["images"] == 3
    assert rows_of(person, "By key") == {"A removed key": numbers_of(sums)}
    assert list(rows_of(person, "Cost by day").values()) == [[dollars(sums["cost"])]]


def test_while_another_answer_is_on_its_way_the_place_shows_the_last_one_as_what_it_is(
    spent: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, spent)
    to_usage(person)
    by_key = rows_of(person, "By key")
    held = held_back(person.page, OF_THE_PLACE)
    by_model = person.page.get_by_role("button", name="By model")
    by_model.click()
    expect(by_model).to_have_attribute("aria-pressed", "true")
    person.page.get_by_label("Days").select_option("Today")
    person.watched.wait_until(lambda: len(held) == 2, "both questions")
    person.page.get_by_role("button", name="Pictures").click()
    assert rows_of(person, "By key") == by_key
    assert len(rows_of(person, "Pictures by day")) == 3
    expect(place(person).locator(".words")).to_contain_text("in the last 30 days")
    expect(person.page.get_by_role("link", name="Download CSV")).to_have_attribute("href", re.compile("day(,|%2C)key"))
    let_go(person.page, held)
    expect(person.page.get_by_role("table", name="By model")).to_be_visible()
    expect(place(person).locator(".words")).to_contain_text("pictures today")
    expect(person.said).to_contain_text("today")


def test_a_range_without_anything_says_so(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    month = datetime.now(UTC).date().replace(day=1)
    for days, words in (
        ("Today", "today"),
        ("Last month", f"in {month - timedelta(days=1):%B %Y}"),
        ("This month", f"in {month:%B %Y}"),
        ("Last 30 days", "in the last 30 days"),
    ):
        to_usage(person, days=days)
        expect(place(person)).to_contain_text(f"Nothing was drawn {words}.")
        expect(person.said).to_have_text(f"Nothing was drawn {words}.")
        expect(place(person).get_by_role("table")).to_have_count(0)
        expect(person.page.get_by_role("link", name="Download CSV")).to_be_hidden()


def test_the_other_ranges_are_their_days(spent: PageService, browsers: Browsers) -> None:
    person = someone(browsers, spent)
    to_usage(person, days="Today")
    day = datetime.now(UTC).date()
    of_today = spent.get(f"/usage?from={day}")["total"]
    assert rows_of(person, "By key")["All"] == numbers_of(of_today)
    for days in ("Last month", "This month"):
        month = day.replace(day=1) if days == "This month" else (day.replace(day=1) - timedelta(days=1)).replace(day=1)
        after = (month + timedelta(days=31)).replace(day=1)
        expected = spent.get(f"/usage?from={month}&to={after}")["total"]
        to_usage(person, days=days)
        if expected["generations"]:
            expect(place(person)).to_contain_text(f"in {month:%B %Y}, by all keys.")
            shown = rows_of(person, "By key")
            assert shown.get("All", next(iter(shown.values()))) == numbers_of(expected)
        else:  # until the 9th of a month the one before has something
            expect(place(person)).to_contain_text(f"Nothing was drawn in {month:%B %Y}.")


def test_an_error_says_what_to_do_and_names_the_request(spent: PageService, browsers: Browsers) -> None:
    person = someone(browsers, spent)
    person.watched.expect(503, "/usage")
    detail = "12 days are left to be added up for the first time; ask again."
    problem = {"type": "urn:pixyproxy:problem:usage-not-ready", "detail": detail, "request_id": "web1-1-2"}
    person.page.route(OF_THE_PLACE, lambda route: route.fulfill(status=503, json=problem))
    person.page.get_by_role("link", name="Usage", exact=True).click()
    expect(place(person)).to_contain_text(f"{detail} Request web1-1-2.")
    expect(person.said).to_have_text(detail)
    person.watched.require_access()
    person.page.unroute_all()
    again = place(person).get_by_role("button", name="Try again")
    again.focus()
    person.page.keyboard.press("Enter")
    expect(person.page.get_by_role("table", name="By key")).to_be_visible()
    expect(again).to_have_count(0)
    assert person.page.evaluate("document.activeElement.closest('#usage') !== null"), "the focus is kept"


def many_keys(route: Route) -> None:
    """The service's answer, as if twelve keys had drawn the same."""
    answer = route.fetch()
    report = json.loads(answer.text())
    report["groups"] = [{**group, "key": f"key {n:02}"} for group in report["groups"] for n in range(12)]
    route.fulfill(response=answer, json=report)


def with_many_keys(person: Person) -> None:
    """Usage of twelve keys."""
    person.page.route(OF_THE_PLACE, many_keys)
    to_usage(person)
    expect(person.page.get_by_role("columnheader", name="6 others")).to_be_attached()


def plain(person: Person) -> None:
    """Usage as it is."""
    to_usage(person)


@pytest.mark.parametrize("go", [plain, with_many_keys])
@pytest.mark.parametrize("width", [1280, 320])
def test_it_is_accessible_and_never_too_wide(
    spent: PageService, browsers: Browsers, go: Callable[[Person], None], width: int
) -> None:
    person = someone(browsers, spent, viewport={"width": width, "height": 800})
    go(person)
    person.watched.require_access()
    assert person.watched.too_wide() == []
    styles = person.page.eval_on_selector_all(
        ".chart rect[class^=s]", "all => all.map((each) => getComputedStyle(each).fill)"
    )
    assert 1 < len(set(styles)) <= 7
    person.page.set_viewport_size({"width": 700, "height": 800})
    person.watched.wait_for(
        "document.querySelector('.chart svg').clientWidth === document.querySelector('.chart').clientWidth"
    )
    assert person.watched.too_wide() == []


def test_with_colours_of_ones_own_the_series_have_hatches(spent: PageService, browsers: Browsers) -> None:
    person = someone(browsers, spent, forced_colors="active")
    with_many_keys(person)
    fills = person.page.eval_on_selector_all(
        "#usage tbody .swatch rect", "all => all.map((each) => getComputedStyle(each).fill)"
    )
    assert len(set(fills)) == 7
    assert sum("#hatch-" in fill for fill in fills) == 5


def test_the_keyboard_reaches_everything_and_chooses(spent: PageService, browsers: Browsers) -> None:
    person = someone(browsers, spent)
    person.page.get_by_role("link", name="Usage", exact=True).focus()
    person.page.keyboard.press("Enter")
    expect(person.page.get_by_role("table", name="By key")).to_be_visible()
    person.page.get_by_label("Days").focus()
    person.page.keyboard.press("ArrowDown")
    expect(place(person)).to_contain_text("in the last 30 days")
    reached = []
    for _ in range(7):
        person.page.keyboard.press("Tab")
        reached.append(person.page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent"))
    assert reached == ["Cost", "Pictures", "By key", "By model", "Download CSV", "By key", "Cost by day"]
    pictures = person.page.get_by_role("button", name="Pictures")
    pictures.focus()
    person.page.keyboard.press("Space")
    expect(pictures).to_have_attribute("aria-pressed", "true")
    expect(pictures).to_be_focused()
    expect(person.page.get_by_role("table", name="Pictures by day")).to_be_visible()


def test_an_open_place_follows_without_a_word(page_service: PageService, browsers: Browsers) -> None:
    put_a_price(page_service)
    page_service.post("a fox", model=PRICED)
    person = someone(browsers, page_service)
    expect(today(person)).to_have_text("$0.05 today")
    to_usage(person)
    expect(person.said).to_have_text("$0.05 in the last 30 days")
    region = person.page.get_by_role("region", name="Cost by day")
    region.focus()
    region.evaluate("(it) => { window.table = it.firstChild; }")
    page_service.post("a wolf", model=PRICED)
    ask_now(person)
    expect(today(person)).to_have_text("$0.11 today")
    expect(place(person).locator(".sum")).to_have_text("$0.11")
    expect(region).to_be_focused()
    assert region.evaluate("(it) => window.table !== it.firstChild"), "it was read again"
    expect(person.said).to_have_text("$0.05 in the last 30 days")


def test_without_a_price_the_bars_count_pictures(page_service: PageService, browsers: Browsers) -> None:
    page_service.run("prices", "set", "*", "--per-image", "0", "--from", "2026-01-01")
    page_service.post("a fox")
    person = someone(browsers, page_service)
    to_usage(person)
    expect(place(person).locator(".sum")).to_have_text("$0")
    expect(person.page.get_by_role("table", name="Pictures by day")).to_be_visible()
    expect(person.page.locator(".chart rect[class^=s]")).to_have_count(1)


def test_nothing_of_it_is_loaded_before_it_is_opened(spent: PageService, browsers: Browsers) -> None:
    watched = browsers.new(spent.url)
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    watched.page.goto(spent.login_url())
    person = Person(watched).wait()
    expect(today(person)).to_be_visible()
    assert not [name for name in asked if name.startswith(("usage-", "usage.", "late.", "activity."))]
    to_usage(person)
    assert {"usage.js", "usage-chart.js", "usage-sums.js", "usage-tables.js", "late.css"} <= set(asked)


def test_four_places_fit_into_the_header_of_a_small_phone(spent: PageService, browsers: Browsers) -> None:
    person = someone(browsers, spent, viewport={"width": 320, "height": 640})
    expect(today(person)).to_be_visible()
    expect(person.page.locator("#places > *")).to_have_text(["Gallery", "Activity", "Usage", "Keys"])
    assert person.watched.too_wide() == []
    middles = [
        person.page.locator(each).evaluate(
            "(it) => { const box = it.getBoundingClientRect(); return box.top + box.height / 2; }"
        )
        for each in ("#home", "#places", "#account")
    ]
    assert max(middles) - min(middles) < 12, "one line"
    assert person.page.locator(".top").evaluate("(it) => it.offsetHeight") < 120
