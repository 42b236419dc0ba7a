"""A small S3 server with a bucket of one region. Like AWS it refuses a request that is signed for another one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class RegionalS3:
    """What the server holds, and what it was asked: method, host, path. `says`: how it refuses a signed URL."""

    region: str
    says: str
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    endpoint: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers HeadBucket and the requests for one object. The path of an object is its key here."""

    protocol_version = "HTTP/1.1"
    s3: RegionalS3

    def log_message(self, *_: object) -> None:
        """The requests are in `RegionalS3.requests`."""

    def answer(self, status: int, body: bytes = b"") -> None:
        """An answer, which says the bucket's region as each one of S3 does."""
        self.send_response(status)
        self.send_header("x-amz-bucket-region", self.s3.region)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        """An error document, which names the region."""
        self.answer(status, f"<Error><Code>{code}</Code><Region>{self.s3.region}</Region></Error>".encode())

    def handle_any(self) -> None:
        """One request."""
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.s3.requests.append((self.command, url.netloc or self.headers["Host"], url.path))
        in_url = "".join(parse_qs(url.query).get("X-Amz-Credential", []))
        scope = in_url or unquote(self.headers.get("Authorization", ""))
        signed_for = re.search(r"/\d{8}/([a-z0-9-]+)/s3/aws4_request", scope)
        if signed_for is None or signed_for[1] != self.s3.region:
            self.refuse(400, self.s3.says if in_url else "AuthorizationHeaderMalformed")
        elif self.command == "PUT":
            self.s3.objects[url.path] = sent
            self.answer(200)
        elif not url.path.endswith((".png", "-probe")) or url.path in self.s3.objects:
            self.answer(200, self.s3.objects.get(url.path, b""))
        else:
            self.refuse(404, "NoSuchKey")

    do_GET = do_HEAD = do_PUT = handle_any  # noqa: N815 -- the names that http.server calls


@contextmanager
def s3_of_a_region(region: str, *, says: str = "AuthorizationQueryParametersError") -> Iterator[RegionalS3]:
    """A server whose one bucket is in this region."""
    s3 = RegionalS3(region, says=says)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("RegionalHandler", (Handler,), {"s3": s3}))
    s3.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield s3
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
