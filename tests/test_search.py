"""The search over prompts: one contract for the fake, SQLite, MySQL and MariaDB, compared with a plain oracle."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixyproxy.core.exceptions import InvalidRequestError
from pixyproxy.core.images import Image
from pixyproxy.core.protocols import GenerationRepository, ImageCompletion, ImageRepository
from pixyproxy.core.search import MAX_PREFIXES, Search, SearchedImage
from pixyproxy.core.words import MAX_BYTES, MAX_WORDS, STOP_WORDS, prompt_terms
from pixyproxy.data.completion import SqlImageCompletion
from pixyproxy.data.conversions import time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import migrate, open_database
from pixyproxy.data.postings import JOINED, LOOKED_UP, MAX_TERMS
from pixyproxy.data.search import ADD, SqlImageSearch
from pixyproxy.data.search import WINDOWS as MOST_WINDOWS
from tests.examples import MOMENT, a_drawing, a_generation, an_image
from tests.fakes import FakeGenerationRepository, FakeImageCompletion, FakeImageRepository
from tests.servers import SqlServer

pytestmark = pytest.mark.anyio

WINDOWS = (3, 8)
"""So few images that most searches need several pages."""


@dataclass
class Searched:
    """Repositories with images, and what is needed to look for them."""

    images: ImageRepository
    generations: GenerationRepository
    completion: ImageCompletion
    database: SqlDatabase | None = None
    recorded: list[Image] = field(default_factory=list)

    async def add(self, prompt: str, *, seconds: int | None = None, caller: int = 1) -> Image:
        """A recorded image; each is newer than the one before unless `seconds` says otherwise."""
        moment = MOMENT + timedelta(seconds=len(self.recorded) if seconds is None else seconds)
        generation = a_generation(api_key_id=caller)
        image = an_image(generation, prompt=prompt, created_at=moment)
        await self.generations.add(generation, lease=30)
        await self.generations.succeed(generation, images=(image,), drawing=a_drawing())
        self.recorded.append(image)
        return image

    async def find(self, q: str | None, *, limit: int = 3, caller: int | None = None) -> list[Image]:
        """What all pages of a search find."""
        found: list[Image] = []
        cursor, pages = None, 0
        while pages == 0 or cursor is not None:
            page = await self.images.search(limit=limit, cursor=cursor, q=q, api_key_id=caller)
            assert len(page.images) <= limit
            found, cursor, pages = [*found, *page.images], page.next_cursor, pages + 1
            assert pages < 1000
        return found

    async def clear(self) -> None:
        """No images."""
        self.recorded.clear()
        if self.database is not None:
            for table in ("images", "image_terms", "generations"):
                await self.database.execute(f"DELETE FROM {table}")
        else:
            assert isinstance(self.images, FakeImageRepository)
            self.images.images.clear()

    async def rows(self) -> int:
        """How many rows the words have."""
        assert self.database is not None
        row = await self.database.one("SELECT COUNT(*) AS number FROM image_terms")
        assert row is not None
        number: int = row["number"]
        return number


@pytest.fixture(params=["fake", "sqlite", "mysql", "mariadb"])
def searched(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique: Callable[[], str],
    migrated: dict[str, str],
    migrated_file: Path,
) -> Iterator[Searched]:
    """No images, and small windows."""
    if request.param == "fake":
        images = FakeImageRepository()
        yield Searched(images, FakeGenerationRepository(images), FakeImageCompletion(images))
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
        shutil.copyfile(migrated_file, tmp_path / "pixyproxy.db")
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        if request.param not in migrated:
            migrated[request.param] = server.create(unique())
            migrate(migrated[request.param])
        url = migrated[request.param]
        for table in ("images", "image_terms", "generations"):
            server.query(f"DELETE FROM {table}", database=url.rpartition("/")[2])
    database, close = open_database(url)
    search = SqlImageSearch(database, windows=WINDOWS)
    yield Searched(
        SqlImageRepository(database, search=search),
        SqlGenerationRepository(database, search=search),
        SqlImageCompletion(database, search=search),
        database,
    )
    close()


SQL = pytest.mark.parametrize("searched", ["sqlite", "mysql", "mariadb"], indirect=True)


# An oracle that knows what each word means without a tokeniser

SPACED = {
    "fox": ("fox", "FOX", "Fox"),
    "foxes": ("foxes",),
    "forest": ("forest", "Forest"),
    "cafe": ("café", "Cafe\u0301", "CAFE"),
    "strasse": ("Straße", "strasse"),
    "4k": ("4k", "4K", "\uff14\uff4b"),
    "7": ("7", "\uff17"),
    "x": ("x",),
    "x" * 60: ("x" * 60, "X" * 60),
    "σοφοσ": ("ΣΟΦΟΣ", "σοφος"),
    "שלום": ("שלום", "שָׁלוֹם"),
    "منارة": ("منارة",),
    "🦊": ("🦊",),
    "🦊\u200d🔥": ("🦊\u200d🔥",),
    "👩🏽\u200d🚀": ("👩🏽\u200d🚀",),
    "❤": ("❤", "❤\ufe0f"),
    "the": ("the", "The"),
    "of": ("of",),
}
BEGINNINGS = ("fox", "forest", "cafe", "strasse", "x" * 60, "the", "🦊")
UNSPACED = ("狐", "狐狸", "赤狐", "狐狸犬", "ภาษาไทย", "ไทย", "한국어", "きつね", "キツネ")
SEPARATORS = (" ", ", ", "\n", " - ", " % ", " _", "! ", '" ', "\u200b ", "・")
PHRASES = {
    "the fox": {"fox"},
    "fox, fox": {"fox"},
    "of the": set(),
    "FOX": {"fox"},
    "forest - ": {"forest"},
    "%": set(),
    "_": set(),
    "!": set(),
    "\\": set(),
    "ox": {"ox"},
}
"""What is written between quotation marks, and its words, all of ASCII: case is the same on every database."""


@dataclass(frozen=True)
class Written:
    """A prompt of known words."""

    text: str
    words: frozenset[str]
    runs: tuple[str, ...]
    caller: int
    second: int


@st.composite
def written(draw: st.DrawFn) -> Written:
    """A prompt, whose it is, and when it was drawn."""
    parts: list[str] = []
    words, runs = set(), []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            word = draw(st.sampled_from([*SPACED]))
            parts.append(draw(st.sampled_from(SPACED[word])))
            words |= {word} - {"the", "of"}
        else:
            runs.append(draw(st.sampled_from(UNSPACED)))
            parts.append(runs[-1])
        parts.append(draw(st.sampled_from(SEPARATORS)))
    return Written("".join(parts), frozenset(words), tuple(runs), draw(st.integers(1, 2)), draw(st.integers(0, 4)))


@dataclass(frozen=True)
class Asked:
    """A part of `q`, and which prompts have it."""

    text: str
    finds: Callable[[Written], bool]


def bare_word(word: str, spelling: str) -> Asked:
    return Asked(spelling, lambda prompt: word in ("the", "of") or word in prompt.words)


def beginning(word: str, length: int) -> Asked:
    start = word[:length]
    return Asked(f"{start}*", lambda prompt: any(each.startswith(start) for each in prompt.words))


def unspaced(text: str, *, star: bool) -> Asked:
    text_of = folded_kana(text)
    pairs = [text_of[at : at + 2] for at in range(max(1, len(text_of) - 1))]
    return Asked(
        text + "*" * star,
        lambda prompt: all(any(pair in folded_kana(run) for run in prompt.runs) for pair in pairs),
    )


def folded_kana(text: str) -> str:
    """Without the marks that are off: voiced sounds."""
    return text.replace("ギ", "キ")


def phrase(text: str) -> Asked:
    return Asked(f'"{text}"', lambda prompt: PHRASES[text] <= prompt.words and text.lower() in prompt.text.lower())


asked = st.one_of(
    st.sampled_from([(word, spelling) for word, spellings in SPACED.items() for spelling in spellings]).map(
        lambda each: bare_word(*each)
    ),
    st.builds(beginning, st.sampled_from(BEGINNINGS), st.integers(1, 3)),
    st.builds(unspaced, st.sampled_from([*UNSPACED, "狸", "ท"]), star=st.booleans()),
    st.builds(phrase, st.sampled_from([*PHRASES])),
    st.sampled_from(["*", "%", '""', "…"]).map(lambda text: Asked(text, lambda _: True)),
)
queries = st.tuples(st.lists(asked, min_size=1, max_size=4), st.sampled_from([None, 1, 2, 3]), st.integers(1, 4))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(written(), max_size=14), searches=st.lists(queries, min_size=1, max_size=6))
async def test_all_pages_of_a_search_are_what_the_oracle_says(
    searched: Searched, prompts: list[Written], searches: list[tuple[list[Asked], int | None, int]]
) -> None:
    await searched.clear()
    for prompt in prompts:
        await searched.add(prompt.text, seconds=prompt.second, caller=prompt.caller)
    numbers = sorted(range(len(prompts)), key=lambda number: (prompts[number].second, number), reverse=True)
    for parts, caller, limit in searches:
        q = " ".join(part.text for part in parts)
        expected = [
            searched.recorded[number].guid
            for number in numbers
            if caller in (None, prompts[number].caller) and all(part.finds(prompts[number]) for part in parts)
        ]
        assert [image.guid for image in await searched.find(q, limit=limit, caller=caller)] == expected, q


# The words


@given(text=st.text(max_size=200))
def test_whatever_a_prompt_is_its_words_find_it(text: str) -> None:
    terms = set(prompt_terms(text))
    assert all(0 < len(each) <= MAX_BYTES and each.decode() for each in terms)
    assert not terms & {word.encode() for word in STOP_WORDS}
    search = Search.parse(text.replace('"', " "))
    assert set(search.words) <= terms
    assert all(any(each.startswith(prefix) for each in terms) for prefix in search.prefixes)


@given(text=st.text(max_size=500))
def test_every_text_is_a_search(text: str) -> None:
    search = Search.parse(text)
    assert len(search.prefixes) <= MAX_PREFIXES
    assert all(word for word in (*search.words, *search.prefixes, *search.phrases))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red FOX, the red fox", "red fox"),
        ("Crème brûlée in Zürich", "creme brulee zurich"),
        ("don't 50% 3.5mm snake_case", "don t 50 3 5mm snake case"),
        ("狐狸犬", "狐 狐狸 狸 狸犬 犬"),
        ("4K画像", "4k 画 画像 像"),
        ("한국어", "한 한국 국 국어 어"),
        ("ﬁre ①", "fire 1"),
        ("🦊🦊 👩🏽‍🚀 🇩🇪🇫🇷 ❤️", "🦊 👩🏽‍🚀 🇩🇪 🇫🇷 ❤"),
        ("منارة — מגדלור", "منارة מגדלור"),
        ("", ""),
        ("% _ \\ ; -- …", ""),
    ],
)
def test_the_words_of_a_prompt(prompt: str, words: str) -> None:
    assert [each.decode() for each in prompt_terms(prompt)] == words.split()


def test_a_prompt_has_so_many_words_and_each_so_many_bytes() -> None:
    assert len(prompt_terms(" ".join(f"w{number}" for number in range(1000)))) == MAX_WORDS
    assert prompt_terms("a" * 100) == (b"a" * MAX_BYTES,)
    assert prompt_terms("ж" * 100) == (("ж" * 20).encode(),)
    assert prompt_terms("д" + "\U0001d7d8" * 100)[0].decode().startswith("д0")


@pytest.mark.parametrize(
    ("q", "search"),
    [
        (None, Search()),
        ("   ", Search()),
        ("the of", Search()),
        ("!? % *", Search()),
        ('"', Search()),
        ('""', Search()),
        ("Red fox red", Search(words=(b"red", b"fox"))),
        ("fox*", Search(prefixes=(b"fox",))),
        ("the*", Search(prefixes=(b"the",))),
        ("light-hou*", Search(words=(b"light",), prefixes=(b"hou",))),
        ("*fox", Search(words=(b"fox",))),
        ('"the red" fox', Search(words=(b"red", b"fox"), phrases=("the red",))),
        ("“the red”", Search(words=(b"red",), phrases=("the red",))),
        ('fox "red', Search(words=(b"fox", b"red"))),
        ('"50%"', Search(words=(b"50",), phrases=("50%",))),
        ('"of the"', Search(phrases=("of the",))),
        ("狐", Search(words=("狐".encode(),))),
        ("狐狸犬*", Search(words=("狐狸".encode(), "狸犬".encode()))),
    ],
)
def test_what_a_search_asks_for(q: str | None, search: Search) -> None:
    assert Search.parse(q) == search


# Single searches


@pytest.mark.parametrize(
    "q",
    [
        "lighthouse",
        "DAWN light*",
        '"a lighthouse at"',
        "狐狸",
        "狸",
        "🦊",
        "cafe",
        "café",
        "מגדלור",
        "100",
        '"100%"',
    ],
)
async def test_a_prompt_is_found(searched: Searched, q: str) -> None:
    image = await searched.add(
        "a lighthouse at dawn, 狐狸 and 🦊 in a Café: מגדלור בשחר, 100% «it's» `_` \\ ; -- :name"
    )
    await searched.add("something else, 99 things")
    assert await searched.find(q) == [image]


async def test_a_search_without_a_word_finds_all_images(searched: Searched) -> None:
    images = [await searched.add(prompt) for prompt in ("the fox", "of", "!")]
    for q in ("the", "%", "*", "\\ ; -- ' :", '"'):
        assert await searched.find(q) == images[::-1]


async def test_the_longest_prompt_is_found_by_its_first_words(searched: Searched) -> None:
    words = [f"w{number}" for number in range(5000)]
    image = await searched.add(" ".join(words)[:32_000])
    other = await searched.add("🗼" * 32_000)
    assert await searched.find(words[0]) == await searched.find(words[MAX_WORDS - 1]) == [image]
    assert await searched.find(words[MAX_WORDS]) == []
    assert await searched.find("🗼") == [other]


async def test_a_search_may_have_as_many_words_as_a_prompt(searched: Searched) -> None:
    words = [f"w{number}" for number in range(4 * JOINED)]
    images = [await searched.add(" ".join(words)) for _ in range(5)]
    await searched.add(" ".join(words[:-1]))
    q = " ".join(words)
    assert await searched.find(q) == images[::-1]
    assert await searched.find(f'{q} "{words[0]} {words[1]}" w1*', caller=1) == images[::-1]
    await searched.add(" ".join(f"v{number}" for number in range(100)))
    assert len(await searched.find(" ".join(f"v{number}" for number in range(100)))) == 1


@SQL
async def test_a_prefix_stands_for_the_first_words_that_begin_so(searched: Searched) -> None:
    images = [await searched.add(f"item{number:02}") for number in range(MAX_TERMS + 2)]
    assert await searched.find("item*", limit=50) == images[:MAX_TERMS][::-1]
    assert await searched.find("item31*", limit=50) == [images[31]]


async def test_a_page_may_be_empty_and_have_a_next_one(searched: Searched) -> None:
    """Two words that never meet: a request looks at a part of their images."""
    if searched.database is None:
        pytest.skip("the fake looks at all images at once")
    for number in range(3 * WINDOWS[1]):
        await searched.add("red" if number % 2 else "blue")
    meeting = await searched.add("red blue", seconds=-1)
    page = await searched.images.search(limit=5, q="red blue")
    assert page.images == ()
    assert page.next_cursor is not None
    assert await searched.find("red blue") == [meeting]


def handled(transaction: Transaction) -> dict[str, int]:
    """What the server has read for this connection."""
    rows = transaction.all("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return {row["Variable_name"]: int(row["Value"]) for row in rows}


@pytest.mark.parametrize("searched", ["mysql", "mariadb"], indirect=True)
async def test_what_a_request_reads_is_bounded_with_all_that_it_counts(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that are in more images than a request looks at, and meet in all of them but for one of the words."""
    database = searched.database
    assert database is not None
    words, apart, images = [f"c{number:02}" for number in range(LOOKED_UP)], "d00", MOST_WINDOWS[1] + 2_000

    def add(transaction: Transaction) -> None:
        first = [
            {"term": words[0].encode(), "created_at": time_to_column(MOMENT + timedelta(seconds=at)), "image_id": at}
            for at in range(images)
        ]
        transaction.execute_many(ADD, first)
        for word in (*words[1:], apart):
            transaction.execute(
                "INSERT INTO image_terms (term, created_at, image_id) "
                "SELECT :term, created_at, image_id + :shift FROM image_terms WHERE term = :first",
                term=word.encode(),
                shift=images if word == apart else 0,
                first=words[0].encode(),
            )

    await database.transaction(add)
    search, read = database.search, Counter[str]()

    async def measured(work: Callable[[Transaction], Any]) -> Any:
        def reading(transaction: Transaction) -> Any:
            before = handled(transaction)
            result = work(transaction)
            read.update(handled(transaction))
            read.subtract(before)
            return result

        return await search(reading)

    monkeypatch.setattr(database, "search", measured)
    complete = SqlImageSearch(database)
    for q in (
        f"{words[0]} {apart}",
        " ".join([*words[1:], apart]),
        " ".join([*words, apart, *(f"e{number}" for number in range(80))]),
        f"c* {apart}*",
        f"c* c0* c1* {words[0]} {apart}",
        "c*",
    ):
        read.clear()
        page = await complete.page(Search.parse(q), limit=500)
        assert page.images == ()
        # Entries one after the other; then lookups. The other counters are for temporary tables.
        assert 5_000 < read["Handler_read_next"] + read["Handler_read_prev"] <= 20_000
        assert read["Handler_read_key"] <= (LOOKED_UP + 1) * MOST_WINDOWS[1]


@SQL
async def test_a_search_that_ends_at_the_words_of_a_removed_image_goes_on(searched: Searched) -> None:
    """A version without the search removes an image and leaves its words."""
    database = searched.database
    assert database is not None
    meeting = await searched.add("red blue", seconds=-1)
    images = [await searched.add("red") for _ in range(2 * WINDOWS[1])]
    for _ in range(2 * WINDOWS[1]):
        await searched.add("blue", seconds=-2)
    for image in images:
        await database.execute("DELETE FROM images WHERE guid = :guid", guid=str(image.guid))
    assert await searched.find("red blue") == await searched.find("red") == [meeting]


async def test_a_cursor_whose_image_is_gone_skips_nothing(searched: Searched) -> None:
    images = [await searched.add("fox", seconds=number // 3) for number in range(9)]
    for q in (None, "fox"):
        page = await searched.images.search(limit=4, q=q)
        assert page.images == tuple(images[::-1][:4])
        last = page.images[-1]
        await searched.images.mark_deleted(last.guid)
        await searched.images.delete(last.guid)
        images.remove(last)
        rest = await searched.images.search(limit=9, q=q, cursor=page.next_cursor)
        behind = [image for image in images if image.created_at <= last.created_at]
        assert list(rest.images) == behind[::-1]


async def test_a_deleted_image_is_found_no_more_and_its_words_are_removed(searched: Searched) -> None:
    kept, deleted = await searched.add("red fox 狐狸"), await searched.add("red fox 狐狸 " * 100)
    rows = 0 if searched.database is None else await searched.rows()
    await searched.images.mark_deleted(deleted.guid)
    for q in ("fox", "red fox", "fo*", '"red fox"', "狐"):
        assert await searched.find(q) == [kept]
    if searched.database is not None:
        assert await searched.rows() == rows / 2


async def test_the_list_of_a_caller(searched: Searched) -> None:
    images = [await searched.add("fox", caller=caller) for caller in (1, 2, 0, 1, 2, 0, 1)]
    for caller in (0, 1, 2):
        own = [image for image, whose in zip(images, (1, 2, 0, 1, 2, 0, 1), strict=True) if whose == caller]
        for q in (None, "fox", "the", '"o"'):
            expected = [] if q == '"o"' else own[::-1]
            assert await searched.find(q, limit=2, caller=caller) == expected
    assert await searched.find(None, caller=9) == await searched.find("fox", caller=9) == []


async def test_a_picture_that_turns_up_late_is_found(searched: Searched) -> None:
    generation = a_generation(api_key_id=5)
    images = tuple(an_image(generation, guid=generation.image_guid(number), prompt="late fox") for number in range(2))
    await searched.generations.add(generation, lease=30)
    await searched.generations.fail(generation, error={"type": "urn:pixyproxy:problem:generation-interrupted"})
    assert await searched.generations.succeed(generation, images=images, drawing=a_drawing())
    assert not await searched.generations.succeed(generation, images=images)
    assert await searched.find("late fox", caller=5) == [*images[::-1]]


@pytest.mark.parametrize("cursor", ["x", "", "bm90IGEgY3Vyc29y"])
async def test_a_forged_cursor_of_a_search_is_refused(searched: Searched, cursor: str) -> None:
    await searched.add("fox")
    with pytest.raises(InvalidRequestError):
        await searched.images.search(limit=2, cursor=cursor, q="fox")


# Records of a version without the search


def make_incomplete(searched: Searched, guid: UUID) -> Any:
    """As a version without the search has recorded it."""
    if isinstance(searched.completion, FakeImageCompletion):
        searched.completion.make_incomplete(guid)
        return None
    assert searched.database is not None

    def forget(transaction: Any) -> None:
        row = transaction.one("SELECT id FROM images WHERE guid = :guid", guid=str(guid))
        transaction.execute("UPDATE images SET api_key_id = NULL WHERE id = :id", id=row["id"])
        transaction.execute("DELETE FROM image_terms WHERE image_id = :id", id=row["id"])

    return searched.database.transaction(forget)


async def leave_incomplete(searched: Searched, *images: Image) -> None:
    for image in images:
        done = make_incomplete(searched, image.guid)
        if done is not None:
            await done


async def test_records_of_an_older_version_are_completed_in_batches_newest_first(searched: Searched) -> None:
    images = [await searched.add("fox", caller=3) for _ in range(5)]
    await leave_incomplete(searched, *images)
    assert await searched.find("fox") == await searched.find(None, caller=3) == []
    assert await searched.find(None) == images[::-1]
    assert await searched.completion.count(most=9) == 5
    assert await searched.completion.count(most=3) == 3
    assert await searched.completion.complete(limit=2) == 2
    assert await searched.find("fox", caller=3) == [images[4], images[3]]
    await searched.images.mark_deleted(images[0].guid)
    assert [await searched.completion.complete(limit=2) for _ in range(2)] == [2, 0]
    assert await searched.completion.count(most=9) == 0
    assert await searched.find("fox") == await searched.find(None, caller=3) == images[:0:-1]


async def test_the_search_is_made_anew_from_the_prompts(searched: Searched) -> None:
    images = [await searched.add(f"fox number {number}") for number in range(7)]
    await leave_incomplete(searched, images[2])
    deleted = await searched.add("a deleted fox")
    await searched.images.mark_deleted(deleted.guid)
    while await searched.completion.clear():
        pass
    assert await searched.find("fox") == []
    refilled = await searched.completion.refill(limit=3)
    assert (refilled.count, await searched.find("fox")) == (3, images[:3:-1])
    cursor, count = refilled.next_cursor, refilled.count
    while cursor is not None:
        refilled = await searched.completion.refill(limit=3, cursor=cursor)
        cursor, count = refilled.next_cursor, count + refilled.count
    assert count == 7
    assert await searched.find("fox", caller=1) == images[::-1]
    assert await searched.completion.count(most=9) == 0


@SQL
async def test_words_are_added_and_removed_by_the_guid_and_twice_is_as_good_as_once(searched: Searched) -> None:
    assert searched.database is not None
    image = await searched.add("red fox")
    search = SqlImageSearch(searched.database)
    facts = [SearchedImage(image.guid, image.prompt, image.created_at)]
    for _ in range(2):
        await searched.database.transaction(lambda transaction: search.remove(transaction, facts))
        assert (await searched.find("fox"), await searched.rows()) == ([], 0)
    for _ in range(2):
        await searched.database.transaction(lambda transaction: search.add(transaction, facts))
        assert (await searched.find("fox"), await searched.rows()) == ([image], 2)


@SQL
async def test_words_are_cleared_in_parts_whatever_there_are(searched: Searched) -> None:
    assert searched.database is not None
    completion = SqlImageCompletion(searched.database, search=SqlImageSearch(searched.database), cleared=4)
    for number in range(30):
        await searched.add(f"fox word{number} more{number % 3}")
    rows = await searched.rows()
    assert rows == 30 * 3
    parts = []
    while await completion.clear():
        parts.append(rows - await searched.rows())
        rows -= parts[-1]
    assert sum(parts) == 30 * 3
    assert max(parts) <= 5
