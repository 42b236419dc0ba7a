"""The one exception handler: every exception becomes a problem, which the dialect of the request renders."""

import logging
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match

from pixyproxy.core.exceptions import (
    Cost,
    GenerationNotFoundError,
    ImageContentLostError,
    ImageNotFoundError,
    InternalError,
    InvalidRequestError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PixyProxyException,
    UnsupportedMediaTypeError,
)
from pixyproxy.web.dialects import dialect_of
from pixyproxy.web.log.request_log import record_of

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
    cost: Cost | None = Field(default=None, description="What the request for a picture cost.")
    generation: str | None = Field(default=None, description="The guid of the generation that the problem concerns.")


def responses_for(*errors: type[PixyProxyException]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can end with these errors."""
    responses: dict[int | str, dict[str, Any]] = {}
    possible: tuple[type[PixyProxyException], ...] = (*errors, InternalError)
    for error in possible:
        entry = responses.setdefault(error.status, {"description": "", "content": {MEDIA_TYPE: {"schema": SCHEMA}}})
        said = f"`{error.name}`: {error.title}"
        entry["description"] += f"; {said}" if entry["description"] else said
    return responses


SCHEMA = {"$ref": "#/components/schemas/Problem"}


async def handle_exception(request: Request, exception: Exception) -> Response:
    """The answer to an exception."""
    return dialect_of(request).render(noted_problem(request, exception), request)


def noted_problem(request: Request, exception: Exception) -> PixyProxyException:
    """The exception as one of ours, noted in the record, and logged if it is our fault or an adapter's."""
    problem = problem_of(request, exception)
    record = record_of(request.scope)
    if "aborted" not in record.facts:
        record.facts["problem"] = problem.name
        log_problem(problem, exception)
    return problem


def render_problem(problem: PixyProxyException, request: Request) -> Response:
    """The answer of our own dialect: an RFC 9457 document."""
    request_id = record_of(request.scope).request_id
    return JSONResponse(
        problem.document(request_id=request_id, bought=request.method == "POST"),  # no other method buys a picture
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=MEDIA_TYPE,
    )


def log_problem(problem: PixyProxyException, exception: Exception) -> None:
    """Log faults of ours and of adapters; mistakes of a client are in the END line only."""
    if problem.status == 500 or isinstance(problem, ImageContentLostError):
        logger.error("%s", problem.name, exc_info=exception)
    elif problem.status > 500:
        cause = f" ({type(problem.__cause__).__name__})" if problem.__cause__ else ""
        logger.warning("%s: %s%s", problem.name, problem.detail, cause)


def problem_of(request: Request, exception: Exception) -> PixyProxyException:
    """The exception as one of ours."""
    if isinstance(exception, PixyProxyException):
        # The service should have translated an exception without a status: it is a fault.
        if type(exception).name != PixyProxyException.name:
            return exception
        known = {name: exception.extra[name] for name in ("generation",) if name in exception.extra}
        fault: PixyProxyException = InternalError(extra=known)
        fault.cost = exception.cost or fault.cost
        return fault
    if isinstance(exception, RequestValidationError):
        return validation_problem(request, exception)
    if isinstance(exception, HTTPException):
        if isinstance(exception.__cause__, PixyProxyException):
            return exception.__cause__  # FastAPI wraps what reading the body raises
        return http_problem(request, exception)
    return InternalError()


def http_problem(request: Request, exception: HTTPException) -> PixyProxyException:
    """Errors that Starlette and FastAPI raise themselves."""
    if exception.status_code == 404:
        return NotFoundError("Nothing is at this URL. /docs lists the paths of this service.")
    if exception.status_code == 405:
        return MethodNotAllowedError(allowed_methods(request))
    return MalformedRequestError("The request's body cannot be read; send JSON in UTF-8.")


def allowed_methods(request: Request) -> list[str]:
    """The methods of all routes for this path: Starlette names only those of the first one."""
    routes: list[BaseRoute] = request.app.routes
    allowed = {
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    }
    if "GET" in allowed:
        allowed.add("HEAD")  # see HeadAsGet
    return [method for method in METHODS if method in allowed]


def validation_problem(request: Request, exception: RequestValidationError) -> PixyProxyException:
    """Which rules are broken, without any part of the input."""
    errors = exception.errors()
    first = errors[0]
    if first["loc"][0] == "path":
        # An invalid guid in a URL is a 404.
        return GenerationNotFoundError() if request.scope["path"].startswith("/generation/") else ImageNotFoundError()
    if first["type"] == "json_invalid":
        return MalformedRequestError(f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}.")
    if isinstance(exception.body, bytes):  # FastAPI parses only what is declared to be JSON
        return UnsupportedMediaTypeError("Send the header 'Content-Type: application/json' with a JSON body.")
    return InvalidRequestError([broken_rule(error) for error in errors[:MAX_ERRORS]])


def broken_rule(error: dict[str, Any]) -> dict[str, str]:
    """What is wrong and where: `#/prompt` in the body (RFC 6901, section 6), `?limit` in the query.

    An unknown name is the client's own text and is not repeated.
    """
    source, *path = error["loc"]
    root = "?" if source == "query" else "#/"
    if error["type"] == "extra_forbidden":
        kind = "parameter" if source == "query" else "field"
        return {"detail": f"has a {kind} that is not known; /docs lists the known ones", "pointer": root[0]}
    where = root + "/".join(str(part) for part in path) if path else "#"
    return {"detail": RULES.get(error["type"]) or str(error["msg"]).removeprefix("Value error, "), "pointer": where}


MAX_ERRORS = 20
RULES = {
    "missing": "is required",
    "string_unicode": "must not contain a lone surrogate; send valid Unicode",
    "model_attributes_type": "must be a JSON object",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be one word: letters, digits, '.', '_', ':', '/' and '-'",
}
"""Rules whose pydantic message is for programmers. Other messages of pydantic name the rule, and never the input."""
