"""The program of the worker process: makes small pictures of pictures that nobody has decoded before.

It imports Pillow and nothing of the application, so that it starts at once and stays small. A decoder that crashes,
hangs or takes too much memory costs this process alone. The server writes jobs to its stdin and reads answers from its
stdout; at the end of stdin it ends, so it does not outlive the server.
"""

import os
import resource
import signal
import struct
import sys
import warnings
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

from PIL import Image as Pillow
from PIL import ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from pixyproxy.service.thumbnails.thumbhash import thumbhash

JOB = struct.Struct(">III")
"""Pixels of the longest side, bytes of the result at most, bytes of the picture that follow."""
ANSWER = struct.Struct(">II")
"""Bytes of the WebP and of the thumbhash that follow; both 0: the picture cannot be decoded."""
READY = b"ready\n"
MAX_PIXELS = 40_000_000
"""Of the picture. Decoded it takes 160 MB."""
MEMORY = 768 * 1024 * 1024
"""Of address space, the interpreter included."""
LAST_RESORT = 15
"""Seconds after which a job ends this process, if the server is no longer there to do it."""
NICENESS = 5
OPEN_FILES = 1_048_576
"""More than a process has."""
FORMATS = tuple(
    plugin.format
    for plugin in (PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile, JpegImagePlugin.JpegImageFile)
)
QUALITIES = (80, 60, 40, 20)
"""The first one that makes the result small enough; for thumbnails always the first."""
METHOD = 2
"""Of libwebp: 4 makes 4 % fewer bytes in a third more time."""
HASHED = 32
"""Pixels of the longest side that the thumbhash is made of."""
TILE = (225, 221, 216)
"""The colour behind the clear parts of a picture in its thumbhash: that of a tile of the page."""
DEEP = ("I;16", "I;16B", "I")
"""Pillow's modes of one channel with more than 8 bits."""


def shrink(data: bytes, *, edge: int, most: int = 0) -> tuple[bytes, bytes] | None:
    """A WebP of at most `edge` pixels a side and `most` bytes (0: any number), and a thumbhash.

    Nothing is enlarged. None if no quality makes it small enough. Raises what Pillow raises, which may be anything.
    """
    with Pillow.open(BytesIO(data), formats=FORMATS) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        small = upright(reduced(opened, edge))
    for quality in QUALITIES:
        file = BytesIO()
        small.save(file, "WEBP", quality=quality, method=METHOD, icc_profile=small.info.get("icc_profile"))
        if not most or file.tell() <= most:
            return file.getvalue(), hash_of(small)
    return None


def reduced(opened: Pillow.Image, edge: int) -> Pillow.Image:
    """The first frame in 8 bits of colour, with opacity if it has some, and at most `edge` pixels a side."""
    picture = opened
    if picture.mode in DEEP:  # Pillow's own conversion would make nearly all of it white
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    elif picture.mode in ("1", "P", "PA") or "transparency" in picture.info:  # their pixels cannot be averaged
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((edge, edge))
    small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.info = {"exif": opened.info.get("exif")} if opened.info.get("exif") else {}
    if opened.mode in ("RGB", "RGBA") and opened.info.get("icc_profile"):
        small.info["icc_profile"] = opened.info["icc_profile"]
    return small


def upright(small: Pillow.Image) -> Pillow.Image:
    """The picture as a browser shows the original: turned as its EXIF says, if that can be read."""
    profile = small.info.get("icc_profile")
    try:
        turned = ImageOps.exif_transpose(small)
    except (ValueError, SyntaxError, OSError, struct.error, KeyError, TypeError):
        turned = small
    turned.info = {"icc_profile": profile} if profile else {}
    return turned


def hash_of(small: Pillow.Image) -> bytes:
    """The thumbhash, over the colour of a tile where the picture is clear."""
    tiny = small.copy()
    tiny.thumbnail((HASHED, HASHED))
    if tiny.mode == "RGBA":
        tiny = Pillow.alpha_composite(Pillow.new("RGBA", tiny.size, TILE), tiny)
    return thumbhash(tiny.convert("RGBA").tobytes(), width=tiny.width, height=tiny.height)


def confine() -> None:
    """Take away what decoding a picture does not need."""
    # uvloop closes none of the server's files: its listening sockets would stay open with this process.
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), OPEN_FILES))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the server, which ends this process
        signal.signal(number, signal.SIG_IGN)
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # not every system knows both
            resource.setrlimit(limit, (most, most))
    os.nice(NICENESS)


def work(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Do each job, until there are no more."""
    answers.write(READY)
    answers.flush()
    while len(head := jobs.read(JOB.size)) == JOB.size:
        edge, most, size = JOB.unpack(head)
        signal.alarm(LAST_RESORT)
        data = jobs.read(size)
        try:
            found = shrink(data, edge=edge, most=most) if len(data) == size else None
        except Exception:  # noqa: BLE001 -- whatever a decoder does to a broken picture
            found = None
        signal.alarm(0)
        webp, hashed = found or (b"", b"")
        answers.write(ANSWER.pack(len(webp), len(hashed)) + webp + hashed)
        answers.flush()
        del data, found, webp


def main() -> None:
    """Serve the process that started this one."""
    confine()
    Pillow.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Pillow.DecompressionBombWarning)
    work(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
