"""The search in the table `image_terms`: the words of the prompts, each with its images in the order of the list.

The SQL is the same for MySQL, MariaDB and SQLite, and so are the words (`core.words`). What a request costs depends on
its page, not on how many images there are.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from pixyproxy.core.exceptions import DatabaseUnavailableError, SearchTooSlowError
from pixyproxy.core.images import ImagePage
from pixyproxy.core.search import Search, SearchedImage
from pixyproxy.core.words import prompt_terms
from pixyproxy.data.conversions import position_of, time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction, is_too_slow
from pixyproxy.data.image_positions import Position, cursor_at, position_after
from pixyproxy.data.image_rows import SELECT, RecordedImage, readable
from pixyproxy.data.postings import Plan, looked_up, plan

WINDOWS = (1_000, 6_000)
"""How many images of a list a request looks at before it ends its page, full or not: so many first, then so many in
all. It reads their entries twice, which with `postings.COUNTING` is at most 20,000."""
CHECKED = 100
"""Images of a page whose prompts are read again for words that are not looked up."""
BY_IDS = SELECT + "WHERE id IN :ids AND deleted_at IS NULL"
# REPLACE: what is there already stays as it is. All the databases know it.
ADD = "REPLACE INTO image_terms (term, created_at, image_id) VALUES (:term, :created_at, :image_id)"
REMOVE = "DELETE FROM image_terms WHERE term IN :terms AND created_at = :created_at AND image_id = :image_id"


class SqlImageSearch:
    """`ImageSearch` over SQL, in the transactions of `SqlDatabase`."""

    def __init__(self, database: SqlDatabase, *, windows: tuple[int, int] = WINDOWS) -> None:
        self._database = database
        self._windows = windows

    def add(self, commit: Transaction, images: Sequence[SearchedImage]) -> None:
        """Let these images, which are recorded, be found. Those that are found already change nothing."""
        ids = ids_of(commit, images)
        rows = [
            {"term": term, "created_at": time_to_column(image.created_at), "image_id": ids[str(image.guid)]}
            for image in images
            for term in prompt_terms(image.prompt)
        ]
        # In the order of the key, so that two transactions never wait for each other.
        commit.execute_many(ADD, sorted(rows, key=lambda row: (row["term"], row["created_at"], row["image_id"])))

    def remove(self, commit: Transaction, images: Sequence[SearchedImage]) -> None:
        """Let these images, which are still recorded, be found no more. Nothing happens if they were not."""
        ids = ids_of(commit, images)
        for image in images:
            terms = prompt_terms(image.prompt)
            if terms:
                commit.execute(
                    REMOVE,
                    terms=terms,
                    created_at=time_to_column(image.created_at),
                    image_id=ids[str(image.guid)],
                )

    async def page(
        self, search: Search, *, limit: int, cursor: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        """A page of the images that the search finds. Records that this version cannot read are left out."""
        moment, guid = position_of(cursor)
        words = looked_up(search.words)
        others = {*search.words} - {*words}
        most = min(limit, CHECKED) if others else limit

        def page(transaction: Transaction) -> ImagePage:
            planned = plan(transaction, replace(search, words=words), api_key_id=api_key_id)
            if planned is None:
                return ImagePage(images=(), next_cursor=None)
            begin = position_after(transaction, moment, guid)
            hits, end = walk(transaction, planned, begin, limit=most, windows=self._windows)
            rows = transaction.all(BY_IDS, ids=tuple(hit.image_id for hit in hits)) if hits else []
            found = {row["id"]: image for row, image in readable(rows) if has(image.prompt, others)}
            return ImagePage(
                images=tuple(found[hit.image_id] for hit in hits if hit.image_id in found),
                next_cursor=None if end is None else cursor_at(transaction, end),
            )

        try:
            return await self._database.search(page)
        except DatabaseUnavailableError as error:
            if is_too_slow(error):
                raise SearchTooSlowError from error
            raise


def has(prompt: str, words: Set[bytes]) -> bool:
    """Whether a prompt is found by all of the words."""
    return not words or words <= {*prompt_terms(prompt)}


def ids_of(transaction: Transaction, images: Sequence[SearchedImage]) -> dict[str, int]:
    """The ids of recorded images by their guids, looked up if they are not known."""
    known = {str(image.guid): image.id for image in images if isinstance(image, RecordedImage)}
    guids = tuple(guid for image in images if (guid := str(image.guid)) not in known)
    rows = transaction.all("SELECT id, guid FROM images WHERE guid IN :guids", guids=guids) if guids else []
    return known | {row["guid"]: row["id"] for row in rows}


def walk(
    transaction: Transaction, planned: Plan, position: Position, *, limit: int, windows: tuple[int, int]
) -> tuple[list[Position], Position | None]:
    """At most `limit` hits behind the position, and where the next page begins; None: there are no more."""
    hits: list[Position] = []
    for window in sizes_of(planned, limit=limit, windows=windows):
        place = {**position.parameters, "window": window}
        rows = transaction.all(
            planned.hits, **planned.hits_parameters, **place, taken=window, skipped=0, rows=limit + 1 - len(hits)
        )
        hits += map(Position.of, rows)
        if len(hits) > limit:
            return hits[:limit], hits[limit - 1]
        if not planned.filters:  # the window is larger than the page, and all of it are hits
            return hits, None
        last = transaction.one(planned.walk, **planned.walk_parameters, **place, taken=1, skipped=window - 1)
        if last is None:
            return hits, None
        position = Position.of(last)
    return hits, position


def sizes_of(planned: Plan, *, limit: int, windows: tuple[int, int]) -> Iterator[int]:
    """The sizes of the windows of a request: what an image costs divides them."""
    if not planned.filters:
        yield limit + 1
        return
    first, most = (max(1, size // planned.cost) for size in windows)
    yield first
    if most > first:
        yield most - first
