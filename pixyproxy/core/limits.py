"""The times and sizes that bound requests, generations and their parts, in one table; the settings have the others.

Times are in seconds. The modules that use a limit give it a name there. `seconds_to_end` adds up what an ending process
may need; tests/test_deploy.py compares it with the compose file and the docs.
"""

# Waiting for a free thread or connection of an adapter
READ_WAIT = 3.0
RESERVE_WAIT = 5.0
"""A reservation: of a thousand that come at once each has a connection in less."""
RECORD_WAIT = 60.0
"""The record of what was paid for, and a picture for a storage that is a folder."""
FOLDER_WAIT = 60.0
"""A picture for the parking folder."""
UPLOAD_WAIT = 10.0
"""A piece of an upload, for the disk."""
PUT_WAIT = 100.0
"""A picture for a bucket: one round of puts that use all their attempts."""

# The database
DATABASE_CONNECT = 3
DATABASE_READ = 5
DATABASE_WRITE = 5
STATEMENT = 4
ROW_LOCK_WAIT = 2
TRANSACTION_ATTEMPTS = 3

# The bucket
S3_CONNECT = 3
S3_PUT_READ, S3_PUT_ATTEMPTS = 20, 3
S3_READ, S3_READ_ATTEMPTS = 6, 2
S3_PROBE_READ, S3_PROBE_ATTEMPTS = 3, 1

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
"""For a body, and for a client that takes nothing."""
SKIP_WAIT = 10.0
"""For the rest of a body that is refused."""
UPLOAD_GRACE = 30.0
UPLOAD_RATE = 16 * 1024
"""Bytes a second that a body with uploads has at least on average, once `UPLOAD_GRACE` is over."""
FLUSH_WAIT = 60
LINGER = 2.0
KEEP_ALIVE = 75
STREAM_KEEP_ALIVE = 15.0
"""A stream of events says at least so often that it lives: common proxies cut off who says nothing for 60 s."""

# Sizes, in bytes where nothing else is said
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
MAX_ALL_HEADS = 16 * 1024 * 1024
"""Heads of all connections of a process that have not arrived whole, or wait to be answered."""
MAX_PIPELINED = 8
MAX_BODY = 1024 * 1024
MAX_NAME = 4096
"""Of an image: a guid, or a URL."""
MAX_PARTS = 100
"""Of a form."""
MAX_PROMPT = 32_000
"""Characters, after trimming: the limit of the OpenAI Images API."""
MAX_IMAGES = 10
MAX_PICTURE = 64 * 1024 * 1024
MAX_INPUTS = 16
"""Images that one request edits, besides mask and markup."""
MAX_INPUT = 50 * 1024 * 1024
MAX_MASK = 4 * 1024 * 1024
MAX_INPUT_PIXELS = 80_000_000
"""Decoded it has 320 MB. Pillow warns of pictures over 89 megapixels."""
MAX_EDIT_BODY = (MAX_INPUTS + 1) * MAX_INPUT + MAX_MASK + MAX_BODY
"""All images, markup, mask, and the texts."""
MAX_EDIT_JSON = MAX_EDIT_BODY * 4 // 3
"""The same as JSON, in which base64 needs four characters for three bytes."""
MAX_SKIPPED = 64 * 1024 * 1024
"""Of a body that is refused."""
MAX_ANSWER = 100 * 1024 * 1024
"""Of the upstream, for each picture that was asked for."""
MAX_LOG_WAITING = 1024 * 1024
PARKING_RESERVE = 16 * 1024 * 1024


def seconds_to_end(*, drain_delay: float, deadline: float) -> float:
    """The longest that a process needs from SIGTERM on, but for the server's wait for first requests.

    A generation may begin when the drain delay ends. It is reserved, the storage is probed, it has its whole deadline,
    and waits for a finish slot. In the worst case one put fails, then parking in the database, then the picture is
    written to the folder. Clients have time to take their answers. At last the reconciler ends: a put that it has begun
    is not abandoned.
    """
    transaction = TRANSACTION_ATTEMPTS * (2 * DATABASE_READ + DATABASE_CONNECT)
    reserving = RESERVE_WAIT + transaction
    drawing = PROBE_DEADLINE + deadline + FINISH_SLOT_WAIT
    keeping = LAST_PUT + RECORD_WAIT + transaction + FOLDER_WAIT
    reconciling = S3_PUT_ATTEMPTS * (S3_PUT_READ + S3_CONNECT)
    return drain_delay + reserving + drawing + keeping + FLUSH_WAIT + reconciling
