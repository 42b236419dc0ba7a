"""The words of RESULTS.md: the title of each part, and what was measured there."""

TITLES = {
    "content": "Content",
    "front": "A cache in front",
    "workers": "Workers",
    "counts": "Counts",
    "not_modified": "304",
    "lists": "Lists",
    "search": "Search",
    "generation": "Generation",
    "against": "Beside an earlier commit",
    "ledger": "Ledger",
    "edits": "Edits",
    "streams": "Streams",
    "slow_readers": "Slow readers",
    "connects": "Connects",
    "thumbnails": "Thumbnails",
    "page": "Page",
}
WORDS = {
    "content": """
wrk (one thread) requests several pictures of one size in turn. The contestants are SeaweedFS itself (a presigned URL),
nginx as its reverse proxy, the usual endpoint (`def`, boto3, chunks of 64 KB, the same uvicorn), and PixyProxy without
and with its content cache. Each has one process or worker. «Cache too small»: the default cache and 96 pictures of
1.5 MB in turn, so every request is a miss. CPU is that of the serving process and its children. nginx has {nginx}.
Before each load every path of every contestant was checked; one wrong answer or socket error fails the run.
""",
    "front": """
Pictures that nginx has on its disk. `deploy/nginx.conf` (without its limits by client address) before PixyProxy,
beside an nginx that keeps the same pictures of the bucket for an hour. Both have one worker and write an access log.
CPU is that of nginx and of PixyProxy together: every 30 s PixyProxy is asked whether a picture still exists.
""",
    "workers": """
`--workers 2` beside one worker, over the same store. Cached pictures under full load by wrk; and generations that
arrive at the same moment, all admitted, with an upstream of 0.2 s: how many a second until the last answer. CPU is
that of all workers.
""",
    "counts": """
What a GET costs the database and the storage: SQL statements that mention the table of images (MariaDB's general log),
and requests that reach SeaweedFS (a proxy in between counts them). They must be exact in every round.
""",
    "not_modified": """
`If-None-Match` with the current ETag. The contestants are a bare FastAPI endpoint (`async def`, an empty `Response`, no
middleware, no log) and a plain Starlette route behind the same server. The target is for PixyProxy with its request log
on: two lines a request into a file.
""",
    "lists": """
1,000,000 images and their generations in MariaDB, with InnoDB's defaults except a buffer pool of 1 GiB and
`innodb_flush_log_at_trx_commit=2`. Pages of 50; page 10,000 by its cursor; 8 connections.
""",
    "search": """
1,000,000 images in MariaDB and 250,000 in MySQL, with a buffer pool of 1 GiB; a prompt has 24 words. A page of 50, one
request at a time, over HTTP, a new connection for each. LIKE is the statement that PixyProxy used before, FULLTEXT the
index of MariaDB: both as statements alone, without HTTP, on the same rows, each once a round. A dash: it finds nothing
although the word is there, or takes minutes. A search for two words that never meet looks at 20,000 images a request,
and its page is empty. The CPU of the records of a generation is that of this process, with the words and without.
""",
    "generation": """
Pictures of 1.5 MB (2.1 MB of JSON) come from an upstream stub with a fixed delay. PixyProxy uses MariaDB and SeaweedFS.
LiteLLM's proxy has one worker and stores nothing. «32 × 2 s»: arrivals are spread evenly over the delay, so that 32 run
at the same time. Both get the same moments, and a quarter more requests than run at the same time (6 and 96 in the
small cases). Added latency is the time to the complete answer minus the delay. Memory is the maximum minus the memory
after a warm-up; the largest case has a fresh process. The large cases also get 20 GETs a second. PixyProxy answers
details and a content of 50 KB, LiteLLM `/health/liveliness`; both pay for these in their CPU, too. After each case the
rows and the objects were counted. A burst is as many requests at the same moment, at 2 s, with 50 GETs a second.
""",
    "against": """
PixyProxy and the same at the commit {base}, with the same libraries, side by side in the same minutes: their turns
alternate within each round. Pictures of 1.5 MB come from an upstream stub without delay, one generation after the other
on one connection, and go into a folder. Where a version has a ledger, the model has a price, and a budget each for the
day and the month of everybody and the month of the key must have room. A 304 and a page of the list with wrk and 8
connections. «More» is the median of the rounds' differences.
""",
    "ledger": """
`GET /usage` over 1,000,000 generations of 366 days, 20 keys and 3 models, one request at a time, over HTTP, a new
connection for each. Every day has equally many, today too, which are read at each question. One in 10,000 was
interrupted and is read each time, one in 50 failed. The first question is asked again until all days were added up;
before that the sums are compared with what was inserted. MariaDB and MySQL have a buffer pool of 1 GiB.
""",
    "connects": """
What a new connection to MySQL with TLS costs the process: the context that connections with the same options share,
against one for each, which is what PyMySQL makes. In both the statements count that PixyProxy sends first.
""",
    "page": """
Debian's Chromium shows the page to somebody who has logged in, in a window of 1440 × 900 with one device pixel for each
CSS pixel. 500 images of three shapes have PNGs of 1.5 to 2.3 MB, and their thumbnails were made before. The first view
ends when the network is idle. Bytes are those on the wire. Layout shift is Chromium's sum, without what follows an
input within half a second. The 10,000 tiles have no pictures: each is answered with the same small one.
""",
    "thumbnails": """
Thumbnails are made one after the other, each of an image that never had one, without the content cache. The pictures
are soft colours with some detail under noise. CPU is that of the process and its worker. Then the same happens beside
other requests: details and a content of 50 KB, 50 times a second each. Nothing else runs in the process, so their
latency shows how long its event loop was busy. «Lighter» is the bytes of the picture divided by those of the thumbnail.
""",
    "edits": """
32 clients send an edit with 4 images of 10 MB each at the same moment, as a form or as JSON with base64. A demo
upstream in a process of its own draws. `PIXYPROXY_UPLOAD_MB` is 2048. Other clients request details and a content of
50 KB, 10 times a second each. Memory is the maximum minus the memory after one small edit; uploads are on the disk.
""",
    "streams": """
100 clients begin a stream at the same moment. The upstream stub sends 3 partial images of 300 KB and a picture of
1.5 MB, evenly spread over 8 s; in base64 a stream has 3.3 MB. Half of the clients take 100 KB/s (a receive buffer of
64 KB). Other clients request details and a content of 50 KB, 10 times a second each. Memory is the maximum minus the
memory after two streams. Its bound: the picture and the newest partial image of each stream, and 64 MB.
""",
    "slow_readers": """
200 clients read a content of 4 MB each with 100 KB/s (a receive buffer of 64 KB). Other clients request details and a
content of 50 KB, 10 times a second each. No bound was given for these; the report uses that of the generations.
""",
}
