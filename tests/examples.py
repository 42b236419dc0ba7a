"""Models for the tests; a test names only the values that it is about."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pixyproxy.core.generations import Drawing, Generation, GenerationState, RecordedRequest
from pixyproxy.core.images import Image, Picture
from pixyproxy.core.inputs import Input
from pixyproxy.core.prices import PriceTerms
from tests import planted

MOMENT = datetime(2026, 11, 22, 10, 15, 2, 123456, tzinfo=UTC)


def a_generation(**values: Any) -> Generation:
    """A running generation."""
    known: dict[str, Any] = {
        "guid": uuid4(),
        "api_key_id": 1,
        "request": RecordedRequest(values={"prompt": planted.PROMPT, "model": "gpt-image-2"}),
        "state": GenerationState.RUNNING,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    return Generation(**{**known, **values})


def an_image(generation: Generation | None = None, **values: Any) -> Image:
    """An image of the generation, or of none that is recorded."""
    guid: UUID = values.get("guid") or (generation.image_guid(0) if generation else uuid4())
    known: dict[str, Any] = {
        "guid": guid,
        "filename": f"{guid}.png",
        "prompt": planted.PROMPT,
        "content_type": "image/png",
        "size_bytes": 1234,
        "width": 1024,
        "height": 768,
        "sha256": "ab" * 32,
        "model": "gpt-image-2",
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    return Image(**{**known, **values})


def an_input(**values: Any) -> Input:
    """What a record has of an upload."""
    known: dict[str, Any] = {"role": "image", "sha256": "cd" * 32, "content_type": "image/webp", "size_bytes": 77}
    return Input(**{**known, **values})


def a_price(**values: Any) -> PriceTerms:
    """What OpenAI charges for gpt-image-2 by the token, unless the values say something else."""
    known: dict[str, Any] = {
        "upstream": "openai",
        "model": "gpt-image-2",
        "valid_from": datetime(2026, 4, 21, tzinfo=UTC),
        "source": "a test",
    }
    if "per_image" not in values:
        known |= {"text_in": 5000, "image_in": 8000, "cached_text_in": 1250, "cached_image_in": 2000}
        known |= {"image_out": 30_000}
    return PriceTerms(**{**known, **values})


def a_drawing(*, pictures: tuple[bytes, ...] = (b"",), **values: Any) -> Drawing:
    """What the upstream sent."""
    known: dict[str, Any] = {
        "usage": {"total_tokens": 3},
        "upstream_request_id": "req_1",
        "answer": {"size": "32x16", "quality": "low"},
    }
    return Drawing(pictures=tuple(map(Picture.of, pictures)), **{**known, **values})
