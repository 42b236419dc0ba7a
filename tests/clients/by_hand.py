"""LiteLLM and LangChain, which are too large for the tests: run by hand, in an environment that has them.

    pip install litellm langchain-community
    PIXYPROXY_MODEL_ALIASES=dall-e-3=gpt-image-2.5-flare pixyproxy serve
    BASE=http://127.0.0.1:8000/v1 KEY=... python tests/clients/by_hand.py

Prints a line for each call that was understood.
"""

import base64
import importlib.metadata
import io
import os
import urllib.request
from typing import Any

import litellm  # type: ignore[import-not-found,unused-ignore]
from langchain_community.tools.openai_dalle_image_generation import (  # type: ignore[import-not-found,unused-ignore]
    OpenAIDALLEImageGenerationTool,
)
from langchain_community.utilities.dalle_image_generator import (  # type: ignore[import-not-found,unused-ignore]
    DallEAPIWrapper,
)

BASE, KEY = os.environ["BASE"], os.environ["KEY"]
PROMPT = "two foxes, woodcut"
ASKED = {"api_base": BASE, "api_key": KEY, "model": "openai/gpt-image-2.5-flare", "prompt": PROMPT}


def understood(what: str, *pictures: bytes) -> None:
    """Say that these came, and are PNG files."""
    assert pictures
    assert all(picture.startswith(b"\x89PNG") for picture in pictures), what
    print(f"{what}: {len(pictures)}")


def decoded(answer: Any) -> list[bytes]:
    """The pictures of an answer of LiteLLM's, which counts the tokens."""
    assert answer.usage.total_tokens > 0
    return [base64.b64decode(image.b64_json) for image in answer.data]


def fetched(urls: str) -> list[bytes]:
    """The pictures at these URLs, one a line."""
    return [urllib.request.urlopen(url).read() for url in urls.splitlines()]


def with_litellm() -> None:
    """Pictures, two at once, an alias that is answered with a URL, edits, and a refusal."""
    print("litellm", importlib.metadata.version("litellm"))
    (picture,) = decoded(litellm.image_generation(**ASKED))
    understood("image_generation", picture)
    understood("image_generation, n=2", *decoded(litellm.image_generation(n=2, **ASKED)))
    alias = litellm.image_generation(**ASKED | {"model": "openai/dall-e-3"})
    understood("image_generation, dall-e-3", *fetched(alias.data[0].url))
    file = io.BytesIO(picture)
    file.name = "/home/somebody/a fox.png"
    understood("image_edit", *decoded(litellm.image_edit(image=file, **ASKED)))
    understood("image_edit of two, n=2", *decoded(litellm.image_edit(image=[picture, picture], n=2, **ASKED)))
    try:
        litellm.image_generation(n=11, **ASKED)
    except litellm.BadRequestError as error:
        assert "Invalid value for 'n'" in str(error)
        print("a refusal: BadRequestError")


def with_langchain() -> None:
    """One picture, two, and the tool of agents."""
    print("langchain-community", importlib.metadata.version("langchain-community"))
    asked = {"base_url": BASE, "api_key": KEY, "model": "dall-e-3"}
    understood("DallEAPIWrapper", *fetched(DallEAPIWrapper(**asked).run(PROMPT)))
    understood("DallEAPIWrapper, n=2", *fetched(DallEAPIWrapper(**asked, n=2).run(PROMPT)))
    tool = OpenAIDALLEImageGenerationTool(api_wrapper=DallEAPIWrapper(**asked))
    understood("OpenAIDALLEImageGenerationTool", *fetched(tool.invoke(PROMPT)))


if __name__ == "__main__":
    with_litellm()
    with_langchain()
