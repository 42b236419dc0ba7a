"""The tokens of a usage by kind, as a price list has them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MAX_TOKENS = 1_000_000_000_000
"""No answer has used so many: such a number is not believed."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How many tokens of each kind a generation used. Those that came from a cache count there alone."""

    text_in: int
    image_in: int
    cached_text_in: int
    cached_image_in: int
    image_out: int
    text_out: int

    def by_price(self) -> dict[str, int]:
        """Their numbers by the fields of a price."""
        return asdict(self)


def tokens_of(usage: Mapping[str, Any] | None, *, edits: bool) -> Tokens | None:
    """The tokens of a usage, as the upstream sent it; None if it does not say how many of each kind there are.

    Without details all output is image tokens, and the input of a generation without input images is text. `edits`:
    there were input images, so the input cannot be told apart without details. Details that are all 0 beside a total
    are none: a proxy filled them in. A usage of no output at all says nothing of a picture.
    """
    if usage is None:
        return None
    written, drawn = _inputs(usage, edits=edits), _outputs(usage)
    if written is None or drawn is None:
        return None
    return Tokens(*written, *drawn)


def _inputs(usage: Mapping[str, Any], *, edits: bool) -> tuple[int, int, int, int] | None:
    """Tokens of text and of images, then those of both that came from a cache."""
    total, details = _count(usage, "input_tokens"), _part(usage, "input_tokens_details")
    text, image = _count(details, "text_tokens"), _count(details, "image_tokens")
    if total and not text and not image:
        text = image = None
    if image is None and not edits:
        image = 0
    if image is None and text is not None and total is not None:
        image = total - text
    if text is None and image is not None and total is not None:
        text = total - image
    if text is None or image is None or min(text, image) < 0 or total not in (None, text + image):
        return None
    cached = _cached(details, text=text, image=image)
    if cached is None or cached[0] > text or cached[1] > image:
        return None
    return text - cached[0], image - cached[1], *cached


def _cached(details: Mapping[str, Any], *, text: int, image: int) -> tuple[int, int] | None:
    """Of the tokens of text and of images, those that came from a cache."""
    total, kinds = _count(details, "cached_tokens"), _part(details, "cached_tokens_details")
    of_text, of_image = _count(kinds, "text_tokens"), _count(kinds, "image_tokens")
    if not total:
        return of_text or 0, of_image or 0
    if of_text is None and of_image is None:  # nothing says which ones: there must be only one kind
        return None if text and image else (total, 0) if text else (0, total)
    if of_text is None:
        of_text = total - (of_image or 0)
    if of_image is None:
        of_image = total - of_text
    return (of_text, of_image) if min(of_text, of_image) >= 0 and of_text + of_image == total else None


def _outputs(usage: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens of images, and of text."""
    total, details = _count(usage, "output_tokens"), _part(usage, "output_tokens_details")
    text, image = _count(details, "text_tokens") or 0, _count(details, "image_tokens")
    if total is None:
        return (image, text) if image else None
    drawn = total - text  # what the details do not mention is image tokens
    return (drawn, text) if drawn > 0 and (image or 0) <= drawn else None


def _count(values: Mapping[str, Any], name: str) -> int | None:
    found = values.get(name)
    return found if type(found) is int and 0 <= found <= MAX_TOKENS else None


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
