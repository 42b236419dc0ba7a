"""POST /v1/images/edits: with the openai SDK, and as raw HTTP for what other clients send."""

import asyncio
import base64
import io
import json
import logging
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from openai import APITimeoutError, BadRequestError, OpenAI

from pixyproxy.core import limits
from pixyproxy.core.exceptions import UpstreamRefusedError
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.openai_stage import sdk
from tests.stage import BASE_URL, KEY, Stage

BOUNDARY = "planted-boundary"
ONE, TWO, MASK, MARKUP = (tiny_picture(name) for name in ("one", "two", "mask", "markup"))
LARGE = tiny_picture() + random.Random(1).randbytes(20 * 1024 * 1024)


@pytest.fixture
def stage() -> Stage:
    """The application over fakes."""
    return Stage()


@pytest.fixture
def client(stage: Stage) -> Iterator[OpenAI]:
    """The SDK, which validates every answer."""
    with sdk(stage) as client:
        yield client


def no_file_is_left(stage: Stage) -> bool:
    """Whether every file of the spool is closed."""
    return stage.spool.open_files == []


# --- The SDK


@pytest.mark.parametrize("kind", ["path", "bytes", "named", "file", "list of one", "list of two"])
def test_the_sdk_edits_what_it_is_given(stage: Stage, client: OpenAI, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a picture.png"
    path.write_bytes(ONE)
    with path.open("rb") as file:
        images: Any = {
            "path": path,
            "bytes": ONE,
            "named": ("folder/of/mine.png", ONE, "image/png"),
            "file": file,
            "list of one": [ONE],
            "list of two": [ONE, path],
        }[kind]
        answer = client.images.edit(image=images, prompt=planted.PROMPT, model="gpt-image-2", n=2)
    assert stage.generator.inputs == [(ONE, ONE) if kind == "list of two" else (ONE,)]
    (request,) = stage.generator.requests
    assert (request.prompt, request.n) == (planted.PROMPT, 2)
    assert answer.data is not None
    assert [base64.b64decode(each.b64_json or "") for each in answer.data] == list(stage.storage.objects.values())
    assert no_file_is_left(stage)


def test_the_sdk_sends_every_parameter(stage: Stage, client: OpenAI) -> None:
    client.images.edit(
        image=[ONE, TWO],
        mask=MASK,
        prompt=planted.PROMPT,
        background="opaque",
        input_fidelity="high",
        n=1,
        output_compression=80,
        output_format="webp",
        quality="low",
        size="1024x1024",
        user="somebody",
        stream=False,
        partial_images=0,
        extra_body={"moderation": "low"},
        extra_query={"api-version": "2026-01-01"},
    )
    (request,) = stage.generator.requests
    values = request.values()
    inputs = values.pop("inputs")
    assert values == {
        "prompt": planted.PROMPT,
        "model": "gpt-image-2",
        "n": 1,
        "size": "1024x1024",
        "quality": "low",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 80,
        "moderation": "low",
        "input_fidelity": "high",
        "user": "somebody",
    }
    assert [(each["role"], each["content_type"], each["size_bytes"]) for each in inputs] == [
        ("image", "image/png", len(ONE)),
        ("image", "image/png", len(TWO)),
        ("mask", "image/png", len(MASK)),
    ]
    assert stage.generator.inputs == [(ONE, TWO, MASK)]


def test_none_is_the_same_as_absent(stage: Stage, client: OpenAI) -> None:
    client.images.edit(image=ONE, prompt=planted.PROMPT, background=None, n=None, size=None, quality=None)
    assert stage.generator.requests[0].size is None


def test_20_mb_arrive_unchanged(stage: Stage, client: OpenAI) -> None:
    client.images.edit(image=LARGE, prompt=planted.PROMPT)
    assert stage.generator.inputs == [(LARGE,)]


def test_a_stored_image_is_edited_by_its_guid(stage: Stage, client: OpenAI) -> None:
    drawn = client.images.generate(prompt="a dot")
    assert drawn.data is not None
    guid = drawn.data[0].model_extra["pixyproxy"]["guid"]  # type: ignore[index]
    client.images.edit(image=[], prompt=planted.PROMPT, extra_body={"image": guid})
    (picture,) = list(stage.storage.objects.values())[:1]
    assert stage.generator.inputs[1:] == [(picture,)]
    (edited,) = [each for each in stage.generations.generations.values() if each.request.inputs]
    assert [str(each.guid) for each in edited.request.inputs] == [guid]


def test_a_stream_of_an_edit_has_the_events_of_an_edit(stage: Stage, client: OpenAI) -> None:
    stage.generator.partials = (ONE, TWO)
    with client.images.edit(image=ONE, prompt=planted.PROMPT, stream=True, partial_images=2) as stream:
        kinds = [event.type for event in stream]
    assert kinds[-1] == "image_edit.completed"
    assert set(kinds[:-1]) <= {"image_edit.partial_image"}
    assert no_file_is_left(stage)


def test_what_the_upstream_refuses_leaves_no_file(stage: Stage, client: OpenAI) -> None:
    stage.generator.failure = UpstreamRefusedError("No.", extra={"upstream_code": "moderation_blocked"})
    with pytest.raises(BadRequestError) as caught:
        client.images.edit(image=ONE, prompt=planted.PROMPT)
    assert caught.value.code == "moderation_blocked"
    assert no_file_is_left(stage)


# --- Forms, by hand


def part(name: str, data: bytes | str, *headers: str, filename: str | None = None) -> bytes:
    """A part of a form."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = "\r\n".join([f'Content-Disposition: form-data; name="{name}"{file}', *headers])
    content = data.encode() if isinstance(data, str) else data
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


IMAGE = part("image", ONE, "Content-Type: application/octet-stream", filename="upload")
PROMPT = part("prompt", planted.PROMPT)


async def post(stage: Stage, content: Any, content_type: str = f"multipart/form-data; boundary={BOUNDARY}") -> Any:
    """The answer to a body."""
    async with stage.client() as client:
        return await client.post("/v1/images/edits", content=content, headers={"Content-Type": content_type})


def recorded(stage: Stage) -> dict[str, Any]:
    """What is recorded of the one generation."""
    (generation,) = stage.generations.generations.values()
    return generation.request.values


FORMS = {
    "a file before the text": form(IMAGE, PROMPT),
    "a text with a type": form(part("prompt", planted.PROMPT, "Content-Type: text/plain; charset=utf-8"), IMAGE),
    "image[]": form(PROMPT, part("image[]", ONE, filename="a.png")),
    "image[0]": form(PROMPT, part("image[0]", ONE, filename="a.png")),
    "a filename that is a path": form(PROMPT, part("image", ONE, filename="/home/somebody/a/b.png")),
    "a filename of Windows": form(PROMPT, part("image", ONE, filename="C:\\\\a\\\\b.png")),
    "a wrong type": form(PROMPT, part("image", ONE, "Content-Type: image/jpeg", filename="a.jpg")),
    "no filename": form(PROMPT, part("image", ONE, "Content-Type: image/png")),
    "no filename and no type": form(PROMPT, part("image", ONE)),
    "texts with other types": form(
        part("prompt", planted.PROMPT, "Content-Type: application/json"), IMAGE, part("mask", "", "Content-Type: x/y")
    ),
    "an extended filename": form(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=image; filename*=UTF-8''a%20b.png\r\n\r\n".encode(),
        ONE + b"\r\n",
        PROMPT,
    ),
    "a transfer encoding": form(PROMPT, part("image", ONE, "Content-Transfer-Encoding: binary", filename="a.png")),
    "an empty mask": form(PROMPT, IMAGE, part("mask", b"", filename="")),
    "a text as a mask": form(PROMPT, IMAGE, part("mask", "")),
    "empty values": form(PROMPT, IMAGE, part("size", ""), part("n", "")),
    "line breaks before it": b"\r\n" + form(PROMPT, IMAGE),
    "an epilogue": form(PROMPT, IMAGE) + b"and more that means nothing" * 100,
    "a data URL": form(PROMPT, part("image", "data:image/png;base64," + base64.b64encode(ONE).decode())),
}


@pytest.mark.anyio
@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
async def test_a_form_is_read_as_clients_send_it(stage: Stage, body: bytes) -> None:
    answer = await post(stage, body)
    assert answer.status_code == 200, answer.text
    assert stage.generator.inputs == [(ONE,)]
    assert no_file_is_left(stage)
    again = Stage()
    await post(again, form(PROMPT, IMAGE))
    assert recorded(stage) == recorded(again), "the record depends on the form"


@pytest.mark.anyio
async def test_a_repeated_image_and_mixed_names_keep_their_order(stage: Stage) -> None:
    images = [tiny_picture(str(number)) for number in range(4)]
    names = ["image", "image", "image[]", "image[3]"]
    parts = [part(name, data, filename="a.png") for name, data in zip(names, images, strict=True)]
    answer = await post(stage, form(part("mask", MASK, filename="m"), *parts, PROMPT, part("markup", TWO, filename="")))
    assert answer.status_code == 200, answer.text
    assert stage.generator.inputs == [(*images, MASK, TWO)]


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 2, 7, 19, 1000, 70_000])
async def test_a_form_is_read_wherever_it_is_cut(stage: Stage, size: int) -> None:
    picture = ONE + f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n\r\r\n-".encode() * 20  # nearly a boundary
    body = form(part("n", "2"), part("stream", "false"), part("image", picture, filename="a.png"), PROMPT)

    async def pieces() -> Any:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    answer = await post(stage, pieces())
    assert answer.status_code == 200, answer.text
    assert stage.generator.inputs == [(picture,)]
    assert stage.generator.requests[0].n == 2


@pytest.mark.anyio
async def test_equal_uploads_are_one_request_whatever_their_boundary_and_names(stage: Stage) -> None:
    other = form(PROMPT, part("image[]", ONE, "Content-Type: image/png", filename="b.png"))
    other = other.replace(BOUNDARY.encode(), b"another")
    async with stage.client() as client:
        client.headers["Idempotency-Key"] = "a key"
        answers = [
            await client.post(
                "/v1/images/edits", content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
            )
            for body, boundary in ((form(IMAGE, PROMPT), BOUNDARY), (other, "another"))
        ]
        changed = await client.post(
            "/v1/images/edits",
            content=form(PROMPT, part("image", TWO, filename="")),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
    assert [each.status_code for each in answers] == [200, 200], answers[1].text
    assert answers[0].json()["data"] == answers[1].json()["data"]
    assert (changed.status_code, changed.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert len(stage.generator.requests) == 1
    assert no_file_is_left(stage)


# --- What is refused


def images_of(count: int) -> list[bytes]:
    """So many images."""
    return [part("image[]", tiny_picture(str(number)), filename="a.png") for number in range(count)]


REFUSED: dict[str, tuple[bytes, str | None, str | None]] = {
    "no image": (form(PROMPT), "image", "missing_required_parameter"),
    "no prompt": (form(IMAGE), "prompt", "missing_required_parameter"),
    "a text named .png": (
        form(PROMPT, part("image", "a text " * 1000, "Content-Type: image/png", filename="a.png")),
        "image",
        "unsupported_file_mimetype",
    ),
    "a mask that is no PNG": (
        form(PROMPT, IMAGE, part("mask", tiny_picture(output_format="webp"), filename="m.png")),
        "mask",
        "unsupported_file_mimetype",
    ),
    "17 images": (form(PROMPT, *images_of(17)), "image", "invalid_value"),
    "two masks": (form(PROMPT, IMAGE, *[part("mask", MASK, filename="m")] * 2), "mask", "invalid_value"),
    "60 MB": (form(PROMPT, part("image", ONE + bytes(60_000_000), filename="a.png")), "image", "invalid_value"),
    "no filename and no picture": (
        form(PROMPT, part("image", b"\xff\xfe" * 100, "Content-Type: image/png")),
        "image",
        "unsupported_file_mimetype",
    ),
    "an unknown guid": (form(PROMPT, part("image", str(uuid4()))), "image", "invalid_value"),
    "a URL elsewhere": (form(PROMPT, part("image", "http://127.0.0.1:1/a.png")), "image", "invalid_value"),
    "an unknown field": (form(PROMPT, IMAGE, part("colour", "red")), "colour", "unknown_parameter"),
    "an unknown file": (form(PROMPT, IMAGE, part("file", ONE, filename="a.png")), "file", "unknown_parameter"),
    "a nested field": (form(PROMPT, IMAGE, part("svg[reasoning][effort]", "high")), "svg", "unsupported_parameter"),
    "gif": (form(PROMPT, IMAGE, part("output_format", "gif")), "output_format", "unsupported_value"),
    "a number that is none": (form(PROMPT, IMAGE, part("n", "two")), "n", "invalid_value"),
    "eleven images": (form(PROMPT, IMAGE, part("n", "11")), "n", "invalid_value"),
    "a boolean that is none": (form(PROMPT, IMAGE, part("stream", "maybe")), "stream", "invalid_value"),
    "two prompts": (form(PROMPT, PROMPT, IMAGE), "prompt", "invalid_value"),
    "a long prompt": (form(part("prompt", "x" * 32_001), IMAGE), "prompt", "invalid_value"),
    "it breaks off in a part": (form(PROMPT, IMAGE)[:-400], None, "malformed_request"),
    "it breaks off after a part": (PROMPT + IMAGE, None, "malformed_request"),
    "it breaks off in a head": (form(IMAGE, PROMPT)[:30], None, "malformed_request"),
    "nothing": (b"", None, "malformed_request"),
    "another boundary": (form(PROMPT, IMAGE).replace(b"planted", b"other"), None, "malformed_request"),
    "a text that is not UTF-8": (form(part("prompt", b"\xff\xfe"), IMAGE), None, "malformed_request"),
    "a header without an end": (f"--{BOUNDARY}\r\nX: ".encode() + b"x" * 20_000, None, "malformed_request"),
    "many headers": (
        form(PROMPT, part("image", ONE, *[f"X-{number}: x" for number in range(50)])),
        None,
        "malformed_request",
    ),
    "many parts": (form(PROMPT, *[part(f"x{number}", "x") for number in range(200)]), None, "malformed_request"),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "param", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_no_edit_is_refused_and_nothing_is_bought(
    stage: Stage, body: bytes, param: str | None, code: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await post(stage, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert planted.PROMPT not in answer.text
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert stage.generator.requests == []
    assert stage.generations.generations == {}
    assert no_file_is_left(stage)


@pytest.mark.anyio
async def test_texts_over_the_limit_are_too_large(stage: Stage) -> None:
    answer = await post(stage, form(*[part(f"x{number}", "x" * 300_000) for number in range(4)], IMAGE))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert no_file_is_left(stage)


@pytest.mark.anyio
async def test_a_body_that_announces_too_much_is_not_read(stage: Stage) -> None:
    async with stage.client() as client:
        headers = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(limits.MAX_EDIT_BODY + 1),
        }
        answer = await client.post("/v1/images/edits", content=b"", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.anyio
async def test_json_may_be_as_much_larger_than_a_form_as_its_base64_is(stage: Stage) -> None:
    codes = []
    async with stage.client() as client:
        for announced in (limits.MAX_EDIT_BODY * 4 // 3, limits.MAX_EDIT_BODY * 4 // 3 + 1):
            headers = {"Content-Type": "application/json", "Content-Length": str(announced)}
            answer = await client.post("/v1/images/edits", content=b"{}", headers=headers)
            codes.append(answer.json()["error"]["code"])
    assert codes == ["missing_required_parameter", "payload_too_large"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={BOUNDARY}; boundary=another",
        f"multipart/form-data; boundary={'x' * 71}",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
    ],
)
async def test_another_type_of_body_is_refused(stage: Stage, content_type: str) -> None:
    answer = await post(stage, form(PROMPT, IMAGE), content_type)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert stage.generator.requests == []


@pytest.mark.anyio
async def test_a_deleted_image_is_refused(stage: Stage) -> None:
    details = await stage.create()
    async with stage.client() as client:
        await client.delete(f"/image/{details['guid']}")
    answer = await post(stage, form(PROMPT, part("image", details["guid"])))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


@pytest.mark.anyio
async def test_a_full_spool_is_said_and_nothing_is_bought(stage: Stage) -> None:
    stage.spool.budget = 100
    answer = await post(stage, form(PROMPT, IMAGE))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "uploads_full")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert stage.generator.requests == []
    assert no_file_is_left(stage)


@pytest.mark.anyio
async def test_nothing_is_read_without_a_key(stage: Stage) -> None:
    reads: list[int] = []

    async def counted() -> Any:
        for number in range(3):
            reads.append(number)
            yield b"x"

    async with stage.client(key=False) as client:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        answer = await client.post("/v1/images/edits", content=counted(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reads == []


# --- JSON


def data_url(data: bytes) -> str:
    """The picture as a data: URL."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "named",
    [
        {"images": [{"image_url": data_url(ONE)}, {"image_url": data_url(TWO)}]},
        {"images": [data_url(ONE), data_url(TWO)]},
        {"image": [data_url(ONE), {"image_url": data_url(TWO)}], "mask": None},
        {"images": [{"image_url": data_url(ONE)}], "image": data_url(TWO)},
    ],
)
async def test_json_names_its_images(stage: Stage, named: dict[str, Any]) -> None:
    answer = await post(stage, json.dumps({"prompt": planted.PROMPT, **named, "n": None}), "application/json")
    assert answer.status_code == 200, answer.text
    assert stage.generator.inputs == [(ONE, TWO)]
    assert no_file_is_left(stage)


@pytest.mark.anyio
async def test_json_names_stored_images_a_mask_and_a_markup(stage: Stage) -> None:
    details = await stage.create()
    stored = stage.storage.objects[details["filename"]]
    body = {
        "mask": {"image_url": data_url(MASK)},
        "image": [details["guid"]],
        "images": [{"image_url": details["url"]}, {"image_url": f"{BASE_URL}/image/{details['guid']}.png"}],
        "markup": data_url(MARKUP),
        "prompt": planted.PROMPT,
        "stream": False,
        "output_compression": 50,
    }
    answer = await post(stage, json.dumps(body), "application/json; charset=utf-8")
    assert answer.status_code == 200, answer.text
    assert stage.generator.inputs[1:] == [(stored, stored, stored, MASK, MARKUP)]
    facts = stage.generator.requests[1].inputs
    assert [str(each.guid) for each in facts] == [details["guid"]] * 3 + ["None"] * 2
    assert [each.role for each in facts] == ["image"] * 3 + ["mask", "markup"]


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 3, 5, 250, 65_536])
@pytest.mark.parametrize("escape", ["none", "slashes", "plus"])
async def test_json_is_read_wherever_it_is_cut(stage: Stage, size: int, escape: str) -> None:
    picture = ONE + b"\xfb\xef\xbe\xff\xff\xff" * 20  # '+' and '/' in base64
    body = json.dumps(
        {'a\\"b': "data:", "prompt": 'say "data:image/png" \\', "images": [{"image_url": data_url(picture)}]}
    ).replace('"a\\\\\\"b": "data:", ', "")
    escaped = {"none": body, "slashes": body.replace("/", "\\/"), "plus": body.replace("+", "\\u002B")}[escape].encode()

    async def pieces() -> Any:
        for start in range(0, len(escaped), size):
            yield escaped[start : start + size]

    answer = await post(stage, pieces(), "application/json")
    assert answer.status_code == 200, answer.text
    assert stage.generator.inputs == [(picture,)]
    assert stage.generator.requests[0].prompt == 'say "data:image/png" \\'


def edit_json(**values: Any) -> str:
    """A body with an image."""
    return json.dumps({"prompt": planted.PROMPT, "images": [{"image_url": data_url(ONE)}], **values})


REFUSED_JSON: dict[str, tuple[str, str | None, str]] = {
    "no image": (json.dumps({"prompt": planted.PROMPT, "images": []}), "image", "missing_required_parameter"),
    "a file id": (edit_json(images=[{"file_id": "file-1"}]), "images[0]", "invalid_value"),
    "a number": (edit_json(images=[7]), "images[0]", "invalid_value"),
    "a URL elsewhere": (
        edit_json(images=[{"image_url": "https://elsewhere.example/a.png"}]),
        "images[0].image_url",
        "invalid_value",
    ),
    "17 images": (edit_json(images=[data_url(ONE)] * 17), "images[16]", "invalid_value"),
    "19 images": (edit_json(images=[data_url(ONE)] * 19), None, "invalid_value"),
    "a mask that is no PNG": (
        edit_json(mask=data_url(tiny_picture(output_format="jpeg"))),
        "mask",
        "unsupported_file_mimetype",
    ),
    "a text": (edit_json(images=["data:image/png;base64,YSB0ZXh0IG9mIHRleHQ="]), None, "unsupported_file_mimetype"),
    "no base64": (edit_json(images=["data:image/png;base64,$$$$"]), None, "invalid_value"),
    "no base64, late": (edit_json(images=[data_url(ONE) + "===="]), None, "invalid_value"),
    "a picture as the prompt": (edit_json(prompt=data_url(ONE)), None, "invalid_value"),
    "a picture as a key": ('{"' + data_url(ONE) + '": 1, ' + edit_json()[1:], None, "invalid_value"),
    "it breaks off in a picture": (edit_json()[:-100], None, "malformed_request"),
    "it breaks off in a text": (edit_json()[:9], None, "malformed_request"),
    "a list": ("[]", None, "malformed_request"),
    "no JSON": ("{'prompt'}", None, "malformed_request"),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "param", "code"), REFUSED_JSON.values(), ids=REFUSED_JSON.keys())
async def test_json_that_is_no_edit_is_refused_and_nothing_is_bought(
    stage: Stage, body: str, param: str | None, code: str
) -> None:
    answer = await post(stage, body, "application/json")
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert stage.generator.requests == []
    assert no_file_is_left(stage)


@pytest.mark.anyio
async def test_json_of_much_text_is_too_large(stage: Stage) -> None:
    answer = await post(stage, edit_json(prompt="x" * 1_100_000), "application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert no_file_is_left(stage)


# --- On a socket


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


def head(*headers: str) -> bytes:
    """The head of an edit."""
    lines = (
        "POST //v1//images/edits?api-version=1 HTTP/1.1",
        "Host: x",
        f"Authorization: {KEY['Authorization']}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        "Connection: close",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def received(connection: socket.socket) -> bytes:
    """Everything that comes until the end."""
    data = io.BytesIO()
    while chunk := connection.recv(65_536):
        data.write(chunk)
    return data.getvalue()


def test_a_client_that_waits_for_100_is_asked_for_its_body(stage: Stage) -> None:
    body = form(IMAGE, PROMPT)
    with listening(stage.app) as address, connected(address) as connection:
        connection.sendall(head("Expect: 100-continue", f"Content-Length: {len(body)}"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert received(connection).startswith(b"HTTP/1.1 200 ")
    assert stage.generator.inputs == [(ONE,)]


def test_a_chunked_form_without_a_length_is_read(stage: Stage) -> None:
    body = form(IMAGE, PROMPT)
    with listening(stage.app) as address, connected(address) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        for start in range(0, len(body), 100):
            piece = body[start : start + 100]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 200 ")
    assert stage.generator.inputs == [(ONE,)]


def test_a_client_that_leaves_in_the_middle_leaves_no_file(stage: Stage) -> None:
    body = form(IMAGE, PROMPT)
    with listening(stage.app, patient=True) as address:
        with connected(address) as connection:
            connection.sendall(head("Content-Length: 100000") + body[: len(body) // 2])
        assert httpx2.get(f"{address}/healthz").status_code == 200
    assert no_file_is_left(stage)
    assert stage.generator.requests == []


@pytest.mark.parametrize("where", ["image", "prompt"])
def test_a_large_body_that_is_refused_gets_its_answer(stage: Stage, where: str) -> None:
    picture = part("image", b"no picture" + bytes(30_000_000), filename="a.png")
    with listening(stage.app) as address:
        for content in ([picture + PROMPT], [picture[:1000], picture[1000:], PROMPT]):
            with httpx2.Client(base_url=address, headers=KEY, timeout=30, trust_env=False) as client:
                answer = client.post(
                    "/v1/images/edits",
                    content=iter([*content, f"--{BOUNDARY}--\r\n".encode()]),
                    headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
                )
                assert answer.json()["error"]["code"] == "unsupported_file_mimetype"
    assert no_file_is_left(stage)


def test_the_rest_of_a_body_that_is_refused_is_read_before_the_answer(stage: Stage) -> None:
    begun = part("image", "no picture at all", filename="a.png")
    with listening(stage.app) as address, connected(address) as connection:
        connection.sendall(head(f"Content-Length: {len(begun) + 40_000_000}") + begun)
        for _ in range(40):  # a client that reads no answer before it has sent everything
            connection.sendall(bytes(1_000_000))
        assert received(connection).startswith(b"HTTP/1.1 400 ")


def test_a_body_with_images_that_stalls_gets_408() -> None:
    stage = Stage(client_patience=0.3)
    with listening(stage.app) as address, connected(address) as connection:
        connection.sendall(head("Content-Length: 100000") + form(IMAGE, PROMPT)[:500])
        assert received(connection).startswith(b"HTTP/1.1 408 ")
    assert no_file_is_left(stage)


def test_the_retries_of_the_sdk_join_the_edit_that_runs_though_their_boundary_is_another(stage: Stage) -> None:
    stage.generator.before = lambda: asyncio.sleep(2)
    with sdk(stage, max_retries=4, timeout=1) as client:
        answer = client.images.edit(image=[ONE, TWO], mask=MASK, prompt=planted.PROMPT)
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "") in stage.storage.objects.values()
    assert stage.generator.inputs == [(ONE, TWO, MASK)]
    assert no_file_is_left(stage)


@pytest.mark.parametrize("images", [[TWO, ONE], [ONE]])
def test_an_edit_of_other_images_joins_nothing(stage: Stage, images: list[bytes]) -> None:
    stage.generator.before = lambda: asyncio.sleep(4)
    with sdk(stage, timeout=2) as client:
        with pytest.raises(APITimeoutError):
            client.images.edit(image=[ONE, TWO], prompt=planted.PROMPT)
        other = client.with_options(timeout=20, default_headers={"x-stainless-retry-count": "1"})
        other.images.edit(image=images, prompt=planted.PROMPT)
    assert stage.generator.inputs == [(ONE, TWO), tuple(images)]
