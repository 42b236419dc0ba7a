"""Checks what the upstream drew: whether it is a picture that we keep, and its facts."""

import io
import logging
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from pixyproxy.core.content_types import ContentType
from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import Drawing
from pixyproxy.core.images import MAX_PICTURE_BYTES, Picture

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureFacts:
    """Facts from a picture's bytes: sizes in bytes and pixels, SHA-256 in hexadecimal."""

    content_type: ContentType
    size_bytes: int
    width: int
    height: int
    sha256: str


def magic_content_type(data: bytes) -> ContentType | None:
    """The type by the first bytes. Nothing else is kept: SVG served from one's own origin is script."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def examine(picture: Picture) -> PictureFacts:
    """The facts of a PNG, WebP or JPEG; `UpstreamAnswerError` for everything else. Reads the header alone."""
    data = picture.data
    content_type = magic_content_type(data)
    if content_type is None:
        raise UpstreamAnswerError("The upstream sent something that is neither PNG, WebP nor JPEG.")
    if len(data) > MAX_PICTURE_BYTES:
        raise UpstreamAnswerError(f"The upstream sent a picture of over {MAX_PICTURE_BYTES} bytes.")
    try:
        with Pillow.open(io.BytesIO(data), formats=[content_type.removeprefix("image/")]) as opened:
            width, height = opened.size
    except (UnidentifiedImageError, Pillow.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UpstreamAnswerError("The upstream sent a picture that cannot be read.") from error
    return PictureFacts(
        content_type=content_type,
        size_bytes=len(data),
        width=width,
        height=height,
        sha256=picture.sha256,
    )


def keep_valid(drawing: Drawing) -> tuple[Drawing, tuple[PictureFacts, ...]]:
    """The drawing without invalid pictures, and the facts of the others.

    Invalid ones are logged and left out; `UpstreamAnswerError` if all are invalid.
    """
    facts: dict[int, PictureFacts] = {}
    failure: UpstreamAnswerError | None = None
    for index, picture in enumerate(drawing.pictures):
        try:
            facts[index] = examine(picture)
        except UpstreamAnswerError as error:
            failure = error
            logger.warning("picture %d of %d is left out: %s", index + 1, len(drawing.pictures), error.detail)
    if failure is not None and not facts:
        raise failure
    answer = dict(drawing.answer or {})
    revised = answer.get("revised_prompt")
    if isinstance(revised, list) and len(revised) == len(drawing.pictures):  # one for each picture
        answer["revised_prompt"] = [revised[index] for index in facts]
    pictures = tuple(drawing.pictures[index] for index in facts)
    return drawing.model_copy(update={"pictures": pictures, "answer": answer or None}), tuple(facts.values())
