"""The search over the prompts of images, and how records of older versions come into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pixyproxy.core.images import ImagePage
from pixyproxy.core.search import Search, SearchedImage

Commit_contra = TypeVar("Commit_contra", contravariant=True)


class ImageSearch(Protocol[Commit_contra]):
    """Finds images by the words of their prompts.

    `add` and `remove` take the transaction that records or deletes the images: what is committed is found, and what is
    not committed is not. An engine outside of the database cannot join that transaction. It notes in a table of its own
    there what is to be done, and does it afterwards; its pages then lag behind.
    """

    def add(self, commit: Commit_contra, images: Sequence[SearchedImage]) -> None:
        """Let these images, which are recorded, be found. Those that are found already change nothing."""

    def remove(self, commit: Commit_contra, images: Sequence[SearchedImage]) -> None:
        """Let these images, which are still recorded, be found no more. Nothing happens if they were not."""

    async def page(
        self, search: Search, *, limit: int, cursor: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        """Images of this API key (of any if None) that the search finds, newest first, from `cursor` on.

        A page has at most `limit` images, and may have fewer, or none, and still a next one: each looks at a bounded
        part of the images. The cursors are those of `ImageRepository.search`. Raises `InvalidRequestError` for a cursor
        that no page ever carried, `SearchTooSlowError` if the search takes too long.
        """


@dataclass(frozen=True)
class Refilled:
    """How many images a call of `ImageCompletion.refill` took, and the opaque position after them (None: the end)."""

    count: int
    next_cursor: str | None


class ImageCompletion(Protocol):
    """Completes the records of images that a version without the search wrote: their API key, and their words.

    Each call is one short transaction. Whatever is interrupted can be called again; several processes may do it at the
    same time, and beside versions that write such records.
    """

    async def count(self, *, most: int) -> int:
        """How many records are not complete, counted up to `most`."""

    async def complete(self, *, limit: int) -> int:
        """Complete the newest of them, at most `limit`. Returns how many there were; fewer than `limit`: no more."""

    async def clear(self) -> bool:
        """Take a part of all images out of the search; whether there was one left to take out."""

    async def refill(self, *, limit: int, cursor: str | None = None) -> Refilled:
        """Complete images, and put them into the search, newest first, from `cursor` on, at most `limit`."""
