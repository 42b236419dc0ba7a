"""The words of results.json: contestants and cases, each written once."""

from collections.abc import Mapping
from dataclasses import dataclass

KB, MB = 1024, 1024 * 1024
SIZES = {"50 KB": 50 * KB, "1.5 MB": 1536 * KB, "4 MB": 4 * MB}
"""Bytes of the pictures; KB and MB are binary here: 1.5 MB are 2.1 MB (decimal) of base64."""
CONNECTIONS = (16, 64)

DIRECT = "SeaweedFS directly"
NGINX = "nginx"
USUAL = "the usual endpoint"
UNCACHED = "PixyProxy, not cached"
CACHED = "PixyProxy, cached"
MISSING = "PixyProxy, cache too small"

NGINX_CACHE = "nginx with its cache, before the bucket"
BEHIND = "PixyProxy behind its nginx"
ONE_WORKER, TWO_WORKERS = "one worker", "two workers"
WORKERS_CACHED, WORKERS_DRAWN = "50 KB cached, 64 connections", "200 generations at once"

OURS = "PixyProxy"
SILENT = "PixyProxy without its log"
BARE = "bare FastAPI endpoint"
PLAIN = "plain Starlette route"
LITELLM = "LiteLLM"

CONNECT = "a new connection to MySQL"
OWN_CONTEXT = "a TLS context of its own"
SHARED_CONTEXT = "the shared TLS context"
NO_TLS = "without TLS"

FIRST_PAGE = "page 1"
LATE_PAGE = "page 10,000"
COLD_DETAILS = "details, every guid another"
WARM_DETAILS = "details, always the same"

LIKE, FULLTEXT = "LIKE", "FULLTEXT"
OURS_ON_MYSQL = "PixyProxy on MySQL, a quarter of the rows"
MIDDLE = "the middle"
"""Stands for the cursor of the image in the middle."""


@dataclass(frozen=True)
class SearchCase:
    """A search in our dialect, whether it finds anything, and the same for the alternatives.

    `fulltext` None: MariaDB takes minutes for it, and cannot be interrupted.
    """

    query: Mapping[str, str]
    like: tuple[str, ...]
    fulltext: str | None
    finds: bool = True


NEVER_MEET, PHRASE = "two words of 50 % that never meet", "a phrase of two words of 50 % that no prompt has"
SEARCHES = {
    "a word of 0.02 %": SearchCase({"q": "zeppelin"}, ("zeppelin",), "+zeppelin"),
    "a word of 50 %": SearchCase({"q": "amber"}, ("amber",), "+amber"),
    "two words of 50 %": SearchCase({"q": "amber bright"}, ("amber", "bright"), "+amber +bright"),
    "a word of 50 % and one of 0.02 %": SearchCase({"q": "amber zeppelin"}, ("amber", "zeppelin"), "+amber +zeppelin"),
    "a word that is nowhere": SearchCase({"q": "dirigible"}, ("dirigible",), "+dirigible", finds=False),
    "a word of 50 %, a page in the middle": SearchCase({"q": "amber", "cursor": MIDDLE}, ("amber",), "+amber"),
    "狐狸 (1 %)": SearchCase({"q": "狐狸"}, ("狐狸",), "+狐狸"),
    "a prefix of 7 words (3.5 %)": SearchCase({"q": "astron*"}, ("astron",), "+astron*"),
    "a prefix and a word of 50 %": SearchCase({"q": "astron* amber"}, ("astron", "amber"), "+astron* +amber"),
    NEVER_MEET: SearchCase({"q": "amber azure"}, ("amber", "azure"), "+amber +azure", finds=False),
    PHRASE: SearchCase({"q": '"bright amber"'}, ("bright amber",), None, finds=False),
}
COMMIT = "the records of a generation"
WITH_WORDS, WITHOUT_WORDS = "with its 31 words", "without words"

RUNNING = {"1 × 2 s": (1, 2.0), "32 × 2 s": (32, 2.0), "200 × 20 s": (200, 20.0), "1,000 × 20 s": (1000, 20.0)}
"""Generations running at once, and the upstream's seconds for each."""
BURSTS = {
    "burst of 200": (200, None),
    "burst of 1,000": (1000, None),
    "burst of 200, all admitted": (200, 200),
}
"""Generations that arrive in the same moment, and PIXYPROXY_MAX_GENERATIONS if not its default."""
EDITS = {"32 edits of 4 × 10 MB, forms": "form", "32 edits of 4 × 10 MB, JSON": "json"}
STREAMS = "100 streams, half of them read slowly"
BASE = "PixyProxy at the base"
SQLITE, MARIADB, MYSQL = "SQLite", "MariaDB", "MySQL"
DATABASES = (SQLITE, MARIADB)
"""Over which two commits are compared; the pictures are in a folder."""
A_304, A_LIST = "a 304", "a list of 50"
A_YEAR, A_MONTH = "a year by month and key", "the present month by key"
USAGES = (A_YEAR, A_MONTH)
FIRST_ASKED = "the first question"
FIRST_VIEW = "first view, 1440 × 900"
WHOLE_GALLERY = "500 pictures scrolled through"
MANY_TILES, MANY_DAYS = "10,000 tiles of a day", "10,000 tiles of 100 days"
THUMBNAILS = {"PNG of 1024 × 1024": (1024, 1024, 3), "PNG of 3840 × 2160": (3840, 2160, 1)}
"""Width, height and bits of noise of the pictures whose thumbnails are made."""
SLOW = {"200 readers of 8 objects": 8, "200 readers of 64 objects": 64}


FRONT = {f"{size}, {count} connections": (size, count) for size in ("50 KB", "1.5 MB") for count in CONNECTIONS}
"""Size and connections of what is asked of a cache in front."""


def content_case(size: str, connections: int) -> str:
    """The case of a content measurement."""
    return f"{size}, {connections} connections"


def content_cases(size: str) -> tuple[str, ...]:
    """All cases of a size."""
    return tuple(content_case(size, each) for each in CONNECTIONS)


def connection_cases() -> tuple[str, ...]:
    """The cases of what has no size."""
    return tuple(f"{each} connections" for each in CONNECTIONS)


def drawn_over(database: str) -> str:
    """The case of generations of two commits."""
    return f"a generation, {database}"


def usage_over(case: str, database: str) -> str:
    """The case of a question for the usage."""
    return f"{case}, {database}"
