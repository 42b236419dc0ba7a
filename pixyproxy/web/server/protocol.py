"""uvicorn's HTTP protocol with our limits, which answers invalid requests with problems.

It is a subclass of uvicorn's and uses its internals: `parser`, `scope`, `headers`, `url`, `pipeline`, `flow`,
`app_state`, `connections`, `tasks`, `server_state.default_headers`, `limit_concurrency`,
`_unset_keepalive_if_required`; it replaces `_start_asgi_task`. Of `cycle` it uses `run_asgi`, `scope`, `more_body`,
`keep_alive`, `transport`, `disconnected`, `response_complete`, `message_event`. pyproject.toml pins uvicorn below the
next minor version; tests/test_connections.py fails when one of these changes.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from pixyproxy.core import limits
from pixyproxy.core.exceptions import MalformedRequestError, PixyProxyException, RequestTimeoutError
from pixyproxy.web.log.request_log import CLIENT_LEFT
from pixyproxy.web.server.heads import BODY_HEADERS, parser_problem, without_upgrade
from pixyproxy.web.server.reading import BoundedReading
from pixyproxy.web.server.refusals import RENDER, ConnectionsOverLimit, logged_refusal
from pixyproxy.web.server.turns import AT_ONCE, Turns
from pixyproxy.web.server.unread_bodies import LingeringTransport, ReadOrClose

MAX_PIPELINED = limits.MAX_PIPELINED
"""Requests that may wait in a connection behind the one that is being answered."""
HEAD_PATIENCE = limits.HEAD_WAIT
"""Seconds that a client has for a request's head, and for its first request."""
MAX_REFUSED = 100
"""Connections over the limit that get an answer at the same time."""


class HttpProtocol(BoundedReading):
    """uvicorn's protocol, which also bounds heads, pipelines and connections, and answers with problems."""

    head_patience: ClassVar[float] = HEAD_PATIENCE
    on_lost: Callable[[], object] | None = None
    """Called when the connection has ended."""
    turns: Turns | None = None
    """Of the server; None: every request begins at once."""
    _running: RequestResponseCycle | None = None
    """The cycle that is being answered; uvicorn's `cycle` is the newest one."""
    _broken: RequestResponseCycle | None = None
    """The cycle whose body cannot be read to its end."""
    _head_timer: asyncio.TimerHandle | None = None
    _refused: ClassVar[set["HttpProtocol"]] = set()
    """Connections over the limit that are being closed."""
    _over_limit: ClassVar[ConnectionsOverLimit] = ConnectionsOverLimit()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called with a new connection. One over the limit is refused before anything is read."""
        super().connection_made(transport)
        limit, self.limit_concurrency = self.limit_concurrency, None
        if limit is not None and len(self.connections) > limit:
            self._refuse_connection()
            return
        self._head_timer = self.loop.call_later(self.head_patience, self._end_of_patience)

    def _refuse_connection(self) -> None:
        """Answer 503 and close. If many refused connections are still closing, close without an answer."""
        self.connections.discard(self)
        self._over_limit.report(self.loop, connections=len(self.connections))
        self._deaf = MalformedRequestError("This connection was refused.")
        if len(self._refused) >= MAX_REFUSED:
            self._over_limit.leave_unanswered()
            self.abort()
            return
        self._refused.add(self)
        self.transport.write(self._over_limit.answer(defaults=self.server_state.default_headers))
        self.linger()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended. Waiting requests are freed."""
        running = self._running
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it after a reset
        self._stop_head_timer()
        self._refused.discard(self)
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.scope[CLIENT_LEFT] = True  # type: ignore[literal-required]
            running.message_event.set()
        self.pipeline.clear()
        self._forget_head()
        self._running = self._broken = None
        self.cycle = self.scope = self.headers = None  # type: ignore[assignment]
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Called with bytes that have arrived."""
        self._unset_keepalive_if_required()
        if self._lingering:
            self.discard(data)
            return
        if self._deaf is not None:
            self.flow.pause_reading()  # uvicorn resumes it for each request that it begins to answer
            return
        try:
            self._parse(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(rest=data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            headers = self.headers if self._in_head else ()
            self._stop(self._deaf or parser_problem(error, data, headers=headers))
        else:
            problem = self._head_bound_exceeded(data)
            if problem is not None:
                self._stop(problem)
        self._watch_head()

    def eof_received(self) -> None:
        """Called when the client has closed its side: uvicorn treats it as disconnected."""
        if self._lingering:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Called at the end of a request's head. One that asks for an upgrade is parsed again without that."""
        self._in_head = False
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(MalformedRequestError(f"At most {MAX_PIPELINED} requests may wait in a connection."))
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer has been written, even if the client has not read it yet."""
        self._running = None
        if self._lingering:
            self.server_state.total_requests += 1
            return
        if self._deaf is not None and not self.pipeline and not self.transport.is_closing():
            self.server_state.total_requests += 1
            self.linger()
            return
        super().on_response_complete()
        if self._held:
            self._hold_heads()
        if self._in_head:  # reading may have been paused until now: the time for the head begins anew
            self._stop_head_timer()
            self._watch_head()
        self._abort_later()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when it cannot read a request."""
        self._stop(MalformedRequestError(msg))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.more_body and self._announces_a_body(cycle):
            cycle.transport = LingeringTransport(self, cycle)  # type: ignore[assignment]
            app = ReadOrClose(app, self, cycle)
        if self.turns is None or cycle.scope["method"] in AT_ONCE:
            task = self.loop.create_task(cycle.run_asgi(app))
        else:
            task = self.loop.create_task(self.turns.begin(partial(cycle.run_asgi, app)))
        self.tasks.add(task)
        task.add_done_callback(self._end_of_task)

    def _end_of_task(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._abort_later()  # uvicorn closes the connection of an application that failed in mid-body

    def _announces_a_body(self, cycle: RequestResponseCycle) -> bool:
        if cycle is self.cycle:
            return self._has_body
        return any(name in BODY_HEADERS for name, _ in cycle.scope["headers"])

    def is_broken(self, cycle: RequestResponseCycle) -> bool:
        """Whether the rest of the request's body cannot be read."""
        return self._broken is cycle

    def _stop(self, error: PixyProxyException) -> None:
        """Stop reading. If no answer has begun, refuse the request; else close after the answer."""
        path = self._path if self._in_head or self._deaf is not None else None
        self._deaf = error
        self._stop_head_timer()
        self._forget_head()
        if self._running is None or self._running.response_complete:
            defaults, render = self.server_state.default_headers, self.app_state.get(RENDER)
            self.transport.write(logged_refusal(error, defaults=defaults, path=path, render=render))
            self.linger()
            return
        newest = self.pipeline[0][0] if self.pipeline else self._running
        if newest is self.cycle and newest.more_body:  # it is its body that cannot be read
            self._broken = newest
            newest.message_event.set()
        else:
            newest.keep_alive = False
            newest.transport = LingeringTransport(self, newest)  # type: ignore[assignment]
        self.flow.pause_reading()

    @property
    def _path(self) -> str | None:
        """The path, or its beginning, of the request whose head is being read; None if none of it has arrived."""
        return self.url.partition(b"?")[0].decode("latin-1") or None

    def _watch_head(self) -> None:
        """A timer runs unless a request is being answered or a complete head has arrived."""
        if self._deaf is not None or (self._running is not None and not self._in_head):
            if self._head_timer is not None:
                self._stop_head_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_patience, self._end_of_patience)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_of_patience(self) -> None:
        self._head_timer = None
        if self._in_head and self.flow.read_paused:  # by us: the client cannot send the rest
            self._watch_head()
        elif self._in_head:
            self._stop(RequestTimeoutError(f"The request's head did not arrive within {self.head_patience:g} seconds."))
        elif self._running is None:  # it has sent nothing, or line breaks
            self.end()

    def _ignore_upgrade(self, *, rest: bytes) -> None:
        """Serve the request without the upgrade (RFC 9110, 7.8); Java's client asks for h2c in its first request."""
        if self.parser.get_method() == b"CONNECT":
            self._stop(MalformedRequestError("PixyProxy is not a proxy: CONNECT is not served."))
            return
        head = without_upgrade(self.parser, url=self.url, headers=self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(head + rest)
