"""The connection to the upstream, over real sockets: what a broken one means, whose turn it is, and what is held."""

import asyncio
import base64
import gzip
import json
import socket
import time

import anyio
import pytest

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAnswerError,
    UpstreamDeadlineError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.images import Picture
from pixyproxy.upstream.openai.client import open_client
from pixyproxy.upstream.openai.generator import OpenAIImageGenerator
from tests.raw_upstream import BODY, HALLO, HEADERS, REQUEST, Connection, Script, at_once, drawing, raw_upstream
from tests.servers import free_ports

pytestmark = pytest.mark.anyio


# What a broken connection means


async def closes(connection: Connection, number: int) -> None:
    connection.writer.close()


async def resets(connection: Connection, number: int) -> None:
    connection.reset()


async def breaks_off_in_the_headers(connection: Connection, number: int) -> None:
    await connection.send(HEADERS)
    connection.writer.close()


async def breaks_off_in_the_body(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Content-Length: 100\r\n\r\n", BODY[:20])
    connection.writer.close()


async def resets_in_the_body(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Content-Length: 100\r\n\r\n", BODY[:20])
    await asyncio.sleep(0.1)
    connection.reset()


async def breaks_off_in_a_chunk(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Transfer-Encoding: chunked\r\n\r\n", b"20\r\n", BODY[:20])
    connection.writer.close()


async def breaks_off_between_chunks(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(BODY), BODY))
    connection.writer.close()


async def counts_its_chunks_wrongly(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n", BODY)


async def speaks_no_http(connection: Connection, number: int) -> None:
    await connection.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    connection.writer.close()


async def breaks_off_a_refusal(connection: Connection, number: int) -> None:
    await connection.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n{")
    connection.writer.close()


@pytest.mark.parametrize(
    "script",
    [
        *(closes, resets, breaks_off_in_the_headers, breaks_off_in_the_body, resets_in_the_body),
        *(breaks_off_in_a_chunk, counts_its_chunks_wrongly, speaks_no_http),
        breaks_off_a_refusal,
    ],
)
async def test_what_breaks_after_the_request_may_have_been_billed_and_is_not_sent_again(script: Script) -> None:
    async with drawing(script) as (upstream, drawer):
        with pytest.raises(PixyProxyException) as caught:
            await drawer.draw()
    assert type(caught.value) is UpstreamUnknownOutcomeError
    assert caught.value.cost == "unknown"
    assert len(upstream.requests) == 1


async def breaks_off_in_the_third_picture(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Content-Length: 1000\r\n\r\n", TWO_OF_THREE)
    connection.writer.close()


async def ends_in_the_third_picture(connection: Connection, number: int) -> None:
    await connection.answer(TWO_OF_THREE)


async def stalls_in_the_third_picture(connection: Connection, number: int) -> None:
    await connection.send(HEADERS, b"Content-Length: 1000\r\n\r\n", TWO_OF_THREE)
    await connection.reader.read()


TWO_OF_THREE = b'{"data": [{"b64_json": "aGFsbG8="}, {"b64_json": "aGFsbG8="}, {"b64_json": "aGFs'


@pytest.mark.parametrize(
    "script", [breaks_off_in_the_third_picture, ends_in_the_third_picture, stalls_in_the_third_picture]
)
async def test_of_an_answer_that_breaks_off_the_whole_pictures_are_kept_for_they_are_paid_for(script: Script) -> None:
    async with drawing(script, deadline=1) as (upstream, drawer):
        drawn = await drawer.draw(request=REQUEST.model_copy(update={"n": 3}))
    assert (drawn.pictures, drawn.usage) == (HALLO * 2, None)
    assert len(upstream.requests) == 1


async def test_a_picture_is_kept_though_the_end_of_its_answer_is_missing() -> None:
    async with drawing(breaks_off_between_chunks) as (upstream, drawer):
        assert (await drawer.draw()).pictures == HALLO
    assert len(upstream.requests) == 1


async def test_a_kept_connection_that_breaks_at_the_next_request_gets_no_second_one() -> None:
    async def second_breaks(connection: Connection, number: int) -> None:
        if number == 1:
            await connection.answer()
        else:
            connection.writer.close()

    async with drawing(second_breaks) as (upstream, drawer):
        assert (await drawer.draw()).pictures == HALLO
        with pytest.raises(UpstreamUnknownOutcomeError):
            await drawer.draw()
        assert (upstream.connections, len(upstream.requests)) == (1, 2)


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async def closes_after_it(connection: Connection, number: int) -> None:
        await connection.answer()
        connection.writer.close()

    async with drawing(closes_after_it) as (upstream, drawer):
        for _ in range(3):
            assert (await drawer.draw()).pictures == HALLO
            await asyncio.sleep(0.1)
        assert (upstream.connections, len(upstream.requests)) == (3, 3)


async def test_what_refuses_a_connection_was_sent_nothing() -> None:
    (port,) = free_ports(1)
    async with open_client(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", connections=1) as client:
        with pytest.raises(UpstreamUnavailableError) as caught:
            await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)
    assert caught.value.cost == "none"


async def test_what_is_not_connected_in_time_was_sent_nothing() -> None:
    async with raw_upstream(closes) as upstream:
        address = upstream.address.replace("http:", "https:")  # it never finds the end of the line
        async with open_client(api_key="k", base_url=address, connections=1, connect_timeout=0.3) as client:
            with pytest.raises(UpstreamUnavailableError) as caught:
                await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)
    assert isinstance(caught.value.__cause__, Exception)
    assert upstream.requests == []


async def test_what_speaks_no_tls_was_sent_nothing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with open_client(api_key="k", base_url=address, connections=1) as client:
        with pytest.raises(UpstreamUnavailableError):
            await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)
    server.close()


async def test_a_name_that_does_not_exist_was_sent_nothing() -> None:
    async with open_client(api_key="k", base_url="http://nowhere.invalid/v1", connections=1) as client:
        with pytest.raises(UpstreamUnavailableError):
            await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)


# What goes out and what comes back


async def test_an_answer_in_chunks_of_any_size_is_read() -> None:
    async def chunked(connection: Connection, number: int) -> None:
        await connection.send(HEADERS, b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in BODY:
            await connection.send(b"1\r\n%c\r\n" % byte)
        await connection.send(b"0\r\n\r\n")

    async with drawing(chunked) as (upstream, drawer):
        for _ in range(2):
            assert (await drawer.draw()).pictures == HALLO
        assert upstream.connections == 1


async def test_no_compression_is_asked_for_and_one_that_comes_is_undone() -> None:
    async def compresses(connection: Connection, number: int) -> None:
        body = gzip.compress(BODY)
        await connection.answer(body if number == 1 else body[:10] + b"x" * 20, headers=b"Content-Encoding: gzip\r\n")

    async with drawing(compresses) as (upstream, drawer):
        assert (await drawer.draw()).pictures == HALLO
        assert b"accept-encoding: identity\r\n" in upstream.requests[0].lower()
        with pytest.raises(UpstreamAnswerError):
            await drawer.draw()


async def test_a_compression_that_is_not_known_is_no_answer() -> None:
    async def compresses(connection: Connection, number: int) -> None:
        await connection.answer(gzip.compress(BODY), headers=b"Content-Encoding: rot13\r\n")

    async with drawing(compresses) as (_, drawer):
        with pytest.raises(UpstreamAnswerError):
            await drawer.draw()


async def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(connection: Connection, number: int) -> None:
        await connection.answer()

    async with raw_upstream(answers) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "example.org")
        async with open_client(api_key="k", base_url="http://upstream.invalid/v1", connections=1) as client:
            drawn = await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)
        assert drawn.pictures == HALLO
        assert proxy.requests[0].startswith(b"POST http://upstream.invalid/v1/images/generations HTTP/1.1\r\n")
        monkeypatch.setenv("no_proxy", "upstream.invalid")
        async with open_client(api_key="k", base_url="http://upstream.invalid/v1", connections=1) as client:
            with pytest.raises(UpstreamUnavailableError):
                await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)
        assert len(proxy.requests) == 1


async def test_as_many_are_drawn_at_once_as_connections_are_allowed() -> None:
    number_at_once = 250  # aiohttp's own limit is 100
    all_here = asyncio.Event()

    async def waits_for_all(connection: Connection, number: int) -> None:
        if number == number_at_once:
            all_here.set()
        await all_here.wait()
        await connection.answer()

    async with drawing(waits_for_all, connections=number_at_once) as (upstream, drawer):
        drawn = await asyncio.gather(*(drawer.draw() for _ in range(number_at_once)))
    assert [each.pictures for each in drawn] == [HALLO] * number_at_once
    assert len(upstream.requests) == number_at_once


# Turns


async def test_the_turn_comes_between_the_headers_and_the_body() -> None:
    its_turn = asyncio.Event()

    async def waits(connection: Connection, number: int) -> None:
        await connection.send(HEADERS, b"Content-Length: %d\r\n\r\n" % len(BODY))
        await its_turn.wait()
        await connection.send(BODY)

    async def turn() -> None:
        its_turn.set()

    async with drawing(waits) as (_, drawer):
        assert (await drawer.draw(turn)).pictures == HALLO
        assert drawer.turns == 1


async def test_a_refusal_waits_for_no_turn() -> None:
    async def refuses(connection: Connection, number: int) -> None:
        await connection.send(b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}")

    async with drawing(refuses) as (_, drawer):
        with pytest.raises(UpstreamRefusedError):
            await drawer.draw()
        assert drawer.turns == 0


async def test_the_deadline_does_not_run_while_a_turn_is_waited_for() -> None:
    async def answers(connection: Connection, number: int) -> None:
        await connection.answer()

    async with drawing(answers, deadline=0.5) as (_, drawer):
        assert (await drawer.draw(lambda: asyncio.sleep(1))).pictures == HALLO


async def test_the_deadline_goes_on_for_the_body_with_what_was_left_of_it() -> None:
    async def is_slow(connection: Connection, number: int) -> None:
        await asyncio.sleep(0.7)
        await connection.send(HEADERS, b"Content-Length: %d\r\n\r\n" % len(BODY))
        await asyncio.sleep(0.5 + 0.7)
        await connection.send(BODY)

    async with drawing(is_slow, deadline=1) as (_, drawer):
        started = time.monotonic()
        with pytest.raises(UpstreamDeadlineError):
            await drawer.draw(lambda: asyncio.sleep(0.5))
        assert time.monotonic() - started == pytest.approx(1.5, abs=0.15)


async def test_what_nobody_reads_stays_with_the_upstream() -> None:
    picture = bytes(24 * 1024 * 1024)
    body = b'{"data": [{"b64_json": "%s"}]}' % base64.b64encode(picture)
    sent = 0

    async def sends_all(connection: Connection, number: int) -> None:
        nonlocal sent
        connection.writer.transport.set_write_buffer_limits(high=0)
        connected: socket.socket = connection.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        await connection.send(HEADERS, b"Content-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 65_536):
            await connection.send(body[start : start + 65_536])
            sent = start

    sent_before_the_turn: list[int] = []

    async def turn() -> None:
        while not sent_before_the_turn or sent != sent_before_the_turn[-1]:
            sent_before_the_turn.append(sent)
            await asyncio.sleep(0.3)

    async with drawing(sends_all) as (_, drawer):
        drawn = await drawer.draw(turn)
    assert drawn.pictures == (Picture.of(picture),)
    assert sent_before_the_turn[-1] < 1_500_000, "ours, and what the kernel holds for us"


async def test_a_turn_that_fails_leaves_no_connection_behind() -> None:
    async def answers(connection: Connection, number: int) -> None:
        await connection.send(HEADERS, b"Content-Length: 1000\r\n\r\n{")
        assert await connection.reader.read() == b""
        closed.set()

    async def fail() -> None:
        raise ZeroDivisionError

    closed = asyncio.Event()
    async with drawing(answers) as (_, drawer):
        with pytest.raises(ZeroDivisionError):
            await drawer.draw(fail)
        with anyio.fail_after(5):
            await closed.wait()


async def test_an_answer_that_is_refused_early_is_not_read_to_its_end() -> None:
    async def never_ends(connection: Connection, number: int) -> None:
        await connection.send(HEADERS, b"Transfer-Encoding: chunked\r\n\r\n")
        with anyio.CancelScope():
            while True:
                await connection.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")

    async with drawing(never_ends) as (upstream, drawer):
        with pytest.raises(UpstreamAnswerError):
            await drawer.draw()
    assert json.loads(upstream.requests[0].partition(b"\r\n\r\n")[2])["prompt"] == "a dot"
