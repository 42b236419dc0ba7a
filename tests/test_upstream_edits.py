"""Edits: what the upstream receives of the files, what is held of them, and what a broken request means."""

import asyncio
import hashlib
import io
import re
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pytest

from pixyproxy.core.content_types import ContentType
from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamDeadlineError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.inputs import Input, InputFile, Role
from pixyproxy.upstream.openai.client import open_client
from pixyproxy.upstream.openai.generator import OpenAIImageGenerator
from tests.raw_upstream import HALLO, REQUEST, Connection, Drawer, at_once, content_length, drawing
from tests.servers import free_ports

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
Part = tuple[str, str | None, str | None, bytes]
"""Name, filename, type and content."""


def input_file(
    data: bytes, role: Role = "image", content_type: ContentType = "image/png", file: BinaryIO | None = None
) -> InputFile:
    """An input in a file on disk, whose last bytes may still be in its buffer."""
    if file is None:
        file = tempfile.TemporaryFile()  # noqa: SIM115 -- the test closes it with the others
        file.write(data)
    facts = Input(role=role, sha256=hashlib.sha256(data).hexdigest(), content_type=content_type, size_bytes=len(data))
    return InputFile(facts, file)


@contextmanager
def closing(inputs: Sequence[InputFile]) -> Iterator[Sequence[InputFile]]:
    try:
        yield inputs
    finally:
        for each in inputs:
            each.file.close()


def parts_of(request: bytes) -> list[Part]:
    """The parts of a multipart request, in their order."""
    head, _, body = request.partition(b"\r\n\r\n")
    (boundary,) = re.findall(rb"(?im)^content-type: multipart/form-data; boundary=(\S+)", head)
    found = []
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        headers, _, content = part.partition(b"\r\n\r\n")
        text = headers.decode()
        name = re.findall(r'; name="([^"]*)"', text)[0]
        filename = re.findall(r'; filename="([^"]*)"', text)
        kind = re.findall(r"(?im)^content-type: (\S+)$", text)
        found.append((name, *(each[0] if each else None for each in (filename, kind)), content))
    return found


async def answers(connection: Connection, number: int) -> None:
    await connection.answer()


async def sent(inputs: Sequence[InputFile], *, request: GenerationRequest = REQUEST, partials: Any = None) -> bytes:
    """The request that goes out."""
    with closing(inputs):
        async with drawing(answers) as (upstream, drawer):
            assert (await drawer.draw(request=request, inputs=inputs, partials=partials)).pictures == HALLO
    (request_sent,) = upstream.requests
    return request_sent


async def test_one_image_is_sent_after_the_text_under_a_plain_name() -> None:
    request = await sent([input_file(b"\x89PNG picture\r\n--x")])
    assert request.startswith(b"POST /v1/images/edits HTTP/1.1\r\n")
    assert b"transfer-encoding" not in request.lower()
    assert parts_of(request) == [
        ("prompt", None, None, b"a dot"),
        ("model", None, None, b"m"),
        ("n", None, None, b"1"),
        ("image", "image-1.png", "image/png", b"\x89PNG picture\r\n--x"),
    ]


async def test_several_images_a_mask_and_a_markup_are_sent_in_their_order() -> None:
    inputs = [
        input_file(b"mask", "mask"),
        input_file(b"one", content_type="image/jpeg"),
        input_file(b"markup", "markup", "image/webp"),
        input_file(b"two", content_type="image/webp"),
        input_file(b"one", content_type="image/jpeg"),
    ]
    files = [part for part in parts_of(await sent(inputs)) if part[1] is not None]
    assert [part for part in files if part[0] == "image[]"] == [
        ("image[]", "image-1.jpg", "image/jpeg", b"one"),
        ("image[]", "image-2.webp", "image/webp", b"two"),
        ("image[]", "image-3.jpg", "image/jpeg", b"one"),
    ]
    assert sorted(part for part in files if part[0] != "image[]") == [
        ("markup", "markup.webp", "image/webp", b"markup"),
        ("mask", "mask.png", "image/png", b"mask"),
    ]


async def test_every_parameter_of_an_edit_is_sent_as_it_was_asked() -> None:
    values = {
        "prompt": "larger\nthan 🗼",
        "model": "gpt-image-2.6-flare",
        "n": 2,
        "size": "64x32",
        "quality": "xhigh",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 0,
        "moderation": "low",
        "complexity": "high",
        "input_fidelity": "high",
        "user": 'Zoë "Z"',
        "safety_identifier": "id-7",
    }
    inputs = [input_file(b"one")]
    request = GenerationRequest(**values, inputs=tuple(each.facts for each in inputs))
    parts = parts_of(await sent(inputs, request=request))
    assert {name: content.decode() for name, filename, _, content in parts if filename is None} == {
        name: str(value) for name, value in values.items()
    }


async def test_an_edit_is_streamed_if_somebody_wants_its_partial_images() -> None:
    class Sink:
        wanted = 2

        def publish(self, partial: object) -> None:
            pass

    parts = {part[0]: part[3] for part in parts_of(await sent([input_file(b"one")], partials=Sink()))}
    assert (parts["stream"], parts["partial_images"]) == (b"true", b"2")


async def test_the_same_file_can_be_sent_twice_and_in_two_roles() -> None:
    file = io.BytesIO(b"one")
    inputs = [input_file(b"one", file=file), input_file(b"one", "mask", file=file)]
    async with drawing(answers) as (upstream, drawer):
        for _ in range(2):
            await drawer.draw(inputs=inputs)
    for request in upstream.requests:
        files = [part[3] for part in parts_of(request) if part[1] is not None]
        assert files == [b"one", b"one"]


# What is held


class Counted(io.FileIO):
    """A file that knows how much of it was read, and the most that was read at once."""

    total = largest = 0

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(-1 if size is None else size)
        self.total += len(data or b"")
        self.largest = max(self.largest, len(data or b""))
        return data


@pytest.fixture
def large(tmp_path: Any) -> Iterator[list[InputFile]]:
    """Four files of 10 MB."""
    inputs = []
    for number in range(4):
        path = tmp_path / str(number)
        path.write_bytes(bytes([number]) * 10_000_000)
        inputs.append(input_file(bytes([number]) * 10_000_000, file=Counted(str(path))))
    with closing(inputs):
        yield inputs


async def test_files_are_read_piece_by_piece_and_never_held(large: list[InputFile]) -> None:
    received = hashlib.sha256()
    lengths: list[int] = []

    async def reads(connection: Connection, number: int) -> None:
        left = content_length(upstream.requests[-1])
        lengths.append(left)
        while left:
            piece = await connection.reader.read(min(left, 65_536))
            received.update(piece)
            left -= len(piece)
        await connection.answer()

    async with drawing(reads, reads_bodies=False) as (upstream, drawer):
        tracemalloc.start()
        try:
            assert (await drawer.draw(inputs=large)).pictures == HALLO
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [each.file.total for each in large] == [10_000_000] * 4  # type: ignore[attr-defined]
    assert max(each.file.largest for each in large) <= MIB  # type: ignore[attr-defined]
    assert lengths[0] > 40_000_000
    assert peak < 5 * MIB


async def test_files_are_read_beside_the_loop() -> None:
    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            threads.add(threading.current_thread())
            return super().read(size)

    threads: set[threading.Thread] = set()
    await sent([input_file(b"one", file=Watched(b"one"))])
    assert threads
    assert threading.current_thread() not in threads


async def test_of_a_file_that_the_upstream_does_not_take_little_is_read(large: list[InputFile]) -> None:
    async def takes_nothing(connection: Connection, number: int) -> None:
        await asyncio.sleep(5)

    async with drawing(takes_nothing, deadline=1, reads_bodies=False) as (_, drawer):
        with pytest.raises(UpstreamDeadlineError):
            await drawer.draw(inputs=large)
    assert sum(each.file.total for each in large) < 20_000_000, "ours, and what the kernel holds"  # type: ignore[attr-defined]


# What a broken request means


async def test_what_breaks_while_the_body_is_sent_may_have_been_billed(large: list[InputFile]) -> None:
    async def hangs_up(connection: Connection, number: int) -> None:
        await connection.reader.read(1_000_000)
        connection.reset()

    async with drawing(hangs_up, reads_bodies=False) as (upstream, drawer):
        with pytest.raises(PixyProxyException) as caught:
            await drawer.draw(inputs=large)
    assert type(caught.value) is UpstreamUnknownOutcomeError
    assert len(upstream.requests) == 1


async def test_a_file_that_cannot_be_read_leaves_an_unknown_outcome() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    async with drawing(answers, reads_bodies=False) as (_, drawer):
        with pytest.raises(PixyProxyException) as caught:
            await drawer.draw(inputs=[input_file(b"one", file=Broken(b"one"))])
    assert type(caught.value) is UpstreamUnknownOutcomeError


async def test_an_edit_that_cannot_be_sent_costs_nothing() -> None:
    (port,) = free_ports(1)
    with closing([input_file(b"one")]) as inputs:
        async with open_client(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", connections=1) as client:
            with pytest.raises(UpstreamUnavailableError) as caught:
                await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once, inputs=inputs)
    assert caught.value.cost == "none"


async def test_a_refusal_that_comes_before_the_whole_body_is_understood(large: list[InputFile]) -> None:
    async def refuses(connection: Connection, number: int) -> None:
        body = b'{"error": {"message": "Too large.", "type": "invalid_request_error", "param": "image[0]"}}'
        await connection.send(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        await asyncio.sleep(1)

    async with drawing(refuses, reads_bodies=False) as (upstream, drawer):
        with pytest.raises(UpstreamRefusedError) as caught:
            await drawer.draw(inputs=large)
        assert caught.value.extra["upstream_param"] == "image[0]"
        assert len(upstream.requests) == 1


async def test_an_edit_goes_through_a_proxy_and_to_the_demo_inside_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with drawing(answers) as (proxy, _):
        monkeypatch.setenv("http_proxy", proxy.address.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "example.org")
        drawer = Drawer("http://upstream.invalid/v1")
        with closing([input_file(b"one"), input_file(b"two")]) as inputs:
            assert (await drawer.draw(inputs=inputs)).pictures == HALLO
        await drawer.client.close()
    assert [part[3] for part in parts_of(proxy.requests[0]) if part[1] is not None] == [b"one", b"two"]
    received: list[bytes] = []

    async def demo(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            received.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-request-id", b"req_1")]})
        await send({"type": "http.response.body", "body": b'{"data": [{"b64_json": "aGFsbG8="}]}'})

    with closing([input_file(b"one"), input_file(b"two")]) as inputs:
        async with open_client(api_key="k", base_url="http://demo/v1", connections=1, asgi_app=demo) as client:
            drawn = await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once, inputs=inputs)
    assert (drawn.pictures, drawn.upstream_request_id) == (HALLO, "req_1")
    assert b"one" in b"".join(received)
