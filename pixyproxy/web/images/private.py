"""The private routes of images: for callers with an API key."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Security
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    BudgetExhaustedError,
    CrossSiteError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    GenerationRunningError,
    IdempotencyKeyReusedError,
    ImageContentLostError,
    ImageDeletedError,
    ImageNotFoundError,
    InvalidIdempotencyKeyError,
    InvalidRequestError,
    MalformedRequestError,
    ModelNotFoundError,
    NotAllowedError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    PriceUnknownError,
    RateLimitedError,
    RequestTimeoutError,
    SearchTooSlowError,
    ShuttingDownError,
    StorageMismatchError,
    StorageUnavailableError,
    TooManyGenerationsError,
    UnsupportedFileError,
    UnsupportedMediaTypeError,
    UploadsFullError,
    UpstreamAddressError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import Generation, Origin
from pixyproxy.core.keys import Caller, Scope
from pixyproxy.service.callers import own_name
from pixyproxy.service.generating.begin import POLL_AFTER
from pixyproxy.service.queries import ImageQuery
from pixyproxy.web.auth.authentication import Authenticated, authenticated_caller
from pixyproxy.web.auth.private_route import allowed_caller, needs, private_router
from pixyproxy.web.costs import cost_fact
from pixyproxy.web.dependencies import BaseUrl, Known, Private, Uploaded, base_url, services_of
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.http.body_limit import SMALL_BODY, with_body_limit
from pixyproxy.web.http.guids import Guid
from pixyproxy.web.http.idempotency import idempotency_key
from pixyproxy.web.http.links import path_of
from pixyproxy.web.http.pages import page_response, query_of
from pixyproxy.web.http.preferences import Preferences, requested_preferences
from pixyproxy.web.images.body import CreateImageBody
from pixyproxy.web.images.details import ImageDetails, listed
from pixyproxy.web.images.large_body import LargeBodyRoute, collector_of
from pixyproxy.web.images.sources import inputs_of
from pixyproxy.web.log.request_log import add_facts
from pixyproxy.web.plain_route import run_by
from pixyproxy.web.problems import responses_for

router = private_router(LargeBodyRoute)
QUERY = TypeAdapter(ImageQuery)
CREATE = {
    202: {
        "model": GenerationDetails,
        "description": "It is not drawn yet: ask `Location` again after `Retry-After` seconds.",
    },
    **responses_for(
        AuthenticationError,
        NotAllowedError,
        CrossSiteError,
        MalformedRequestError,
        InvalidIdempotencyKeyError,
        RequestTimeoutError,
        GenerationRunningError,
        OutcomeUnknownError,
        ImageDeletedError,
        PayloadTooLargeError,
        UnsupportedMediaTypeError,
        UnsupportedFileError,
        InvalidRequestError,
        ModelNotFoundError,
        IdempotencyKeyReusedError,
        UpstreamRefusedError,
        UpstreamError,
        UpstreamCredentialsError,
        UpstreamAddressError,
        UpstreamAnswerError,
        UpstreamUnknownOutcomeError,
        GenerationInterruptedError,
        ImageContentLostError,
        DatabaseUnavailableError,
        StorageMismatchError,
        StorageUnavailableError,
        UpstreamUnavailableError,
        BudgetExhaustedError,
        PriceUnknownError,
        RateLimitedError,
        TooManyGenerationsError,
        UploadsFullError,
        ShuttingDownError,
        UpstreamDeadlineError,
    ),
}


@router.post(
    "/image",
    status_code=201,
    summary="Have an image drawn",
    tags=["private"],
    responses=CREATE,
    response_model=ImageDetails,
    openapi_extra=needs(Scope.DRAW),
)
@router.post(
    "/image/",
    status_code=201,
    include_in_schema=False,
    response_model=ImageDetails,
    openapi_extra=needs(Scope.DRAW),
)
async def create_image(
    body: CreateImageBody,
    caller: Authenticated,
    images: Private,
    uploads: Uploaded,
    base_url: BaseUrl,
    key: Annotated[str | None, Depends(idempotency_key)],
    preference: Annotated[Preferences, Depends(requested_preferences)],
    request: Request,
    response: Response,
) -> ImageDetails | Response:
    """Draw the prompt, or edit the sources.

    A 201 means that the picture and its record are durable, a 202 that it is still to be drawn.
    """
    answer = await images.create(
        body.to_request(),
        caller=caller,
        idempotency_key=key,
        wait=preference.wait,
        inputs=await inputs_of(
            body,
            uploads=uploads,
            base_url=base_url,
            recall=None if key is None else partial(images.recorded_inputs, caller=caller, idempotency_key=key),
            holding=collector_of(request),
        ),
        partial_images=body.partial_images or 0,
    )
    generation = answer.generation
    add_facts(generation=str(generation.guid), **cost_fact(generation, replayed=answer.replayed))
    headers = response.headers
    if preference.applied is not None:
        headers["Preference-Applied"] = preference.applied
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    headers["Cache-Control"] = "no-store"
    if not generation.images:
        return accepted_response(generation, base_url=base_url, caller=caller, headers=dict(headers))
    image = generation.images[0]
    add_facts(guid=str(image.guid))
    headers["Location"] = f"{path_of(base_url)}/image/{image.guid}"
    return ImageDetails.of(image, base_url=base_url, origin=Origin.of(generation), names=own_name(caller))


def accepted_response(generation: Generation, *, base_url: str, caller: Caller, headers: dict[str, str]) -> Response:
    """The 202 for a generation of this caller that is still running."""
    location = f"{path_of(base_url)}/generation/{generation.guid}"
    return Response(
        GenerationDetails.of(generation, base_url=base_url, viewer=caller, names=own_name(caller)).model_dump_json(),
        status_code=202,
        media_type="application/json",
        headers={**headers, "Location": location, "Retry-After": str(POLL_AFTER)},
    )


async def list_images(
    query: Annotated[ImageQuery, Query()],
    caller: Authenticated,
    images: Private,
    callers: Known,
    base_url: BaseUrl,
) -> Response:
    """The caller's own images, or with the scope `read-all` everybody's, newest first.

    The next page is the `next` of the Link header (RFC 8288). A page of a search may have fewer than `limit` images, or
    none, and still a next one.
    """
    page = await images.list(query, caller=caller)
    entries = await listed(page.images, callers=callers, base_url=base_url)
    return page_response(entries, url=f"{base_url}/image", query=query, next_cursor=page.next_cursor)


async def serve_list(request: Request) -> Response:
    """`list_images` without FastAPI's dependencies, which cost as much CPU as the page's JSON (measured)."""
    caller = await allowed_caller(request, Scope.READ)
    with_body_limit(request, SMALL_BODY)  # refuses a large body that is announced
    services = services_of(request)
    query = query_of(request, QUERY)
    return await list_images(query, caller, services.private, services.callers, base_url(request))


def add_routes(router: APIRouter) -> None:
    """Add the list to the application's own router: see `public.add_routes`."""
    for path in ("/image", "/image/"):
        router.add_api_route(
            path,
            list_images,
            include_in_schema=path == "/image",
            summary="The list of images",
            tags=["private"],
            dependencies=[Security(authenticated_caller)],
            responses=responses_for(
                AuthenticationError, NotAllowedError, InvalidRequestError, SearchTooSlowError, DatabaseUnavailableError
            ),
            response_model=list[ImageDetails],
            openapi_extra=needs(Scope.READ),
            route_class_override=run_by(serve_list),
        )


@router.delete(
    "/image/{guid}",
    status_code=204,
    response_class=Response,
    summary="Delete an image",
    tags=["private"],
    responses=responses_for(
        AuthenticationError, NotAllowedError, CrossSiteError, ImageNotFoundError, DatabaseUnavailableError
    ),
    openapi_extra=needs(Scope.DELETE),
)
async def delete_image(guid: Guid, caller: Authenticated, images: Private) -> None:
    """An image of the caller, or with the scope `delete-all` of anybody.

    From the 204 on this process no longer serves the image; all others stop within `PIXYPROXY_CACHE_TTL`.

    Its bytes are removed too, by a reconciler if the storage is unavailable.
    """
    await images.delete(guid, caller=caller)
