"""Previews: small copies of pictures, for callers with little room."""

import io

import anyio
import anyio.to_thread
from PIL import Image as Pillow

from pixyproxy.core.content_types import ContentType
from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.images import Image
from pixyproxy.service.pixels import BOMBS, UNREADABLE
from pixyproxy.service.public import PublicImageService

LONGEST_EDGE = 512
"""Pixels."""
MAX_BYTES = 64 * 1024
MAX_PIXELS = 3840 * 2160
"""Of the picture: the largest that the Images API draws. Decoded it has 33 MB."""
QUALITIES = (80, 60, 40, 20)
AT_ONCE = 1
PATIENCE = 8.0
"""Seconds that a preview may take. The answer about a picture waits for it."""


class Previews:
    """Makes previews, one at a time: decoding a picture takes a core and some 30 MB.

    `patience`: seconds after which a preview is given up that waits for its turn or for the storage.
    """

    def __init__(self, public: PublicImageService, *, patience: float = PATIENCE) -> None:
        self._public = public
        self._patience = patience
        self._turn = anyio.Semaphore(AT_ONCE)

    async def of(self, image: Image) -> bytes | None:
        """A WebP of at most `LONGEST_EDGE` pixels and `MAX_BYTES`; None if none can be made now."""
        if image.width * image.height > MAX_PIXELS:
            return None
        with anyio.move_on_after(self._patience):
            async with self._turn:
                try:
                    data = await self._bytes_of(image)
                except PixyProxyException:
                    return None
                return await anyio.to_thread.run_sync(shrink, data, image.content_type)
        return None

    async def _bytes_of(self, image: Image) -> bytes:
        content = await self._public.open_content(image)
        try:
            return b"".join([bytes(chunk) async for chunk in content])
        finally:
            with anyio.CancelScope(shield=True):
                await content.aclose()


def shrink(data: bytes, content_type: ContentType) -> bytes | None:
    """The picture as a small WebP; None if it cannot be decoded, or not be made small enough."""
    try:
        with Pillow.open(io.BytesIO(data), formats=[content_type.removeprefix("image/")]) as opened:
            opened.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
            small = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except (*UNREADABLE, *BOMBS):
        return None
    for quality in QUALITIES:
        file = io.BytesIO()
        small.save(file, "WEBP", quality=quality)
        if file.tell() <= MAX_BYTES:
            return file.getvalue()
    return None
