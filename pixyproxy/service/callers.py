"""Whose things are: the names of callers, and where images come from."""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from cachetools import LRUCache

from pixyproxy.core.exceptions import ImageNotFoundError, NotFoundError
from pixyproxy.core.generations import Generation, Origin
from pixyproxy.core.images import Image
from pixyproxy.core.keys import CONFIGURED_CALLER, Caller, Scope
from pixyproxy.core.protocols import ApiKeyRepository, GenerationRepository

ORIGINS = 5_000
"""Images whose origins are remembered, at most: 10 MB with the longest parameters."""
Names = Mapping[int, str]
"""The names of API keys, by their ids. A key whose record was removed by hand has none."""


def own_name(caller: Caller) -> Names:
    """The name of a caller who is answered about what it asked for itself: the database is not asked."""
    return {caller.api_key_id: caller.name}


class Callers:
    """The callers behind images and generations. Several things are one query, and what never changes is remembered."""

    def __init__(self, keys: ApiKeyRepository, generations: GenerationRepository) -> None:
        self._keys = keys
        self._generations = generations
        self._origins: LRUCache[UUID, Origin] = LRUCache(ORIGINS)

    async def names_of(self, things: Iterable[Generation | Origin]) -> Names:
        """The names of the API keys of these generations or origins; `DatabaseUnavailableError`."""
        return await self.names({thing.api_key_id for thing in things})

    async def names(self, ids: Collection[int]) -> Names:
        """The names of the API keys with these ids; `DatabaseUnavailableError`."""
        configured = {CONFIGURED_CALLER.api_key_id: CONFIGURED_CALLER.name}
        return configured | await self._keys.names(set(ids) - configured.keys())

    async def id_of(self, name: str) -> int | None:
        """The id of the API key with this name, in force or revoked; None if there is none."""
        if name == CONFIGURED_CALLER.name:
            return CONFIGURED_CALLER.api_key_id
        try:
            return (await self._keys.find(name=name)).id
        except NotFoundError:
            return None

    async def origins_of(self, images: Collection[Image]) -> Mapping[UUID, Origin]:
        """Where the images come from, by their guids. One that was deleted and removed meanwhile may be left out."""
        known = {image.guid: found for image in images if (found := self._origins.get(image.guid)) is not None}
        missing = [image.guid for image in images if image.guid not in known]
        if missing:
            read = await self._generations.origins(missing)
            self._origins.update(read)
            known |= read
        return known

    async def origin_for(self, caller: Caller, image: Image) -> Origin | None:
        """Where the image comes from, if the caller may know it; `ImageNotFoundError` as of `origin_of`."""
        if not caller.may(Scope.READ):
            return None
        origin = await self.origin_of(image)
        return origin if caller.may_read(origin.api_key_id) else None

    async def origin_of(self, image: Image) -> Origin:
        """Where the image comes from; `ImageNotFoundError` if it turns out that it was deleted and removed."""
        found = (await self.origins_of([image])).get(image.guid)
        if found is None:
            raise ImageNotFoundError
        return found
