"""One Idempotency-Key buys one picture, whatever happens. Time is virtual here."""

import asyncio
from io import BytesIO
from typing import Any, cast

import pytest

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    GenerationRunningError,
    IdempotencyKeyReusedError,
    ImageDeletedError,
    InvalidIdempotencyKeyError,
    OutcomeUnknownError,
    PixyProxyException,
    StorageUnavailableError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import Generation, GenerationRequest, GenerationState
from pixyproxy.core.inputs import Input, InputFile, InputFiles
from pixyproxy.core.keys import CONFIGURED_CALLER, EVERYTHING, Caller
from pixyproxy.service.generating.begin import fingerprint_of
from pixyproxy.service.generating.created import Created
from tests import planted
from tests.fakes import FakeGenerationRepository, FakeGenerator
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio

CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)
REQUEST = GenerationRequest(prompt=planted.PROMPT)
KEY = "order-66"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A loop whose seconds do not last."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def create(stage: Stage, request: GenerationRequest = REQUEST, *, key: str = KEY, **values: Any) -> Created:
    return await stage.private.create(request, **{"caller": CALLER, "idempotency_key": key, **values})


def slow(stage: Stage) -> asyncio.Event:
    """The upstream draws when the event is set."""
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    return drawing


async def the_generation_with(stage: Stage, key: str = KEY) -> Generation:
    generation = await stage.generations.find(api_key_id=CALLER.api_key_id, idempotency_key=key)
    assert generation is not None
    return generation


async def fail_with(stage: Stage, failure: PixyProxyException) -> Generation:
    """The generation of the key, failed so."""
    stage.generator.failure = failure
    with pytest.raises(type(failure)):
        await create(stage)
    stage.generator.failure = None
    await asyncio.sleep(1)  # the caller gets it at once, the record is written afterwards
    generation = await the_generation_with(stage)
    assert generation.state is GenerationState.FAILED
    return generation


async def test_the_same_key_gets_the_same_image() -> None:
    stage = Stage()
    first = await create(stage)
    again = await create(stage)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.generation.images == first.generation.images
    assert len(stage.generator.requests) == 1


async def test_another_replica_and_the_next_process_answer_for_the_key() -> None:
    stage = Stage()
    first = await create(stage)
    again = await create(stage.replica())
    assert again.replayed
    assert again.generation.images == first.generation.images
    assert len(stage.generator.requests) == 1


async def test_keys_belong_to_their_callers() -> None:
    stage = Stage()
    first = await create(stage)
    other = await create(stage, caller=Caller(api_key_id=8, name="desktop", scopes=EVERYTHING))
    assert other.generation.guid != first.generation.guid
    assert not other.replayed


async def test_other_keys_and_none_buy_each_a_picture_of_their_own() -> None:
    stage = Stage()
    answers = [await create(stage, key=cast(Any, key)) for key in ("a", "b", "A", None, None)]
    assert len({answer.generation.guid for answer in answers}) == len(stage.generator.requests) == 5


@pytest.mark.parametrize("key", ["order-66", '"order-66"', ' "order-66" ', " order-66 "])
async def test_a_quoted_key_and_a_bare_one_are_one(key: str) -> None:
    stage = Stage()
    await create(stage)
    assert (await create(stage, key=key)).replayed


async def test_what_is_escaped_in_a_quoted_key_is_what_stands_there() -> None:
    stage = Stage()
    await create(stage, key='a "b" \\c')
    assert (await create(stage, key='"a \\"b\\" \\\\c"')).replayed


@pytest.mark.parametrize("key", ["", " ", '""', '" "', "x" * 256, "tab\tinside", "nul\x00", "käse", "line\nbreak"])
async def test_what_is_no_key_is_refused_before_anything_is_spent(key: str) -> None:
    stage = Stage()
    with pytest.raises(InvalidIdempotencyKeyError):
        await create(stage, key=key)
    assert (stage.generator.requests, stage.generations.generations) == ([], {})


@pytest.mark.parametrize("key", ["x" * 255, '"' + "x" * 255 + '"', '"', "~", "with space"])
async def test_the_longest_and_the_oddest_key_is_one(key: str) -> None:
    stage = Stage()
    await create(stage, key=key)
    assert (await create(stage, key=key)).replayed


@pytest.mark.parametrize("replicas", ["the same process", "another replica"])
async def test_while_it_runs_a_client_that_does_not_wait_gets_the_time_to_ask_again(replicas: str) -> None:
    stage = Stage()
    other = stage if replicas == "the same process" else stage.replica()
    drawing = slow(stage)
    begun = (await create(stage, wait=0)).generation
    with pytest.raises(GenerationRunningError) as caught:
        await create(other)
    assert caught.value.retry_after
    assert caught.value.extra["generation"] == str(begun.guid)
    drawing.set()
    await asyncio.sleep(1)
    assert (await create(other)).generation.images[0].guid == begun.image_guid(0)
    assert len(stage.generator.requests) == 1


@pytest.mark.parametrize("replicas", ["the same process", "another replica"])
async def test_while_it_runs_a_request_that_waits_joins(replicas: str) -> None:
    stage = Stage()
    other = stage if replicas == "the same process" else stage.replica()
    drawing = slow(stage)
    begun = (await create(stage, wait=0)).generation
    joined = asyncio.create_task(create(other, wait=20))
    impatient = await create(other, wait=0.5)
    assert (impatient.replayed, impatient.generation.state) == (True, GenerationState.RUNNING)
    assert not joined.done()
    drawing.set()
    answer = await joined
    assert answer.replayed
    assert [image.guid for image in answer.generation.images] == [begun.image_guid(0)]
    assert len(stage.generator.requests) == 1


@pytest.mark.parametrize("replicas", ["the same process", "another replica"])
async def test_a_request_that_joins_gets_a_failure_too(replicas: str) -> None:
    stage = Stage()
    other = stage if replicas == "the same process" else stage.replica()
    drawing = slow(stage)
    stage.generator.failure = UpstreamRefusedError("not this", extra={"upstream_code": "moderation_blocked"})
    await create(stage, wait=0)
    joined = asyncio.create_task(create(other, wait=20))
    await asyncio.sleep(0.1)
    drawing.set()
    with pytest.raises(UpstreamRefusedError) as caught:
        await joined
    assert caught.value.extra["upstream_code"] == "moderation_blocked"
    assert caught.value.replayed


@pytest.mark.parametrize("replicas", ["the same process", "another replica"])
async def test_a_request_that_joins_one_that_may_have_been_billed_learns_that_it_is_not_bought_again(
    replicas: str,
) -> None:
    stage = Stage()
    other = stage if replicas == "the same process" else stage.replica()
    drawing = slow(stage)
    stage.generator.failure = UpstreamUnknownOutcomeError("lost")
    await create(stage, wait=0)
    joined = asyncio.create_task(create(other, wait=20))
    await asyncio.sleep(0.1)
    drawing.set()
    with pytest.raises(OutcomeUnknownError) as caught:
        await joined
    assert caught.value.replayed


@pytest.mark.parametrize("wait", [None, 20])
async def test_a_hundred_calls_with_one_key_buy_one_picture_even_where_only_one_may_run(wait: float | None) -> None:
    stage = Stage(maximum=1)
    drawing = slow(stage)
    calls = [asyncio.create_task(create(stage, wait=wait)) for _ in range(100)]
    await asyncio.sleep(1)
    drawing.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    images = {answer.generation.images[0].guid for answer in answers if isinstance(answer, Created)}
    refusals = [answer for answer in answers if not isinstance(answer, Created)]
    assert len(images) == len(stage.generator.requests) == len(stage.generations.generations) == 1
    assert len(refusals) == (99 if wait is None else 0)
    assert all(isinstance(refusal, GenerationRunningError) for refusal in refusals)


async def test_a_hundred_calls_over_two_replicas_buy_one_picture() -> None:
    stage = Stage()
    drawing = slow(stage)
    replicas = (stage, stage.replica())
    calls = [asyncio.create_task(create(replicas[number % 2], wait=20)) for number in range(100)]
    await asyncio.sleep(1)
    drawing.set()
    answers = await asyncio.gather(*calls)
    assert len({answer.generation.images[0].guid for answer in answers}) == len(stage.generator.requests) == 1
    assert sum(not answer.replayed for answer in answers) == 1


async def test_a_client_that_hangs_up_while_it_reserves_has_bought_one_picture() -> None:
    stage = Stage()
    call = asyncio.create_task(create(stage))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    answer = await create(stage, wait=20)
    assert answer.generation.images
    assert len(stage.generator.requests) == len(stage.generations.generations) == 1


@pytest.mark.parametrize(
    "other",
    [
        GenerationRequest(prompt="something else"),
        GenerationRequest(prompt=planted.PROMPT, size="1024x1024"),
        GenerationRequest(prompt=planted.PROMPT, model="gpt-image-1.5"),
    ],
)
async def test_a_key_with_another_payload_is_refused(other: GenerationRequest) -> None:
    stage = Stage()
    await create(stage)
    with pytest.raises(IdempotencyKeyReusedError):
        await create(stage, other)
    assert len(stage.generator.requests) == 1


async def test_a_key_with_another_payload_is_refused_while_it_runs_and_after_a_failure() -> None:
    stage = Stage()
    drawing = slow(stage)
    stage.generator.failure = UpstreamRefusedError("not this")
    await create(stage, wait=0)
    other = GenerationRequest(prompt="something else")
    with pytest.raises(IdempotencyKeyReusedError):
        await create(stage, other, wait=20)
    drawing.set()
    await asyncio.sleep(1)
    with pytest.raises(IdempotencyKeyReusedError):
        await create(stage, other)
    assert len(stage.generator.requests) == 1


async def test_the_spelling_of_the_body_does_not_matter() -> None:
    stage = Stage()
    await create(stage, GenerationRequest.model_validate_json('{"prompt": "a fox", "size": "1024x1024"}'))
    again = GenerationRequest.model_validate_json('{"size": "1024x1024", "quality": null, "prompt": " a fox\\n"}')
    assert (await create(stage, again)).replayed


def test_fingerprints_differ_where_requests_do() -> None:
    requests = [
        GenerationRequest(prompt="a fox"),
        GenerationRequest(prompt="A fox"),
        GenerationRequest(prompt="a fox", size="1024x1024"),
        GenerationRequest(prompt="a fox", quality="1024x1024"),
    ]
    assert len({fingerprint_of(request) for request in requests}) == len(requests)


async def test_defaults_that_changed_in_between_make_no_other_payload() -> None:
    stage = Stage()
    first = await create(stage)
    again = await create(stage.replica(model="gpt-image-3"))
    assert again.replayed
    assert again.generation.images == first.generation.images


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamRefusedError("not this"),
        UpstreamUnavailableError("not now"),
        UpstreamCredentialsError("not you"),
    ],
)
async def test_after_a_failure_that_cost_nothing_the_key_buys(failure: PixyProxyException) -> None:
    stage = Stage()
    failed = await fail_with(stage, failure)
    answer = await create(stage)
    assert not answer.replayed
    assert answer.generation.images
    assert (await the_generation_with(stage)).guid == answer.generation.guid != failed.guid
    old = await stage.generations.get(failed.guid)
    assert (old.state, old.idempotency_key) == (GenerationState.FAILED, None)
    assert (await create(stage)).replayed
    assert len(stage.generator.requests) == 2


async def test_after_a_failure_that_cost_nothing_a_hundred_calls_buy_once() -> None:
    stage = Stage()
    await fail_with(stage, UpstreamUnavailableError("not now"))
    drawing = slow(stage)
    replicas = (stage, stage.replica())
    calls = [asyncio.create_task(create(replicas[number % 2], wait=20)) for number in range(100)]
    await asyncio.sleep(1)
    drawing.set()
    answers = await asyncio.gather(*calls)
    assert len({answer.generation.images[0].guid for answer in answers}) == 1
    assert len(stage.generator.requests) == 2


async def test_a_storage_that_failed_before_drawing_leaves_the_key_free() -> None:
    stage = Stage()
    stage.storage.failure = StorageUnavailableError("unavailable")
    with pytest.raises(StorageUnavailableError):
        await create(stage)
    stage.storage.failure = None
    assert not (await create(stage.replica())).replayed


async def test_a_failure_that_was_billed_is_reported_again() -> None:
    stage = Stage()
    stage.generator.pictures = (b"<svg/>",)
    with pytest.raises(UpstreamAnswerError) as first:
        await create(stage)
    await asyncio.sleep(1)
    stage.generator.pictures = None
    with pytest.raises(UpstreamAnswerError) as again:
        await create(stage)
    assert (first.value.replayed, again.value.replayed) == (False, True)
    assert again.value.document() == first.value.document()
    assert again.value.headers["Idempotent-Replayed"] == "true"
    assert len(stage.generator.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [UpstreamDeadlineError("late"), UpstreamUnknownOutcomeError("lost"), UpstreamError("500")],
    ids=["deadline", "unknown outcome", "upstream 500"],
)
async def test_what_may_have_been_billed_is_not_bought_again(failure: PixyProxyException) -> None:
    stage = Stage()
    failed = await fail_with(stage, failure)
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(stage)
    assert caught.value.replayed
    assert caught.value.extra == {"generation": str(failed.guid), "cause": failure.type}
    assert len(stage.generator.requests) == 1
    assert not (await create(stage, key="another")).replayed


async def test_what_was_interrupted_is_not_bought_again() -> None:
    stage = Stage()
    slow(stage)
    begun = (await create(stage, wait=0)).generation
    await stage.generations.fail(begun, error=GenerationInterruptedError().document())
    with pytest.raises(OutcomeUnknownError) as caught:
        await create(stage.replica())
    assert caught.value.extra["cause"] == GenerationInterruptedError().type
    assert len(stage.generator.requests) == 1


async def test_an_image_that_was_deleted_is_not_bought_again() -> None:
    stage = Stage()
    image = (await create(stage)).generation.images[0]
    await stage.private.delete(image.guid, caller=CONFIGURED_CALLER)
    with pytest.raises(ImageDeletedError) as caught:
        await create(stage)
    assert caught.value.replayed
    assert len(stage.generator.requests) == 1


async def test_a_reservation_whose_answer_was_lost_costs_nothing_and_leaves_the_key_free() -> None:
    stage = Stage()

    def lose() -> None:
        raise DatabaseUnavailableError("lost")

    stage.generations.after_add = lose
    with pytest.raises(DatabaseUnavailableError):
        await create(stage)
    stage.generations.after_add = None
    await asyncio.sleep(1)
    failed = await the_generation_with(stage)
    assert failed.state is GenerationState.FAILED
    assert (failed.error or {})["cost"] == "none"
    assert stage.generator.requests == []
    answer = await create(stage)
    assert answer.generation.images
    assert not answer.replayed
    assert len(stage.generator.requests) == 1


async def test_a_reservation_whose_answer_was_lost_frees_its_place() -> None:
    stage = Stage(maximum=1)

    def lose() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")
        raise DatabaseUnavailableError("lost")

    stage.generations.after_add = lose
    with pytest.raises(DatabaseUnavailableError):
        await create(stage)
    await asyncio.sleep(60)
    stage.generations.after_add = stage.generations.failure = None
    assert (await create(stage, key="another")).generation.images
    await asyncio.sleep(60)
    assert (await the_generation_with(stage)).state is GenerationState.FAILED, "its failure is recorded in the end"


# Inputs


def an_input() -> InputFiles:
    data = b"picture"
    facts = Input(role="image", sha256="0" * 64, content_type="image/png", size_bytes=len(data))
    return InputFiles([InputFile(facts, BytesIO(data))])


class LateReader(FakeGenerator):
    """Reads its inputs a while after it was called."""

    async def draw(self, *args: Any, **values: Any) -> Any:
        await asyncio.sleep(1)
        return await super().draw(*args, **values)


async def test_a_request_that_is_cancelled_while_it_reserves_takes_no_inputs_from_its_generation() -> None:
    stage, inputs = Stage(generator=LateReader()), an_input()
    task = asyncio.create_task(create(stage, inputs=inputs))

    def cancel() -> None:
        task.cancel()

    stage.generations.after_add = cancel
    await asyncio.wait({task})
    assert task.cancelled()
    await stage.runner.drain()
    assert (await the_generation_with(stage)).state is GenerationState.SUCCEEDED
    assert stage.generator.inputs == [(b"picture",)]
    assert [each.file.closed for each in inputs.files] == [True]


async def test_a_reservation_that_lost_a_race_leaves_the_inputs_to_the_next_try() -> None:
    class LosesOnce(FakeGenerationRepository):
        lost = False

        async def add(self, generation: Generation, **values: Any) -> None:
            if not self.lost:
                self.lost = True
                raise ConflictError("Another replica was faster, and gave up.")
            await super().add(generation, **values)

    stage, inputs = Stage(), an_input()
    stage.generations = LosesOnce(stage.images)
    stage.start()
    created = await create(stage, inputs=inputs)
    assert created.generation.state is GenerationState.SUCCEEDED
    assert stage.generator.inputs == [(b"picture",)]
    assert [each.file.closed for each in inputs.files] == [True]
