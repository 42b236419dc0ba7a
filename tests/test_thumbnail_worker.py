"""The worker of thumbnails: what it makes of every kind of picture, and what its end costs."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image as Pillow

from pixyproxy.core.exceptions import ShuttingDownError, ThumbnailImpossibleError, TooManyThumbnailsError
from pixyproxy.service.thumbnails import worker
from pixyproxy.service.thumbnails.process import COMMAND, WorkerProcess
from tests import planted
from tests.fakes import tiny_picture
from tests.servers import wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The loop of the tests, and that of the server: their processes fail differently."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


EVIL = (sys.executable, "-P", str(Path(__file__).parent / "evil_worker.py"))
PICTURE = tiny_picture(planted.PROMPT)
ENDED = 5.0


def encoded(picture: Pillow.Image, form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def halves(mode: str, left: Any, right: Any, size: tuple[int, int] = (1000, 500)) -> Pillow.Image:
    """A picture whose halves have one colour each."""
    picture = Pillow.new(mode, size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def decoded(webp: bytes) -> Pillow.Image:
    picture = Pillow.open(BytesIO(webp), formats=("WEBP",))
    picture.load()
    return picture


def near(found: Any, expected: tuple[int, ...], *, by: int = 12) -> bool:
    return all(abs(one - other) <= by for one, other in zip(found, expected, strict=True))


RED, BLUE, GREY = (250, 20, 30), (20, 40, 240), (128, 128, 128)
EXIF = Pillow.Exif()
EXIF[0x0112] = 6  # turned by 90 degrees clockwise
FRAMES: dict[str, Any] = {
    "save_all": True,
    "append_images": [Pillow.new("RGB", (1000, 500), (0, 255, 0))],
    "duration": 100,
}
PALETTE = halves("RGB", RED, BLUE).quantize(2)
GREY_16 = Pillow.new("I;16", (1000, 500), 128 << 8)
KINDS: dict[str, tuple[bytes, tuple[int, int], tuple[int, ...], tuple[int, ...]]] = {
    "RGB": (encoded(halves("RGB", RED, BLUE)), (400, 200), RED, BLUE),
    "JPEG": (encoded(halves("RGB", RED, BLUE), "JPEG", quality=95), (400, 200), RED, BLUE),
    "WebP": (encoded(halves("RGB", RED, BLUE), "WEBP"), (400, 200), RED, BLUE),
    "CMYK": (encoded(halves("RGB", RED, BLUE).convert("CMYK"), "JPEG", quality=95), (400, 200), RED, BLUE),
    "grey": (encoded(halves("L", 128, 128)), (400, 200), GREY, GREY),
    "16 bits": (encoded(GREY_16), (400, 200), GREY, GREY),
    "1 bit": (encoded(halves("1", 0, 255)), (400, 200), (0, 0, 0), (255, 255, 255)),
    "palette": (encoded(PALETTE), (400, 200), RED, BLUE),
    "palette with a clear colour": (
        encoded(PALETTE, transparency=PALETTE.getpixel((0, 0))),
        (400, 200),
        (*RED, 0),
        (*BLUE, 255),
    ),
    "RGBA": (encoded(halves("RGBA", (*RED, 0), (*BLUE, 128))), (400, 200), (*RED, 0), (*BLUE, 128)),
    "clear grey": (encoded(halves("LA", (128, 0), (128, 255))), (400, 200), (*GREY, 0), (*GREY, 255)),
    "animated WebP": (encoded(halves("RGB", RED, BLUE), "WEBP", **FRAMES), (400, 200), RED, BLUE),
    "animated PNG": (encoded(halves("RGB", RED, BLUE), **FRAMES), (400, 200), RED, BLUE),
    "turned by EXIF": (encoded(halves("RGB", RED, BLUE), "JPEG", exif=EXIF, quality=95), (200, 400), RED, BLUE),
    "turned by EXIF, PNG": (encoded(halves("RGB", RED, BLUE), exif=EXIF), (200, 400), RED, BLUE),
    "an EXIF that cannot be read": (
        encoded(halves("RGB", RED, BLUE), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", quality=95),
        (400, 200),
        RED,
        BLUE,
    ),
    "portrait": (encoded(halves("RGB", RED, BLUE, (500, 1000))), (200, 400), RED, BLUE),
    "small": (encoded(halves("RGB", RED, BLUE, (300, 20))), (300, 20), RED, BLUE),
    "a line": (encoded(halves("RGB", RED, BLUE, (1000, 1))), (400, 1), RED, BLUE),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(("data", "size", "first", "last"), KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_picture_keeps_its_shape_its_colours_and_its_opacity(
    data: bytes, size: tuple[int, int], first: tuple[int, ...], last: tuple[int, ...]
) -> None:
    found = worker.shrink(data, edge=400)
    assert found is not None
    picture = decoded(found[0])
    assert (picture.size, picture.mode) == (size, "RGBA" if len(first) == 4 else "RGB")
    assert getattr(picture, "n_frames", 1) == 1
    corners = [picture.getpixel((0, 0)), picture.getpixel((size[0] - 1, size[1] - 1))]
    for corner, expected in zip(corners, (first, last), strict=True):
        assert isinstance(corner, tuple)
        assert corner[3:] == expected[3:] if 0 in expected[3:] else near(corner, expected)
    assert 5 < len(found[1]) <= 25


def test_the_two_sizes_and_the_most_bytes_are_kept() -> None:
    noise = Pillow.frombytes("RGB", (900, 900), os.urandom(900 * 900 * 3))
    for edge in (400, 800):
        found = worker.shrink(encoded(noise), edge=edge)
        assert found is not None
        assert decoded(found[0]).size == (edge, edge)
    small = worker.shrink(encoded(noise), edge=512, most=100_000)
    assert small is not None
    assert len(small[0]) <= 100_000 < len((worker.shrink(encoded(noise), edge=512) or (b"",))[0])
    assert worker.shrink(encoded(noise), edge=512, most=100) is None


def test_a_colour_profile_is_kept_and_other_metadata_is_not() -> None:
    picture = halves("RGB", RED, BLUE)
    found = worker.shrink(encoded(picture, "JPEG", icc_profile=b"a profile" * 20, exif=EXIF, xmp=b"<x/>"), edge=400)
    assert found is not None
    said = decoded(found[0]).info
    assert said["icc_profile"] == b"a profile" * 20
    assert not {"exif", "xmp"} & {name for name, value in said.items() if value}


def test_a_clear_picture_is_hashed_over_the_colour_of_a_tile() -> None:
    clear = worker.shrink(encoded(Pillow.new("RGBA", (60, 40), (255, 0, 0, 0))), edge=400)
    tile = worker.shrink(encoded(Pillow.new("RGB", (60, 40), worker.TILE)), edge=400)
    assert clear is not None
    assert tile is not None
    assert clear[1] == tile[1]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: tuple[bytes, bytes], size: tuple[int, int] = (16, 16)) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*each) for each in chunks) + chunk(b"IEND", b"")


def zeros(megabytes: int) -> bytes:
    compressor = zlib.compressobj(9)
    pieces = [compressor.compress(bytes(1024 * 1024)) for _ in range(megabytes)]
    return b"".join([*pieces, compressor.flush()])


LINES = zlib.compress(bytes(16 * 49))
BOMBS = {
    "a header of 30,000 x 30,000": png((b"IDAT", LINES), size=(30_000, 30_000)),
    "a header of 7,000 x 7,000": png((b"IDAT", LINES), size=(7_000, 7_000)),
    "text of 300 MB": png((b"zTXt", b"Comment\0\0" + zeros(300)), (b"IDAT", LINES)),
    "a profile of 300 MB": png((b"iCCP", b"name\0\0" + zeros(300)), (b"IDAT", LINES)),
    "truncated": encoded(halves("RGB", RED, BLUE))[:-700],
    "a truncated JPEG": encoded(halves("RGB", RED, BLUE), "JPEG")[:2000],
    "a truncated WebP": encoded(halves("RGB", RED, BLUE), "WEBP")[:-100],
    "nothing": b"",
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a GIF": encoded(halves("P", 0, 1), "GIF"),
    "a WebP whose canvas is 16,000 x 16,000": b"RIFF\x1e\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00"
    + (15_999).to_bytes(3, "little") * 2
    + b"ALPH\x00\x00\x00\x00",
}


@pytest.fixture
async def evil() -> AsyncIterator[WorkerProcess]:
    process = WorkerProcess(command=EVIL, patience=1)
    yield process
    await process.aclose()


@pytest.fixture
async def honest() -> AsyncIterator[WorkerProcess]:
    process = WorkerProcess()
    yield process
    await process.aclose()


def pid_of(process: WorkerProcess) -> int:
    assert process._process is not None
    return process._process.pid


def lives(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def said_of(pid: int, what: str) -> str:
    """What Linux says of a process."""
    return Path(f"/proc/{pid}/{what}").read_text()


def descriptors_of(pid: int) -> set[str]:
    return {each.name for each in Path(f"/proc/{pid}/fd").iterdir()}


def memory_of(pid: int, name: str = "VmHWM") -> int:
    """The memory of a process in bytes: the most that it had, or what else is named."""
    return int(said_of(pid, "status").split(f"{name}:")[1].split()[0]) * 1024


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
async def test_a_bomb_and_a_broken_picture_are_refused_by_a_worker_that_goes_on(
    honest: WorkerProcess, data: bytes
) -> None:
    await honest.shrink(PICTURE, edge=400)
    pid = pid_of(honest)
    with pytest.raises(ThumbnailImpossibleError) as raised, anyio.fail_after(ENDED):
        await honest.shrink(data, edge=400)
    assert raised.value.refused
    assert decoded((await honest.shrink(PICTURE, edge=400)).webp).size == (32, 16)
    assert pid_of(honest) == pid
    assert memory_of(pid) < 120 * 1024 * 1024


async def test_300_megabytes_of_pixels_behind_a_small_header_are_not_unpacked(honest: WorkerProcess) -> None:
    bomb = png((b"IDAT", zeros(300)))
    assert decoded((await honest.shrink(bomb, edge=400)).webp).size == (16, 16)
    assert memory_of(pid_of(honest)) < 60 * 1024 * 1024


@pytest.mark.parametrize("evils", [b"SEGV", b"ABRT", b"KILL", b"EXIT", b"HANG", b"HOG ", b"TALK"])
@pytest.mark.parametrize("used", [False, True])
async def test_a_decoder_that_crashes_hangs_or_hogs_costs_one_picture(
    evil: WorkerProcess, evils: bytes, used: bool
) -> None:
    if used:
        await evil.shrink(PICTURE, edge=400)
    results = await asyncio.gather(
        *(evil.shrink(data, edge=400) for data in (PICTURE, evils, PICTURE)), return_exceptions=True
    )
    assert [type(result).__name__ for result in results] == ["SmallPicture", "ThumbnailImpossibleError", "SmallPicture"]
    assert isinstance(results[1], ThumbnailImpossibleError)
    if evils != b"HOG ":  # which ends at the worker's own limit of memory, or takes too long to come there
        assert not results[1].refused


@pytest.mark.parametrize("evils", [b"KILL", b"HANG"])
@pytest.mark.parametrize("used", [False, True])
async def test_a_picture_at_which_the_worker_is_ended_once_is_tried_again(
    evil: WorkerProcess, evils: bytes, used: bool, tmp_path: Path
) -> None:
    if used:
        await evil.shrink(PICTURE, edge=400)
    mark = tmp_path / "mark"
    small = await evil.shrink(f"ONCE{mark}\n".encode() + evils + b"\n" + PICTURE, edge=400)
    assert mark.exists()
    assert small == await evil.shrink(PICTURE, edge=400)


async def test_the_worker_that_was_killed_while_it_was_idle_is_replaced_and_no_picture_is_blamed(
    honest: WorkerProcess,
) -> None:
    first = await honest.shrink(PICTURE, edge=400)
    os.kill(pid_of(honest), signal.SIGKILL)
    assert await honest.shrink(PICTURE, edge=400) == first


async def test_signals_that_are_meant_for_the_server_do_not_end_its_worker(honest: WorkerProcess) -> None:
    await honest.shrink(PICTURE, edge=400)
    pid = pid_of(honest)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    await honest.shrink(PICTURE, edge=400)
    assert pid_of(honest) == pid


@pytest.mark.parametrize("used", [False, True])
async def test_a_hanging_job_ends_with_the_worker_when_it_is_closed_and_no_other_begins(used: bool) -> None:
    slow = WorkerProcess(command=EVIL, patience=60)
    if used:
        await slow.shrink(PICTURE, edge=400)
    jobs = [asyncio.create_task(slow.shrink(data, edge=400)) for data in (b"HANG", PICTURE)]
    await asyncio.sleep(1)
    pid = pid_of(slow)
    with anyio.fail_after(ENDED):
        await slow.aclose()
        found = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(each) for each in found] == [ShuttingDownError] * 2, "no picture is blamed"
    assert not lives(pid)
    assert slow._process is None


@pytest.mark.parametrize("data", [b"", b"HANG"])
def test_a_worker_ends_after_its_server_was_killed_even_in_the_middle_of_a_job(data: bytes) -> None:
    left = subprocess.Popen([*EVIL, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert left.stdin is not None
    assert left.stdout is not None
    assert left.stdout.read(len(worker.READY)) == worker.READY
    if data:
        left.stdin.write(worker.JOB.pack(400, 0, len(data)) + data)
    with left.stdin, left.stdout:
        left.stdin.flush()
        left.stdin.close()
        assert left.wait(ENDED) == (-signal.SIGALRM if data else 0)


async def test_a_job_that_is_cancelled_ends_its_worker() -> None:
    slow = WorkerProcess(command=EVIL, patience=60)
    await slow.shrink(PICTURE, edge=400)
    pid = pid_of(slow)
    with anyio.move_on_after(0.3):
        await slow.shrink(b"HANG", edge=400)
    wait_until(lambda: not lives(pid), seconds=ENDED, what="the end of the worker")
    await slow.shrink(PICTURE, edge=400)
    await slow.aclose()


async def test_a_worker_without_work_ends() -> None:
    process = WorkerProcess(rest=0.2)
    await process.shrink(PICTURE, edge=400)
    pid = pid_of(process)
    while lives(pid):
        await asyncio.sleep(0.05)
    await process.shrink(PICTURE, edge=400)
    assert pid_of(process) != pid
    await process.aclose()


@pytest.mark.parametrize("command", [("/nowhere/python",), ("false",), (sys.executable, "-c", "import nothing_at_all")])
async def test_a_worker_that_cannot_start_blames_no_picture(command: tuple[str, ...]) -> None:
    process = WorkerProcess(command=command)
    for _ in range(2):
        with pytest.raises(TooManyThumbnailsError, match="cannot be started"):
            await process.shrink(PICTURE, edge=400)
    await process.aclose()


async def test_the_worker_is_small_confined_and_has_no_secret(
    honest: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    with socket.socket() as listening:
        listening.set_inheritable(True)  # as multiprocessing leaves those of `--workers`
        await honest.shrink(PICTURE, edge=400)
    pid = pid_of(honest)
    assert memory_of(pid, "VmRSS") < 40 * 1024 * 1024
    assert "planted" not in said_of(pid, "environ")
    (line,) = [line for line in said_of(pid, "limits").splitlines() if line.startswith("Max address space")]
    assert line.split()[3:5] == [str(worker.MEMORY)] * 2
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + worker.NICENESS
    assert descriptors_of(pid) == {"0", "1", "2"}


def imported() -> Iterator[str]:
    """The modules that the program imports, of ours and of what the application stands on."""
    code = "import sys, pixyproxy.service.thumbnails.worker; print(*sys.modules)"
    said = subprocess.run([*COMMAND[:2], "-c", code], capture_output=True, text=True, check=True).stdout
    yield from (name for name in said.split() if name.startswith(("pixyproxy", "fastapi", "pydantic", "anyio")))


def test_the_worker_imports_nothing_of_the_application() -> None:
    assert set(imported()) == {
        "pixyproxy",
        "pixyproxy.service",
        "pixyproxy.service.thumbnails",
        "pixyproxy.service.thumbnails.thumbhash",
        "pixyproxy.service.thumbnails.worker",
    }
