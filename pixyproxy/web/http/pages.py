"""Answers with a page of a list."""

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.service.queries import PageQuery
from pixyproxy.web.http.links import next_link
from pixyproxy.web.http.validated_json import OF_CALLERS, json_with_tag

Q = TypeVar("Q", bound=PageQuery)


def query_of(request: Request, adapter: TypeAdapter[Q]) -> Q:
    """The query of a request as FastAPI reads it; `RequestValidationError` with FastAPI's places of what is wrong."""
    try:
        return adapter.validate_python(dict(request.query_params))
    except ValidationError as error:
        wrong = [{**each, "loc": ("query", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(wrong) from None


def page_response(
    entries: Sequence[dict[str, Any]],
    *,
    url: str,
    query: PageQuery,
    next_cursor: str | None,
    polled: Request | None = None,
) -> Response:
    """The entries as JSON, with a Link header (RFC 8288) to the next page of the list at `url`, if there is one.

    `polled`: the request for a list that clients ask for again and again: it has an ETag, and may be a 304. The entries
    are valid by construction: to make and validate a model of each, and again in FastAPI, costs more than their query.
    """
    links = {} if next_cursor is None else {"Link": next_link(url, query, cursor=next_cursor)}
    body = to_json(entries, inf_nan_mode="null")
    if polled is not None:
        return json_with_tag(polled, body, headers=OF_CALLERS, tagged=links)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store", **links})
