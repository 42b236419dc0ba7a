"""The Link header of a list."""

from urllib.parse import urlencode

from pixyproxy.service.private import PageQuery


def next_link(url: str, query: PageQuery, *, cursor: str) -> str:
    """The Link header (RFC 8288) to the next page of the same query of this list."""
    parameters = query.model_dump(exclude_none=True, mode="json") | {"cursor": cursor}
    return f'<{url}?{urlencode(parameters)}>; rel="next"'
