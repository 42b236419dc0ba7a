"""Answers with a page of a list."""

from typing import TypeVar

from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response

from pixyproxy.service.queries import PageQuery
from pixyproxy.web.http.links import next_link

T = TypeVar("T", bound=BaseModel)


def page_response(
    details: list[T], adapter: TypeAdapter[list[T]], *, url: str, query: PageQuery, next_cursor: str | None
) -> Response:
    """The details as JSON, with a Link header (RFC 8288) to the next page of the list at `url`, if there is one.

    The details are valid by construction. FastAPI would validate them again, which costs two thirds of their JSON.
    """
    headers = {"Cache-Control": "no-store"}
    if next_cursor is not None:
        headers["Link"] = next_link(url, query, cursor=next_cursor)
    return Response(adapter.dump_json(details), media_type="application/json", headers=headers)
