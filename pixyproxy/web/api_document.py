"""The OpenAPI document: what FastAPI generates, and additions that FastAPI cannot derive."""

from typing import Any

from fastapi import FastAPI

from pixyproxy.web.problems import Problem

TAGS = {
    "public": "For anyone with the guid.",
    "private": "For callers with an API key, or a session of the page.",
    "session": "Logging in to the page.",
    "keys": "API keys: one's own, and with the scope `admin` all.",
    "openai": "As OpenAI's own API, for clients that speak it. Needs an API key.",
    "health": "For probes.",
}
OPEN_TAGS = ("public", "health")
"""Tags of operations that need no key."""
COOKIE_TAGS = ("private", "session", "keys")
"""Tags of operations that take the cookie of a session instead of a key."""
COOKIE = {
    "type": "apiKey",
    "in": "cookie",
    "name": "__Host-pixyproxy",
    "description": "A session of the page. Over plain http the name is `pixyproxy-{port}`. Whatever is not GET or HEAD "
    "must come from the page itself: `Sec-Fetch-Site: same-origin`, or without it our own `Origin`.",
}
BODIES = {
    "/session": "Who logs in.",
    "/key": "The key's name, and what it may do.",
    "/key/{name}": "What to change; what is left out stays as it is.",
    "/key/{name}/rotate": "How long the former secret stays valid.",
}
"""What the bodies of requests are, but for those that draw."""
HEADERS = {
    "X-Request-ID": "Names the request in the log.",
    "Cache-Control": "Whether caches may keep the answer, and how long.",
    "X-Accel-Expires": "Seconds after which nginx, if it caches pictures, asks again. It removes this header.",
    "ETag": "For If-None-Match and If-Match.",
    "Last-Modified": "For If-Modified-Since and If-Unmodified-Since.",
    "Accept-Ranges": "`bytes`: Range is supported.",
    "Vary": "The request headers on which the answer depends.",
    "Content-Range": "Which bytes these are, and the size of the picture; of a 416 the size alone.",
    "Content-Disposition": "The picture's file name, and whether it is shown or saved.",
    "Location": "The URL of the image's details, of the generation that is still running, or of the new key.",
    "Retry-After": "Seconds to wait before the next request.",
    "Link": 'The next page, with `rel="next"` (RFC 8288).',
    "Preference-Applied": "The preferences that were applied (RFC 7240).",
    "Idempotent-Replayed": "`true`: an earlier request with this Idempotency-Key began this generation.",
    "x-should-retry": "`false`: the request must not be sent again; it may have bought a picture.",
    "X-Accel-Buffering": "`no`: nginx passes the events on as they come.",
    "Set-Cookie": "The cookie of the session: `__Host-pixyproxy` over https, `pixyproxy-{port}` over plain http.",
    "Clear-Site-Data": '`"storage"`: the browser forgets what the page kept.',
    "WWW-Authenticate": "`Bearer`: the scheme of the API key.",
}
"""Every header of our answers, except those of the body, of CORS and of browser security."""
ALWAYS = ("X-Request-ID",)
OF_STATUS: dict[str, tuple[str, ...]] = {
    "202": ("Retry-After",),
    "401": ("WWW-Authenticate",),
    "409": ("Retry-After",),
    "416": ("Content-Range",),
    "424": ("x-should-retry",),
    "503": ("Retry-After",),
}
CACHING = ("ETag", "Cache-Control")
BY_CALLER = (*CACHING, "Vary")
CONTENT = (*CACHING, "X-Accel-Expires", "Last-Modified")
PICTURE = (*CONTENT, "Accept-Ranges", "Content-Disposition")
CONTENT_PATHS = ("/image/{guid}/content", "/image/{guid}.{extension}", "/image/{guid}/thumbnail")
OF_OPERATION: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("post", "/image", "201"): ("Location", "Preference-Applied", "Idempotent-Replayed"),
    ("post", "/image", "202"): ("Location", "Preference-Applied", "Idempotent-Replayed"),
    **{("post", "/image", status): ("Idempotent-Replayed",) for status in ("409", "410", "422", "502", "503", "504")},
    ("post", "/v1/images/generations", "200"): ("Idempotent-Replayed", "X-Accel-Buffering"),
    ("post", "/v1/images/generations", "410"): ("Idempotent-Replayed",),
    ("post", "/v1/images/generations", "424"): ("Idempotent-Replayed",),
    ("post", "/v1/images/generations", "502"): ("x-should-retry",),
    **{("get", path, "200"): ("Cache-Control",) for path in ("/v1/models", "/v1/models/{model}")},
    ("get", "/image", "200"): ("Link", "Cache-Control"),
    ("get", "/generation", "200"): ("Link", *BY_CALLER),
    ("get", "/generation", "304"): ("Link", *BY_CALLER),
    ("get", "/generation/{guid}", "200"): ("Retry-After", "X-Accel-Buffering", *BY_CALLER),
    ("get", "/generation/{guid}", "304"): ("Retry-After", *BY_CALLER),
    ("post", "/session", "201"): ("Set-Cookie",),
    ("post", "/key", "201"): ("Location",),
    **{("get", path, "200"): ("Cache-Control",) for path in ("/key", "/key/{name}", "/key/self")},
    ("patch", "/key/{name}", "200"): ("Cache-Control",),
    ("get", "/usage", "200"): ("Cache-Control", "Vary"),
    ("get", "/session", "200"): ("Cache-Control",),
    ("delete", "/session", "204"): ("Set-Cookie", "Clear-Site-Data", "Cache-Control"),
    ("get", "/image/{guid}", "200"): BY_CALLER,
    ("get", "/image/{guid}", "304"): BY_CALLER,
    **{(method, path, "200"): PICTURE for path in CONTENT_PATHS for method in ("get", "head")},
    **{(method, path, "304"): CONTENT for path in CONTENT_PATHS for method in ("get", "head")},
    **{("get", path, "206"): (*PICTURE, "Content-Range") for path in CONTENT_PATHS},
}
"""Headers of answers, by method, path and status."""


def complete_document(api: FastAPI, *, public_url: str | None) -> None:
    """Make `api.openapi` complete what FastAPI generates, at its first call."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = generate()
            document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
            document["servers"] = [{"url": public_url or "/", "description": "This service."}]
            document["components"]["headers"] = {
                name: {"description": text, "schema": {"type": "integer" if name == "Retry-After" else "string"}}
                for name, text in HEADERS.items()
            }
            document["components"]["securitySchemes"]["Session"] = COOKIE
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
    # An invalid path is a 404; routes that answer 422 declare it themselves.
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "requestBody" in operation:
        what = BODIES.get(path, "What to draw.")
        operation["requestBody"]["description"] = what
    if any(tag in OPEN_TAGS for tag in operation.get("tags", ())):
        operation["security"] = []
    elif operation["security"] and any(tag in COOKIE_TAGS for tag in operation["tags"]):
        operation["security"].append({"Session": []})
    for status, response in responses.items():
        names = (*ALWAYS, *OF_STATUS.get(status, ()), *OF_OPERATION.get((method, path, status), ()))
        if status[0] in "45" or method == "post":
            names = (*names, "Cache-Control")
        references = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = {**references, **response.get("headers", {})}
