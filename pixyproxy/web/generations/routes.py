"""The routes of generations: for callers with an API key."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    DatabaseUnavailableError,
    GenerationNotFoundError,
    InvalidRequestError,
    NotAllowedError,
    PreconditionFailedError,
)
from pixyproxy.core.generations import GenerationState
from pixyproxy.core.keys import Scope
from pixyproxy.service.generating.begin import POLL_AFTER
from pixyproxy.service.queries import GenerationQuery
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import needs, private_router
from pixyproxy.web.dependencies import BaseUrl, Known, Private, services_of
from pixyproxy.web.generations.details import GenerationDetails, values_of
from pixyproxy.web.generations.events import events_of
from pixyproxy.web.http.event_stream import MEDIA_TYPE as EVENT_STREAM
from pixyproxy.web.http.event_stream import accepts_events, event_response
from pixyproxy.web.http.guids import GenerationGuid
from pixyproxy.web.http.pages import page_response
from pixyproxy.web.http.parameters import TAGS
from pixyproxy.web.http.validated_json import OF_CALLERS, json_with_tag
from pixyproxy.web.problems import responses_for

router = private_router()


@router.get(
    "/generation",
    summary="The list of generations",
    tags=["private"],
    responses={
        304: {"description": "The client has the page already."},
        **responses_for(
            AuthenticationError,
            NotAllowedError,
            PreconditionFailedError,
            InvalidRequestError,
            DatabaseUnavailableError,
        ),
    },
    openapi_extra={"parameters": TAGS, **needs(Scope.READ)},
    response_model=list[GenerationDetails],
)
@router.get(
    "/generation/",
    include_in_schema=False,
    response_model=list[GenerationDetails],
    openapi_extra=needs(Scope.READ),
)
async def list_generations(
    query: Annotated[GenerationQuery, Query()],
    caller: Authenticated,
    images: Private,
    callers: Known,
    base_url: BaseUrl,
    request: Request,
) -> Response:
    """The caller's own generations, or with the scope `read-all` everybody's, newest first.

    The next page is the `next` of the Link header (RFC 8288)."""
    page = await images.generations(query, caller=caller)
    names = await callers.names_of(page.generations)
    entries = [values_of(generation, base_url=base_url, viewer=caller, names=names) for generation in page.generations]
    url = f"{base_url}/generation"
    return page_response(entries, url=url, query=query, next_cursor=page.next_cursor, polled=request)


EVENTS = """`state` with the details, at once and after each change; `partial` with `index`, `content_type` and
`b64_json`, if this replica runs it and partial images were asked for; `end` with the last details. If a
stream ends without `end`, request it again."""


@router.get(
    "/generation/{guid}",
    summary="A generation's details",
    tags=["private"],
    response_model=GenerationDetails,
    responses={
        200: {
            "description": "The details; to `Accept: text/event-stream` the events of its life.",
            "content": {EVENT_STREAM: {"schema": {"type": "string", "description": EVENTS}}},
        },
        304: {"description": "The client has them already."},
        **responses_for(
            AuthenticationError,
            NotAllowedError,
            GenerationNotFoundError,
            PreconditionFailedError,
            DatabaseUnavailableError,
        ),
    },
    openapi_extra={"parameters": TAGS, **needs(Scope.READ)},
)
async def get_generation(
    guid: GenerationGuid,
    caller: Authenticated,
    images: Private,
    callers: Known,
    base_url: BaseUrl,
    request: Request,
) -> Response:
    """Where a generation stands, whichever replica runs it; `Retry-After` while it runs."""
    generation = await images.generation(guid, caller=caller)
    names = await callers.names_of([generation])
    if accepts_events(request):
        events = events_of(images.watch(generation), base_url=base_url, viewer=caller, names=names)
        return event_response(request, events, patience=services_of(request).client_patience)
    details = GenerationDetails.of(generation, base_url=base_url, viewer=caller, names=names)
    waiting = {"Retry-After": str(POLL_AFTER)} if generation.state is GenerationState.RUNNING else {}
    return json_with_tag(request, details.model_dump_json().encode(), headers=OF_CALLERS | waiting)
