"""The page at two replicas over MySQL and SeaweedFS: whichever answers, it is one service."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browsing import Browsers
from tests.page_stage import PageService, Person
from tests.real_stack import Stack, real_stack
from tests.servers import MySQL, SeaweedFS

SETTINGS = {"PIXYPROXY_STORE_PATIENCE": "1"}


@pytest.fixture(scope="module")
def stack(
    mysql: MySQL,
    seaweedfs: SeaweedFS,
    unique: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
    logs: Path,
) -> Iterator[Stack]:
    """Two replicas."""
    with real_stack(
        mysql,
        seaweedfs,
        name=unique(),
        folder=tmp_path_factory.mktemp("page"),
        logs=logs,
        replicas=2,
        settings=SETTINGS,
        label="page",
    ) as two:
        yield two


@pytest.fixture
def replicas(stack: Stack) -> Iterator[list[PageService]]:
    """Each replica as a service of its own; every part works again afterwards."""
    yield [PageService(replica, stack.upstream, stack.direct, stack.folder) for replica in stack.replicas]
    stack.mend()


def visit(browsers: Browsers, service: PageService, url: str) -> Person:
    """Somebody who follows an address of a replica."""
    watched = browsers.new(service.url)
    watched.page.goto(url)
    return Person(watched)


def at(url: str, service: PageService) -> str:
    """The same address at another replica."""
    return f"{service.url}/#{url.partition('#')[2]}"


def test_a_code_is_good_once_whichever_replica_takes_it(replicas: list[PageService], browsers: Browsers) -> None:
    one, two = replicas
    url = one.login_url()
    person = visit(browsers, two, at(url, two))
    expect(person.account).to_be_visible()
    watched = browsers.new(one.url)
    watched.expect(401, "/session")
    watched.page.goto(url)
    expect(watched.page.get_by_role("alert")).to_contain_text("code")


def test_what_one_replica_draws_the_other_shows(replicas: list[PageService], browsers: Browsers) -> None:
    one, two = replicas
    mine = visit(browsers, one, one.login_url())
    other = visit(browsers, two, two.login_url())
    expect(other.account).to_be_visible()
    one.upstream.delay = 4
    mine.make("a fox at two replicas", output_format="webp")
    expect(mine.now).to_contain_text("Drawing")
    other.reload()
    expect(other.now).to_contain_text("a fox at two replicas")
    expect(other.page.get_by_role("img", name="a fox at two replicas").first).to_be_visible()
    other.page.get_by_role("img", name="a fox at two replicas").first.click()
    picture = other.dialog.get_by_role("img", name="a fox at two replicas")
    expect(picture).to_have_js_property("naturalWidth", 1024)
    other.close_picture()
    other.search("fox replicas")
    expect(other.tile("a fox at two replicas")).to_be_visible()


def test_a_revoked_key_ends_its_session_at_every_replica(replicas: list[PageService], browsers: Browsers) -> None:
    one, two = replicas
    one.create_key("laptop")
    people = [visit(browsers, service, service.login_url(key="laptop")) for service in replicas]
    for person in people:
        expect(person.account).to_have_text("laptop")
        person.watched.expect(401, r"/(session|image|generation)")
    two.run("keys", "revoke", "laptop")
    for person in people:
        person.page.wait_for_timeout(2500)  # a replica refuses a revoked key within two seconds
        person.page.reload()
        expect(person.page.get_by_role("dialog", name="PixyProxy")).to_be_visible()


def test_while_the_bucket_is_away_nothing_is_bought_and_the_page_says_so(
    stack: Stack, replicas: list[PageService], browsers: Browsers
) -> None:
    person = visit(browsers, replicas[0], replicas[0].login_url())
    expect(person.account).to_be_visible()
    person.watched.expect(503, "/image(/.*/thumbnail)?")
    before = stack.upstream.received
    stack.proxies["storage"].mode = "refuse"
    person.page.wait_for_timeout(5500)  # a probe of the storage is good for 5 s
    person.make("a fox without a bucket")
    expect(person.now).to_contain_text("Nothing was billed.", timeout=30_000)
    assert stack.upstream.received == before
    stack.mend()
    person.page.wait_for_timeout(5500)
    person.now.get_by_role("button", name="Try again").click()
    expect(person.now.get_by_role("img", name="a fox without a bucket")).to_be_visible(timeout=30_000)
    assert stack.upstream.received == before + 1
