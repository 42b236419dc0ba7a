"""JSON with an entity tag: a client that has it already gets a 304."""

import hashlib
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.web.http.conditions import Validators, conditions_of, not_modified
from pixyproxy.web.http.content import HeadResponse

BY_CALLER = {"Vary": "Authorization, Cookie"}
"""Of every answer that depends on the caller."""
OF_CALLERS = {"Cache-Control": "private, no-cache", **BY_CALLER}
"""Of an answer to a caller, which only its own client may keep, and must ask about each time."""

NOTHING: Mapping[str, str] = {}


def json_with_tag(
    request: Request, body: bytes, *, headers: Mapping[str, str], tagged: Mapping[str, str] = NOTHING
) -> Response:
    """The body, or a 304. `tagged`: headers that are part of what the tag stands for.

    `PreconditionFailedError` for an If-Match with another tag.
    """
    digest = hashlib.sha256(body)
    for value in tagged.values():
        digest.update(value.encode())
    etag = f'"{digest.hexdigest()[:32]}"'
    everything = {"ETag": etag, **headers, **tagged}
    conditions = conditions_of(request.scope["headers"])
    if conditions and not_modified(conditions, Validators(etag=etag)):
        return HeadResponse(304, everything)
    return Response(body, media_type="application/json", headers=everything)
