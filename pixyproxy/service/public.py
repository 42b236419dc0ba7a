"""Public requests: anyone with the guid may see the image."""

from uuid import UUID

from pydantic import ConfigDict, TypeAdapter

from pixyproxy.core.exceptions import ImageContentLostError, InvalidRequestError, ObjectNotFoundError
from pixyproxy.core.images import Image
from pixyproxy.core.protocols import ImageRepository, ImageStorage, StoredObject
from pixyproxy.service.validation import revalidated


class PublicImageService:
    """Images by their guid."""

    def __init__(self, *, images: ImageRepository, storage: ImageStorage) -> None:
        self._images = images
        self._storage = storage

    async def get(self, guid: UUID) -> Image:
        """The image; `ImageNotFoundError` if there is none."""
        return await self._images.get(revalidated(_GUID, guid))

    async def open_content(self, image: Image, *, part: range | None = None) -> StoredObject:
        """The bytes of an image that `get` or another service returned, or a part of them, opened.

        `ImageContentLostError` if the storage does not have all of them; `ImageNotFoundError` if the reason is that
        another process deleted the image.
        """
        if part is not None and not (part.step == 1 and 0 <= part.start < part.stop <= image.size_bytes):
            raise InvalidRequestError([{"detail": "is no part of the picture", "pointer": "#/part"}])
        try:
            content = await self._storage.open(image.filename, part=part)
        except ObjectNotFoundError as error:
            await self._images.get(image.guid, fresh=True)
            raise ImageContentLostError(
                f"The storage holds no object for image {image.guid}, or none that is as long."
            ) from error
        if content.size_bytes != image.size_bytes:
            await content.aclose()
            await self._images.get(image.guid, fresh=True)
            raise ImageContentLostError(f"The storage holds an object of another size for image {image.guid}.")
        return content


_GUID: TypeAdapter[UUID] = TypeAdapter(UUID, config=ConfigDict(hide_input_in_errors=True))
