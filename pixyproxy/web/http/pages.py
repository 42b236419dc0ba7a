"""Answers with a page of a list."""

from typing import TypeVar

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.service.queries import PageQuery
from pixyproxy.web.http.links import next_link
from pixyproxy.web.http.validated_json import OF_CALLERS, json_with_tag

T = TypeVar("T", bound=BaseModel)


def page_response(
    details: list[T],
    adapter: TypeAdapter[list[T]],
    *,
    url: str,
    query: PageQuery,
    next_cursor: str | None,
    polled: Request | None = None,
) -> Response:
    """The details as JSON, with a Link header (RFC 8288) to the next page of the list at `url`, if there is one.

    `polled`: the request for a list that clients ask for again and again: it has an ETag, and may be a 304. The details
    are valid by construction. FastAPI would validate them again, which costs two thirds of their JSON.
    """
    links = {} if next_cursor is None else {"Link": next_link(url, query, cursor=next_cursor)}
    body = adapter.dump_json(details)
    if polled is not None:
        return json_with_tag(polled, body, headers=OF_CALLERS, tagged=links)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store", **links})
