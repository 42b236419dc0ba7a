"""uvicorn, set up for us: our log, our headers, and an answer of ours to what is not even HTTP."""

import json
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixyproxy.core.exceptions import HeaderTooLargeError, MalformedRequestError, PixyProxyException
from pixyproxy.web.request_log import RequestRecord, current, log_end, log_start, request_ids

KEEP_ALIVE = 75
"""Seconds; longer than what common proxies keep an idle connection, so that they close it first."""
MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
UPGRADE_HEADERS = (b"connection", b"upgrade", b"http2-settings")


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also bounds the head, and answers with problems what never becomes a request."""

    _head_bytes = 0
    _in_head = False

    def data_received(self, data: bytes) -> None:
        """Called with what has arrived."""
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(rest=data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The bytes sent are no HTTP request.")
        else:
            if self._in_head and self._head_bytes > MAX_HEAD:
                self._refuse(HeaderTooLargeError(f"A request's line and headers may have {MAX_HEAD} bytes."))

    def on_message_begin(self) -> None:
        """Called at a request's first byte."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called at the end of a request's head. One that asks for an upgrade is read again without."""
        self._in_head = False
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _ignore_upgrade(self, *, rest: bytes) -> None:
        """Serve the request as HTTP/1.1 (RFC 9110, section 7.8); Java's client asks for h2c in every first one."""
        head = self.parser.get_method() + b" " + self.url + b" HTTP/1.1\r\n"
        for name, value in self.headers:
            if name not in UPGRADE_HEADERS:
                head += name + b": " + value + b"\r\n"
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(head + b"\r\n" + rest)

    def send_400_response(self, msg: str) -> None:
        """Called when parsing fails."""
        self._refuse(MalformedRequestError(msg))

    def _refuse(self, error: PixyProxyException) -> None:
        record = RequestRecord(request_id=request_ids().new(), method="-", path="-")
        token = current.set(record)
        log_start(record)
        body = json.dumps(error.document(request_id=record.request_id)).encode()
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {record.request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        record.facts["problem"] = error.name
        log_end(record, status=error.status, milliseconds=0.0, size=len(body))
        current.reset(token)


def serve(application: str, *, host: str, port: int, workers: int, patience: int, log_config: dict[str, Any]) -> None:
    """Serve the application that the named factory makes, in `workers` processes, until SIGTERM or SIGINT.

    `patience`: seconds that running requests have to end after that.
    """
    uvicorn.run(
        application,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=log_config,
        access_log=False,
        server_header=False,
        http=Protocol,
        ws="none",
        loop="uvloop",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=patience,
    )


def serve_plain(application: ASGIApp, *, host: str, port: int, log_config: dict[str, Any]) -> None:
    """Serve another ASGI application, in this process."""
    uvicorn.run(application, host=host, port=port, log_config=log_config, access_log=False, ws="none")
