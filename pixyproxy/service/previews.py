"""Previews: small copies of pictures, for callers with little room. They are not kept."""

import anyio

from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.images import Image
from pixyproxy.service.public import PublicImageService
from pixyproxy.service.thumbnails.process import Shrinker
from pixyproxy.service.thumbnails.service import bytes_of

LONGEST_EDGE = 512
"""Pixels."""
MAX_BYTES = 64 * 1024
MAX_PIXELS = 3840 * 2160
"""Of the picture: the largest that the Images API draws."""
AT_ONCE = 1
PATIENCE = 8.0
"""Seconds that a preview may take. The answer about a picture waits for it."""


class Previews:
    """Makes previews, one at a time, in the process that makes thumbnails.

    `patience`: seconds after which a preview is given up that waits for its turn, for the storage, or for its decoder.
    """

    def __init__(self, public: PublicImageService, shrinker: Shrinker, *, patience: float = PATIENCE) -> None:
        self._public = public
        self._shrinker = shrinker
        self._patience = patience
        self._turn = anyio.Semaphore(AT_ONCE)

    async def of(self, image: Image) -> bytes | None:
        """A WebP of at most `LONGEST_EDGE` pixels and `MAX_BYTES`; None if none can be made now."""
        if image.width * image.height > MAX_PIXELS:
            return None
        with anyio.move_on_after(self._patience):
            async with self._turn:
                try:
                    data = await bytes_of(await self._public.open_content(image))
                    return (await self._shrinker.shrink(data, edge=LONGEST_EDGE, most=MAX_BYTES)).webp
                except PixyProxyException:
                    return None
        return None
