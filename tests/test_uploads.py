"""Inputs of edits: one contract for every spool, and what is checked before anything is bought."""

import base64
import hashlib
import io
import random
import stat
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image as Pillow

from pixyproxy.core import limits
from pixyproxy.core.exceptions import (
    ImageContentLostError,
    InvalidRequestError,
    PixyProxyException,
    StorageUnavailableError,
    UnsupportedFileError,
    UploadsFullError,
)
from pixyproxy.core.inputs import Role
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.core.protocols import UploadSpool
from pixyproxy.service.data_urls import Base64Decoder
from pixyproxy.service.uploads import InputCollector, Uploads
from pixyproxy.storage.uploads import UploadFolder
from tests.fakes import FakeUploadSpool, tiny_picture
from tests.stage import Stage

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
PUBLIC_URL = "https://pictures.example/pixy"
UNKNOWN = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
"""The guid of no image."""
BASE_URL = "http://127.0.0.1:8000"


@pytest.fixture(params=["fake", "folder"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> UploadSpool:
    """Each spool, with room for 1 MiB."""
    if request.param == "fake":
        return FakeUploadSpool(budget=MIB)
    return UploadFolder(tmp_path / "data" / "uploads", budget=MIB)


# --- The spool


async def test_an_upload_in_tiny_chunks_takes_no_more_memory_than_its_bytes(tmp_path: Path) -> None:
    upload = await UploadFolder(tmp_path, budget=MIB).open()
    tracemalloc.start()
    try:
        for _ in range(100_000):
            await upload.write(bytes(bytearray(2)))  # an object of its own
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        upload.close()
    assert peak < MIB


async def test_what_was_written_is_read_and_hashed(spool: UploadSpool) -> None:
    data = random.Random(1).randbytes(700_001)
    upload = await spool.open()
    for start in range(0, len(data), 99_991):
        await upload.write(memoryview(data)[start : start + 99_991])
    file, sha256 = await upload.finish()
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert file.read(10) == data[:10]
    assert file.read() == data[10:]
    file.close()
    file.close()


async def test_an_upload_of_nothing_is_an_empty_file(spool: UploadSpool) -> None:
    file, sha256 = await (await spool.open()).finish()
    assert (file.read(), sha256) == (b"", hashlib.sha256().hexdigest())
    file.close()


async def test_over_the_budget_nothing_is_taken_until_a_file_is_closed(spool: UploadSpool) -> None:
    first, second = await spool.open(), await spool.open()
    await first.write(bytes(700_000))
    with pytest.raises(UploadsFullError) as caught:
        await second.write(bytes(400_000))
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"]
    file, _ = await first.finish()
    file.close()
    file.close()  # gives nothing back a second time
    await second.write(bytes(MIB))
    with pytest.raises(UploadsFullError):
        await second.write(b"x")
    second.close()
    second.close()
    third = await spool.open()
    await third.write(bytes(MIB))
    third.close()


async def test_no_file_has_a_name_and_only_its_owner_enters_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "uploads"
    upload = await UploadFolder(folder, budget=MIB).open()
    await upload.write(bytes(500_000))
    assert list(folder.iterdir()) == []
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)] == [0o700, 0o700]
    upload.close()


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StorageUnavailableError, match="uploads"):
        await UploadFolder(tmp_path / "data" / "uploads", budget=MIB).open()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: it needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_said_and_frees_what_was_taken(small_disk: Path) -> None:
    spool = UploadFolder(small_disk / "uploads", budget=100 * MIB)
    upload = await spool.open()
    with pytest.raises(UploadsFullError, match="disk"):
        for _ in range(5):
            await upload.write(bytes(MIB))
    upload.close()
    assert spool.budget.used == 0
    again = await spool.open()
    await again.write(bytes(MIB // 2))
    (await again.finish())[0].close()


# --- The service


async def pieces(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    """The bytes as they arrive."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def taken(collector: InputCollector, role: Role, data: bytes, **options: Any) -> None:
    """Take an upload."""
    await collector.take(role, pieces(data, **options), pointer=f"#/{role}")


@pytest.fixture
def spooled() -> FakeUploadSpool:
    """A spool in memory."""
    return FakeUploadSpool()


@pytest.fixture
async def stage() -> Stage:
    """The fakes, with an image."""
    stage = Stage()
    await stage.create(output_format="webp")
    return stage


@pytest.fixture
def collector(stage: Stage, spooled: FakeUploadSpool) -> InputCollector:
    """The collector of a request."""
    uploads = Uploads(spooled, images=stage.images, storage=stage.storage, public_url=PUBLIC_URL)
    return uploads.collect(base_url=BASE_URL)


def the_image(stage: Stage) -> Any:
    """The record of the stage's image."""
    (image,) = stage.images.images.values()
    return image


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("size", [1, 5, 65_536])
async def test_an_upload_is_known_by_its_bytes(collector: InputCollector, output_format: str, size: int) -> None:
    data = tiny_picture(output_format=output_format)
    await taken(collector, "image", data, size=size)
    assert collector.has("image")
    (file,) = collector.inputs().files
    assert file.facts.model_dump() == {
        "role": "image",
        "sha256": hashlib.sha256(data).hexdigest(),
        "content_type": f"image/{output_format}",
        "size_bytes": len(data),
        "guid": None,
    }
    assert file.file.read() == data
    assert not collector.has("image")


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
async def test_every_kind_of_webp_is_taken(collector: InputCollector, lossless: bool, alpha: bool) -> None:
    file = io.BytesIO()
    Pillow.new("RGBA" if alpha else "RGB", (300, 20), 1).save(file, "WEBP", lossless=lossless)
    await taken(collector, "image", file.getvalue())
    assert len(collector.inputs().files) == 1


def png(width: int, height: int) -> bytes:
    """The head of a PNG that says it has so many pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (chunk, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def webp(width: int, height: int) -> bytes:
    """The head of a WebP that says it has so many pixels."""
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + canvas


@pytest.mark.parametrize(
    ("role", "data", "error", "said"),
    [
        ("image", b"", UnsupportedFileError, "neither"),
        ("image", b"This is a text, whatever its name says.", UnsupportedFileError, "neither"),
        ("image", b"GIF89a" + bytes(100), UnsupportedFileError, "neither"),
        ("image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedFileError, "neither"),
        ("image", b"\x89PNG\r\n\x1a\n and no more of it", UnsupportedFileError, "cannot be read"),
        ("image", b"RIFF1234WEBP and no more of it, though it is long", UnsupportedFileError, "cannot be read"),
        ("image", b"RIFF1234WEBP", UnsupportedFileError, "cannot be read"),
        ("image", b"\xff\xd8\xff\xe0 and no more of it", UnsupportedFileError, "cannot be read"),
        ("mask", tiny_picture(output_format="jpeg"), UnsupportedFileError, "PNG"),
        ("image", png(9_000, 9_000), InvalidRequestError, "80 megapixels"),
        ("markup", png(60_000, 60_000), InvalidRequestError, "80 megapixels"),
        ("image", webp(16_000, 16_000), InvalidRequestError, "80 megapixels"),
        ("image", tiny_picture() + bytes(limits.MAX_INPUT), InvalidRequestError, "50 MiB"),
        ("mask", tiny_picture() + bytes(limits.MAX_MASK), InvalidRequestError, "4 MiB"),
    ],
)
async def test_what_is_no_input_is_refused_with_its_field(
    collector: InputCollector,
    spooled: FakeUploadSpool,
    role: Role,
    data: bytes,
    error: type[PixyProxyException],
    said: str,
) -> None:
    with pytest.raises(error) as caught:
        await taken(collector, role, data)
    assert 400 <= caught.value.status < 500
    (rule,) = caught.value.extra["errors"]
    assert rule["pointer"] == f"#/{role}"
    assert said in rule["detail"]
    assert spooled.open_files == []


async def test_a_text_is_refused_at_its_first_bytes(collector: InputCollector) -> None:
    arrived = 0

    async def text() -> AsyncIterator[bytes]:
        nonlocal arrived
        for _ in range(1000):
            arrived += 1
            yield b"a text " * 1000

    with pytest.raises(UnsupportedFileError):
        await collector.take("image", text(), pointer="#/image")
    assert arrived == 1


async def test_16_images_a_mask_and_a_markup_are_taken_and_no_more(
    collector: InputCollector, spooled: FakeUploadSpool
) -> None:
    await taken(collector, "markup", tiny_picture("markup"))
    await taken(collector, "mask", tiny_picture("mask"))
    for number in range(16):
        await taken(collector, "image", tiny_picture(str(number)))
    for role in ("image", "mask", "markup"):
        with pytest.raises(InvalidRequestError) as caught:
            await taken(collector, role, tiny_picture("one more"))
        assert caught.value.extra["errors"][0]["pointer"] == f"#/{role}"
    inputs = collector.inputs()
    assert [each.role for each in inputs.facts] == ["image"] * 16 + ["mask", "markup"]
    assert [each.file.read() for each in inputs.files][3] == tiny_picture("3")
    inputs.close()
    assert spooled.open_files == []


async def test_closing_a_collector_frees_what_was_taken(collector: InputCollector, spooled: FakeUploadSpool) -> None:
    await taken(collector, "image", tiny_picture())
    collector.close()
    collector.close()
    assert spooled.open_files == []


@pytest.mark.parametrize(
    "name",
    [
        "{guid}",
        PUBLIC_URL + "/image/{guid}",
        PUBLIC_URL + "/image/{guid}/content",
        PUBLIC_URL + "/image/{guid}.webp",
        BASE_URL + "/image/{guid}/content?download=1",
        "HTTPS://Pictures.Example/pixy/image/{guid}/",
    ],
)
async def test_an_image_that_is_stored_here_is_read_from_the_storage(
    collector: InputCollector, stage: Stage, name: str
) -> None:
    image = the_image(stage)
    await collector.resolve("image", name.format(guid=image.guid), pointer="#/image")
    (file,) = collector.inputs().files
    assert file.file.read() == stage.storage.objects[image.filename]
    assert (file.facts.guid, file.facts.sha256) == (image.guid, image.sha256)
    assert all(each.closed for each in stage.storage.opened)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (UNKNOWN, "no image"),
        (PUBLIC_URL + "/image/{guid}.png", "no image"),
        (PUBLIC_URL + f"/image/{UNKNOWN}/content", "no image"),
        (PUBLIC_URL + "/image/{guid}/thumbnail", "not of an image"),
        (PUBLIC_URL + "/readyz", "not of an image"),
        (PUBLIC_URL + "2/image/{guid}", "not of an image"),
        ("https://pictures.example/image/{guid}", "No other URL is fetched"),
        ("https://elsewhere.example/pixy/image/{guid}", "No other URL is fetched"),
        ("http://169.254.169.254/latest/meta-data", "No other URL is fetched"),
        ("http://127.0.0.1:9000/image/{guid}", "No other URL is fetched"),
        ("http://[::1", "No other URL is fetched"),
        ("file:///etc/passwd", "No other URL is fetched"),
        ("", "No other URL is fetched"),
        ("data:image/png,abc", "base64"),
        ("data:image/png;base64,abc$", "base64"),
        ("data:image/png;base64,ab==cdef", "base64"),
        ("data:image/png;base64,äöü", "base64"),
        ("data:text/plain;base64,YSBzaG9ydCB0ZXh0IQ==", "neither PNG"),
    ],
)
async def test_what_names_no_image_is_refused_with_its_field(
    collector: InputCollector, stage: Stage, spooled: FakeUploadSpool, name: str, said: str
) -> None:
    with pytest.raises((InvalidRequestError, UnsupportedFileError)) as caught:
        await collector.resolve("mask", name.format(guid=the_image(stage).guid), pointer="#/mask/image_url")
    (rule,) = caught.value.extra["errors"]
    assert rule["pointer"] == "#/mask/image_url"
    assert said in rule["detail"]
    assert spooled.open_files == []


async def test_a_deleted_image_is_refused(collector: InputCollector, stage: Stage) -> None:
    guid: UUID = the_image(stage).guid
    await stage.private.delete(guid, caller=CONFIGURED_CALLER)
    with pytest.raises(InvalidRequestError) as caught:
        await collector.stored("image", guid, pointer="#/image/0")
    assert caught.value.extra["errors"][0]["pointer"] == "#/image/0"


@pytest.mark.parametrize("lost", [True, False])
async def test_an_image_whose_bytes_are_lost_or_others_is_no_input(
    collector: InputCollector, stage: Stage, spooled: FakeUploadSpool, lost: bool
) -> None:
    image = the_image(stage)
    if lost:
        del stage.storage.objects[image.filename]
    else:
        stage.storage.objects[image.filename] = tiny_picture("another")
    with pytest.raises(ImageContentLostError):
        await collector.stored("image", image.guid, pointer="#/image")
    assert spooled.open_files == []
    assert all(each.closed for each in stage.storage.opened)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 100_000])
@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:;base64,", "data:image/png;name=x.png;Base64,"])
async def test_a_data_url_is_an_upload(collector: InputCollector, size: int, head: str) -> None:
    data = tiny_picture("x" * size)
    text = base64.b64encode(data).decode()
    await collector.resolve("image", head + text, pointer="#/images/0/image_url")
    await collector.resolve("image", head + text.rstrip("="), pointer="#/images/1/image_url")
    assert [each.file.read() for each in collector.inputs().files] == [data, data]


def test_base64_is_decoded_wherever_it_is_cut() -> None:
    data = random.Random(2).randbytes(1000)
    text = base64.b64encode(data)
    for size in (1, 2, 3, 4, 5, 999, 2000):
        decoder = Base64Decoder()
        found = b"".join(decoder.feed(text[start : start + size]) for start in range(0, len(text), size))
        assert found + decoder.finish() == data
    for wrong in (b"YQ==YQ==", b"Y", b"YQ=Q", b"Y Q=", b"YQ\n=", b"_-__"):
        for size in (1, 3, 100):
            decoder = Base64Decoder()
            with pytest.raises(ValueError):
                for start in range(0, len(wrong), size):
                    decoder.feed(wrong[start : start + size])
                decoder.finish()


async def test_inputs_of_equal_bytes_are_recorded_alike(stage: Stage, collector: InputCollector) -> None:
    await taken(collector, "image", tiny_picture(), size=7)
    text = base64.b64encode(tiny_picture()).decode()
    await collector.resolve("image", f"data:image/jpeg;base64,{text}", pointer="#/image")
    first, second = collector.inputs().facts
    assert first == second
