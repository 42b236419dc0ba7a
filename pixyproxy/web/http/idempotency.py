"""The Idempotency-Key header (IETF draft-ietf-httpapi-idempotency-key-header)."""

from typing import Annotated

from fastapi import Header
from starlette.requests import Request

from pixyproxy.core.exceptions import InvalidIdempotencyKeyError


async def idempotency_key(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 printable ASCII characters of your choice, quoted or bare: however often the request "
            "comes with the same key, one picture is bought.",
        ),
    ] = None,
) -> str | None:
    """The header as it was sent; `InvalidIdempotencyKeyError` if it was sent twice."""
    values = request.headers.getlist("idempotency-key")
    if len(values) > 1:
        raise InvalidIdempotencyKeyError
    return values[0] if values else None
