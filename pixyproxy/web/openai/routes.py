"""The routes below /v1: generations and models."""

from typing import Annotated

from fastapi import Depends, Path, Security
from fastapi.security import APIKeyHeader
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    BudgetExhaustedError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    IdempotencyKeyReusedError,
    ImageDeletedError,
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
from pixyproxy.core.keys import Scope
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import needs, private_router
from pixyproxy.web.dependencies import services_of
from pixyproxy.web.http.idempotency import idempotency_key
from pixyproxy.web.openai.body import GenerationBody, generation_body
from pixyproxy.web.openai.details import ImagesAnswer, ModelDetails, ModelList
from pixyproxy.web.openai.draw import draw
from pixyproxy.web.openai.errors import responses_for

API_KEY_HEADER = "api-key"
AS_AZURE = Security(
    APIKeyHeader(name=API_KEY_HEADER, auto_error=False, description="As Azure's clients send the API key.")
)
router = private_router()
router.dependencies.append(AS_AZURE)
DRAW_ERRORS = (
    AuthenticationError,
    NotAllowedError,
    MalformedRequestError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
    InvalidIdempotencyKeyError,
    IdempotencyKeyReusedError,
    ModelNotFoundError,
    RequestTimeoutError,
    ImageDeletedError,
    PayloadTooLargeError,
    UpstreamRefusedError,
    OutcomeUnknownError,
    UpstreamError,
    UpstreamAnswerError,
    UpstreamUnknownOutcomeError,
    UpstreamDeadlineError,
    GenerationInterruptedError,
    UpstreamCredentialsError,
    UpstreamAddressError,
    DatabaseUnavailableError,
    StorageUnavailableError,
    UpstreamUnavailableError,
    BudgetExhaustedError,
    PriceUnknownError,
    RateLimitedError,
    TooManyGenerationsError,
    ShuttingDownError,
)
DRAWN = {
    200: {
        "description": "The images, or a stream of events.",
        "model": ImagesAnswer,
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **responses_for(*DRAW_ERRORS),
}
"""The answers of the routes that draw."""


@router.post(
    "/images/generations",
    summary="Have images drawn",
    tags=["openai"],
    response_class=Response,
    responses=DRAWN,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": GenerationBody.model_json_schema()}},
        },
        **needs(Scope.DRAW),
    },
)
async def create_images(
    request: Request,
    caller: Authenticated,
    key: Annotated[str | None, Depends(idempotency_key)],
    body: Annotated[GenerationBody, Depends(generation_body)],
) -> Response:
    """As OpenAI's `POST /v1/images/generations`. A 200, or `completed`, means that pictures and record are durable."""
    return await draw(request, body, kind="image_generation", caller=caller, key=key)


@router.get(
    "/models",
    summary="The models",
    tags=["openai"],
    responses=responses_for(AuthenticationError),
    response_model_exclude_none=True,
)
async def list_models(request: Request, _: Authenticated, response: Response) -> ModelList:
    """Every model that a request may name, and every alias."""
    response.headers["Cache-Control"] = "no-store"
    return ModelList.of(services_of(request).models)


@router.get(
    "/models/{model:path}",
    summary="A model",
    tags=["openai"],
    responses=responses_for(AuthenticationError, ModelNotFoundError),
    response_model_exclude_none=True,
)
async def get_model(
    model: Annotated[str, Path(description="The name of a model or an alias.")],
    request: Request,
    _: Authenticated,
    response: Response,
) -> ModelDetails:
    """The model, or the alias, of this name."""
    response.headers["Cache-Control"] = "no-store"
    return ModelDetails.of(services_of(request).models, model)
