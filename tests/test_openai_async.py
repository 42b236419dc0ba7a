"""The asynchronous client of the openai package, which validates every answer by OpenAI's newest types."""

from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from pixyproxy.core.exceptions import UpstreamDeadlineError
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.stage import Stage

pytestmark = pytest.mark.anyio
ONE, TWO, MASK, MARKUP = (tiny_picture(name) for name in ("one", "two", "mask", "markup"))
PROMPT = planted.PROMPT


@pytest.fixture
def stage() -> Stage:
    """The application over fakes."""
    return Stage()


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[AsyncOpenAI]:
    """A client of the stage, without retries."""
    with listening(stage.app) as url:
        async with AsyncOpenAI(
            base_url=f"{url}/v1", api_key=planted.API_KEY, max_retries=0, _strict_response_validation=True
        ) as client:
            yield client


async def test_it_draws_one_picture_or_three_in_base64_or_as_urls(stage: Stage, client: AsyncOpenAI) -> None:
    nulls: dict[str, Any] = dict.fromkeys(("model", "n", "size", "quality", "style", "response_format"))
    for answer in (await client.images.generate(prompt=PROMPT), await client.images.generate(prompt=PROMPT, **nulls)):
        assert [b64decode(each.b64_json or "") for each in answer.data or []] == [tiny_picture(PROMPT)]
    urls = await client.images.generate(prompt=PROMPT, n=3, response_format="url")
    assert len({each.url for each in urls.data or []}) == 3
    assert len(stage.generator.requests) == 3


async def test_it_edits_files_bytes_and_lists_with_mask_and_markup(
    stage: Stage, client: AsyncOpenAI, tmp_path: Path
) -> None:
    path = tmp_path / "a picture.png"
    path.write_bytes(ONE)
    await client.images.edit(image=path, prompt=PROMPT)
    await client.images.edit(image=ONE, prompt=PROMPT)
    await client.images.edit(image=[ONE], prompt=PROMPT)
    await client.images.edit(image=[ONE, TWO], mask=MASK, markup=MARKUP, prompt=PROMPT, input_fidelity="high")
    assert stage.generator.inputs == [(ONE,), (ONE,), (ONE,), (ONE, TWO, MASK, MARKUP)]
    assert [each.role for each in stage.generator.requests[-1].inputs] == ["image", "image", "mask", "markup"]
    assert stage.spool.open_files == []


async def test_it_edits_a_stored_image(stage: Stage, client: AsyncOpenAI) -> None:
    drawn = await client.images.generate(prompt=PROMPT)
    guid = (drawn.data or [])[0].model_extra["pixyproxy"]["guid"]  # type: ignore[index]
    await client.images.edit(image=[], prompt=PROMPT, extra_body={"image": guid})
    assert stage.generator.inputs[-1] == (tiny_picture(PROMPT),)


@pytest.mark.parametrize("wanted", [0, 1, 2, 3])
async def test_it_reads_streams_of_both_routes(stage: Stage, client: AsyncOpenAI, wanted: int) -> None:
    stage.generator.partials = (ONE, TWO, MASK)[:wanted]
    drawn = await client.images.generate(prompt=PROMPT, stream=True, partial_images=wanted)
    edited = await client.images.edit(image=ONE, prompt=PROMPT, stream=True, partial_images=wanted)
    for kind, stream in (("image_generation", drawn), ("image_edit", edited)):
        types = [event.type async for event in stream]
        assert types == [f"{kind}.partial_image"] * wanted + [f"{kind}.completed"]


async def test_it_raises_what_its_users_know(stage: Stage, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as many:
        await client.images.generate(prompt=PROMPT, n=11)
    assert (many.value.code, many.value.param, many.value.type) == ("invalid_value", "n", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as text:
        await client.images.edit(image=b"a text " * 1000, prompt=PROMPT)
    assert (text.value.code, text.value.param) == ("unsupported_file_mimetype", "image")
    with pytest.raises(openai.NotFoundError):
        await client.images.generate(prompt=PROMPT, model="dall-e-3")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-other").images.generate(prompt=PROMPT)
    assert stage.generator.requests == []
    stage.generator.failure = UpstreamDeadlineError("late")
    with pytest.raises(openai.APIStatusError) as late:
        await client.images.generate(prompt=PROMPT)
    assert (late.value.status_code, late.value.code, bool(late.value.request_id)) == (424, "upstream_deadline", True)
