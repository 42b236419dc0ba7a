"""The public routes: for anyone with the guid."""

from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    ImageContentLostError,
    ImageNotFoundError,
    InvalidRequestError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    StorageUnavailableError,
)
from pixyproxy.core.generations import Origin
from pixyproxy.core.images import SUFFIXES, Image
from pixyproxy.web.auth.authentication import optional_caller
from pixyproxy.web.dependencies import Services, base_url, services_of
from pixyproxy.web.http.conditions import conditions_of, not_modified, part_wanted
from pixyproxy.web.http.content import (
    ContentResponse,
    HeadResponse,
    content_headers,
    part_headers,
    unchanged,
    validators_of,
)
from pixyproxy.web.http.content_paths import EXTENSIONS
from pixyproxy.web.http.guids import EXAMPLE, CanonicalGuid
from pixyproxy.web.http.parameters import TAGS, parameter
from pixyproxy.web.http.validated_json import BY_CALLER, OF_CALLERS, json_with_tag
from pixyproxy.web.images.details import ImageDetails, PublicImageDetails
from pixyproxy.web.plain_route import PlainRoute
from pixyproxy.web.problems import responses_for

OF_EVERYBODY = {"Cache-Control": "public, max-age=60", **BY_CALLER}


async def get_image(request: Request) -> Response:
    """The details of an image, for whoever has its guid. Those for callers have more."""
    image = await services_of(request).public.get(guid_of(request))
    caller = await optional_caller(request)
    origin = None if caller is None else await services_of(request).callers.origin_for(caller, image)
    if origin is not None:
        return await details_for_callers(request, image, origin)
    details = PublicImageDetails.of(image, base_url=base_url(request))
    headers = OF_EVERYBODY if caller is None else OF_CALLERS
    return json_with_tag(request, details.model_dump_json().encode(), headers=headers)


async def details_for_callers(request: Request, image: Image, origin: Origin) -> Response:
    """The details of an image of this origin, for a caller who may read it."""
    callers = services_of(request).callers
    names = await callers.names_of([origin])
    details = ImageDetails.of(image, base_url=base_url(request), origin=origin, names=names)
    return json_with_tag(request, details.model_dump_json().encode(), headers=OF_CALLERS)


async def get_content(request: Request) -> Response:
    """The picture's bytes, or a part of them, streamed from the storage."""
    attachment = wants_download(request)
    services = services_of(request)
    image = await image_of(request, services)
    validators, conditions = validators_of(image), conditions_of(request.scope["headers"])
    if not_modified(conditions, validators):
        return unchanged(image, proxy_ttl=services.proxy_ttl)
    headers = content_headers(image, validators, attachment=attachment, proxy_ttl=services.proxy_ttl)
    part = part_wanted(conditions, validators, size_bytes=image.size_bytes)
    status = 200
    if part is not None:
        status, headers = 206, headers | part_headers(part, size_bytes=image.size_bytes)
    place = await services.starts.enter(image.size_bytes if part is None else len(part))
    try:
        content = await services.public.open_content(image, part=part)
    except BaseException:
        place.leave()
        raise
    return ContentResponse(content, status=status, headers=headers, patience=services.client_patience, place=place)


async def head_content(request: Request) -> Response:
    """What GET would answer, without the bytes and without touching the storage."""
    attachment = wants_download(request)
    services = services_of(request)
    image = await image_of(request, services)
    validators = validators_of(image)
    if not_modified(conditions_of(request.scope["headers"]), validators):
        return unchanged(image, proxy_ttl=services.proxy_ttl)
    return HeadResponse(200, content_headers(image, validators, attachment=attachment, proxy_ttl=services.proxy_ttl))


async def image_of(request: Request, services: Services) -> Image:
    """The image of the URL, whose extension, if it has one, is that of the image; else `ImageNotFoundError`."""
    extension = request.scope["path_params"].get("extension")
    if extension is not None and extension not in EXTENSIONS:
        raise ImageNotFoundError(f"The extension of a picture's URL is {' or '.join(EXTENSIONS)}.")
    image = await services.public.get(guid_of(request))
    if extension not in (None, SUFFIXES[image.content_type]):
        raise ImageNotFoundError(f"This picture's extension is {SUFFIXES[image.content_type]}.")
    return image


def guid_of(request: Request) -> UUID:
    """The guid in the URL; a URL that cannot name an image names none."""
    try:
        return known_guid(request.scope["path_params"]["guid"])
    except ValidationError:
        raise ImageNotFoundError from None


@lru_cache(maxsize=1024)
def known_guid(text: str) -> UUID:
    """The guid of a text, which is remembered; `ValidationError` if it is none."""
    return _GUID.validate_python(text)


def wants_download(request: Request) -> bool:
    """Whether the query says `download=1`."""
    if not request.scope["query_string"]:
        return False
    wanted = request.query_params.getlist("download")
    if any(value not in ("0", "1") for value in wanted):
        raise InvalidRequestError([{"detail": "must be 0 or 1", "pointer": "?download"}])
    return "1" in wanted


def add_routes(router: APIRouter) -> None:
    """Add the routes to the application's own router: FastAPI would run copies of the routes of an included one."""
    tags: list[str | Enum] = ["public"]
    # Before the route of the details, whose guid would match the extension too.
    for path, names, parameters in (
        ("/image/{guid}/content", "", [GUID]),
        ("/image/{guid}.{extension}", ", by the name of its file", [GUID, EXTENSION]),
    ):
        router.add_api_route(
            path,
            get_content,
            summary=f"The picture{names}",
            tags=tags,
            response_class=Response,
            responses=content_responses({206: "A part of the picture.", 304: "The client has it."}),
            openapi_extra={"parameters": [*parameters, DOWNLOAD, *CONDITIONS, *RANGE]},
            route_class_override=PlainRoute,
        )
        router.add_api_route(
            path,
            head_content,
            methods=["HEAD"],
            summary=f"The picture's headers{names}",
            tags=tags,
            response_class=Response,
            responses=content_responses({304: "The client has it."}, without_bytes=True),
            openapi_extra={"parameters": [*parameters, DOWNLOAD, *CONDITIONS]},
            route_class_override=PlainRoute,
        )
    router.add_api_route(
        "/image/{guid}",
        get_image,
        summary="An image's details",
        tags=tags,
        response_model=ImageDetails | PublicImageDetails,
        responses={
            304: {"description": "The client has them already."},
            **responses_for(ImageNotFoundError, PreconditionFailedError, DatabaseUnavailableError),
        },
        openapi_extra={"parameters": [GUID, *TAGS]},
        route_class_override=PlainRoute,
    )


def content_responses(others: dict[int, str], *, without_bytes: bool = False) -> dict[int | str, dict[str, Any]]:
    """The answers of the routes for content."""
    picture = {
        media_type: {"schema": {"type": "string", "format": "binary"}}
        for media_type in ("image/png", "image/webp", "image/jpeg")
    }
    return {
        200: {"description": "The picture.", "content": picture},
        **{
            status: {"description": said} | ({"content": picture} if status == 206 else {})
            for status, said in others.items()
        },
        **responses_for(
            ImageNotFoundError,
            PreconditionFailedError,
            InvalidRequestError,
            DatabaseUnavailableError,
            *(() if without_bytes else (RangeNotSatisfiableError, ImageContentLostError, StorageUnavailableError)),
        ),
    }


GUID = parameter("guid", "path", "The image's guid.", format="uuid", examples=[EXAMPLE])
EXTENSION = parameter("extension", "path", "That of the image's `filename`.", enum=list(EXTENSIONS))
DOWNLOAD = parameter("download", "query", "`1`: to be saved, not shown.", enum=["0", "1"])
CONDITIONS = [
    *TAGS,
    parameter("If-Modified-Since", "header", "A time: 304 if nothing has changed since."),
    parameter("If-Unmodified-Since", "header", "A time: 412 if something has changed since."),
]
RANGE = [
    parameter("Range", "header", "One range of bytes (RFC 9110, section 14.2)."),
    parameter("If-Range", "header", "RFC 9110, section 13.1.5."),
]
_GUID: TypeAdapter[UUID] = TypeAdapter(CanonicalGuid)
