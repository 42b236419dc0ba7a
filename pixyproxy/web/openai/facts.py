"""The facts of an answer besides its pictures."""

from typing import Any

from pixyproxy.core.generations import Generation
from pixyproxy.core.images import Image
from pixyproxy.web.costs import CostDetails
from pixyproxy.web.images.details import content_url, thumbnail_url

FORMATS = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpeg"}
INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS = "input_tokens", "output_tokens", "total_tokens"
DETAILS = ("text_tokens", "image_tokens")


def resolved_facts(generation: Generation, image: Image) -> dict[str, str]:
    """The actual size, quality, background and format, never `auto`; unknown ones are left out.

    The format and, if the upstream did not say it, the size are those of the picture.
    """
    said, asked = generation.answer or {}, generation.request.values
    found = {
        "background": said_or_asked("background", said, asked),
        "output_format": FORMATS[image.content_type],
        "quality": said_or_asked("quality", said, asked),
        "size": known(said.get("size")) or f"{image.width}x{image.height}",
    }
    return {name: value for name, value in found.items() if value is not None}


def said_or_asked(name: str, said: dict[str, Any], asked: dict[str, Any]) -> str | None:
    """A fact as the upstream resolved it, or else as requested."""
    return known(said.get(name)) or known(asked.get(name))


def known(value: object) -> str | None:
    """The value; None if it is `auto`, empty, or not a text."""
    return value if isinstance(value, str) and value not in ("", "auto") else None


def event_facts(said: dict[str, Any], asked: dict[str, Any]) -> dict[str, str]:
    """The facts that an event must have; they may be `auto`."""
    return {
        "background": said_or_asked("background", said, asked) or "auto",
        "output_format": said_or_asked("output_format", said, asked) or "png",
        "quality": said_or_asked("quality", said, asked) or "auto",
        "size": said_or_asked("size", said, asked) or "auto",
    }


def complete_usage(usage: dict[str, Any] | None) -> dict[str, Any]:
    """The usage with every member that clients read; a missing figure is 0."""
    given = usage or {}
    parts: dict[str, Any] = {}
    for name in (INPUT_TOKENS, OUTPUT_TOKENS):
        details = given.get(f"{name}_details")
        parts[name] = tokens(given.get(name))
        parts[f"{name}_details"] = {
            **(details if isinstance(details, dict) else {}),
            **{each: tokens(details.get(each) if isinstance(details, dict) else None) for each in DETAILS},
        }
    total = given.get(TOTAL_TOKENS)
    parts[TOTAL_TOKENS] = parts[INPUT_TOKENS] + parts[OUTPUT_TOKENS] if total is None else tokens(total)
    return {**given, **parts}


def tokens(value: object) -> int:
    """A number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def own_facts(generation: Generation, image: Image, *, base_url: str) -> dict[str, Any]:
    """PixyProxy's own member: the image's guid, its permanent URLs, the model that drew it, its generation and cost."""
    cost = CostDetails.of(generation.cost)
    return {
        "guid": str(image.guid),
        "url": content_url(image, base_url=base_url),
        "model": image.model,
        "generation": str(generation.guid),
        "thumbnail_url": thumbnail_url(image, base_url=base_url),
        "cost": None if cost is None else cost.model_dump(),
    }


def revised_prompt(generation: Generation, index: int) -> dict[str, str]:
    """The revised prompt of the upstream, if there is one."""
    revised = (generation.answer or {}).get("revised_prompt")
    if isinstance(revised, list):
        revised = revised[index] if index < len(revised) else None
    return {"revised_prompt": revised} if isinstance(revised, str) else {}
