"""The one exception handler: every exception becomes an RFC 9457 problem."""

import logging
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match

from pixyproxy.core.exceptions import (
    ImageNotFoundError,
    InternalError,
    InvalidRequestError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PixyProxyException,
    UnsupportedMediaTypeError,
)
from pixyproxy.web.request_log import record_of

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

logger = logging.getLogger(__name__)


class ProblemItem(BaseModel):
    """One broken rule: `pointer` is a JSON Pointer into the body (`#/prompt`), or `?name` of a query parameter."""

    detail: str
    pointer: str


class Problem(BaseModel):
    """An RFC 9457 problem."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:pixyproxy:problem:invalid-request"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="Names this one occurrence.")
    request_id: str = Field(description="Find it in the log with this.")
    errors: list[ProblemItem] | None = Field(default=None, description="What breaks a rule.")


def documented(*errors: type[PixyProxyException]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can end with these errors."""
    responses: dict[int | str, dict[str, Any]] = {}
    possible: tuple[type[PixyProxyException], ...] = (*errors, InternalError)
    for error in possible:
        entry = responses.setdefault(error.status, {"description": "", "content": {MEDIA_TYPE: {"schema": SCHEMA}}})
        said = f"`{error.name}`: {error.title}"
        entry["description"] += f"; {said}" if entry["description"] else said
    return responses


SCHEMA = {"$ref": "#/components/schemas/Problem"}


async def handle_exception(request: Request, exception: Exception) -> JSONResponse:
    """The answer to an exception; the log line of those that are our fault or an adapter's."""
    problem = problem_of(request, exception)
    record = record_of(request.scope)
    record.facts["problem"] = problem.name
    if problem.status == 500:
        logger.error("%s", problem.name, exc_info=exception)
    elif problem.status > 500:
        cause = f" ({type(problem.__cause__).__name__})" if problem.__cause__ else ""
        logger.warning("%s: %s%s", problem.name, problem.detail, cause)
    return JSONResponse(
        {
            "type": problem.type,
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "instance": f"urn:pixyproxy:request:{record.request_id}",
            "request_id": record.request_id,
            **problem.extra,
        },
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=MEDIA_TYPE,
    )


def problem_of(request: Request, exception: Exception) -> PixyProxyException:
    """The exception as one of ours."""
    if isinstance(exception, PixyProxyException):
        # What has no status of its own was to be translated by the service: to the outside it is a fault.
        return exception if type(exception).name != PixyProxyException.name else InternalError()
    if isinstance(exception, RequestValidationError):
        return validation_problem(exception)
    if isinstance(exception, HTTPException):
        if isinstance(exception.__cause__, PixyProxyException):
            return exception.__cause__  # FastAPI wraps what reading the body raises
        return http_problem(request, exception)
    return InternalError()


def http_problem(request: Request, exception: HTTPException) -> PixyProxyException:
    """What Starlette and FastAPI refuse by themselves."""
    if exception.status_code == 404:
        return NotFoundError("Nothing is at this URL. The paths of this service stand in /docs.")
    if exception.status_code == 405:
        return MethodNotAllowedError(allowed_methods(request))
    return MalformedRequestError("The request's body cannot be read; send JSON in UTF-8.")


def allowed_methods(request: Request) -> list[str]:
    """The methods that some route has for this path: Starlette names only those of the first one."""
    routes: list[BaseRoute] = request.app.routes
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def validation_problem(exception: RequestValidationError) -> PixyProxyException:
    """Which rule is broken, without a word of the input."""
    errors = exception.errors()
    first = errors[0]
    if first["loc"][0] == "path":
        return ImageNotFoundError()  # a URL that cannot name an image names none
    if first["type"] == "json_invalid":
        return MalformedRequestError(f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}.")
    if isinstance(exception.body, bytes):  # FastAPI parses only what is declared to be JSON
        return UnsupportedMediaTypeError("Send the header 'Content-Type: application/json' with a JSON body.")
    return InvalidRequestError([{"detail": rule(error), "pointer": pointer(error["loc"])} for error in errors])


def rule(error: dict[str, Any]) -> str:
    """The broken rule; pydantic's words name the rule, and the input only in types that we do not use."""
    if error["type"] == "extra_forbidden":
        return "is not a known field; remove it"
    return str(error["msg"]).removeprefix("Value error, ")


def pointer(location: tuple[int | str, ...]) -> str:
    """Where: `#/prompt` in the body (RFC 6901, section 6), `?limit` in the query."""
    source, *path = location
    if source == "query":
        return "?" + ".".join(clean(part) for part in path)
    return "#/" + "/".join(clean(part).replace("~", "~0").replace("/", "~1") for part in path) if path else "#"


def clean(part: int | str) -> str:
    """A part of a location. An unknown field's name is the client's own text: it is cut and made printable."""
    text = str(part)[:64].encode("ascii", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in text)
