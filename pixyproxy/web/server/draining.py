"""SIGTERM and SIGINT first let the running generations end."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def drained_by_signals(drain: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT first wait for `drain`, and only then reach uvicorn.

    uvicorn closes its sockets at once, and /readyz could tell no load balancer that this process ends. A second SIGINT
    ends the process without waiting; a second SIGTERM changes nothing, for the parent of several workers sends one
    after a terminal's Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    loop = asyncio.get_running_loop()
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    draining: set[asyncio.Future[None]] = set()

    def begin(number: int) -> None:
        if not draining:
            task = asyncio.ensure_future(drain())
            draining.add(task)
            task.add_done_callback(lambda _: handlers[number](number, None))

    def on_signal(number: int, frame: FrameType | None) -> None:
        if draining and number == signal.SIGINT:
            handlers[number](number, frame)
            handlers[number](number, frame)  # for uvicorn the second is the one that does not wait
        loop.call_soon_threadsafe(begin, number)

    for number in handlers:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
