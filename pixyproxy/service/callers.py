"""Whose things are: the names of callers, and where images come from."""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from pixyproxy.core.exceptions import ImageNotFoundError, NotFoundError
from pixyproxy.core.generations import Generation, Origin
from pixyproxy.core.images import Image
from pixyproxy.core.keys import Caller
from pixyproxy.core.protocols import ApiKeyRepository, GenerationRepository
from pixyproxy.service.keys import CONFIGURED_CALLER

Names = Mapping[int, str]
"""The names of API keys, by their ids. A key whose record was removed by hand has none."""


def own_name(caller: Caller) -> Names:
    """The name of a caller who is answered about what it asked for itself: the database is not asked."""
    return {caller.api_key_id: caller.name}


class Callers:
    """The callers behind images and generations. Nothing here asks the database once for each of several things."""

    def __init__(self, keys: ApiKeyRepository, generations: GenerationRepository) -> None:
        self._keys = keys
        self._generations = generations

    async def names_of(self, things: Iterable[Generation | Origin]) -> Names:
        """The names of the API keys of these generations or origins; `DatabaseUnavailableError`."""
        ids = {thing.api_key_id for thing in things}
        configured = {CONFIGURED_CALLER.api_key_id: CONFIGURED_CALLER.name}
        return configured | await self._keys.names(ids - configured.keys())

    async def id_of(self, name: str) -> int | None:
        """The id of the API key with this name, in force or revoked; None if there is none."""
        if name == CONFIGURED_CALLER.name:
            return CONFIGURED_CALLER.api_key_id
        try:
            return (await self._keys.find(name=name)).id
        except NotFoundError:
            return None

    async def origins_of(self, images: Collection[Image]) -> Mapping[UUID, Origin]:
        """Where the images come from, by their guids. One that was deleted and removed meanwhile is left out."""
        return await self._generations.origins([image.guid for image in images])

    async def origin_of(self, image: Image) -> Origin:
        """Where the image comes from; `ImageNotFoundError` if it was deleted and removed meanwhile."""
        found = (await self.origins_of([image])).get(image.guid)
        if found is None:
            raise ImageNotFoundError
        return found
