"""The OpenAPI document: what FastAPI generates, and what it does not know."""

from typing import Any

from fastapi import FastAPI

from pixyproxy.web.problems import Problem

TAGS = {
    "public": "Whoever has the guid.",
    "private": "Whoever has an API key.",
    "health": "For probes.",
}
OPEN_TAGS = ("public", "health")
"""Tags of operations that need no key."""
REQUEST_ID = {"description": "Names the request in the log.", "schema": {"type": "string"}}
RETRY_AFTER = {"description": "Seconds to wait before the next request.", "schema": {"type": "integer"}}
CACHING = {"ETag": "For If-None-Match.", "Cache-Control": "How long caches may keep it."}
HEADERS: dict[tuple[str, str, str], dict[str, str]] = {
    ("post", "/image", "201"): {
        "Location": "The URL of the image's details.",
        "Idempotent-Replayed": "`true`: an earlier request with this Idempotency-Key bought it.",
        "Preference-Applied": "What was honoured of Prefer (RFC 7240).",
    },
    ("post", "/image", "202"): {
        "Location": "The URL of the generation.",
        "Preference-Applied": "What was honoured of Prefer (RFC 7240).",
    },
    ("get", "/image", "200"): {"Link": 'The next page, with `rel="next"` (RFC 8288).'},
    ("get", "/generation", "200"): {"Link": 'The next page, with `rel="next"` (RFC 8288).'},
    **{
        (method, f"/image/{{guid}}{content}", status): CACHING
        for method, content in (("get", ""), ("get", "/content"), ("head", "/content"))
        for status in ("200", "206", "304")
    },
}
"""Headers of answers, by method, path and status."""
WAITING = ("202", "409", "503")
"""Statuses that come with Retry-After."""


def complete_document(api: FastAPI, *, public_url: str | None) -> None:
    """Make `api.openapi` complete what FastAPI generates, at its first call."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = generate()
            document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
            document["servers"] = [{"url": public_url or "/", "description": "This service."}]
            describe_problems(document)
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    complete_operation(operation, method=method, path=path)
        return api.openapi_schema or {}

    api.openapi = openapi  # type: ignore[method-assign]


def describe_problems(document: dict[str, Any]) -> None:
    """Add the schema of problems, and remove what FastAPI assumes about validation errors."""
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem}
    for assumed in ("HTTPValidationError", "ValidationError"):
        schemas.pop(assumed, None)


def complete_operation(operation: dict[str, Any], *, method: str, path: str) -> None:
    """Add security and headers to an operation."""
    responses = operation["responses"]
    # A path that does not parse is a 404; the routes that answer 422 say so themselves.
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "requestBody" in operation:
        operation["requestBody"]["description"] = "What to draw."
    if any(tag in OPEN_TAGS for tag in operation.get("tags", ())):
        operation["security"] = []
    for status, response in responses.items():
        described = HEADERS.get((method, path, status), {})
        response["headers"] = {
            "X-Request-ID": REQUEST_ID,
            **({"Retry-After": RETRY_AFTER} if status in WAITING else {}),
            **{name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()},
            **response.get("headers", {}),
        }
