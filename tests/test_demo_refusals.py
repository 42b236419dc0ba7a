"""What the demo upstream refuses, and how it words that."""

from typing import Any

import openai
import pytest

from pixyproxy.upstream.demo.inputs import MAX_IMAGE, MAX_MASK
from tests.demo_client import an_image, an_overlay, demo_upstream, error_of, png, post


@pytest.mark.parametrize(
    ("values", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "empty_string"),
        ({"prompt": "x" * 32_001}, "prompt", "string_above_max_length"),
        ({"prompt": 7}, "prompt", "invalid_type"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"response_format": "b64_json"}, "response_format", "unknown_parameter"),
        ({"style": "vivid"}, "style", "unknown_parameter"),
        ({"input_fidelity": "high"}, "input_fidelity", "unknown_parameter"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 11}, "n", "integer_above_max_value"),
        ({"n": "2"}, "n", "invalid_type"),
        ({"n": True}, "n", "invalid_type"),
        ({"stream": "true"}, "stream", "invalid_type"),
        ({"stream": True, "n": 2}, "n", "invalid_value"),
        ({"stream": True, "partial_images": 4}, "partial_images", "integer_above_max_value"),
        ({"quality": "hd"}, "quality", "invalid_value"),
        ({"complexity": "enormous"}, "complexity", "invalid_value"),
        ({"output_format": "gif"}, "output_format", "invalid_value"),
        ({"output_format": "svg"}, "output_format", "invalid_value"),
        ({"frame_count": 3}, "frame_count", "invalid_value"),
        ({"svg": {"model": "m"}}, "svg", "invalid_value"),
        ({"output_compression": 50}, "output_compression", "invalid_value"),
        ({"output_format": "jpeg", "background": "transparent"}, "background", "invalid_value"),
        ({"size": "100x100"}, "size", "invalid_size"),
    ],
)
def test_a_generation_that_the_api_refuses(values: dict[str, Any], param: str, code: str) -> None:
    with demo_upstream() as (_, client):
        response = post(client, "generations", json={"prompt": "a fox", **values})
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)


def test_null_is_as_good_as_absent() -> None:
    names = ("model", "n", "size", "quality", "background", "stream", "partial_images", "svg", "frame_count", "user")
    with demo_upstream() as (_, client):
        response = post(client, "generations", json={"prompt": "a fox", **dict.fromkeys(names)})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("values", "files", "param", "code"),
    [
        ({}, [], "image", "missing_required_parameter"),
        ({}, [("image[]", png(an_image()))] * 17, "image", "array_above_max_length"),
        ({}, [("image", ("a.png", an_image(), "application/octet-stream"))], "image", "unsupported_file_mimetype"),
        (
            {},
            [("image[]", ("a.gif", an_image(output_format="GIF"), "image/gif"))],
            "image[]",
            "unsupported_file_mimetype",
        ),
        ({}, [("image", png(b"hello"))], "image", "invalid_image_file"),
        ({}, [("image", png(an_image()[:40]))], "image", "invalid_image_file"),
        ({}, [("image", png(an_image(output_format="GIF")))], "image", "invalid_image_file"),
        ({}, [("image", png(an_image(size=(16_000, 5_001))))], "image", "invalid_image_file"),
        ({}, [("image", png(b""))], "image", "empty_image_file"),
        ({}, [("image", png(b"\0" * MAX_IMAGE))], "image", "image_file_too_large"),
        ({}, [("picture", png(an_image()))], "picture", "unknown_parameter"),
        ({}, [("n", png(an_image()))], "n", "invalid_type"),
        ({"n": "two"}, [("image", png(an_image()))], "n", "invalid_type"),
        ({"n": "11"}, [("image", png(an_image()))], "n", "integer_above_max_value"),
        ({"n": ["1", "1"]}, [("image", png(an_image()))], "n", "duplicate_parameter"),
        ({"image": "a.png"}, [("mask", png(an_overlay()))], "image", "invalid_type"),
        ({"stream": "true", "n": "2"}, [("image", png(an_image()))], "n", "invalid_value"),
        ({"input_fidelity": "higher"}, [("image", png(an_image()))], "input_fidelity", "invalid_value"),
        ({"output_format": "svg"}, [("image", png(an_image()))], "output_format", "invalid_value"),
    ],
)
def test_an_edit_that_the_api_refuses(values: dict[str, Any], files: list[Any], param: str, code: str) -> None:
    with demo_upstream() as (_, client):
        response = post(client, "edits", data={"prompt": "a fox", **values}, files=files)
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("files", "param", "code"),
    [
        ({"mask": ("m.jpg", an_image(output_format="JPEG"), "image/jpeg")}, "mask", "unsupported_file_mimetype"),
        ({"mask": png(b"\0" * MAX_MASK)}, "mask", "image_file_too_large"),
        ({"mask": png(an_overlay(size=(64, 96)))}, "mask", "invalid_mask_image_format"),
        ({"mask": png(an_image())}, "mask", "invalid_mask_image_format"),
        ({"markup": png(an_overlay(alpha=255))}, "markup", "invalid_markup_image_format"),
        ({"markup": png(an_overlay(size=(64, 96)))}, "markup", "invalid_markup_image_format"),
        ({"markup": png(an_overlay()), "mask": png(an_overlay())}, "markup", "invalid_value"),
    ],
)
def test_a_mask_or_a_markup_that_the_api_refuses(files: dict[str, Any], param: str, code: str) -> None:
    with demo_upstream() as (_, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.edit(prompt="a fox", image=png(an_image()), **files)
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize("stream", [False, True])
def test_moderation_refuses_before_anything_is_drawn(stream: bool) -> None:
    with demo_upstream() as (_, client):
        response = post(client, "generations", json={"prompt": "a fox [refuse]", "stream": stream})
    error = error_of(response)
    assert response.status_code == 400
    assert (error["type"], error["code"], error["param"]) == ("image_generation_user_error", "moderation_blocked", None)


@pytest.mark.parametrize("route", ["generations", "edits"])
def test_a_wrong_key_is_refused(route: str) -> None:
    with demo_upstream() as (demo, client):
        client.api_key = "wrong"
        response = post(client, route, json={"prompt": "a fox"})
    assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")
    assert demo.received == len(demo.requests) == 1


@pytest.mark.parametrize("route", ["generations", "edits"])
def test_a_body_that_is_not_json_is_refused(route: str) -> None:
    with demo_upstream() as (_, client):
        response = post(client, route, content=b"{", content_type="application/json")
    assert (response.status_code, error_of(response)["type"]) == (400, "invalid_request_error")


def test_a_form_without_its_boundary_is_refused() -> None:
    with demo_upstream() as (_, client):
        response = post(client, "edits", content=b"--x--", content_type="multipart/form-data")
    assert (response.status_code, error_of(response)["type"]) == (400, "invalid_request_error")


def test_other_paths_get_an_error_of_the_same_shape() -> None:
    with demo_upstream() as (_, client):
        response = post(client, "variations", json={})
    assert response.status_code == 404
    assert error_of(response)["message"] == "Invalid URL (POST /v1/images/variations)"
