"""The private routes: whoever has an API key."""

from typing import Annotated

from fastapi import Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    GenerationNotFoundError,
    GenerationRunningError,
    IdempotencyKeyReusedError,
    ImageDeletedError,
    ImageNotFoundError,
    InvalidIdempotencyKeyError,
    InvalidRequestError,
    MalformedRequestError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    RequestTimeoutError,
    ShuttingDownError,
    StorageUnavailableError,
    TooManyGenerationsError,
    UnsupportedMediaTypeError,
    UpstreamAddressError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.models import Generation, GenerationRequest, GenerationState
from pixyproxy.service.private import POLL_AFTER, GenerationQuery, ImageQuery
from pixyproxy.web.authentication import Authenticated, private_router
from pixyproxy.web.preferences import Preferences, preferences
from pixyproxy.web.problems import documented
from pixyproxy.web.representations import GenerationDetails, GenerationGuid, Guid, ImageDetails, next_link
from pixyproxy.web.request_log import note
from pixyproxy.web.services import BaseUrl, Private

router = private_router()

LIST = documented(AuthenticationError, InvalidRequestError, DatabaseUnavailableError)
CREATE = {
    202: {
        "model": GenerationDetails,
        "description": "It is not drawn yet: ask `Location` again after `Retry-After` seconds.",
    },
    **documented(
        AuthenticationError,
        MalformedRequestError,
        InvalidIdempotencyKeyError,
        RequestTimeoutError,
        GenerationRunningError,
        OutcomeUnknownError,
        ImageDeletedError,
        PayloadTooLargeError,
        UnsupportedMediaTypeError,
        InvalidRequestError,
        IdempotencyKeyReusedError,
        UpstreamRefusedError,
        UpstreamError,
        UpstreamCredentialsError,
        UpstreamAddressError,
        UpstreamAnswerError,
        UpstreamUnknownOutcomeError,
        GenerationInterruptedError,
        DatabaseUnavailableError,
        StorageUnavailableError,
        UpstreamUnavailableError,
        TooManyGenerationsError,
        ShuttingDownError,
        UpstreamDeadlineError,
    ),
}


async def idempotency_key(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 printable ASCII characters of your choice, quoted or bare: however often the request "
            "comes with the same key, one picture is bought.",
        ),
    ] = None,
) -> str | None:
    """The header as it came; `InvalidIdempotencyKeyError` if it came twice."""
    values = request.headers.getlist("idempotency-key")
    if len(values) > 1:
        raise InvalidIdempotencyKeyError
    return values[0] if values else None


async def preferred(
    request: Request,
    _: Annotated[
        str | None,
        Header(alias="Prefer", description="`respond-async` or `wait=SECONDS` (RFC 7240)."),
    ] = None,
) -> Preferences:
    """What the client prefers."""
    return preferences(request)


@router.post(
    "/image",
    status_code=201,
    summary="Have an image drawn",
    tags=["private"],
    responses=CREATE,
    response_model=ImageDetails,
)
@router.post("/image/", status_code=201, include_in_schema=False, response_model=ImageDetails)
async def create_image(
    body: GenerationRequest,
    caller: Authenticated,
    images: Private,
    base_url: BaseUrl,
    key: Annotated[str | None, Depends(idempotency_key)],
    preference: Annotated[Preferences, Depends(preferred)],
    response: Response,
) -> ImageDetails | Response:
    """Draw the prompt; a 201 means that the picture and its record are durable, a 202 that it is still to be drawn."""
    answer = await images.create(body, caller=caller, idempotency_key=key, wait=preference.wait)
    generation = answer.generation
    note(generation=str(generation.guid))
    headers = response.headers
    if preference.applied is not None:
        headers["Preference-Applied"] = preference.applied
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    headers["Cache-Control"] = "no-store"
    if not generation.images:
        return running(generation, base_url=base_url, headers=dict(headers))
    image = generation.images[0]
    note(guid=str(image.guid))
    headers["Location"] = f"/image/{image.guid}"
    return ImageDetails.of(image, base_url=base_url)


def running(generation: Generation, *, base_url: str, headers: dict[str, str]) -> Response:
    """The 202 of a generation that has not ended."""
    return Response(
        GenerationDetails.of(generation, base_url=base_url).model_dump_json(),
        status_code=202,
        media_type="application/json",
        headers={**headers, "Location": f"/generation/{generation.guid}", "Retry-After": str(POLL_AFTER)},
    )


@router.get("/image", summary="The list of images", tags=["private"], responses=LIST)
@router.get("/image/", include_in_schema=False)
async def list_images(
    query: Annotated[ImageQuery, Query()],
    _: Authenticated,
    images: Private,
    base_url: BaseUrl,
    response: Response,
) -> list[ImageDetails]:
    """All images, newest first. The next page is the `next` of the Link header (RFC 8288)."""
    page = await images.list(query)
    if page.next_cursor is not None:
        response.headers["Link"] = next_link(f"{base_url}/image", query, cursor=page.next_cursor)
    response.headers["Cache-Control"] = "no-store"
    return [ImageDetails.of(image, base_url=base_url) for image in page.images]


@router.delete(
    "/image/{guid}",
    status_code=204,
    response_class=Response,
    summary="Delete an image",
    tags=["private"],
    responses=documented(AuthenticationError, ImageNotFoundError, DatabaseUnavailableError),
)
async def delete_image(guid: Guid, _: Authenticated, images: Private) -> None:
    """From a 204 on this process serves the image to nobody, and all others stop within `PIXYPROXY_CACHE_TTL`.

    Its bytes are removed too, by a reconciler if the storage is away.
    """
    await images.delete(guid)


@router.get("/generation", summary="The list of generations", tags=["private"], responses=LIST)
@router.get("/generation/", include_in_schema=False)
async def list_generations(
    query: Annotated[GenerationQuery, Query()],
    _: Authenticated,
    images: Private,
    base_url: BaseUrl,
    response: Response,
) -> list[GenerationDetails]:
    """All generations, newest first. The next page is the `next` of the Link header (RFC 8288)."""
    page = await images.generations(query)
    if page.next_cursor is not None:
        response.headers["Link"] = next_link(f"{base_url}/generation", query, cursor=page.next_cursor)
    response.headers["Cache-Control"] = "no-store"
    return [GenerationDetails.of(generation, base_url=base_url) for generation in page.generations]


@router.get(
    "/generation/{guid}",
    summary="A generation's details",
    tags=["private"],
    responses=documented(AuthenticationError, GenerationNotFoundError, DatabaseUnavailableError),
)
async def get_generation(
    guid: GenerationGuid, _: Authenticated, images: Private, base_url: BaseUrl, response: Response
) -> GenerationDetails:
    """Where a generation stands, whichever replica runs it; `Retry-After` while it runs."""
    generation = await images.generation(guid)
    response.headers["Cache-Control"] = "no-store"
    if generation.state is GenerationState.RUNNING:
        response.headers["Retry-After"] = str(POLL_AFTER)
    return GenerationDetails.of(generation, base_url=base_url)
