"""The client of a request: whether it still waits for its answer."""

from collections.abc import Callable


class Client:
    """Waits for the answer of one request, until it has it or has left. `retry`: it asked for the same before.

    The web layer calls `leave` when the client leaves, or `serve` when it has its whole answer. The first call counts.
    """

    def __init__(self, *, retry: bool = False) -> None:
        self.retry = retry
        self._served: bool | None = None
        self._callbacks: list[Callable[[bool], None]] = []

    @property
    def left(self) -> bool:
        """Whether it has left without its answer."""
        return self._served is False

    def leave(self) -> None:
        """It has left without its answer."""
        self._end(served=False)

    def serve(self) -> None:
        """It has its whole answer."""
        self._end(served=True)

    def when_it_ends(self, callback: Callable[[bool], None]) -> None:
        """Call back, once, with whether it has its answer; at once if that is known."""
        if self._served is None:
            self._callbacks.append(callback)
        else:
            callback(self._served)

    def _end(self, *, served: bool) -> None:
        if self._served is None:
            self._served = served
            for callback in self._callbacks:
                callback(served)
            self._callbacks.clear()
