"""JSON with pictures in it: what such a body may cost."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable

import pytest

from pixyproxy.core.exceptions import PayloadTooLargeError
from pixyproxy.web.http.json_pictures import MAX_STRINGS, PictureCutter

pytestmark = pytest.mark.anyio


async def take(_: AsyncIterable[bytes]) -> str:
    raise AssertionError("there is no picture in it")


async def arriving(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


async def read(body: bytes) -> bytes:
    return await PictureCutter(arriving(body), take).read()


async def test_a_body_of_nothing_but_quotes_is_refused() -> None:
    with pytest.raises(PayloadTooLargeError, match=str(MAX_STRINGS)):
        await read(b'"' * 1_000_000)


async def test_others_have_their_turn_while_a_body_of_escapes_is_read() -> None:
    body = b'{"prompt": "' + rb"\n" * 100_000 + b'"}'
    reading = asyncio.create_task(read(body))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert reading.result() == body
    assert turns > 100
