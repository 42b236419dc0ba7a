"""The route of the usage."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    DatabaseUnavailableError,
    InvalidRequestError,
    UsageNotReadyError,
)
from pixyproxy.service.money.usage import UsageQuery
from pixyproxy.web.auth.authentication import Authenticated
from pixyproxy.web.auth.private_route import private_router
from pixyproxy.web.dependencies import Used
from pixyproxy.web.http.accepting import accepts
from pixyproxy.web.problems import responses_for
from pixyproxy.web.usage.details import MEDIA_TYPE, UsageDetails, csv_of

router = private_router()
HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}


@router.get(
    "/usage",
    summary="What generations add up to",
    tags=["private"],
    response_model=UsageDetails,
    responses={
        200: {
            "description": "The sums; to `Accept: text/csv` a line for each group.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **responses_for(AuthenticationError, InvalidRequestError, UsageNotReadyError, DatabaseUnavailableError),
    },
)
async def get_usage(
    query: Annotated[UsageQuery, Query()], caller: Authenticated, usage: Used, request: Request
) -> Response:
    """The caller's own, or with the scope `read-all` or `admin` everybody's. Every key may ask this.

    A generation counts on the day (UTC) on which it began.
    """
    report = await usage.of(query, caller=caller)
    if accepts(request, MEDIA_TYPE):
        return Response(csv_of(report), media_type=MEDIA_TYPE, headers=HEADERS)
    body = UsageDetails.of(report).model_dump_json(by_alias=True, exclude_unset=True)
    return Response(body, media_type="application/json", headers=HEADERS)
