"""Runs uvicorn, set up for us."""

import logging.config
import resource
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from socket import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pixyproxy.core import limits
from pixyproxy.web.server.accepting import Loads
from pixyproxy.web.server.client import FLUSH_PATIENCE
from pixyproxy.web.server.draining import DrainingServer
from pixyproxy.web.server.protocol import HttpProtocol
from pixyproxy.web.server.workers import Workers

KEEP_ALIVE = limits.KEEP_ALIVE
"""Seconds; longer than what common proxies keep an idle connection, so that they close it first."""
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
    application: str,
    *,
    sockets: Sequence[socket],
    workers: int,
    drain_delay: float,
    max_connections: int,
    log_config: dict[str, Any],
) -> None:
    """Serve the application that the named factory makes on the sockets, in `workers` processes, until a signal.

    They drain as `DrainingServer` describes; then clients have `FLUSH_PATIENCE` seconds to take their answers.
    `SystemExit` if the application cannot start.
    """
    allow_open_files()
    serve_on = partial(
        _serve_on,
        application=application,
        drain_delay=drain_delay,
        max_connections=max_connections,
        log_config=log_config,
    )
    if workers == 1:
        with suppress(KeyboardInterrupt):
            serve_on(sockets, Loads(1), 0)
    else:
        logging.config.dictConfig(log_config)
        Workers(serve_on, list(sockets), number=workers).run()


def _serve_on(
    sockets: Sequence[socket],
    loads: Loads,
    process: int,
    *,
    application: str,
    drain_delay: float,
    max_connections: int,
    log_config: dict[str, Any],
) -> None:
    config = uvicorn.Config(
        application,
        factory=True,
        log_config=log_config,
        access_log=False,
        server_header=False,
        http=HttpProtocol,
        ws="none",
        loop="uvloop",
        workers=1,
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=max_connections,  # HttpProtocol applies it to connections
        timeout_graceful_shutdown=FLUSH_PATIENCE,
    )
    server = DrainingServer(config, sockets=sockets, drain_delay=drain_delay, loads=loads, process=process)
    server.run()


def serve_plain(application: ASGIApp, *, sockets: Sequence[socket], log_config: dict[str, Any]) -> None:
    """Serve another ASGI application, in this process."""
    config = uvicorn.Config(application, log_config=log_config, access_log=False, ws="none")
    uvicorn.Server(config).run(sockets=list(sockets))
