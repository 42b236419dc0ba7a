"""The route of edits below /v1."""

from functools import partial
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import ImageContentLostError, PixyProxyException, UnsupportedFileError, UploadsFullError
from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.keys import Scope
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import PrivateUploadRoute, needs, private_router
from pixyproxy.web.dependencies import requested_url, services_of
from pixyproxy.web.http.body_limit import skip_body
from pixyproxy.web.http.idempotency import idempotency_key
from pixyproxy.web.openai.body import validated
from pixyproxy.web.openai.draw import draw
from pixyproxy.web.openai.edit_body import EditBody, edit_values
from pixyproxy.web.openai.errors import responses_for
from pixyproxy.web.openai.routes import AS_AZURE, DRAW_ERRORS, DRAWN

router = private_router(PrivateUploadRoute)
router.dependencies.append(AS_AZURE)


def body_schemas() -> dict[str, Any]:
    """The two forms of the body, for OpenAPI."""
    shared = EditBody.model_json_schema()
    upload = {"type": "string", "format": "binary"}
    named = {"type": "string", "description": "A guid, a URL of an image that is stored here, or a `data:` URL."}
    nested = {"type": "object", "properties": {"image_url": named}, "required": ["image_url"]}
    form = {"image": {"type": "array", "items": upload, "maxItems": 16}, "mask": upload, "markup": upload}
    body = {"images": {"type": "array", "items": nested, "maxItems": 16}, "mask": nested, "markup": nested}
    return {
        "multipart/form-data": {"schema": with_images(shared, form, required="image")},
        "application/json": {"schema": with_images(shared, body, required="images")},
    }


def with_images(shared: dict[str, Any], images: dict[str, Any], *, required: str) -> dict[str, Any]:
    """The schema of the parameters and these images."""
    examples = {"examples": shared["examples"]} if required == "images" else {}
    known = {name: value for name, value in shared.items() if name != "examples"}
    return {
        **known,
        **examples,
        "properties": {**shared["properties"], **images},
        "required": [*shared["required"], required],
    }


@router.post(
    "/images/edits",
    summary="Have images edited",
    tags=["openai"],
    response_class=Response,
    responses={
        200: DRAWN[200],
        **responses_for(*DRAW_ERRORS, UnsupportedFileError, ImageContentLostError, UploadsFullError),
    },
    openapi_extra={"requestBody": {"required": True, "content": body_schemas()}, **needs(Scope.DRAW)},
)
async def edit_images(
    request: Request,
    caller: Authenticated,
    key: Annotated[str | None, Depends(idempotency_key)],
) -> Response:
    """As OpenAI's `POST /v1/images/edits`. An image may be one that is stored here: its guid, or its URL."""
    services = services_of(request)
    collector = services.uploads.collect(
        base_url=requested_url(request.scope),
        recall=None if key is None else partial(services.private.recorded_inputs, caller=caller, idempotency_key=key),
    )
    try:
        with nothing_spent():
            values = await edit_values(request, collector)
        parameters = validated(EditBody, values)
        inputs = collector.inputs()
    except PixyProxyException:
        await skip_body(request)
        raise
    finally:
        collector.close()
    return await draw(request, parameters, kind="image_edit", caller=caller, key=key, inputs=inputs)
