"""Making pictures on the page: what is seen from the click to the picture, or to its failure."""

import re
from contextlib import ExitStack
from pathlib import Path

import httpx2
from playwright.sync_api import Route, expect

from pixyproxy.upstream.demo.faults import Fault
from tests.browsing import Browsers, held_back, let_go
from tests.page_stage import CALLER, KEY, PageService, Person, someone
from tests.servers import PixyProxy, run_cli

NOTHING_BILLED = "Nothing was billed."
OVERLOADED = Fault("status", status=429, type="requests", code="rate_limit_exceeded", message="Slow down.")


def test_the_first_minute_needs_no_word_of_explanation(tmp_path: Path, servers: ExitStack, browsers: Browsers) -> None:
    replica = PixyProxy(tmp_path, {}).start()  # as `make run`: the demo upstream inside, a key of its own
    servers.callback(replica.process.stop)
    watched = browsers.new(replica.url)
    watched.page.goto(run_cli(tmp_path, "login", "--port", str(replica.port)).stdout.strip())
    person = Person(watched)
    expect(person.prompt).to_be_focused()
    expect(person.prompt).to_have_value("a lighthouse at dawn, woodcut")
    expect(person.page.locator("#make")).to_contain_text("demo upstream: it costs nothing")
    person.page.keyboard.press("Control+Enter")
    picture = person.page.get_by_role("link", name="a lighthouse at dawn, woodcut")
    expect(picture).to_be_visible()
    picture.click()
    expect(person.dialog).to_contain_text("1024 × 1024")
    expect(person.dialog.get_by_role("button", name="Copy URL")).to_be_visible()


def test_a_picture_is_asked_for_as_it_was_chosen(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    person.make("a fox", size="1536x1024", quality="low", output_format="webp", background="opaque")
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    expect(person.said).to_have_text("Picture ready: a fox")
    (generation,) = page_service.get("/generation")
    request = generation["request"]
    assert (request["prompt"], request["size"], request["quality"]) == ("a fox", "1536x1024", "low")
    assert (request["output_format"], request["background"]) == ("webp", "opaque")
    assert generation["caller"] == CALLER
    assert page_service.upstream.received == 1


def test_several_at_once_are_several_purchases_and_each_has_a_tile(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    with page_service.drawing():
        person.make("a fox", count="3")
        expect(person.now).to_have_count(3)
        expect(person.page.locator("#running-count")).to_have_text("3 running")
    expect(person.now.get_by_role("img", name="a fox")).to_have_count(3)
    expect(person.page.locator("#running-count")).to_be_hidden()
    assert page_service.upstream.received == 3
    assert len(page_service.get("/image")) == 3


def test_the_elapsed_time_is_that_of_the_server(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.delay = 60
    answer = httpx2.post(
        f"{page_service.url}/image", json={"prompt": "a fox"}, headers={**KEY, "Prefer": "respond-async"}
    )
    assert answer.status_code == 202
    person.page.wait_for_timeout(3000)
    person.page.clock.install()  # the machine of this person is wrong by a day from now on
    person.page.clock.set_fixed_time("2031-01-01T00:00:00Z")
    person.reload()
    time = person.now.locator(".time")
    expect(time).to_have_text(re.compile(r"0:(0[3-9]|[1-5]\d)"))


def test_a_reload_in_the_middle_and_another_browser_see_what_runs(
    page_service: PageService, browsers: Browsers
) -> None:
    person, other = someone(browsers, page_service), someone(browsers, page_service)
    with page_service.drawing():
        person.make("a fox at night")
        expect(person.now).to_contain_text("Drawing")
        person.reload()
        expect(person.now).to_contain_text("a fox at night")
        expect(person.now).to_contain_text("Drawing")
        other.reload()
        expect(other.now).to_contain_text("a fox at night")
    for each in (person, other):
        expect(each.page.get_by_role("link", name="a fox at night").first).to_be_visible()
    assert page_service.upstream.received == 1, "neither bought it again"


def test_what_others_have_made_is_visible_with_the_name_of_their_key(
    page_service: PageService, browsers: Browsers
) -> None:
    key = page_service.create_key("laptop")
    person = someone(browsers, page_service)
    headers = {"Authorization": f"Bearer {key}", "Prefer": "respond-async"}
    with page_service.drawing():
        httpx2.post(f"{page_service.url}/image", json={"prompt": "a fox of another"}, headers=headers)
        person.reload()
        expect(person.now).to_contain_text("Drawing for laptop")
    expect(person.page.get_by_role("link", name="a fox of another").first).to_be_visible()


def test_unfinished_pictures_are_shown_while_it_comes(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.delay = 12
    person.page.get_by_label("Watch it come").check()
    person.make("a fox")
    partial = person.now.locator("img.partial")
    expect(partial).to_be_visible()
    assert str(partial.get_attribute("src")).startswith("blob:")
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible(timeout=60_000)
    (request,) = page_service.upstream.requests
    assert b'"partial_images": 1' in request["body"] or b'"partial_images":1' in request["body"]


def test_a_stream_that_breaks_buys_nothing_again_and_the_picture_still_comes(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.delay = 4

    def break_stream(route: Route) -> None:
        if "text/event-stream" in route.request.headers.get("accept", ""):
            route.abort("connectionreset")
        else:
            route.continue_()

    person.page.route(re.compile("/generation/"), break_stream)
    person.page.get_by_label("Watch it come").check()
    person.make("a fox")
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert page_service.upstream.received == 1
    person.watched.complaints = [said for said in person.watched.complaints if "ERR_CONNECTION_RESET" not in said]


def test_a_refusal_is_explained_and_another_prompt_can_be_tried(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    person.make("a fox [refuse]")
    expect(person.now).to_contain_text("rejected by the safety system")
    expect(person.now).to_contain_text(NOTHING_BILLED)
    expect(person.now).to_contain_text(re.compile(r"request \S+"))
    expect(person.said).to_contain_text("Failed:")
    person.now.get_by_role("button", name="Edit prompt").click()
    expect(person.prompt).to_have_value("a fox [refuse]")
    expect(person.prompt).to_be_focused()
    person.reload()
    expect(person.now).to_contain_text("rejected by the safety system")
    person.now.get_by_role("button", name="Dismiss").click()
    expect(person.now).to_have_count(0)
    person.reload()
    expect(person.account).to_be_visible()
    expect(person.now).to_have_count(0)


def test_try_again_is_the_same_purchase_and_nothing_is_bought_twice(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.fault = OVERLOADED
    person.make("a fox")
    expect(person.now).to_contain_text(NOTHING_BILLED)
    page_service.upstream.fault = None
    bought = page_service.upstream.received
    sent: list[str] = []
    person.page.on("request", lambda request: sent.append(request.headers.get("idempotency-key", "")))
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    (again,) = [key for key in sent if key]
    assert again == page_service.get("/generation")[0]["idempotency_key"]
    assert page_service.upstream.received == bought + 1
    assert len(page_service.get("/image")) == 1


def test_where_the_outcome_is_unknown_the_page_says_so_before_it_buys_again(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.fault = Fault("break")
    person.make("a fox")
    expect(person.now).to_contain_text("may have been billed")
    expect(person.now.get_by_role("button", name="Try again")).to_have_count(0)
    page_service.upstream.fault = None
    person.now.get_by_role("button", name="Buy another").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert page_service.upstream.received == 2


def test_after_a_reload_a_failure_can_be_tried_again_with_its_key(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.fault = OVERLOADED
    person.make("a fox", quality="low")
    expect(person.now).to_contain_text(NOTHING_BILLED)
    key = page_service.get("/generation")[0]["idempotency_key"]
    page_service.upstream.fault = None
    person.reload()
    sent: list[str] = []
    person.page.on("request", lambda request: sent.append(request.headers.get("idempotency-key", "")))
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert [each for each in sent if each] == [key]


def test_without_a_connection_the_page_says_so_and_goes_on_by_itself(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    person.page.context.set_offline(True)
    person.make("a fox")
    expect(person.now).to_contain_text("nothing is bought twice")
    expect(person.page.locator("#banner")).to_contain_text("does not answer")
    person.page.context.set_offline(False)
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    expect(person.page.locator("#banner")).to_be_hidden()
    assert page_service.upstream.received == 1
    person.watched.complaints = [said for said in person.watched.complaints if "ERR_INTERNET_DISCONNECTED" not in said]


def test_while_the_storage_is_unavailable_nothing_is_spent_and_the_page_says_so(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    person.watched.expect(503, "/image")
    pictures = page_service.folder / "pixyproxy-data/images"
    away = pictures.rename(page_service.folder / "away")
    pictures.write_text("This is no folder.")
    person.page.wait_for_timeout(5500)  # a probe of the storage is good for 5 s
    person.make("a fox")
    expect(person.now).to_contain_text(NOTHING_BILLED)
    expect(person.now).to_contain_text("The folder of the images is not there.")
    assert page_service.upstream.received == 0
    pictures.unlink()
    away.rename(pictures)
    person.page.wait_for_timeout(5500)
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    assert page_service.upstream.received == 1


def test_the_prompt_that_is_being_typed_outlives_a_reload_and_no_other_tab_sees_it(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    person.prompt.fill("a fox that is not fin")
    person.page.locator("#make select[name=size]").select_option("1536x1024")
    person.reload()
    expect(person.prompt).to_have_value("a fox that is not fin")
    expect(person.page.locator("#make select[name=size]")).to_have_value("1536x1024")
    tab = Person(browsers.tab(person.page.context, page_service.url)).open()
    assert "not fin" not in tab.prompt.input_value()


def test_an_empty_prompt_is_not_sent(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    person.make("   ")
    expect(person.page.locator("#make")).to_contain_text("Write what is to be drawn.")
    assert page_service.upstream.received == 0


def test_what_failed_is_there_before_the_gallery_is_seen_and_moves_nothing(
    page_service: PageService, browsers: Browsers
) -> None:
    for number in range(3):
        page_service.post(f"fox {number}")
    refused = httpx2.post(f"{page_service.url}/image", json={"prompt": "a wolf [refuse]"}, headers=KEY, timeout=30)
    assert refused.status_code == 422
    person = someone(browsers, page_service)
    held = held_back(person.page, re.compile(r"/generation\?"))
    person.page.reload()
    expect(person.tiles).to_have_count(3)
    let_go(person.page, held)
    expect(person.page.locator("#now li.failed")).to_be_visible()
    expect(person.tile("fox 0")).to_be_visible()
    assert person.watched.shift() < 0.01


def test_what_runs_moves_no_link_of_the_header(page_service: PageService, browsers: Browsers) -> None:
    person = someone(browsers, page_service)
    links = person.page.locator("#places a")
    expect(links).to_have_count(4)
    count = person.page.locator("#running-count")
    for width in (1280, 1000, 700, 390):
        person.page.set_viewport_size({"width": width, "height": 800})
        before = [link.bounding_box() for link in links.all()]
        with page_service.drawing():
            person.make(f"a fox at {width}")
            expect(count).to_be_visible()
            assert [link.bounding_box() for link in links.all()] == before, width
        expect(count).to_be_hidden()
        assert [link.bounding_box() for link in links.all()] == before, f"{width}, afterwards"


def test_what_is_tried_again_is_not_shown_twice_while_it_is_on_its_way(
    page_service: PageService, browsers: Browsers
) -> None:
    person = someone(browsers, page_service)
    page_service.upstream.fault = OVERLOADED
    person.make("a fox")
    expect(person.now).to_contain_text(NOTHING_BILLED)
    page_service.upstream.fault = None
    held = held_back(person.page, re.compile(r"/image$"))
    person.now.get_by_role("button", name="Try again").click()
    person.watched.wait_until(lambda: held, "it is asked for again")
    for _ in range(2):
        with person.page.expect_response(re.compile(r"/generation\?state=running")):
            person.page.evaluate("dispatchEvent(new Event('online'))")
    assert person.now.count() == 1
    let_go(person.page, held)
    expect(person.now.get_by_role("img", name="a fox")).to_be_visible()
    expect(person.now).to_have_count(1)
