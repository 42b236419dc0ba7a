"""The requests of the demo upstream, and the rules that it shares with the OpenAI API."""

import re
from dataclasses import dataclass, replace
from typing import Any

from pixyproxy.upstream.demo.inputs import Inputs
from pixyproxy.upstream.demo.refusals import Refusal, refuse_type, refuse_value

REFUSE = "[refuse]"
"""A prompt with this in it is refused, as moderation would."""
MAX_PROMPT = 32_000
INTEGERS = {"n": (1, 10), "output_compression": (0, 100), "partial_images": (0, 3)}
CHOICES = {
    "quality": ("low", "medium", "high", "xhigh", "max", "auto"),
    "background": ("transparent", "opaque", "auto"),
    "output_format": ("png", "webp", "jpeg"),
    "moderation": ("low", "auto"),
    "complexity": ("low", "medium", "high"),
    "input_fidelity": ("low", "high"),
}
TEXTS = ("prompt", "model", "size", "user", "safety_identifier")
ONLY_WITH = {"frame_count": "gif", "frame_duration_ms": "gif", "svg": "svg"}
ONLY_EDITS = ("input_fidelity",)
PARAMETERS = ("stream", *INTEGERS, *CHOICES, *TEXTS, *ONLY_WITH)


@dataclass(frozen=True)
class Asked:
    """A request that the API would draw. Parameters that it leaves open have the values that the demo chooses."""

    prompt: str
    n: int
    size: tuple[int, int] | None
    quality: str
    background: str
    output_format: str
    compression: int
    stream: bool
    partial_images: int
    input_fidelity: str
    safety_identifier: str | None
    inputs: Inputs | None = None
    """None: a picture is generated, not edited."""

    def editing(self, inputs: Inputs) -> "Asked":
        """The same request with its inputs; a size that was left open follows the first of them."""
        return replace(self, inputs=inputs, size=self.size or inputs.nearest_size())

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self.size or (1024, 1024)

    @property
    def resolved(self) -> dict[str, Any]:
        """The values that answers and events repeat; none of them is `auto`."""
        width, height = self.pixels
        resolved = {
            "background": self.background,
            "output_format": self.output_format,
            "quality": self.quality,
            "size": f"{width}x{height}",
        }
        return resolved | ({"safety_identifier": self.safety_identifier} if self.safety_identifier else {})


def check(body: Any, *, edit: bool = False) -> Asked:
    """The request, if the API would draw it; `edit` knows parameters of its own. Raises Refusal."""
    if not isinstance(body, dict):
        raise Refusal("The request body must be a JSON object.")
    values = {name: value for name, value in body.items() if value is not None}
    for name, value in values.items():
        _check_parameter(name, value, edit=edit)
    prompt, output_format = values.get("prompt"), values.get("output_format", "png")
    if prompt is None:
        raise Refusal("Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    if not prompt:
        raise Refusal("Invalid 'prompt': empty string.", param="prompt", code="empty_string")
    if len(prompt) > MAX_PROMPT:
        message = f"Invalid 'prompt': string too long. Expected at most {MAX_PROMPT} characters, but got {len(prompt)}."
        raise Refusal(message, param="prompt", code="string_above_max_length")
    if "output_compression" in values and output_format == "png":
        raise refuse_value("output_compression", "'output_compression' is only supported for webp and jpeg.")
    if values.get("background") == "transparent" and output_format == "jpeg":
        raise refuse_value("background", "A transparent background is only supported for png and webp.")
    if values.get("stream") and values.get("n", 1) > 1:
        raise refuse_value("n", "Streaming is only supported with 'n' = 1.")
    size = pixels(values["size"]) if values.get("size", "auto") != "auto" else None
    if REFUSE in prompt:
        raise Refusal.of_moderation()
    return Asked(
        prompt=prompt,
        n=values.get("n", 1),
        size=size,
        quality=_resolved(values, "quality", "medium"),
        background=_resolved(values, "background", "opaque"),
        output_format=output_format,
        compression=values.get("output_compression", 100),
        stream=values.get("stream", False),
        partial_images=values.get("partial_images", 0),
        input_fidelity=values.get("input_fidelity", "low"),
        safety_identifier=values.get("safety_identifier") or values.get("user") or None,
    )


def _check_parameter(name: str, value: Any, *, edit: bool) -> None:
    if name in ONLY_WITH:
        raise refuse_value(name, f"'{name}' is only supported with 'output_format' = '{ONLY_WITH[name]}'.")
    if name == "stream":
        if not isinstance(value, bool):
            raise refuse_type(name, "a boolean", value)
    elif name in INTEGERS:
        if not isinstance(value, int) or isinstance(value, bool):
            raise refuse_type(name, "an integer", value)
        least, most = INTEGERS[name]
        if not least <= value <= most:
            bound, limit = ("above_max", f"<= {most}") if value > most else ("below_min", f">= {least}")
            message = f"Invalid '{name}': expected a value {limit}, but got {value} instead."
            raise Refusal(message, param=name, code=f"integer_{bound}_value")
    elif name in TEXTS or (name in CHOICES and (edit or name not in ONLY_EDITS)):
        if not isinstance(value, str):
            raise refuse_type(name, "a string", value)
        known = CHOICES.get(name)
        if known and value not in known:
            supported = ", ".join(f"'{each}'" for each in known)
            raise refuse_value(name, f"Invalid value for '{name}': '{value}'. Supported values are: {supported}.")
    else:
        raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def _resolved(values: dict[str, Any], name: str, default: str) -> str:
    value: str = values.get(name, "auto")
    return default if value == "auto" else value


def pixels(size: str) -> tuple[int, int]:
    """Width and height of a size that the 2.x models draw: multiples of 16, 1:3 to 3:1, at most 3840x2160 pixels."""
    match = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", size)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or width % 16 or height % 16 or width * height > 3840 * 2160 or not 1 / 3 <= width / height <= 3:
        raise Refusal(
            "Invalid size: it must be 'auto' or WIDTHxHEIGHT in multiples of 16, from 1:3 to 3:1, up to 3840x2160.",
            param="size",
            code="invalid_size",
        )
    return width, height
