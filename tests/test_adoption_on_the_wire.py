"""Retries of clients below /v1 that leave a stream, or an answer that they did not take: on real sockets."""

import asyncio
import time

import httpx2
import pytest

from tests import planted
from tests.listening import listening
from tests.stage import KEY, Stage

RETRY = {**KEY, "x-stainless-retry-count": "1"}
PATIENCE = 20
GENERATIONS = "/v1/images/generations"


def post(url: str, *, headers: dict[str, str], **values: object) -> httpx2.Response:
    """A request for the planted prompt."""
    body = {"prompt": planted.PROMPT, **values}
    return httpx2.post(url + GENERATIONS, json=body, headers=headers, timeout=PATIENCE)


def leave_a_stream(url: str, **values: object) -> None:
    """Ask for a stream, and leave when it has begun."""
    body = {"prompt": planted.PROMPT, "stream": True, **values}
    with httpx2.stream("POST", url + GENERATIONS, json=body, headers=KEY, timeout=PATIENCE) as answer:
        assert answer.status_code == 200


@pytest.fixture
def stage() -> Stage:
    """An upstream that draws for a second."""
    stage = Stage()
    stage.generator.before = lambda: asyncio.sleep(1)
    return stage


@pytest.mark.parametrize("streams", [False, True])
def test_a_retry_of_a_stream_that_was_left_gets_the_picture(stage: Stage, streams: bool) -> None:
    with listening(stage.app) as url:
        leave_a_stream(url, partial_images=2)
        time.sleep(0.2)
        answer = post(url, headers=RETRY, stream=streams)
    assert (answer.status_code, len(stage.generator.requests)) == (200, 1)
    assert ("image_generation.completed" in answer.text) is streams


@pytest.mark.parametrize(
    ("headers", "values"),
    [
        (KEY, {}),
        ({**RETRY, "Idempotency-Key": "of its own"}, {}),
        (RETRY, {"size": "64x32"}),
        (RETRY, {"prompt": "another one"}),
    ],
)
def test_another_request_buys_its_own_picture(stage: Stage, headers: dict[str, str], values: dict[str, str]) -> None:
    with listening(stage.app) as url:
        leave_a_stream(url)
        time.sleep(0.2)
        assert post(url, headers=headers, **values).status_code == 200
    assert len(stage.generator.requests) == 2


def test_an_answer_that_was_taken_is_nobodys(stage: Stage) -> None:
    with listening(stage.app) as url:
        for _ in range(2):
            assert post(url, headers=RETRY).status_code == 200
    assert len(stage.generator.requests) == 2


def test_our_own_dialect_begins_nothing_that_a_retry_adopts(stage: Stage) -> None:
    with listening(stage.app) as url:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{url}/image", json={"prompt": planted.PROMPT}, headers=KEY, timeout=0.3)
        assert post(url, headers=RETRY).status_code == 200
    assert len(stage.generator.requests) == 2
