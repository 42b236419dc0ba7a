"""The public routes: whoever has the guid."""

from fastapi import APIRouter
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    ImageContentLostError,
    ImageNotFoundError,
    StorageUnavailableError,
)
from pixyproxy.web.content import ContentResponse, head_response
from pixyproxy.web.problems import documented
from pixyproxy.web.representations import Guid, ImageDetails
from pixyproxy.web.services import BaseUrl, ClientPatience, Public

router = APIRouter(tags=["public"])


@router.get(
    "/image/{guid}",
    summary="An image's details",
    responses=documented(ImageNotFoundError, DatabaseUnavailableError),
)
async def get_image(guid: Guid, images: Public, base_url: BaseUrl) -> ImageDetails:
    """The details of an image, for whoever has its guid."""
    return ImageDetails.of(await images.get(guid), base_url=base_url)


CONTENT = {
    200: {
        "description": "The picture.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in ("image/png", "image/webp", "image/jpeg")
        },
    },
    **documented(ImageNotFoundError, ImageContentLostError, DatabaseUnavailableError, StorageUnavailableError),
}


@router.get("/image/{guid}/content", summary="The picture", response_class=Response, responses=CONTENT)
async def get_content(guid: Guid, images: Public, patience: ClientPatience) -> Response:
    """The picture's bytes, streamed from the storage."""
    image = await images.get(guid)
    return ContentResponse(image, await images.open_content(image), patience=patience)


@router.head("/image/{guid}/content", summary="The picture's headers", response_class=Response, responses=CONTENT)
async def head_content(guid: Guid, images: Public) -> Response:
    """What GET would answer, without the bytes and without touching the storage."""
    return head_response(await images.get(guid))
