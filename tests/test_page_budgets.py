"""What a person sees of their budget: what is left, and why a picture is refused."""

import re

from playwright.sync_api import Locator, expect

from tests.browsing import Browsers
from tests.page_stage import PageService, Person, someone

PRICE = "0.25"
SELF = re.compile(r"/key/self$")


def prepared(service: PageService, name: str, *options: str, price: str = PRICE) -> None:
    """A price for every picture, and a key."""
    if price:
        service.run("prices", "set", "*", "--per-image", price)
    service.run("keys", "create", name, *options)


def hint(person: Person) -> Locator:
    """What the page says under the prompt."""
    return person.page.locator("#make .hint")


def draw(person: Person, prompt: str) -> None:
    """Have a small picture made, and see it."""
    person.make(prompt, size="1024x1024")
    expect(person.now.get_by_role("img", name=prompt)).to_be_visible()


def test_what_is_left_is_said_and_follows_what_is_drawn(page_service: PageService, browsers: Browsers) -> None:
    prepared(page_service, "intern", "--budget", "20/month", "--budget", "0.5/total")
    person = someone(browsers, page_service, key="intern")
    expect(hint(person)).to_have_text("$0.50 of $0.50 left in total.")
    assert person.watched.shift() < 0.01
    draw(person, "a fox")
    expect(hint(person)).to_have_text("$0.25 of $0.50 left in total.")
    draw(person, "a wolf")
    expect(hint(person)).to_have_text("The $0.50 of your key are spent.")
    person.watched.require_access()


def test_without_a_budget_nothing_is_said_of_money_and_it_is_asked_for_once(
    page_service: PageService, browsers: Browsers
) -> None:
    prepared(page_service, "laptop")
    watched = browsers.new(page_service.url)
    asked: list[str] = []
    watched.page.on("request", lambda each: asked.append(each.url) if SELF.search(each.url) else None)
    watched.page.goto(page_service.login_url(key="laptop"))
    person = Person(watched).wait()
    draw(person, "a fox")
    draw(person, "a wolf")
    person.page.get_by_role("link", name="Activity").click()
    expect(person.page.locator("#activity tbody tr")).to_have_count(2)
    assert len(asked) == 1
    expect(hint(person)).to_contain_text("kept in your storage")


def test_a_budget_that_refuses_is_explained(page_service: PageService, browsers: Browsers) -> None:
    prepared(page_service, "intern", "--budget", "0.25/month")
    person = someone(browsers, page_service, key="intern", timezone_id="Asia/Kolkata")
    person.watched.expect(402, "/image")
    draw(person, "a fox")
    person.make("a wolf")
    failed = person.page.locator("#now li.failed")
    expect(failed).to_contain_text("The budget of the key intern for this month is spent: $0.25 of $0.25.")
    expect(failed).to_contain_text(re.compile(r"It begins anew on \w+ 1, 00:00 UTC \(05:30 here\)\."))
    expect(failed).to_contain_text("Nothing was billed.")
    expect(person.said).to_contain_text("is spent")
    expect(failed.get_by_role("button", name="Buy another")).to_have_count(0)
    assert page_service.upstream.received == 1
    page_service.run("budgets", "set", "intern", "1/month")
    failed.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
    assert page_service.upstream.received == 2


def test_a_budget_that_has_too_little_left_says_how_little(page_service: PageService, browsers: Browsers) -> None:
    prepared(page_service, "intern")
    page_service.run("budgets", "set", "everybody", "0.4/day")
    person = someone(browsers, page_service, key="intern", timezone_id="UTC")
    person.watched.expect(402, "/image")
    draw(person, "a fox")
    person.make("a wolf")
    failed = person.page.locator("#now li.failed")
    expect(failed).to_contain_text("The budget of all keys together for today has less left than this picture")
    expect(failed).to_contain_text(re.compile(r"is expected to cost, \$0\.\d+\. It begins anew on .* 00:00 UTC\."))
    expect(failed).not_to_contain_text("0.40")  # what others spend is not for every key
    page_service.run("budgets", "remove", "everybody", "day")
    page_service.run("budgets", "set", "intern", "0.4/day")
    failed.get_by_role("button", name="Try again").click()
    expect(failed).to_contain_text("The budget of the key intern for today has $0.15 of $0.40 left")


def test_a_model_without_a_price_is_explained(page_service: PageService, browsers: Browsers) -> None:
    prepared(page_service, "intern", "--budget", "20/month", price="")
    person = someone(browsers, page_service, key="intern")
    person.watched.expect(402, "/image")
    person.make("a fox")
    expect(person.now).to_contain_text("Nobody has told this service what “gpt-image-2.5-flare” costs")
    assert page_service.upstream.received == 0


def test_a_limit_says_when_and_try_again_waits_until_then(page_service: PageService, browsers: Browsers) -> None:
    prepared(page_service, "intern", "--running", "1")
    person = someone(browsers, page_service, key="intern")
    person.watched.expect(429, "/image")
    with page_service.drawing():
        person.make("a fox")
        expect(person.now.first).to_contain_text("Drawing")
        person.make("a wolf")
        failed = person.page.locator("#now li.failed")
        expect(failed).to_contain_text("as many as it may have at once")
        expect(failed).to_contain_text("“Try again” waits until then.")
        failed.get_by_role("button", name="Try again").click()
        waiting = person.page.locator("#now li.sending")
        expect(waiting).to_contain_text(re.compile(r"0:0\dWaiting to ask again"))
    expect(person.now.get_by_role("img", name="a wolf")).to_be_visible()
    assert page_service.upstream.received == 2


def test_what_is_left_follows_a_raised_limit_when_the_person_comes_back(
    page_service: PageService, browsers: Browsers
) -> None:
    prepared(page_service, "intern", "--budget", "0/total")
    person = someone(browsers, page_service, key="intern")
    expect(hint(person)).to_have_text("The $0 of your key are spent.")
    page_service.run("budgets", "set", "intern", "0.0532/total")
    person.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(hint(person)).to_have_text("$0.0532 of $0.0532 left in total.")


def test_what_is_left_is_asked_for_again_when_a_period_begins_anew(
    page_service: PageService, browsers: Browsers
) -> None:
    prepared(page_service, "intern", "--budget", "1/day")
    watched = browsers.new(page_service.url)
    over = {"period": "day", "limit": "1", "used": "1", "left": "0", "resets_at": "2026-01-01T00:00:00Z"}
    watched.page.route(SELF, lambda route: route.fulfill(json={"budgets": [over]}), times=1)
    watched.page.goto(page_service.login_url(key="intern"))
    expect(hint(Person(watched))).to_have_text("$1 of $1 left today.")


def test_a_first_answer_that_fails_does_not_mean_that_there_is_no_budget(
    page_service: PageService, browsers: Browsers
) -> None:
    prepared(page_service, "intern", "--budget", "1/total")
    watched = browsers.new(page_service.url)
    watched.expect(503, "/key/self")
    watched.page.route(SELF, lambda route: route.fulfill(status=503, json={"title": "x"}), times=1)
    with watched.page.expect_response(lambda each: each.status == 503):
        watched.page.goto(page_service.login_url(key="intern"))
    watched.page.evaluate("dispatchEvent(new Event('online'))")  # the page asks what runs, earlier than it would
    expect(hint(Person(watched))).to_have_text("$1 of $1 left in total.")
