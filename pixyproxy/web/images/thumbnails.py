"""The routes of thumbnails: for anyone with the guid, with the headers of content."""

from datetime import UTC
from enum import Enum

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    ImageContentLostError,
    ImageNotFoundError,
    InvalidRequestError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    ShuttingDownError,
    StorageUnavailableError,
    ThumbnailImpossibleError,
    TooManyThumbnailsError,
)
from pixyproxy.core.images import Image
from pixyproxy.core.thumbnails import CONTENT_TYPE, RECIPE, SIZES, Size, thumbnail_key
from pixyproxy.web.dependencies import services_of
from pixyproxy.web.http.conditions import Validators, conditions_of, not_modified, part_wanted
from pixyproxy.web.http.content import HeadResponse, caching_headers, part_headers, picture_headers
from pixyproxy.web.http.parameters import parameter
from pixyproxy.web.images.public import CONDITIONS, GUID, RANGE, guid_of
from pixyproxy.web.plain_route import PlainRoute
from pixyproxy.web.problems import responses_for

PATH = "/image/{guid}/thumbnail"


async def get_thumbnail(request: Request) -> Response:
    """A small WebP of the image, or a part of it; made at its first request."""
    size, services = size_of(request), services_of(request)
    image = await services.public.get(guid_of(request))
    validators, conditions = validators_of(image, size), conditions_of(request.scope["headers"])
    if not_modified(conditions, validators):
        return HeadResponse(304, caching_headers(validators, proxy_ttl=services.proxy_ttl))
    data = await services.thumbnails.get(image, size)
    headers = headers_of(image, size, validators, proxy_ttl=services.proxy_ttl)
    part = part_wanted(conditions, validators, size_bytes=len(data))
    if part is None:
        return Response(data, headers=headers)
    headers |= part_headers(part, size_bytes=len(data))
    return Response(data[part.start : part.stop], status_code=206, headers=headers)


async def head_thumbnail(request: Request) -> Response:
    """The headers of GET but for the length: it is not recorded, and neither the storage nor a worker is asked.

    RFC 9110, section 9.3.2, leaves out what is known only once the content is there.
    """
    size, services = size_of(request), services_of(request)
    image = await services.public.get(guid_of(request))
    validators = validators_of(image, size)
    if not_modified(conditions_of(request.scope["headers"]), validators):
        return HeadResponse(304, caching_headers(validators, proxy_ttl=services.proxy_ttl))
    services.thumbnails.require_possible(image, size)
    return HeadResponse(200, headers_of(image, size, validators, proxy_ttl=services.proxy_ttl))


def size_of(request: Request) -> Size:
    """The size that the query names; the smallest if it names none."""
    named = set(request.query_params.getlist("size")) if request.scope["query_string"] else set()
    for size in SIZES:
        if named <= {str(size)}:
            return size
    raise InvalidRequestError([{"detail": f"must be {' or '.join(map(str, SIZES))}", "pointer": "?size"}])


def validators_of(image: Image, size: Size) -> Validators:
    """The validators of a thumbnail. They are known before it is made: the same picture and recipe give it again."""
    return Validators(etag=f'"{image.sha256}-{size}-{RECIPE}"', modified_at=image.created_at.astimezone(UTC))


def headers_of(image: Image, size: Size, validators: Validators, *, proxy_ttl: float) -> dict[str, str]:
    """The headers of every answer about a thumbnail but for its length."""
    filename = thumbnail_key(image.guid, size)
    return picture_headers(
        validators, content_type=CONTENT_TYPE, filename=filename, attachment=False, proxy_ttl=proxy_ttl
    )


def add_routes(router: APIRouter) -> None:
    """Add the routes to the application's own router, as those of content."""
    tags: list[str | Enum] = ["public"]
    picture = {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    always = (
        ImageNotFoundError,
        PreconditionFailedError,
        InvalidRequestError,
        ThumbnailImpossibleError,
        DatabaseUnavailableError,
    )
    router.add_api_route(
        PATH,
        get_thumbnail,
        summary="A thumbnail of the picture",
        tags=tags,
        response_class=Response,
        responses={
            200: {"description": "The thumbnail.", "content": picture},
            206: {"description": "A part of the thumbnail.", "content": picture},
            304: {"description": "The client has it."},
            **responses_for(
                *always,
                RangeNotSatisfiableError,
                ImageContentLostError,
                StorageUnavailableError,
                TooManyThumbnailsError,
                ShuttingDownError,
            ),
        },
        openapi_extra={"parameters": [GUID, SIZE, *CONDITIONS, *RANGE]},
        route_class_override=PlainRoute,
    )
    router.add_api_route(
        PATH,
        head_thumbnail,
        methods=["HEAD"],
        summary="A thumbnail's headers, without Content-Length",
        tags=tags,
        response_class=Response,
        responses={
            200: {"description": "The thumbnail.", "content": picture},
            304: {"description": "The client has it."},
            **responses_for(*always),
        },
        openapi_extra={"parameters": [GUID, SIZE, *CONDITIONS]},
        route_class_override=PlainRoute,
    )


SIZE = parameter("size", "query", "Pixels of the longest side.", type="integer", enum=list(SIZES), default=SIZES[0])
