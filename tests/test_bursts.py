"""Many POSTs in the same moment: GETs come between them, and none that can be served is refused."""

import asyncio
import selectors
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pixyproxy.web.server.turns import Turns
from tests import planted
from tests.servers import PixyProxy

pytestmark = pytest.mark.anyio

UNKNOWN = f"/image/{uuid.UUID(int=0)}"
GET = f"GET {UNKNOWN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
WITHOUT_KEY = b"POST /image HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[PixyProxy]:
    """A server with the demo upstream."""
    server = PixyProxy(folder, {"PIXYPROXY_API_KEY": planted.API_KEY, **settings}).start()
    try:
        yield server
    finally:
        server.process.stop()


def burst(server: PixyProxy, requests: list[bytes]) -> list[int]:
    """The statuses of requests that arrive, in this order, while the process does nothing; 0: no answer."""
    address = ("127.0.0.1", server.port)
    answers = [b""] * len(requests)
    server.process.pause()
    with ExitStack() as stack, selectors.DefaultSelector() as reading:
        try:
            for number, request in enumerate(requests):
                connection = stack.enter_context(socket.create_connection(address, timeout=60))
                connection.sendall(request)
                reading.register(connection, selectors.EVENT_READ, number)
        finally:
            server.process.resume()
        while reading.get_map():
            ready = reading.select(60)
            assert ready, "the server answers no more"
            for key, _ in ready:
                try:
                    piece = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                except ConnectionResetError:
                    piece = b""
                answers[key.data] += piece
                if not piece:
                    reading.unregister(key.fileobj)
    return [int(answer[9:12] or b"0") for answer in answers]


# --- Real processes


def test_a_get_behind_a_burst_of_posts_is_answered_among_the_first(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert Counter(burst(server, [WITHOUT_KEY] * 300 + [GET])) == {401: 300, 404: 1}
        before, _, _ = server.process.output_with(f"REQUEST END GET {UNKNOWN} 404").partition(f"END GET {UNKNOWN}")
    assert before.count("REQUEST END POST /image 401") < 150


def test_a_burst_over_the_limit_of_connections_is_served_as_places_become_free(tmp_path: Path) -> None:
    with serving(tmp_path, PIXYPROXY_MAX_CONNECTIONS="100") as server:
        assert Counter(burst(server, [WITHOUT_KEY] * 400)) == {401: 400}


# --- The turns


class Begun:
    """Requests, by the turn of the event loop in which they began."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.turn = 0
        self.by_turn: dict[str, int] = {}

    def task(self, name: str) -> "asyncio.Task[None]":
        """A request of this name that begins when it may."""

        async def run() -> None:
            self.by_turn[name] = self.turn

        return asyncio.create_task(self._turns.begin(run))

    async def pass_turns(self, number: int) -> None:
        """So many turns."""
        for _ in range(number):
            await asyncio.sleep(0)
            self.turn += 1


async def test_one_request_begins_in_each_turn_in_the_order_of_their_arrival() -> None:
    turns = Turns()
    begun = Begun(turns)
    for name in "abcd":
        begun.task(name)
    await begun.pass_turns(10)
    assert list(begun.by_turn) == list("abcd")
    times = list(begun.by_turn.values())
    assert len(set(times)) == 4, "no two in one turn"
    assert not turns.awaited
    begun.task("e")
    await begun.pass_turns(1)
    assert "e" in begun.by_turn, "alone it waits for nobody"


async def test_beyond_the_most_that_may_wait_a_request_begins_at_once() -> None:
    begun = Begun(Turns(most=2))
    for name in "abcde":
        begun.task(name)
    await begun.pass_turns(10)
    assert list(begun.by_turn) == ["a", "d", "e", "b", "c"]
    assert begun.by_turn["a"] == begun.by_turn["d"] == begun.by_turn["e"]


async def test_a_request_that_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    turns = Turns()
    begun = Begun(turns)
    tasks = [begun.task(name) for name in "abc"]
    await begun.pass_turns(1)
    tasks[1].cancel()
    await begun.pass_turns(10)
    assert list(begun.by_turn) == ["a", "c"]
    assert not turns.awaited
