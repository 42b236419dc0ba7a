"""Runs uvicorn, set up for us."""

import resource
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pixyproxy.web.server.client import FLUSH_PATIENCE
from pixyproxy.web.server.protocol import HttpProtocol

KEEP_ALIVE = 75
"""Seconds; longer than what common proxies keep an idle connection, so that they close it first."""
WORKER_PATIENCE = 60
"""Seconds for which a worker may be frozen before the parent process kills it, with the pictures in its memory."""
OPEN_FILES = 65_536


def allow_open_files() -> None:
    """Let this process, and its workers, have `OPEN_FILES` at once if the system agrees.

    A client takes one, and what is read or drawn for it another; a soft limit of 1024 is usual.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(
    application: str, *, host: str, port: int, workers: int, max_connections: int, log_config: dict[str, Any]
) -> None:
    """Serve the application that the named factory makes, in `workers` processes, until SIGTERM or SIGINT.

    Every running generation ends before that; then clients have `FLUSH_PATIENCE` seconds to take their answers.
    """
    allow_open_files()
    uvicorn.run(
        application,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=log_config,
        access_log=False,
        server_header=False,
        http=HttpProtocol,
        ws="none",
        loop="uvloop",
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=max_connections,  # HttpProtocol applies it to connections
        timeout_graceful_shutdown=FLUSH_PATIENCE,
        timeout_worker_healthcheck=WORKER_PATIENCE,
    )


def serve_plain(application: ASGIApp, *, host: str, port: int, log_config: dict[str, Any]) -> None:
    """Serve another ASGI application, in this process."""
    uvicorn.run(application, host=host, port=port, log_config=log_config, access_log=False, ws="none")
