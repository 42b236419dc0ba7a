"""The requests of Open WebUI 0.12.4 (its routers/images.py was read, not run), sent with its HTTP client, aiohttp."""

from base64 import b64decode
from typing import Any

import aiohttp
import pytest

from pixyproxy.service.models import ModelCatalogue
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.stage import Stage

pytestmark = pytest.mark.anyio
KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
MODELS = ModelCatalogue("gpt-image-2", aliases={"dall-e-2": "gpt-image-2"})
ASKED = {"model": "gpt-image-2", "prompt": planted.PROMPT, "n": 1, "size": "512x512"}


async def images_of(answer: aiohttp.ClientResponse) -> list[bytes]:
    """The pictures as Open WebUI reads them: by the URL if there is one, else from base64."""
    answer.raise_for_status()
    found = await answer.json(content_type=None)
    assert all(image.get("url", None) is None for image in found["data"]), "it refuses to fetch a private address"
    return [b64decode(image["b64_json"]) for image in found["data"]]


@pytest.mark.parametrize(
    ("base", "version", "changed"),
    [
        ("/v1", "", {}),
        ("/v1/", "?api-version=2025-04-01-preview", {"n": 2}),
        ("/v1", "", {"model": "dall-e-2", "response_format": "b64_json"}),
    ],
)
async def test_it_draws(base: str, version: str, changed: dict[str, Any]) -> None:
    stage = Stage(models=MODELS)
    with listening(stage.app) as url:
        async with aiohttp.ClientSession() as session:
            asked = {**ASKED, **changed}
            headers = {**KEY, "Content-Type": "application/json"}
            async with session.post(f"{url}{base}/images/generations{version}", json=asked, headers=headers) as answer:
                images = await images_of(answer)
    assert images == list(stage.storage.objects.values())
    assert len(images) == asked["n"]


@pytest.mark.parametrize("names", [["image"], ["image[]", "image[]"]])
async def test_it_edits(names: list[str]) -> None:
    stage, pictures = Stage(models=MODELS), [tiny_picture(str(number)) for number in range(len(names))]
    form = aiohttp.FormData()
    for key, value in ASKED.items():
        form.add_field(key, str(value))
    for name, picture in zip(names, pictures, strict=True):
        form.add_field(name, picture, filename="image.png", content_type="image/png")
    with listening(stage.app) as url:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/v1/images/edits", headers=KEY, data=form) as answer:
                images = await images_of(answer)
    assert images == list(stage.storage.objects.values())
    assert stage.generator.inputs == [tuple(pictures)]
