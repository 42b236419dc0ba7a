"""Browsers: sessions over a stage whose time the test sets, and what browsers say about where a request comes from."""

from datetime import UTC, datetime
from typing import Any

import httpx2

from pixyproxy.core.keys import CONFIGURED_CALLER
from tests.stage import BASE_URL, Stage

SAME = {"Sec-Fetch-Site": "same-origin"}
FOREIGN = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "another site, which claims our origin": {"Sec-Fetch-Site": "cross-site", "Origin": BASE_URL},
    "another port": {"Sec-Fetch-Site": "same-site", "Origin": f"{BASE_URL}:8001"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "another site, plain http": {"Origin": "http://evil.example"},
    "another port, plain http": {"Origin": f"{BASE_URL}:8001"},
    "another scheme": {"Origin": BASE_URL.replace("http:", "https:")},
    "a host that begins like ours": {"Origin": f"{BASE_URL}.evil.example"},
    "a sandboxed frame": {"Origin": "null"},
    "no origin at all": {"Origin": ""},
    "no URL": {"Origin": "http://[::1"},
}
"""What browsers send with a request of another page."""
OWN = {
    "a new browser": {**SAME, "Origin": BASE_URL},
    "a browser over plain http": {"Origin": BASE_URL},
    "the port is said": {"Origin": f"{BASE_URL}:80"},
}
"""What browsers send with a request of our own page."""


class Clock:
    """A clock that the test sets; it has the caches' seconds too."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


def a_stage(**values: Any) -> tuple[Stage, Clock]:
    """A stage whose time the clock says."""
    clock = Clock()
    return Stage(now=clock, clock=clock.seconds, **values), clock


async def log_in(stage: Stage, *, name: str | None = None, **headers: str) -> dict[str, str]:
    """The header Cookie of a new session: of a new key with this name, or of the configured one."""
    caller = CONFIGURED_CALLER
    if name is not None:
        caller = await stage.keys.authenticate(await stage.keys.create(name))
    async with stage.client(key=False) as client:
        answer = await client.post("/session", json={"code": await stage.sessions.make_code(caller)}, headers=headers)
    assert answer.status_code == 201, answer.text
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


async def ask(stage: Stage, method: str, path: str, *headers: dict[str, str], **body: Any) -> httpx2.Response:
    """The answer to a request that has these headers alone."""
    async with stage.client(key=False) as client:
        return await client.request(
            method, path, headers={name: value for each in headers for name, value in each.items()}, **body
        )


async def status(stage: Stage, cookie: dict[str, str]) -> int:
    """Whether the session is open: 200 or 401."""
    return (await ask(stage, "GET", "/image", cookie)).status_code


def problem_of(answer: httpx2.Response) -> tuple[int, str]:
    """Status and name of a problem."""
    return answer.status_code, answer.json()["type"].removeprefix("urn:pixyproxy:problem:")


def raw_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as a server passes them on, with that of our host."""
    return [(name.lower().encode(), value.encode()) for name, value in {"Host": "pixy.test", **headers}.items()]
