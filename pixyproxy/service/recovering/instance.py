"""Whether this database and this storage belong together: both hold the id of the database."""

from contextlib import suppress

from pixyproxy.core.exceptions import DamagedMarkError, StorageMismatchError
from pixyproxy.core.images import ObjectFacts
from pixyproxy.core.protocols import ImageStorage, Stores
from pixyproxy.core.thumbnails import is_thumbnail_key
from pixyproxy.service.recovering.compare import Orphans

SAMPLE = 1000
"""Keys that show whether a storage without an id belongs to the database."""


async def record_instance(stores: Stores) -> None:
    """Write the database's id into a storage that has none, if the storage is empty or has the database's objects.

    An existing id is never overwritten. Raises what database and storage raise.
    """
    if await stores.storage.get_instance() is None and await has_our_objects(stores):
        await stores.storage.add_instance(await stores.instance.get())


async def require_match(stores: Stores) -> None:
    """Return if the storage belongs to this database, or now does; `StorageMismatchError` if not.

    Raises what database and storage raise.
    """
    with suppress(DamagedMarkError):  # which is the mismatch
        await record_instance(stores)
    if mismatch := await find_mismatch(stores):
        raise StorageMismatchError(f"{mismatch[0].upper()}{mismatch[1:]}.")


async def find_mismatch(stores: Stores) -> str | None:
    """A sentence that says why the storage seems to belong to another database; None if it does not."""
    try:
        recorded, ours = await stores.storage.get_instance(), await stores.instance.get()
    except DamagedMarkError as error:
        return error.detail.rstrip(".")
    if recorded == ours:
        return None
    if recorded is not None:
        return f"the storage belongs to another database: its instance id is {recorded}, this database's is {ours}"
    if await has_our_objects(stores):
        return None
    return f"the storage has no instance id, and its objects are not those of this database, whose id is {ours}"


async def has_our_objects(stores: Stores) -> bool:
    """Whether this database has records of nearly all of the first objects of the storage."""
    objects = await first_objects(stores.storage)
    known = await stores.images.sizes(after="", limit=SAMPLE)
    end = max(known) if len(known) == SAMPLE else None
    looked_at = [each.key for each in objects if end is None or each.key <= end]
    recorded = sum(key in known for key in looked_at)
    if not objects:
        return True
    return recorded > 0 and not Orphans(len(looked_at) - recorded, len(looked_at)).too_many


async def first_objects(storage: ImageStorage) -> list[ObjectFacts]:
    """The first `SAMPLE` objects that are no thumbnails: nobody needs those, so they say nothing about a storage."""
    objects: list[ObjectFacts] = []
    listed = await storage.list(after="", limit=SAMPLE)
    while True:
        objects += [each for each in listed if not is_thumbnail_key(each.key)]
        if len(objects) >= SAMPLE or len(listed) < SAMPLE:
            return objects[:SAMPLE]
        listed = await storage.list(after=listed[-1].key, limit=SAMPLE)
