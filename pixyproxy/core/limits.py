"""The times and sizes that bound requests, generations and their parts, in one table; the settings have the others.

Times are in seconds. The limits of database and storage are classes: `bootstrap` passes the present ones to the
adapters, a test may pass others. The rest are constants. `seconds_to_end` adds up what an ending process may need;
tests/test_deploy.py compares it with the compose file and the docs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatabaseLimits:
    """Connections to the database, and how long each step may take.

    A database that accepts a connection and never answers costs one read timeout for the ping of a pooled connection
    and one for the handshake of its successor: the 503 comes within `2 * read + 3` s.
    """

    readers: int = 10
    searchers: int = 4
    writers: int = 10
    """Pooled connections of one process by their use, and the threads that use them."""
    connect: int = 3
    read: int = 5
    write: int = 5
    statement: int = 4
    """After which the server ends a statement of a reader or a searcher, and SQLite a searcher's."""
    row_lock_wait: int = 2
    """For a row lock, before the transaction of a writer is run again; less than `read`."""
    file_lock_wait: float = 5
    """For the lock of SQLite's file."""
    attempts: int = 3
    """How often a transaction is run that ends in a deadlock or a lock wait."""
    migration_wait: int = 300
    """While another process migrates."""
    read_wait: float = 3.0
    """For a free connection and its thread."""
    reserve_wait: float = 5.0
    """The same for a reservation: a thousand that come at once have one each in less."""
    record_wait: float = 60.0
    """The same for the record of what was paid for."""


@dataclass(frozen=True)
class S3Limits:
    """Connections to the bucket, how long a server may send nothing, and how often it is asked."""

    connections: int = 32
    """Pooled connections of one process for readers, and as many for writers, and the threads that use them."""
    connect: int = 3
    put: int = 20
    put_attempts: int = 3
    """A picture that was paid for is worth waiting for. The first attempt is our own, the others are boto3's."""
    read: float = 6
    read_attempts: int = 2
    """A reader gets its error within some 15 s if the storage hangs."""
    probe: float = 3
    """One attempt."""
    read_wait: float = 3.0
    """For a free thread."""
    put_wait: float = 100.0
    """The same for a picture that was paid for: one round of puts that use all their attempts."""


@dataclass(frozen=True)
class FolderLimits:
    """Folders of this machine: how long work waits for a free thread."""

    read_wait: float = 3.0
    put_wait: float = 60.0
    """A picture, for a storage that is a folder."""
    park_wait: float = 60.0
    """A picture, for the parking folder."""
    upload_wait: float = 10.0
    """A piece of an upload."""
    reserve: int = 16 * 1024 * 1024
    """Bytes of the disk that are reserved for parking: some pictures of common sizes."""


DATABASE = DatabaseLimits()
S3 = S3Limits()
FOLDERS = FolderLimits()

# The upstream
UPSTREAM_CONNECT = 5.0

# Generations
PROBE_DEADLINE = 5.0
FINISH_SLOT_WAIT = 30.0
FINISH_SLOT_USE = 5.0
LAST_PUT = 10.0
DELETION_WAIT = 2.5
ANSWERED_WITHIN = 30.0
"""From the end of a generation to its answer. If nobody recorded the answer until then, a retry may adopt it."""

# Clients
HEAD_WAIT = 30.0
CLIENT_WAIT = 60.0
"""For a body, and for a client that reads nothing."""
SKIP_WAIT = 10.0
"""For the rest of a body that is refused."""
UPLOAD_GRACE = 30.0
UPLOAD_RATE = 16 * 1024
"""Bytes a second: the lowest average of a body with uploads after `UPLOAD_GRACE`."""
FLUSH_WAIT = 60
LINGER = 2.0
KEEP_ALIVE = 75
STREAM_KEEP_ALIVE = 15.0
"""Longest silence of a stream of events; then a comment is sent. Common proxies close a connection after 60 s of
silence."""

# Sizes, in bytes where nothing else is said
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
MAX_ALL_HEADS = 16 * 1024 * 1024
"""Heads of all connections of a process that are incomplete or wait for their answer."""
MAX_PIPELINED = 8
MAX_WAITING_TURN = 1024
"""Requests other than GET that have arrived and wait for their turn to begin."""
MAX_BODY = 1024 * 1024
MAX_LOG_IN = 16 * 1024
"""Of the body that logs in: a code, or a key."""
MAX_NAME = 4096
"""Of an image: a guid, or a URL."""
MAX_PARTS = 100
"""Of a form."""
MAX_PROMPT = 32_000
"""Characters, after trimming: the limit of the OpenAI Images API."""
MAX_IMAGES = 10
MAX_PARTIALS = 3
"""Unfinished pictures of one request: the limit of the OpenAI Images API."""
MAX_PICTURE = 64 * 1024 * 1024
MAX_INPUTS = 16
"""Images that one request edits, besides mask and markup."""
MAX_INPUT = 50 * 1024 * 1024
MAX_MASK = 4 * 1024 * 1024
MAX_INPUT_PIXELS = 80_000_000
"""Decoded, such a picture takes 320 MB. Pillow warns of pictures over 89 megapixels."""
MAX_EDIT_BODY = (MAX_INPUTS + 1) * MAX_INPUT + MAX_MASK + MAX_BODY
"""All images, markup, mask, and the texts."""
MAX_EDIT_JSON = MAX_EDIT_BODY * 4 // 3
"""The same as JSON, in which base64 needs four characters for three bytes."""
MAX_SKIPPED = 64 * 1024 * 1024
"""Of a body that is refused."""
MAX_DISCARDED = 32 * 1024 * 1024
"""Of a body whose answer came before it was read, for instance a 401."""
MAX_ANSWER = 100 * 1024 * 1024
"""Of the upstream, for each picture that was asked for."""
MAX_LOG_WAITING = 1024 * 1024


def seconds_to_end(
    *,
    drain_delay: float,
    deadline: float,
    database: DatabaseLimits = DATABASE,
    bucket: S3Limits = S3,
    folders: FolderLimits = FOLDERS,
) -> float:
    """The longest time that a process needs after SIGTERM, without the server's wait for first requests.

    A generation may begin when the drain delay ends. It is reserved, the storage is probed, it has its whole deadline,
    and waits for a finish slot. In the worst case one put fails, then parking in the database, then the picture is
    written to the folder. Clients have time to take their answers. The reconciler ends last: a put that it has begun is
    not abandoned.
    """
    transaction = database.attempts * (2 * database.read + database.connect)
    reserving = database.reserve_wait + transaction
    drawing = PROBE_DEADLINE + deadline + FINISH_SLOT_WAIT
    keeping = LAST_PUT + database.record_wait + transaction + folders.park_wait
    reconciling = bucket.put_attempts * (bucket.put + bucket.connect)
    return drain_delay + reserving + drawing + keeping + FLUSH_WAIT + reconciling
