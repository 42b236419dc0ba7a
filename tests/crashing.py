"""A `pixyproxy serve` that is killed at one arrow of the life of a generation.

It is built by bootstrap like the product, from the same settings, with failpoints put around its adapters. At "drawing"
the test kills it, when the upstream has the request.
"""

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from sqlalchemy import Connection, Engine, event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixyproxy.bootstrap.adapters import Adapters, open_adapters, open_generator
from pixyproxy.bootstrap.services import build_services
from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.core.protocols import ImageGenerator
from pixyproxy.settings import read_settings
from pixyproxy.web.app import create_app
from pixyproxy.web.server.protocol import HttpProtocol
from tests.command import enter


def die() -> None:
    """End this process as a power failure would."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)  # SIGKILL ends the whole process, but not in this very instruction


class Failpoint:
    """An adapter one verb of which kills the process at the call of that number, before or after it did its work, or
    instead.
    """

    def __init__(self, adapter: Any, verb: str, *, when: str, call: int = 1) -> None:
        self._adapter = adapter
        self._verb = verb
        self._when = when
        self._calls_left = call

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._adapter, name)
        if name != self._verb:
            return work

        async def killed(*arguments: Any, **options: Any) -> Any:
            self._calls_left -= 1
            if self._calls_left > 0:
                return await work(*arguments, **options)
            if self._when == "before":
                die()
            if self._when == "half":
                limit_files(arguments[1])
            result = await work(*arguments, **options)
            die()
            return result

        return killed


def limit_files(data: bytes) -> None:
    """Have the system kill this process in the middle of writing these bytes into a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, len(data) // 2))


class StorageThatTakesNothing:
    """A storage that answers probes, and puts with 503."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
        raise StorageUnavailableError("Told so.")


def die_in_the_commit_of(statement: str) -> None:
    """Kill the process when a transaction that ran this statement is about to be committed."""
    seen: set[int] = set()

    def executed(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        if statement in " ".join(sql.split()):
            seen.add(id(connection.connection.dbapi_connection))

    def committing(connection: Connection) -> None:
        if id(connection.connection.dbapi_connection) in seen:
            die()

    event.listen(Engine, "after_cursor_execute", executed)
    event.listen(Engine, "commit", committing)


def die_in_the_upload(endpoint: str) -> str:
    """The address of a proxy before an S3 server, which kills this process when it has passed on half of a PUT."""
    there = urlsplit(endpoint)
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket, *, counts: bool) -> None:
        passed = 0
        while data := source.recv(4096):
            sink.sendall(data)
            passed = passed + len(data) if counts and (passed or data.startswith(b"PUT ")) else 0
            if passed > 20_000:
                die()

    def serve() -> None:
        while True:
            here, _ = listener.accept()
            server = socket.create_connection((there.hostname, there.port or 80))
            threading.Thread(target=copy, args=(here, server), kwargs={"counts": True}, daemon=True).start()
            threading.Thread(target=copy, args=(server, here), kwargs={"counts": False}, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


class KilledBeforeItAnswers:
    """The application, killed when the answer to a POST is ready, or the last event of a stream."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            begins = message["type"] == "http.response.start" and scope["method"] == "POST"
            if begins and not dict(message["headers"])[b"content-type"].startswith(b"text/event-stream"):
                die()
            if b"event: image_generation.completed" in bytes(message.get("body", b"")):
                die()
            await send(message)

        await self._app(scope, receive, sent)


Wrap = Callable[[Adapters], Adapters]


def failpoint(adapter: str, verb: str, *, when: str, call: int = 1) -> Wrap:
    """Puts the failpoint around one of the adapters."""

    def wrap(adapters: Adapters) -> Adapters:
        point: dict[str, Any] = {adapter: Failpoint(getattr(adapters.stores, adapter), verb, when=when, call=call)}
        return replace(adapters, stores=replace(adapters.stores, **point))

    return wrap


def without_storage(wrap: Wrap = lambda adapters: adapters) -> Wrap:
    """The same with a storage that takes nothing."""

    def wrapped(adapters: Adapters) -> Adapters:
        adapters = wrap(adapters)
        storage: Any = StorageThatTakesNothing(adapters.stores.storage)
        return replace(adapters, stores=replace(adapters.stores, storage=storage))

    return wrapped


ARROWS: dict[str, Wrap] = {
    "before-reserve": failpoint("generations", "add", when="before"),
    "reserved": failpoint("generations", "add", when="after"),
    "put": failpoint("storage", "put", when="after"),
    "third-put": failpoint("storage", "put", when="after", call=3),
    "committed": failpoint("generations", "succeed", when="after"),
    "half-put": failpoint("storage", "put", when="half"),
    "before-put": failpoint("storage", "put", when="before"),
    "before-park": without_storage(failpoint("parked", "add", when="before")),
    "in-park": without_storage(),
    "parked": without_storage(failpoint("parked", "add", when="after")),
    "before-mark": failpoint("images", "mark_deleted", when="before"),
    "marked": failpoint("images", "mark_deleted", when="after"),
    "object-deleted": failpoint("storage", "delete", when="after"),
    "row-deleted": failpoint("images", "delete", when="after"),
    "claimed": failpoint("generations", "claim", when="after"),
    "before-interrupt": failpoint("generations", "fail", when="before"),
    "interrupted": failpoint("generations", "fail", when="after"),
}
"""Arrows at the verb of an adapter. Those of a reconciler serve for a replica that only takes over."""
RECONCILING = ("claimed", "moved", "in-takeover", "taken-over", "before-interrupt", "interrupted")


def serve(arrow: str, port: int, environment: Mapping[str, str], folder: Path, log: Path) -> None:
    """Serve until the arrow is reached, in a process made for it."""
    enter(environment, folder=folder, stdout=log, stderr=log)
    settings = read_settings()
    if arrow == "half-put" and settings.s3_endpoint_url is not None:
        settings = settings.model_copy(update={"s3_endpoint_url": die_in_the_upload(settings.s3_endpoint_url)})
        arrow = "in-upload"
    adapters = open_adapters(settings)
    generator: ImageGenerator = open_generator(settings, adapters.cleanup)
    same = {"moved": "put", "taken-over": "committed"}.get(arrow, arrow)
    if same in ARROWS:
        adapters = ARROWS[same](adapters)
    if arrow in ("in-commit", "in-takeover"):
        die_in_the_commit_of("INSERT INTO images")
    if arrow == "in-reserve":
        die_in_the_commit_of("INSERT INTO ledger")
    if arrow == "in-park":
        die_in_the_commit_of("INSERT INTO parked_images")
    parts = build_services(settings, adapters, generator=generator)

    @asynccontextmanager
    async def only_leases() -> AsyncIterator[None]:
        yield  # what an earlier arrow left behind is none of this process's business

    background = parts.background if arrow in RECONCILING else only_leases
    app: ASGIApp = create_app(parts.services, version="test", background=background)
    if arrow == "before-answer":
        app = KilledBeforeItAnswers(app)
    uvicorn.run(app, host="127.0.0.1", port=port, http=HttpProtocol, ws="none", access_log=False)
