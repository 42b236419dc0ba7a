"""The demo upstream, as the openai package sees it."""

import base64
import hashlib
import io
import itertools
import json
import time
from typing import Any, cast

import openai
import pytest
from openai.types import ImagesResponse
from PIL import ExifTags, Image

from tests.demo_client import BLUE, an_image, an_overlay, demo_upstream, error_of, png, post

EVENTS = {"generations": "image_generation", "edits": "image_edit"}


def picture_of(base64_json: str | None) -> Image.Image:
    """The decoded picture."""
    picture = Image.open(io.BytesIO(base64.b64decode(base64_json or "", validate=True)))
    picture.load()
    return picture


def pictures_of(answer: ImagesResponse) -> list[Image.Image]:
    """The decoded pictures of an answer."""
    return [picture_of(image.b64_json) for image in answer.data or ()]


def streamed(client: openai.OpenAI, route: str, **values: Any) -> list[Any]:
    """The events of a stream on either route."""
    if route == "edits":
        return list(client.images.edit(prompt="a fox", image=png(an_image()), stream=True, **values))
    return list(client.images.generate(prompt="a fox", stream=True, **values))


def sharpness(picture: Image.Image) -> int:
    """How much neighbouring pixels differ."""
    grey = picture.convert("L")
    pixels = grey.tobytes()
    return sum(abs(one - next_one) for one, next_one in itertools.pairwise(pixels))


def test_three_pictures_of_one_request_differ_and_the_answer_says_what_was_chosen() -> None:
    with demo_upstream() as (demo, client):
        answer = client.images.generate(prompt="a red fox", n=3, size="auto", quality="auto", user="someone")
    assert [picture.size for picture in pictures_of(answer)] == [(1024, 1024)] * 3
    assert len({image.b64_json for image in answer.data or ()}) == 3
    assert (answer.size, answer.quality, answer.background) == ("1024x1024", "medium", "opaque")
    assert (answer.output_format, answer.safety_identifier) == ("png", "someone")
    assert answer.usage is not None and answer.usage.output_tokens_details is not None
    assert answer.usage.output_tokens == answer.usage.output_tokens_details.image_tokens == 3 * 1056
    assert answer.usage.input_tokens_details.model_dump() == {"image_tokens": 0, "text_tokens": 3}
    assert answer.usage.total_tokens == 3 + 3 * 1056
    assert "revised_prompt" not in json.loads(answer.to_json())["data"][0]
    assert demo.received == 1


def test_an_edit_shows_its_image_and_counts_its_tokens() -> None:
    with demo_upstream() as (demo, client):
        red = client.images.edit(prompt="a fox", image=png(an_image()), size="240x160")
        blue = client.images.edit(prompt="a fox", image=png(an_image(BLUE)), size="240x160", n=2)
    (picture,), others = pictures_of(red), pictures_of(blue)
    thumbnail = (20, 20)  # the first thumbnail stands in the upper left corner
    assert picture.getpixel(thumbnail) == (200, 30, 30)
    assert [other.getpixel(thumbnail) for other in others] == [BLUE] * 2
    assert len({image.b64_json for image in blue.data or ()}) == 2
    assert red.usage is not None
    assert red.usage.input_tokens_details.image_tokens == 65 + 2 * 129
    assert demo.requests[0]["form"] == [
        {"name": "prompt", "value": "a fox"},
        {"name": "size", "value": "240x160"},
        {
            "name": "image",
            "filename": "image.png",
            "content_type": "image/png",
            "size": len(an_image()),
            "sha256": hashlib.sha256(an_image()).hexdigest(),
        },
    ]
    assert "body" not in demo.requests[0]


def test_an_edit_shows_several_images_and_marks_the_mask() -> None:
    images = [png(an_image()), ("two.jpg", an_image(BLUE, output_format="JPEG"), "image/jpeg")]
    with demo_upstream() as (demo, client):
        plain = client.images.edit(prompt="a fox", image=images, size="240x160", background="transparent")
        masked = client.images.edit(prompt="a fox", image=images, mask=png(an_overlay()), size="240x160")
    assert [part["name"] for part in demo.requests[0]["form"]][-2:] == ["image[]", "image[]"]
    assert plain.background == "transparent"
    assert pictures_of(plain)[0].mode == "RGBA"
    (before,), (after,) = pictures_of(plain), pictures_of(masked)
    second = cast(tuple[int, ...], before.getpixel((70, 20)))
    assert second[2] > 150 > second[0]
    assert after.getpixel((120, 100)) == (255, 0, 255), "the outline of the area that is edited"
    assert before.convert("RGB").getpixel((60, 70)) == after.getpixel((60, 70)), "nothing changes outside it"


def test_a_markup_is_drawn_over_the_first_image() -> None:
    with demo_upstream() as (_, client):
        answer = client.images.edit(prompt="a fox", image=png(an_image()), markup=png(an_overlay()), size="240x160")
    assert pictures_of(answer)[0].getpixel((10, 80)) == (0, 0, 0)


@pytest.mark.parametrize("size", [(400, 200), (200, 400), (200, 200)], ids=["wide", "high", "square"])
def test_a_size_that_an_edit_leaves_open_follows_the_first_image(size: tuple[int, int]) -> None:
    with demo_upstream() as (_, client):
        answer = client.images.edit(prompt="a fox", image=png(an_image(size=size)), quality="low")
    assert answer.size == {(400, 200): "1536x1024", (200, 400): "1024x1536", (200, 200): "1024x1024"}[size]


def test_an_image_that_a_camera_turned_is_upright() -> None:
    file, picture = io.BytesIO(), Image.new("RGB", (400, 200), (200, 30, 30))
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(file, "JPEG", exif=exif)
    upload = ("turned.jpg", file.getvalue(), "image/jpeg")
    with demo_upstream() as (_, client):
        answer = client.images.edit(prompt="a fox", image=upload, mask=png(an_overlay(size=(200, 400))), quality="low")
    assert answer.size == "1024x1536"


@pytest.mark.parametrize("names", [["image"], ["image", "image"], ["image[]", "image[]"], ["image[0]", "image[1]"]])
def test_images_arrive_under_each_of_their_names(names: list[str]) -> None:
    with demo_upstream() as (demo, client):
        parts = [(name, png(an_image())) for name in names]
        response = post(client, "edits", data={"prompt": "a fox", "size": "32x32", "n": "1"}, files=parts)
    assert response.status_code == 200, response.text
    assert [part["name"] for part in demo.requests[0]["form"] if "filename" in part] == names


def test_an_edit_in_json_takes_data_urls() -> None:
    def as_url(data: bytes) -> dict[str, str]:
        return {"image_url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}

    body = {
        "prompt": "a fox",
        "size": "240x160",
        "n": 1,
        "images": [as_url(an_image()), as_url(an_image(BLUE))],
        "mask": as_url(an_overlay()),
    }
    with demo_upstream() as (demo, client):
        answer = post(client, "edits", json=body).json()
        elsewhere = post(client, "edits", json=body | {"images": [{"image_url": "http://127.0.0.1/x.png"}]})
    picture = picture_of(answer["data"][0]["b64_json"])
    assert (picture.getpixel((20, 20)), picture.getpixel((70, 20))) == ((200, 30, 30), BLUE)
    assert json.loads(demo.requests[0]["body"]) == body
    assert (elsewhere.status_code, error_of(elsewhere)["param"]) == (400, "images[0]")


@pytest.mark.parametrize("partial_images", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("route", ["generations", "edits"])
def test_a_stream_has_partial_images_from_blurred_to_sharp_and_then_the_picture(
    route: str, partial_images: int | None
) -> None:
    asked = {} if partial_images is None else {"partial_images": partial_images}
    with demo_upstream() as (_, client):
        events = streamed(client, route, size="256x256", output_format="webp", quality="low", **asked)
    *partials, completed = events
    assert [event.type for event in partials] == [f"{EVENTS[route]}.partial_image"] * (partial_images or 0)
    assert [event.partial_image_index for event in partials] == list(range(partial_images or 0))
    assert completed.type == f"{EVENTS[route]}.completed"
    assert {(event.size, event.quality, event.background, event.output_format) for event in events} == {
        ("256x256", "low", "opaque", "webp")
    }
    pictures = [picture_of(event.b64_json) for event in events]
    assert {(picture.size, picture.format) for picture in pictures} == {((256, 256), "WEBP")}
    found = [sharpness(picture) for picture in pictures]
    assert found == sorted(set(found)), "each is sharper than the one before"
    assert completed.usage.output_tokens == 20 + 100 * len(partials)
    assert completed.usage.total_tokens == completed.usage.input_tokens + completed.usage.output_tokens


def test_a_stream_ends_in_the_picture_that_the_same_request_gets_as_json() -> None:
    with demo_upstream() as (_, client):
        streams = [streamed(client, "edits", size="64x64")[-1].b64_json for _ in range(2)]
        answer = client.images.edit(prompt="a fox", image=png(an_image()), size="64x64")
    assert streams == [(answer.data or [])[0].b64_json] * 2


def test_the_delay_is_spread_over_the_events_of_a_stream() -> None:
    with demo_upstream(delay=1.2) as (_, client):
        began = time.monotonic()
        events = client.images.generate(prompt="a fox", size="32x32", stream=True, partial_images=3)
        arrived = [time.monotonic() - began for _ in events]
    assert len(arrived) == 4
    assert all(moment >= 0.3 * number for number, moment in enumerate(arrived, start=1))
