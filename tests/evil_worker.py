"""The worker of thumbnails with decoders that crash: the first bytes of a picture say what happens at it."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pixyproxy.service.thumbnails import worker

DECODE = worker.shrink


def hang() -> None:
    while True:
        pass


def hog() -> None:
    held = [bytearray(16 * 1024 * 1024) for _ in range(1000)]
    time.sleep(len(held))


def talk() -> None:
    answers = sys.stdout.buffer
    answers.write(worker.ANSWER.pack(2**31, 3))
    answers.flush()
    time.sleep(60)


EVILS: dict[bytes, Callable[[], object]] = {
    b"SEGV": lambda: ctypes.string_at(0),
    b"ABRT": os.abort,
    b"KILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"EXIT": lambda: os._exit(0),
    b"HANG": hang,
    b"HOG ": hog,
    b"TALK": talk,
}
ONCE = b"ONCE"


def shrink(data: bytes, *, edge: int, most: int = 0) -> tuple[bytes, bytes] | None:
    if evil := EVILS.get(data[:4]):
        evil()
    if data.startswith(ONCE):  # and then the path of a mark, the evil, and the picture
        mark, evils, data = data.removeprefix(ONCE).split(b"\n", 2)
        if not Path(mark.decode()).exists():
            Path(mark.decode()).touch()
            EVILS[evils]()
    return DECODE(data, edge=edge, most=most)


if __name__ == "__main__":
    worker.shrink = shrink
    worker.LAST_RESORT = int(sys.argv[1]) if len(sys.argv) > 1 else worker.LAST_RESORT
    worker.main()
