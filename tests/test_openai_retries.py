"""The SDK repeats requests by itself, without any Idempotency-Key: it must not buy again."""

import asyncio
from base64 import b64decode

import openai
import pytest

from pixyproxy.core.exceptions import StorageUnavailableError, UpstreamDeadlineError, UpstreamUnavailableError
from tests import planted
from tests.fakes import tiny_picture
from tests.openai_stage import sdk
from tests.stage import Stage


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


def test_an_answer_that_breaks_off_is_given_again() -> None:
    stage = Stage()
    stage.storage.breaks_off = StorageUnavailableError("broke off")

    async def mend(_: str) -> None:
        if stage.storage.opened:
            stage.storage.breaks_off = None

    stage.storage.before_open = mend
    with sdk(stage, max_retries=2) as client:
        answer = client.images.generate(prompt=planted.PROMPT)
    assert b64decode((answer.data or [])[0].b64_json or "") == tiny_picture(planted.PROMPT)
    assert len(stage.generator.requests) == 1
