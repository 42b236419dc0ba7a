"""The upstream's event stream over real sockets: what is shown, what is kept, and what a broken one costs."""

import asyncio
import base64
import gc
import json
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAnswerError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import PartialImage
from pixyproxy.core.images import MAX_PICTURE_BYTES, Picture
from pixyproxy.upstream.openai.events import EventScanner
from tests.raw_upstream import HALLO, Connection, drawing

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nx-request-id: req_7\r\n"
RESOLVED = {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
MIB = 1024 * 1024


class Sink:
    """Takes partial images and keeps them."""

    def __init__(self, wanted: int = 3) -> None:
        self.wanted = wanted
        self.taken: list[PartialImage] = []
        self.changed = asyncio.Event()

    def publish(self, partial: PartialImage) -> None:
        self.taken.append(partial)
        self.changed.set()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def event(document: dict[str, Any], *, name: str | None = None, end: str = "\n") -> bytes:
    """An event as the OpenAI API sends it, named like its type."""
    kind = name or document.get("type", "message")
    return f"event: {kind}{end}data: {json.dumps(document)}{end}{end}".encode()


def partial(index: int, data: bytes = b"blurred", *, action: str = "generation") -> dict[str, Any]:
    kind = f"image_{action}.partial_image"
    return {"type": kind, "b64_json": encoded(data), "created_at": 7, **RESOLVED, "partial_image_index": index}


def completed(data: bytes = b"hallo", *, action: str = "generation", **more: Any) -> dict[str, Any]:
    usage = {"total_tokens": 3}
    kind = f"image_{action}.completed"
    return {"type": kind, "b64_json": encoded(data), "created_at": 7, **RESOLVED, "usage": usage, **more}


async def send_stream(connection: Connection, *parts: bytes, whole: bool = True) -> None:
    """An event stream in chunks, one for each part."""
    await connection.send(HEAD, b"Transfer-Encoding: chunked\r\n\r\n")
    for part in parts:
        await connection.send(b"%x\r\n%s\r\n" % (len(part), part))
    if whole:
        await connection.send(b"0\r\n\r\n")
    else:
        connection.writer.close()


def streams(*parts: bytes, whole: bool = True) -> Callable[[Connection, int], Any]:
    async def script(connection: Connection, number: int) -> None:
        await send_stream(connection, *parts, whole=whole)

    return script


# What is asked for, and what arrives


async def test_a_stream_is_asked_for_only_if_somebody_wants_its_partial_images() -> None:
    async with drawing(streams(event(completed()))) as (upstream, drawer):
        await drawer.draw()
        for wanted in (0, 2):
            await drawer.draw(partials=Sink(wanted))
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in upstream.requests]
    asked = [(body.get("stream"), body.get("partial_images")) for body in bodies]
    assert asked == [(None, None), (True, 0), (True, 2)]


@pytest.mark.parametrize("action", ["generation", "edit"])
async def test_partial_images_are_shown_and_the_picture_is_kept(action: str) -> None:
    parts = [event(partial(index, b"%d" % index, action=action)) for index in range(3)]
    async with drawing(streams(*parts, event(completed(action=action, revised_prompt="better")))) as (_, drawer):
        drawn = await drawer.draw(partials=(sink := Sink()))
    assert sink.taken == [PartialImage(index, b"%d" % index, RESOLVED) for index in range(3)]
    assert drawn.pictures == HALLO
    assert drawn.usage == {"total_tokens": 3}
    assert drawn.answer == {**RESOLVED, "revised_prompt": ["better"]}
    assert drawn.upstream_request_id == "req_7"
    assert drawer.turns == 1


async def test_a_partial_image_is_shown_while_the_upstream_still_draws() -> None:
    shown = asyncio.Event()

    async def waits_until_it_is_seen(connection: Connection, number: int) -> None:
        await connection.send(HEAD, b"\r\n", event(partial(0)))
        await shown.wait()
        await connection.send(event(completed()))
        connection.writer.close()

    async with drawing(waits_until_it_is_seen) as (_, drawer), anyio.create_task_group() as tasks:
        sink = Sink()

        async def watch() -> None:
            await sink.changed.wait()
            shown.set()

        tasks.start_soon(watch)
        assert (await drawer.draw(partials=sink)).pictures == HALLO


async def test_an_upstream_that_does_not_stream_is_fine_too() -> None:
    async def answers(connection: Connection, number: int) -> None:
        await connection.answer()

    async with drawing(answers) as (_, drawer):
        assert (await drawer.draw(partials=(sink := Sink()))).pictures == HALLO
        assert (sink.taken, drawer.turns) == ([], 1)


async def test_a_stream_that_nobody_asked_for_is_read_too() -> None:
    async with drawing(streams(event(partial(0)), event(completed()))) as (_, drawer):
        assert (await drawer.draw()).pictures == HALLO


async def test_more_partial_images_than_wanted_are_not_shown() -> None:
    parts = [event(partial(index)) for index in range(9)]
    async with drawing(streams(*parts, event(completed()))) as (_, drawer):
        assert (await drawer.draw(partials=(sink := Sink(2)))).pictures == HALLO
    assert [each.index for each in sink.taken] == [0, 1]


ODD_STREAMS = {
    "CRLF": event(partial(0), end="\r\n") + event(completed(), end="\r\n"),
    "CR": event(partial(0), end="\r") + event(completed(), end="\r"),
    "comments": b": hello\n\n:\n" + event(partial(0)) + b": keep-alive\n\n" + event(completed()),
    "no names": b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in (partial(0), completed())),
    "no spaces": b"".join(b"data:%s\n\n" % json.dumps(each).encode() for each in (partial(0), completed())),
    "other fields": b"id: 1\nretry: 5\ndata\nnonsense\n" + event(partial(0)) + b"id: 2\n" + event(completed()),
    "unknown events": event({"type": "ping"}) + event(partial(0)) + event({"type": "image.x", "b64_json": "YQ=="})
    + event(completed()),
    "no JSON": b"data: hello\n\ndata: {\n\ndata: [1]\n\ndata:\n\ndata: \xff\n\n" + event(partial(0))
    + event(completed()),
    "DONE": event(partial(0)) + event(completed()) + b"data: [DONE]\n\n",
    "DONE first": b"data: [DONE]\n\n" + event(partial(0)) + event(completed()),
    "wrong names": event(partial(0), name="image_edit.completed") + event(completed(), name="ping"),
    "several lines": event(partial(0))
    + b"".join(b"data: %s\n" % line for line in json.dumps(completed(), indent=1).encode().splitlines()) + b"\n",
    "no end": event(partial(0)) + event(completed()).rstrip(b"\n"),
    "a broken partial image": event(partial(0)) + event(partial(1) | {"b64_json": "%%"}) + event(completed()),
    "an error behind it": event(partial(0)) + event(completed()) + event({"error": {"message": "late"}}),
    "a long line": b": " + b"x" * 3 * MIB + b"\n" + event(partial(0)) + event(completed()),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 100_000_000])
@pytest.mark.parametrize("body", ODD_STREAMS.values(), ids=ODD_STREAMS.keys())
def test_a_stream_is_understood_however_it_is_written_and_cut(body: bytes, size: int) -> None:
    sink = Sink()
    events = EventScanner(wanted=3, publish=sink.publish)
    for start in range(0, len(body), size):
        events.feed(body[start : start + size])
    events.finish()
    assert events.completed is not None
    assert events.completed.pictures == HALLO
    assert sink.taken == [PartialImage(0, b"blurred", RESOLVED)]
    assert events.error is None


@given(
    pictures=st.lists(st.binary(max_size=200), max_size=4),
    last=st.binary(max_size=200),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    size=st.integers(1, 40),
)
def test_pictures_arrive_byte_for_byte(pictures: list[bytes], last: bytes, end: str, size: int) -> None:
    documents = [partial(index, data) for index, data in enumerate(pictures)] + [completed(last)]
    body = b"".join(event(each, end=end) for each in documents)
    sink = Sink(4)
    events = EventScanner(wanted=4, publish=sink.publish)
    for start in range(0, len(body), size):
        events.feed(body[start : start + size])
    events.finish()
    assert [each.data for each in sink.taken] == pictures
    assert events.completed is not None
    assert events.completed.pictures == (Picture.of(last),)


@pytest.mark.parametrize("index", [None, "1", -1, 1.0, True, 10**9])
def test_an_odd_index_is_replaced_by_the_count(index: Any) -> None:
    sink = Sink()
    events = EventScanner(wanted=3, publish=sink.publish)
    for _ in range(2):
        events.feed(event(partial(0) | {"partial_image_index": index}))
    assert [each.index for each in sink.taken] == [0, 1]


# What a broken one costs


BREAKING: dict[str, tuple[bytes, ...]] = {
    "nothing": (b"",),
    "comments": (b": hello\n\n",),
    "a partial image": (event(partial(0)),),
    "in the picture": (event(partial(0)), event(completed(bytes(1000)))[:700]),
    "without the end of its JSON": (event(completed()).rstrip(b"}\n"),),
    "only DONE": (b"data: [DONE]\n\n",),
}


@pytest.mark.parametrize("whole", [True, False], ids=["ends", "breaks"])
@pytest.mark.parametrize("parts", BREAKING.values(), ids=BREAKING.keys())
async def test_a_stream_without_its_picture_has_an_unknown_cost(parts: tuple[bytes, ...], whole: bool) -> None:
    async with drawing(streams(*(part for part in parts if part), whole=whole)) as (upstream, drawer):
        with pytest.raises(PixyProxyException) as caught:
            await drawer.draw(partials=Sink())
    assert type(caught.value) is UpstreamUnknownOutcomeError
    assert caught.value.cost == "unknown"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\n\ndata: [DO"])
async def test_a_stream_that_breaks_behind_its_picture_has_it(end: bytes) -> None:
    parts = event(partial(0)), event(completed()).rstrip(b"\n") + end
    async with drawing(streams(*parts, whole=False)) as (_, drawer):
        assert (await drawer.draw(partials=Sink())).pictures == HALLO


async def test_a_stream_that_does_not_end_behind_its_picture_has_it() -> None:
    async def goes_on(connection: Connection, number: int) -> None:
        await connection.send(HEAD, b"\r\n", event(completed()))
        assert await connection.reader.read() == b""
        closed.set()

    closed = asyncio.Event()
    async with drawing(goes_on) as (_, drawer):
        assert (await drawer.draw(partials=Sink())).pictures == HALLO
        with anyio.fail_after(5):
            await closed.wait()


MODERATED = {"message": "Not this.", "type": "image_generation_user_error", "code": "moderation_blocked", "param": None}
FAILED = {"message": "The server had an error.", "type": "server_error", "code": "server_error", "param": None}
ERRORS: dict[str, tuple[tuple[bytes, ...], type[PixyProxyException], str]] = {
    "moderation": ((event({"error": MODERATED}, name="error"),), UpstreamRefusedError, "none"),
    "moderation without a name": ((b"data: %s\n\n" % json.dumps({"error": MODERATED}).encode(),), UpstreamRefusedError,
                                  "none"),
    "moderation with a type": ((event({"type": "error", "error": MODERATED}),), UpstreamRefusedError, "none"),
    "a flat one": ((event({"type": "error", "code": "moderation_blocked", "message": "Not this."}),),
                   UpstreamRefusedError, "none"),
    "moderation of what is drawn": ((event(partial(0)), event({"error": MODERATED}, name="error")), UpstreamError,
                                    "unknown"),
    "a failure": ((event({"error": FAILED}, name="error"),), UpstreamError, "unknown"),
    "only a text": ((event({"error": "no"}),), UpstreamError, "unknown"),
    "an odd one": ((event({"error": {"code": 7, "type": ["x"], "message": None}}),), UpstreamError, "unknown"),
}  # fmt: skip


@pytest.mark.parametrize("whole", [True, False], ids=["ends", "breaks"])
@pytest.mark.parametrize(("parts", "kind", "cost"), ERRORS.values(), ids=ERRORS.keys())
async def test_an_error_in_a_stream_costs_nothing_only_if_it_refuses_before_anything_is_drawn(
    parts: tuple[bytes, ...], kind: type[PixyProxyException], cost: str, whole: bool
) -> None:
    async with drawing(streams(*parts, whole=whole)) as (upstream, drawer):
        with pytest.raises(PixyProxyException) as caught:
            await drawer.draw(partials=Sink())
        assert (type(caught.value), caught.value.cost) == (kind, cost)
        assert drawer.turns == 0
    assert len(upstream.requests) == 1


async def test_the_words_of_an_error_in_a_stream_are_kept_without_our_key() -> None:
    error = MODERATED | {"message": "Not this, sk-x.", "param": "prompt"}
    async with drawing(streams(event({"error": error}, name="error"))) as (_, drawer):
        with pytest.raises(UpstreamRefusedError) as caught:
            await drawer.draw(partials=Sink())
    assert caught.value.detail == "The upstream refused the request: Not this, [key]."
    assert caught.value.extra == {
        "upstream_status": 400,
        "upstream_type": "image_generation_user_error",
        "upstream_code": "moderation_blocked",
        "upstream_param": "prompt",
        "upstream_message": "Not this, [key].",
    }


@pytest.mark.parametrize("text", ["%%%", "iVBORw0KGg", None, 7])
async def test_a_completed_event_without_a_picture_is_billed(text: Any) -> None:
    async with drawing(streams(event(completed() | {"b64_json": text}))) as (_, drawer):
        with pytest.raises(UpstreamAnswerError) as caught:
            await drawer.draw(partials=Sink())
    assert caught.value.cost == "billed"


# Turns and the deadline


async def test_the_turn_comes_when_the_picture_begins_and_not_while_the_upstream_draws() -> None:
    its_turn = asyncio.Event()
    body = event(completed())
    begun = body.index(b"b64_json") + 14

    async def waits(connection: Connection, number: int) -> None:
        await connection.send(HEAD, b"\r\n", b": drawing\n\n")
        await asyncio.sleep(0.1)
        await connection.send(event(partial(0)))
        await asyncio.sleep(0.1)
        assert not its_turn.is_set()
        await connection.send(event(partial(1)), body[:begun])
        await its_turn.wait()
        await connection.send(body[begun:])
        connection.writer.close()

    async def turn() -> None:
        assert len(sink.taken) == 2
        its_turn.set()

    async with drawing(waits) as (_, drawer):
        sink = Sink()
        assert (await drawer.draw(turn, partials=sink)).pictures == HALLO
        assert drawer.turns == 1


@pytest.mark.parametrize("order", ["named", "type first", "type last"])
async def test_every_picture_has_one_turn_however_its_kind_is_said(order: str) -> None:
    documents = [partial(0), partial(1), completed()]
    if order == "type last":
        documents = [dict(reversed(each.items())) for each in documents]
    body = b"".join(
        event(each) if order == "named" else b"data: %s\n\n" % json.dumps(each).encode() for each in documents
    )
    async with drawing(streams(*(body[start : start + 9] for start in range(0, len(body), 9)))) as (_, drawer):
        assert (await drawer.draw(partials=(sink := Sink()))).pictures == HALLO
        assert (len(sink.taken), drawer.turns) == (2, 1)


async def test_the_deadline_does_not_run_while_the_turn_of_a_stream_is_waited_for() -> None:
    async with drawing(streams(event(partial(0)), event(completed())), deadline=0.5) as (_, drawer):
        assert (await drawer.draw(lambda: asyncio.sleep(1), partials=Sink())).pictures == HALLO


async def test_the_deadline_runs_while_partial_images_come() -> None:
    async def never_completes(connection: Connection, number: int) -> None:
        await connection.send(HEAD, b"\r\n")
        for index in range(100):
            await connection.send(event(partial(index)))
            await asyncio.sleep(0.1)

    async with drawing(never_completes, deadline=0.5) as (_, drawer):
        with pytest.raises(UpstreamDeadlineError):
            await drawer.draw(partials=Sink())
        assert drawer.turns == 0


# Bounds


def endless(beginning: bytes, again: bytes) -> Iterator[bytes]:
    yield beginning
    while True:
        yield again


@pytest.mark.parametrize("kind", ["completed", "partial_image"])
def test_a_picture_without_end_is_refused_as_soon_as_it_is_too_large(kind: str) -> None:
    events, taken = EventScanner(wanted=3, publish=Sink().publish), 0
    beginning = b'data: {"type": "image_generation.%s", "b64_json": "' % kind.encode()
    with pytest.raises(UpstreamAnswerError):
        for chunk in endless(beginning, b"A" * MIB):
            events.feed(chunk)
            taken += len(chunk)
    assert taken * 3 / 4 == pytest.approx(MAX_PICTURE_BYTES, abs=2 * MIB)


def test_a_large_broken_partial_image_does_not_lose_the_picture_behind_it() -> None:
    sink = Sink()
    events = EventScanner(wanted=3, publish=sink.publish)
    events.feed(b"event: image_generation.partial_image\n")
    for chunk in (b'data: {"type": "image_generation.partial_image", "b64_json": "%', *[b"A" * MIB] * 3, b'"}\n\n'):
        events.feed(chunk)
    events.feed(event(completed()))
    assert sink.taken == []
    assert events.completed is not None
    assert events.completed.pictures == HALLO


def test_an_event_without_end_is_refused() -> None:
    events = EventScanner()
    with pytest.raises(UpstreamAnswerError):
        for _ in range(MIB):
            events.feed(b'data: {"x": "' + b"x" * 4096 + b"\n")


def test_of_a_partial_image_nothing_is_held_once_it_is_shown() -> None:
    seen: list[Any] = []

    def publish(shown: PartialImage) -> None:
        seen.append(len(shown.data))

    events = EventScanner(wanted=3, publish=publish)
    gc.disable()
    try:
        body = event(partial(0, bytes(MIB)))
        events.feed(body[:-5])
        assert events._json is not None
        last_seen = ref(events._json)
        events.feed(body[-5:])
        assert last_seen() is None, "megabytes must not wait for the garbage collector"
    finally:
        gc.enable()
    assert seen == [MIB]
    assert len(events._line) == 0
