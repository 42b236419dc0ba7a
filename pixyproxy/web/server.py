"""uvicorn, set up for us: our log, our headers, and an answer of ours to what is not even HTTP."""

import json
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixyproxy.core.exceptions import MalformedRequestError
from pixyproxy.web.request_log import RequestIds, RequestRecord, current, log_end, log_start

KEEP_ALIVE = 75
"""Seconds; longer than what common proxies keep an idle connection, so that they close it first."""


class Protocol(HttpToolsProtocol):
    """Answers bytes that are no HTTP request with a problem and a request-id, and logs them."""

    ids = RequestIds()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when parsing fails; closes the connection."""
        record = RequestRecord(request_id=self.ids.new(), method="-", path="-")
        token = current.set(record)
        log_start(record)
        error = MalformedRequestError(f"The bytes sent are no HTTP request: {msg}")
        problem = {
            "type": error.type,
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "instance": f"urn:pixyproxy:request:{record.request_id}",
            "request_id": record.request_id,
        }
        body = json.dumps(problem).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
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


def serve(application: str, *, host: str, port: int, workers: int, log_config: dict[str, Any]) -> None:
    """Serve the application that the named factory makes, in `workers` processes, until SIGTERM or SIGINT."""
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
    )


def serve_plain(application: ASGIApp, *, host: str, port: int, log_config: dict[str, Any]) -> None:
    """Serve another ASGI application, in this process."""
    uvicorn.run(application, host=host, port=port, log_config=log_config, access_log=False, ws="none")
