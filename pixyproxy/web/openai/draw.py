"""Has a request drawn and answers it, as JSON or as events: the same for generations and for edits."""

import math

from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import GenerationRunningError, StorageUnavailableError
from pixyproxy.core.generations import Generation
from pixyproxy.core.inputs import InputFiles
from pixyproxy.core.keys import Caller
from pixyproxy.service.generating.begin import POLL_AFTER
from pixyproxy.service.generating.created import Created
from pixyproxy.service.generating.wait import NO_INPUTS
from pixyproxy.web.costs import cost_fact
from pixyproxy.web.dependencies import base_url, services_of
from pixyproxy.web.http.clients import client_of
from pixyproxy.web.http.event_stream import event_response
from pixyproxy.web.log.request_log import record_of
from pixyproxy.web.openai.answers import answer_of
from pixyproxy.web.openai.body import Parameters, ResponseFormat
from pixyproxy.web.openai.errors import described
from pixyproxy.web.openai.events import Kind, events_of
from pixyproxy.web.problems import noted_problem


async def draw(
    request: Request,
    parameters: Parameters,
    *,
    kind: Kind,
    caller: Caller,
    key: str | None,
    inputs: InputFiles = NO_INPUTS,
) -> Response:
    """Have the parameters drawn, or the inputs edited, and answer at the end. Closes the inputs."""
    services = services_of(request)
    try:
        services.models.require(parameters.model)
        asked = parameters.to_request()
    except BaseException:
        inputs.close()
        raise
    client = client_of(request)
    if parameters.stream:
        streamed = await services.private.stream(
            asked,
            caller=caller,
            idempotency_key=key,
            inputs=inputs,
            partial_images=parameters.partial_images or 0,
            client=client,
        )
        chunks = events_of(
            streamed.events,
            kind=kind,
            asked=asked.values(),
            base_url=base_url(request),
            opening=services.public.open_content,
            require_images=lambda created: drawn(created, request, key=key),
            on_error=lambda error: described(noted_problem(request, error), request)[1],
        )
        return event_response(request, chunks, patience=services.client_patience)
    created = await services.private.create(
        asked, caller=caller, idempotency_key=key, wait=math.inf, inputs=inputs, client=client
    )
    return await answer_of(
        drawn(created, request, key=key),
        response_format=parameters.response_format or default_format(parameters.model),
        base_url=base_url(request),
        public=services.public,
        patience=services.client_patience,
        headers={"Cache-Control": "no-store"} | ({"Idempotent-Replayed": "true"} if created.replayed else {}),
    )


def drawn(created: Created, request: Request, *, key: str | None) -> Generation:
    """The generation of a request, which has ended. Clients would treat an answer without pictures as a success.

    Raises `GenerationRunningError` if the same request, sent again, would find and await the generation. Else
    `StorageUnavailableError`: the pictures are paid for, and the same request would buy others.
    """
    generation = created.generation
    facts = record_of(request.scope).facts
    facts["generation"] = str(generation.guid)
    facts |= cost_fact(generation, replayed=created.replayed)
    if generation.images:
        facts["guid"] = str(generation.images[0].guid)
        return generation
    known = {"generation": str(generation.guid)}
    if created.replayed or key is not None:
        raise GenerationRunningError(
            f"Generation {generation.guid} is not finished, and this process ends; send the same request again.",
            retry_after=POLL_AFTER,
            extra=known,
        )
    waits = StorageUnavailableError(
        f"The pictures of generation {generation.guid} are paid for and kept, and will be stored when the storage "
        f"takes them: ask GET /generation/{generation.guid}. Do not send the request again.",
        extra=known,
    )
    waits.cost = "billed"
    raise waits


def default_format(model: str | None) -> ResponseFormat:
    """What OpenAI answers with: a URL for the retired DALL·E models, whose names can be aliases; else base64."""
    return "url" if model is not None and model.startswith("dall-e") else "b64_json"
