"""The JSON answer. Pictures are read from the storage and encoded chunk by chunk, never held complete in memory."""

import json
from binascii import b2a_base64
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager

import anyio
from starlette.responses import Response

from pixyproxy.core.exceptions import PixyProxyException, StorageUnavailableError
from pixyproxy.core.generations import Generation
from pixyproxy.core.images import Image
from pixyproxy.core.protocols import Chunk, StoredObject
from pixyproxy.service.public import PublicImageService
from pixyproxy.web.http.content import ContentResponse
from pixyproxy.web.openai.body import ResponseFormat
from pixyproxy.web.openai.facts import complete_usage, own_facts, resolved_facts, revised_prompt

PIECE = 96 * 1024
"""Bytes that are encoded at once; a multiple of 3."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds before a picture whose reading broke off is opened again."""
Open = Callable[..., Awaitable[StoredObject]]
"""`PublicImageService.open_content`."""


@contextmanager
def paid_for(generation: Generation) -> Iterator[None]:
    """Give errors in the block the cost `billed`: the pictures of the generation were drawn and stored."""
    try:
        yield
    except PixyProxyException as error:
        error.cost = "billed"
        error.extra.setdefault("generation", str(generation.guid))
        raise


async def answer_of(
    generation: Generation,
    *,
    response_format: ResponseFormat,
    base_url: str,
    public: PublicImageService,
    headers: dict[str, str],
    patience: float,
) -> Response:
    """The answer with all images of a generation that has succeeded."""
    items = [
        {**revised_prompt(generation, index), "pixyproxy": own_facts(generation, image, base_url=base_url)}
        for index, image in enumerate(generation.images)
    ]
    head = {"created": int(generation.created_at.timestamp()), **resolved_facts(generation, generation.images[0])}
    tail = {"usage": complete_usage(generation.usage)}
    if response_format == "url":
        data = [{"url": item["pixyproxy"]["url"], **item} for item in items]  # type: ignore[index]
        return Response(json.dumps({**head, "data": data, **tail}), media_type="application/json", headers=headers)
    # {…, "data": [ {"b64_json":"…", …}, … ], …}
    pieces: list[bytes | Image] = [json.dumps(head)[:-1].encode() + b', "data": [']
    for index, (image, item) in enumerate(zip(generation.images, items, strict=True)):
        pieces += [b'{"b64_json": "' if index == 0 else b', {"b64_json": "', image]
        pieces.append(b'", ' + json.dumps(item)[1:].encode())
    pieces.append(b"], " + json.dumps(tail)[1:].encode())
    content = EncodedImages(pieces, opening=public.open_content)
    with paid_for(generation):
        await content.open_all()
    return ContentResponse(
        content,
        status=200,
        headers={"Content-Type": "application/json", "Content-Length": str(content.size_bytes), **headers},
        patience=patience,
    )


class EncodedImages:
    """Bytes, and images between them in base64; a `StoredObject`. One image is open at a time."""

    def __init__(self, pieces: Sequence[bytes | Image], *, opening: Open) -> None:
        self.size_bytes = sum(len(each) if isinstance(each, bytes) else encoded_size(each) for each in pieces)
        self._pieces = pieces
        self._opening = opening
        self._open: StoredObject | None = None
        self._read: AsyncGenerator[Chunk, None] | None = None

    async def open_all(self) -> None:
        """Open each image, so that one that cannot be read is known before the answer begins.

        The first one stays open; the others would each hold a connection of the storage while the client reads.
        """
        first, *others = [each for each in self._pieces if isinstance(each, Image)]
        for image in others:
            await (await self._opening(image)).aclose()
        self._open = await self._opening(first)

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            self._read = content_of(piece, self._open, opening=self._opening)
            self._open = None
            async with aclosing(base64_of(self._read)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def aclose(self) -> None:
        """Close what is open."""
        if self._read is not None:
            await self._read.aclose()
        if self._open is not None:
            await self._open.aclose()


async def content_of(image: Image, content: StoredObject | None, *, opening: Open) -> AsyncGenerator[Chunk, None]:
    """The image's bytes, read from `content`, which is closed. If reading breaks off, it is resumed at that byte.

    After a 200, an answer that breaks off tells a client nothing about its cost. Some clients would repeat the request,
    and buy again.
    """
    read = failures = 0
    while read < image.size_bytes:
        try:
            if content is None:
                content = await opening(image, part=range(read, image.size_bytes))
            async for chunk in content:
                read += len(chunk)
                yield chunk
            return
        except StorageUnavailableError:
            failures += 1
            if failures > len(PAUSES):
                raise
        finally:
            if content is not None:
                await content.aclose()
        content = None
        await anyio.sleep(PAUSES[failures - 1])


def encoded_size(image: Image) -> int:
    """The length of the image's base64."""
    return (image.size_bytes + 2) // 3 * 4


async def base64_of(content: AsyncIterable[Chunk]) -> AsyncGenerator[bytes, None]:
    """The chunks in base64. Bytes after the last complete group of three are encoded with the next chunk."""
    rest = b""
    async for chunk in content:
        for start in range(0, len(chunk), PIECE):
            data = rest + bytes(memoryview(chunk)[start : start + PIECE])
            whole = len(data) // 3 * 3
            rest = data[whole:]
            if whole:
                yield b2a_base64(memoryview(data)[:whole], newline=False)
    if rest:
        yield b2a_base64(rest, newline=False)
