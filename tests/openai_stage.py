"""The application over fakes on a real socket, and the openai SDK as its client."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openai import OpenAI

from tests import planted
from tests.listening import listening
from tests.stage import Stage


@contextmanager
def sdk(stage: Stage, *, strict: bool = True, **options: Any) -> Iterator[OpenAI]:
    """A client of the stage, without retries. `strict`: it validates every answer by OpenAI's newest types."""
    options = {"api_key": planted.API_KEY, "max_retries": 0, **options}
    with listening(stage.app) as url:
        with OpenAI(base_url=f"{url}/v1", _strict_response_validation=strict, **options) as client:
            yield client


def total_usage(total: int) -> dict[str, Any]:
    """A usage with every member that clients read, of which the upstream said the total alone."""
    details = {"text_tokens": 0, "image_tokens": 0}
    return {
        "input_tokens": 0,
        "input_tokens_details": details,
        "output_tokens": 0,
        "output_tokens_details": details,
        "total_tokens": total,
    }
