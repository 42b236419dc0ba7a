"""What callers may know of images and generations: their own, or with `read-all` those of everybody."""

from uuid import UUID

from pydantic import ConfigDict, TypeAdapter

from pixyproxy.core.exceptions import GenerationNotFoundError, ImageNotFoundError
from pixyproxy.core.generations import Generation, GenerationPage
from pixyproxy.core.images import ImagePage
from pixyproxy.core.keys import Caller, Scope
from pixyproxy.core.protocols import Stores
from pixyproxy.service.callers import Callers
from pixyproxy.service.queries import GenerationQuery, ImageQuery, PageQuery
from pixyproxy.service.rights import require
from pixyproxy.service.validation import revalidated

NOBODY = -1
"""The id of no key."""


class Reading:
    """The lists, and where generations stand. Somebody else's generation is as one that does not exist."""

    def __init__(self, stores: Stores, *, callers: Callers) -> None:
        self._stores = stores
        self._callers = callers

    async def images(self, query: ImageQuery, *, caller: Caller) -> ImagePage:
        """A page of the images that the query asks for and the caller may read: see `PrivateImageService.list`."""
        require(caller, Scope.READ)
        query = revalidated(_IMAGES, query)
        owner = await self._owner_in(query, caller)
        if owner == NOBODY:
            return ImagePage(images=(), next_cursor=None)
        return await self._stores.images.search(limit=query.limit, cursor=query.cursor, q=query.q, api_key_id=owner)

    async def generations(self, query: GenerationQuery, *, caller: Caller) -> GenerationPage:
        """A page of the generations that the query asks for and the caller may read."""
        require(caller, Scope.READ)
        query = revalidated(_GENERATIONS, query)
        owner = await self._owner_in(query, caller)
        if owner == NOBODY:
            return GenerationPage(generations=(), next_cursor=None)
        page = await self._stores.generations.list(
            limit=query.limit, cursor=query.cursor, state=query.state, api_key_id=owner
        )
        self.mark_existing(*page.generations)
        return page

    async def generation(self, guid: UUID, *, caller: Caller) -> Generation:
        """The generation, whichever replica runs it; `GenerationNotFoundError` if the caller may not know of it."""
        require(caller, Scope.READ)
        generation = await self._stores.generations.get(revalidated(_GUID, guid))
        if not caller.may_read(generation.api_key_id):
            raise GenerationNotFoundError
        self.mark_existing(generation)
        return generation

    async def begun(self, guid: UUID, *, caller: Caller) -> Generation:
        """A generation that this caller has begun, which it may know without `read`; `GenerationNotFoundError`."""
        generation = await self._stores.generations.get(guid)
        if generation.api_key_id != caller.api_key_id:
            raise GenerationNotFoundError
        self.mark_existing(generation)
        return generation

    async def deletable(self, guid: UUID, *, caller: Caller) -> UUID:
        """The guid, if the caller may delete the image, should there be one; else `ImageNotFoundError`."""
        require(caller, Scope.DELETE)
        guid = revalidated(_GUID, guid)
        if caller.may(Scope.DELETE_ALL):
            return guid
        origin = (await self._stores.generations.origins([guid])).get(guid)
        if origin is None or not caller.may_delete(origin.api_key_id):
            raise ImageNotFoundError
        return guid

    def mark_existing(self, *generations: Generation) -> None:
        """Make the images of an answer readable here at once, even if an earlier request did not find them."""
        self._stores.images.mark_existing(image.guid for generation in generations for image in generation.images)

    async def _owner_in(self, query: PageQuery, caller: Caller) -> int | None:
        """Whose things are listed: None: everybody's; `NOBODY`: no key has the name, or not one for this caller."""
        if query.caller is None:
            return None if caller.may(Scope.READ_ALL) else caller.api_key_id
        owner = await self._callers.id_of(query.caller)
        return owner if owner is not None and caller.may_read(owner) else NOBODY


_IMAGES: TypeAdapter[ImageQuery] = TypeAdapter(ImageQuery)
_GENERATIONS: TypeAdapter[GenerationQuery] = TypeAdapter(GenerationQuery)
_GUID: TypeAdapter[UUID] = TypeAdapter(UUID, config=ConfigDict(hide_input_in_errors=True))
