"""The SDK repeats requests by itself, without any Idempotency-Key: it must not buy again."""

import asyncio
from base64 import b64decode
from contextlib import suppress
from typing import Any

import httpx2
import openai
import pytest

from pixyproxy.core.exceptions import StorageUnavailableError, UpstreamDeadlineError, UpstreamUnavailableError
from pixyproxy.web.openai.answers import PAUSES
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.openai_stage import sdk
from tests.stage import KEY, Stage


def test_a_client_that_gives_up_too_early_gets_its_picture_from_its_retry() -> None:
    stage = Stage()
    stage.generator.before = lambda: asyncio.sleep(1.5)
    with sdk(stage, max_retries=5, timeout=1) as client:
        answer = client.images.generate(prompt=planted.PROMPT)
    assert b64decode((answer.data or [])[0].b64_json or "") == tiny_picture(planted.PROMPT)
    assert len(stage.generator.requests) == 1


def test_a_failure_that_may_have_been_billed_is_not_repeated() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamDeadlineError("late")
    with sdk(stage, max_retries=2) as client:
        with pytest.raises(openai.APIStatusError) as error:
            client.images.generate(prompt=planted.PROMPT)
    (generation,) = stage.generations.generations
    assert (error.value.status_code, len(stage.generator.requests)) == (424, 1)
    assert str(generation) in error.value.message


def test_a_failure_that_cost_nothing_is_repeated_until_it_succeeds() -> None:
    stage = Stage()

    async def fail_once() -> None:
        if len(stage.generator.requests) == 1:
            raise UpstreamUnavailableError("busy", retry_after=1)

    stage.generator.before = fail_once
    with sdk(stage, max_retries=2) as client:
        answer = client.images.generate(prompt=planted.PROMPT)
    assert len(answer.data or []) == 1
    assert len(stage.generator.requests) == 2


def post_twice_at_most(stage: Stage, **body: Any) -> httpx2.Response:
    """What a client does that counts no tries and sends no key: it repeats what breaks off and every 5xx."""
    with listening(stage.app) as url:
        for last in (False, True):
            with suppress(httpx2.TransportError):
                answer = httpx2.post(url + "/v1/images/generations", headers=KEY, json=body, timeout=20)
                if last or answer.status_code < 500:
                    return answer
    raise AssertionError("no answer came whole")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_picture_whose_reading_breaks_off_is_read_on_and_its_client_buys_no_other(number: int) -> None:
    stage = Stage()

    async def break_off(_: str) -> None:
        kept = StorageUnavailableError("broke off") if len(stage.storage.opened) in (number, number + 2) else None
        stage.storage.breaks_off = kept

    stage.storage.before_open = break_off
    answer = post_twice_at_most(stage, prompt=planted.PROMPT, n=3)
    drawn = [b64decode(each["b64_json"]) for each in answer.json()["data"]]
    assert drawn == [tiny_picture(planted.PROMPT + " again" * again) for again in range(3)]
    assert len(stage.generator.requests) == 1
    assert all(content.closed for content in stage.storage.opened)


def test_a_later_picture_that_is_lost_is_known_before_the_answer_begins() -> None:
    stage = Stage()

    async def lose(key: str) -> None:
        for lost in list(stage.storage.objects)[1:]:
            del stage.storage.objects[lost]

    stage.storage.before_open = lose
    answer = post_twice_at_most(stage, prompt=planted.PROMPT, n=3)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (424, "false")
    assert len(stage.generator.requests) == 1
    assert all(content.closed for content in stage.storage.opened)


def test_an_answer_that_breaks_off_is_given_again() -> None:
    stage = Stage()
    stage.storage.breaks_off = StorageUnavailableError("broke off")

    async def mend(_: str) -> None:
        if len(stage.storage.opened) > len(PAUSES):
            stage.storage.breaks_off = None

    stage.storage.before_open = mend
    with sdk(stage, max_retries=2) as client:
        answer = client.images.generate(prompt=planted.PROMPT)
    assert b64decode((answer.data or [])[0].b64_json or "") == tiny_picture(planted.PROMPT)
    assert len(stage.generator.requests) == 1
