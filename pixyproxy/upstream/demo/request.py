"""What the demo upstream refuses, as the OpenAI API does."""

import re
from typing import Any

REFUSE = "[refuse]"
"""A prompt with this in it is refused, as moderation would."""
QUALITIES = ("low", "medium", "high", "xhigh", "max", "auto")
PARAMETERS: dict[str, type | tuple[type, ...]] = {
    "prompt": str,
    "model": str,
    "n": int,
    "size": str,
    "quality": str,
    "background": str,
    "output_format": str,
    "output_compression": int,
    "moderation": str,
    "safety_identifier": str,
}


class Refusal(Exception):  # noqa: N818 -- it is this server's answer, not an error of PixyProxy
    """A request that the API refuses with 400."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.body = error_body(message, param=param, code=code)


def error_body(message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as the OpenAI API words it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def check(body: Any) -> dict[str, Any]:
    """The request, if the API would draw it."""
    if not isinstance(body, dict):
        raise Refusal("The request body must be a JSON object.")
    for name, value in body.items():
        if name not in PARAMETERS:
            raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        if not isinstance(value, PARAMETERS[name]) or isinstance(value, bool):
            raise Refusal(f"Invalid type for '{name}'.", param=name, code="invalid_type")
    prompt = body.get("prompt", "")
    if not 1 <= len(prompt) <= 32_000:
        raise Refusal("The prompt must have 1 to 32000 characters.", param="prompt", code="invalid_value")
    if REFUSE in prompt:
        raise Refusal("Your request was rejected by the safety system.", code="moderation_blocked")
    if not 1 <= body.get("n", 1) <= 10:
        raise Refusal("'n' must be from 1 to 10.", param="n", code="invalid_value")
    one_of(body, "quality", QUALITIES)
    one_of(body, "background", ("transparent", "opaque", "auto"))
    one_of(body, "output_format", ("png", "webp", "jpeg"))
    one_of(body, "moderation", ("low", "auto"))
    output_format = body.get("output_format", "png")
    if "output_compression" in body and (output_format == "png" or not 0 <= body["output_compression"] <= 100):
        raise Refusal(
            "'output_compression' is 0 to 100, for webp and jpeg.", param="output_compression", code="invalid_value"
        )
    if body.get("background") == "transparent" and output_format == "jpeg":
        raise Refusal("A transparent background needs png or webp.", param="background", code="invalid_value")
    pixels(body.get("size", "auto"))
    return body


def one_of(body: dict[str, Any], name: str, values: tuple[str, ...]) -> None:
    """Refuse a value that is not on its parameter's list."""
    if body.get(name, values[0]) not in values:
        known = ", ".join(values)
        raise Refusal(f"Invalid value for '{name}': it must be one of {known}.", param=name, code="invalid_value")


def pixels(size: str) -> tuple[int, int]:
    """Width and height of a size that the 2.x models draw: multiples of 16, 1:3 to 3:1, at most 3840x2160 pixels."""
    if size == "auto":
        return 1024, 1024
    match = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", size)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or width % 16 or height % 16 or width * height > 3840 * 2160 or not 1 / 3 <= width / height <= 3:
        raise Refusal(
            "Invalid size: it must be 'auto' or WIDTHxHEIGHT in multiples of 16, from 1:3 to 3:1, up to 3840x2160.",
            param="size",
            code="invalid_size",
        )
    return width, height
