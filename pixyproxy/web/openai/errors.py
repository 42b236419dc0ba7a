"""Errors in OpenAI's shape: every problem has a status, a type and a code that its clients act on.

A client of OpenAI's repeats 408, 409, 429 and everything from 500 on by itself, unless `x-should-retry` forbids it. So
an error that may have been billed is a 424. One that cost nothing, and may not occur again, is a 503 or a 429.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import (
    AuthenticationError,
    BudgetExhaustedError,
    GenerationRunningError,
    IdempotencyKeyReusedError,
    ImageContentLostError,
    InternalError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    OutcomeUnknownError,
    PixyProxyException,
    PriceUnknownError,
    RateLimitedError,
    UnavailableError,
    UnsupportedFileError,
    UnsupportedMediaTypeError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from pixyproxy.web.log.request_log import printable

LONGEST_RETRY_AFTER = 60
"""Seconds. Node's client replaces a longer wait by its own of up to 8 s."""
INVALID, SERVER = "invalid_request_error", "server_error"
NEVER_AGAIN = {"x-should-retry": "false"}
RETRIED_STATUSES = (401, 403, 408, 409, 429)
"""Statuses of a refusal after which a client would repeat the request, or blame its own key: they become 400."""

STATUSES: dict[type[PixyProxyException], int] = {
    InvalidRequestError: 400,
    UnsupportedMediaTypeError: 400,
    UnsupportedFileError: 400,
    IdempotencyKeyReusedError: 400,
    UpstreamRefusedError: 400,
    ModelNotFoundError: 404,
    BudgetExhaustedError: 429,
    PriceUnknownError: 429,
    OutcomeUnknownError: 424,
    InternalError: 500,
}
"""For OpenAPI: statuses that differ from those of our own dialect. All others that may have been billed are 424."""


class ErrorMember(BaseModel):
    """The error object that OpenAI's clients read."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str = Field(examples=[INVALID])
    param: str | None = Field(description="The parameter that is wrong.")
    code: str | None = Field(examples=["unknown_parameter"])
    pixyproxy: dict[str, str] = Field(
        description="`problem`: our own name of it; `generation`: the guid of the generation; `cost`: what it has cost."
    )


class OpenAIError(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorMember


def responses_for(*errors: type[PixyProxyException]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route below /v1 that can end with these errors."""
    responses: dict[int | str, dict[str, Any]] = {}
    possible: tuple[type[PixyProxyException], ...] = (*errors, InternalError)
    for kind in possible:
        status = STATUSES.get(kind) or (424 if kind.cost in ("billed", "unknown") else kind.status)
        entry = responses.setdefault(status, {"description": "", "model": OpenAIError})
        entry["description"] += f"{'; ' if entry['description'] else ''}`{kind.name}`: {kind.title}"
    return responses


def render_error(problem: PixyProxyException, request: Request) -> Response:
    """The answer to a problem of a request below /v1."""
    status, error, headers = described(problem, request)
    return Response(
        json.dumps({"error": error}),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )


def described(problem: PixyProxyException, request: Request) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The status, the error, and the headers of a problem."""
    bought = request.method == "POST"  # no other method buys a picture
    status, kind, code, signals = signals_of(problem, bought=bought)
    refused = problem.extra if isinstance(problem, UpstreamRefusedError) else {}
    generation = problem.extra.get("generation")
    own = {
        "problem": problem.name,
        **({"generation": str(generation)} if generation else {}),
        **({"cost": problem.cost} if problem.cost and bought else {}),
    }
    error = {
        "message": refused.get("upstream_message") or message_of(problem, request),
        "type": refused.get("upstream_type") or kind,
        "param": refused.get("upstream_param") if refused else param_of(problem),
        "code": refused.get("upstream_code") if refused else code,
        "pixyproxy": own,
    }
    headers = {name: value for name, value in problem.headers.items() if name != "Retry-After"}
    return status, error, {**headers, **signals}


def signals_of(
    problem: PixyProxyException, *, bought: bool
) -> tuple[int, str, str | None, dict[str, str]]:  # status, type, code, and headers about a retry
    """The table: how each problem ends, and whether a client may repeat its request."""
    name = problem.name.replace("-", "_")
    retry_after = {"Retry-After": str(min(max(problem.retry_after or 1, 1), LONGEST_RETRY_AFTER))}
    match problem:
        case _ if bought and (problem.cost in ("billed", "unknown") or isinstance(problem, OutcomeUnknownError)):
            return 424, SERVER, name, NEVER_AGAIN
        case UpstreamRefusedError():
            status = problem.extra.get("upstream_status")
            passed_on = isinstance(status, int) and 400 <= status < 500 and status not in RETRIED_STATUSES
            return status if passed_on else 400, INVALID, name, {}  # type: ignore[return-value]
        case AuthenticationError():
            return 401, INVALID, "invalid_api_key", {}
        case ModelNotFoundError():
            return 404, INVALID, "model_not_found", {}
        case UpstreamUnavailableError() if problem.extra.get("upstream_status") == 429:
            code = problem.extra.get("upstream_code") or "rate_limit_exceeded"
            return 429, str(problem.extra.get("upstream_type") or "rate_limit_exceeded"), str(code), retry_after
        case BudgetExhaustedError() | PriceUnknownError():
            return 429, "insufficient_quota", "insufficient_quota", NEVER_AGAIN
        case RateLimitedError():
            return 429, "rate_limit_exceeded", "rate_limit_exceeded", retry_after
        case UnavailableError() | GenerationRunningError():
            return 503, SERVER, name, retry_after
        case UpstreamError() | ImageContentLostError():
            return 502, SERVER, name, NEVER_AGAIN
        case UnsupportedFileError():
            return 400, INVALID, "unsupported_file_mimetype", {}
        case InvalidRequestError():
            return 400, INVALID, first_rule(problem).get("code", "invalid_value"), {}
        case IdempotencyKeyReusedError() | UnsupportedMediaTypeError():
            return 400, INVALID, name, {}
        case _ if type(problem) is NotFoundError:
            return 404, INVALID, "unknown_url", {}
    return problem.status, INVALID if problem.status < 500 else SERVER, name, {}


def first_rule(problem: PixyProxyException) -> dict[str, str]:
    """The first rule that a request breaks: OpenAI's errors name one."""
    rules: list[dict[str, str]] = problem.extra.get("errors") or [{}]
    return rules[0]


def param_of(problem: PixyProxyException) -> str | None:
    """The parameter that is wrong, as OpenAI writes it: `n`, `images[0].image_url`."""
    if isinstance(problem, ModelNotFoundError):
        return "model"
    param = ""
    for part in first_rule(problem).get("pointer", "").removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        param += f"[{name}]" if name.isdecimal() and param else f".{name}" if param else name
    return param or None


def message_of(problem: PixyProxyException, request: Request) -> str:
    """The text for people. Many clients show nothing else of an error."""
    param = param_of(problem)
    if isinstance(problem, InvalidRequestError) and param is not None:
        rule = first_rule(problem)
        match rule.get("code"):
            case "missing_required_parameter":
                return f"Missing required parameter: '{param}'."
            case "unknown_parameter":
                return f"Unknown parameter: '{param}'."
        return f"Invalid value for '{param}': {rule['detail']}."
    if type(problem) is NotFoundError:
        return (
            f"Invalid URL ({request.method} {printable(request.scope['path'])}). This is PixyProxy, which speaks "
            "only OpenAI's Images API: POST /v1/images/generations, POST /v1/images/edits, GET /v1/models."
        )
    said = problem.extra.get("upstream_message")
    detail = problem.detail or f"{problem.title}."
    if isinstance(said, str):
        detail += f" The upstream's words: {said}"
    generation = problem.extra.get("generation")
    if generation and problem.cost in ("billed", "unknown") and str(generation) not in problem.detail:
        return f"{detail} It is generation {generation} of PixyProxy."
    return detail
