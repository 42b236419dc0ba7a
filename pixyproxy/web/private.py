"""The private routes: whoever has an API key."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    DatabaseUnavailableError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
    PictureNotKeptError,
    RequestTimeoutError,
    StorageUnavailableError,
    TooManyGenerationsError,
    UnsupportedMediaTypeError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.models import GenerationRequest
from pixyproxy.service.private import ImageQuery
from pixyproxy.web.authentication import Authenticated, private_router
from pixyproxy.web.problems import documented
from pixyproxy.web.representations import ImageDetails, next_link
from pixyproxy.web.request_log import note
from pixyproxy.web.services import BaseUrl, Private

router = private_router()

LIST = documented(AuthenticationError, InvalidRequestError, DatabaseUnavailableError)
CREATE = documented(
    AuthenticationError,
    MalformedRequestError,
    RequestTimeoutError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
    InvalidRequestError,
    UpstreamRefusedError,
    PictureNotKeptError,
    UpstreamError,
    UpstreamCredentialsError,
    UpstreamAnswerError,
    UpstreamUnknownOutcomeError,
    DatabaseUnavailableError,
    StorageUnavailableError,
    UpstreamUnavailableError,
    TooManyGenerationsError,
    UpstreamDeadlineError,
)


@router.post("/image", status_code=201, summary="Have an image drawn", tags=["private"], responses=CREATE)
@router.post("/image/", status_code=201, include_in_schema=False)
async def create_image(
    request: GenerationRequest, caller: Authenticated, images: Private, base_url: BaseUrl, response: Response
) -> ImageDetails:
    """Draw the prompt; a 201 means that the picture and its record are durable."""
    image = await images.create(request, caller=caller)
    note(guid=str(image.guid))
    response.headers["Location"] = f"/image/{image.guid}"
    response.headers["Cache-Control"] = "no-store"
    return ImageDetails.of(image, base_url=base_url)


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
        response.headers["Link"] = next_link(base_url, query, cursor=page.next_cursor)
    response.headers["Cache-Control"] = "no-store"
    return [ImageDetails.of(image, base_url=base_url) for image in page.images]
