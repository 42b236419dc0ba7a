"""Request-ids: host-datetime-threadid."""

import re
import socket
import threading
import time
from functools import cache, lru_cache


class RequestIds:
    """Makes request-ids: host-datetime-threadid, in UTC with microseconds, no two alike in a process."""

    def __init__(self, host: str | None = None) -> None:
        self._host = re.sub(r"[^A-Za-z0-9._-]", "_", host or socket.gethostname())[:64]
        self._last = 0

    def new(self) -> str:
        """The next id. Of two requests within a microsecond the later one gets the next microsecond."""
        self._last = max(time.time_ns() // 1000, self._last + 1)
        seconds, microseconds = divmod(self._last, 1_000_000)
        return f"{self._host}-{second_of_id(seconds)}{microseconds:06d}-{this_thread.id}"


@lru_cache(maxsize=2)
def second_of_id(seconds: int) -> str:
    """A second in the form that ids have; a second has many requests."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))


class ThisThread(threading.local):
    """The running thread. Its id is read from the system once."""

    def __init__(self) -> None:
        self.id = threading.get_native_id()


this_thread = ThisThread()


@cache
def request_ids() -> RequestIds:
    """The maker of this process's ids."""
    return RequestIds()
