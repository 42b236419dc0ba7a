"""URLs in headers."""

from urllib.parse import urlencode, urlsplit

from pixyproxy.service.queries import PageQuery


def next_link(url: str, query: PageQuery, *, cursor: str) -> str:
    """The Link header (RFC 8288) to the next page of the same query of this list."""
    parameters = query.model_dump(exclude_none=True, mode="json") | {"cursor": cursor}
    return f'<{url}?{urlencode(parameters)}>; rel="next"'


def path_of(base_url: str) -> str:
    """The path of the service's own URL, which begins every path in a header; empty for most deployments."""
    return urlsplit(base_url).path.rstrip("/")
