"""The service with its page as people have it: a process over SQLite and a folder, and the people before it."""

import re
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
from playwright.sync_api import Locator, Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from pixyproxy.upstream.demo.server import DemoUpstream
from tests import planted
from tests.browsing import Browsers, Watched
from tests.listening import listening
from tests.servers import PixyProxy, run_cli

KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
CALLER = "PIXYPROXY_API_KEY"
"""The name of the configured key."""
SMALL = "48x32"


@dataclass
class Gate:
    """Stands before an upstream: while it is closed, requests wait."""

    app: ASGIApp
    closed: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the upstream, when the gate is open."""
        while self.closed and scope["type"] == "http":
            await anyio.sleep(0.05)
        await self.app(scope, receive, send)


@dataclass
class PageService:
    """A replica, and the upstream that draws for it."""

    replica: PixyProxy
    upstream: DemoUpstream
    environment: dict[str, str]
    folder: Path
    gate: Gate | None = None

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """The upstream finishes nothing while the block runs, however long that takes."""
        assert self.gate is not None
        self.gate.closed = True
        try:
            yield
        finally:
            self.gate.closed = False

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.replica.url

    def run(self, *arguments: str) -> str:
        """What a command of `pixyproxy` prints."""
        ran = run_cli(self.folder, *arguments, environment=self.environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def login_url(self, *, key: str | None = None) -> str:
        """The address that `pixyproxy login` prints."""
        named = () if key is None else ("--key", key)
        return self.run("login", *named, "--port", str(self.replica.port)).strip()

    def create_key(self, name: str, *, scopes: str = "all") -> str:
        """A new API key with these scopes."""
        found = re.search(r"pxp_\w+", self.run("keys", "create", name, "--scope", scopes))
        assert found is not None
        return found[0]

    def post(self, prompt: str, *, key: str = planted.API_KEY, **body: Any) -> dict[str, Any]:
        """The details of a small picture that another client has made."""
        sent = {"prompt": prompt, "size": SMALL, **body}
        answer = httpx2.post(f"{self.url}/image", json=sent, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        assert answer.status_code == 201, answer.text
        details: dict[str, Any] = answer.json()
        return details

    def change(self, sql: str) -> int:
        """Change rows behind the service's back; how many."""
        with closing(sqlite3.connect(self.folder / "pixyproxy-data/pixyproxy.db")) as database, database:
            return database.execute(sql).rowcount

    def get(self, path: str) -> Any:
        """What a private GET answers."""
        answer = httpx2.get(self.url + path, headers=KEY, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def serve_page(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[PageService]:
    """The service while the block runs. `settings`: beside those of the upstream."""
    upstream = DemoUpstream(api_key=planted.UPSTREAM_KEY, keep=1000)
    gate = Gate(upstream.app)
    with listening(gate) as upstream_url:
        environment = {
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "OPENAI_API_KEY": planted.UPSTREAM_KEY,
            "OPENAI_BASE_URL": f"{upstream_url}/v1",
            **(settings or {}),
        }
        replica = PixyProxy(folder, environment)
        replica.start()
        try:
            yield PageService(replica, upstream, environment, folder, gate)
        finally:
            # Its folder goes with the test; a clean end would wait for pictures.
            replica.process.stop(how=signal.SIGKILL)


class Person:
    """Somebody before the page, in a browser of their own."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.page: Page = watched.page

    def open(self) -> "Person":
        """Go to the page, logged in already."""
        self.watched.open()
        return self.wait()

    def reload(self) -> None:
        """Load the page again."""
        self.page.reload()
        self.wait()

    def wait(self) -> "Person":
        """Wait until everything is loaded.

        At the end the page puts the focus into the prompt, unless it returns to a place further down.
        """
        expect(self.account).to_be_visible()
        expect(self.page.locator("#gallery .days:not([aria-busy])")).to_be_attached()
        self.watched.wait_for("document.activeElement.id === 'prompt' || scrollY > 0")
        return self

    @property
    def account(self) -> Locator:
        """The button that names the key of the session."""
        return self.page.locator("#account")

    @property
    def prompt(self) -> Locator:
        """The box for the prompt."""
        return self.page.get_by_role("textbox", name="Prompt")

    @property
    def now(self) -> Locator:
        """What runs, what failed and what has just come."""
        return self.page.locator("#now li")

    @property
    def tiles(self) -> Locator:
        """The pictures of the gallery."""
        return self.page.locator("#gallery a.tile")

    @property
    def dialog(self) -> Locator:
        """The open picture."""
        return self.page.locator("dialog.picture[open]")

    @property
    def said(self) -> Locator:
        """What a screen reader says."""
        return self.page.locator("#said")

    def make(self, prompt: str, **chosen: str) -> None:
        """Type a prompt and have it drawn; `chosen` are the names and values of options."""
        self.prompt.fill(prompt)
        for name, value in chosen.items():
            self.page.locator(f"#make select[name={name}]").select_option(value)
        self.page.get_by_role("button", name="Make", exact=True).click()

    def tile(self, prompt: str) -> Locator:
        """The picture of the gallery with this prompt."""
        return self.tiles.filter(has=self.page.get_by_role("img", name=prompt, exact=True))

    def close_picture(self) -> None:
        """Close the open picture. The page goes back in its history for that, a moment later."""
        self.page.keyboard.press("Escape")
        expect(self.dialog).to_be_hidden()
        expect(self.page).not_to_have_url(re.compile("#p="))

    def search(self, words: str) -> None:
        """Type into the search box."""
        self.page.get_by_role("searchbox").fill(words)

    def open_menu(self) -> None:
        """Open the menu of the account."""
        self.account.click()


def someone(browsers: Browsers, service: PageService, *, key: str | None = None, **options: Any) -> Person:
    """Somebody who has logged in with a code. `options` are those of Playwright's contexts."""
    watched = browsers.new(service.url, **options)
    watched.page.goto(service.login_url(key=key))
    return Person(watched).wait()
