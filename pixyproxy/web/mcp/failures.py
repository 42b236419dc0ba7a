"""The answer of a tool that failed: what is wrong, and what was billed."""

from typing import Any

from mcp.types import CallToolResult, TextContent

from pixyproxy.core.exceptions import (
    Cost,
    InvalidIdempotencyKeyError,
    InvalidRequestError,
    ModelNotFoundError,
    OutcomeUnknownError,
    PixyProxyException,
)

PROBLEM = "pixyproxy/problem"
"""The member of `_meta` that has the RFC 9457 document of a failure."""
COSTS = {
    "none": "Nothing was billed.",
    "billed": "It was billed: do not ask for the same picture again.",
    "unknown": "It may have been billed: do not ask for the same picture again before you know.",
}
MISTAKES = (InvalidRequestError, InvalidIdempotencyKeyError, ModelNotFoundError)
"""Problems that are raised before the upstream is asked."""


def error_result(problem: PixyProxyException, *, request_id: str, bought: bool) -> CallToolResult:
    """The answer of a tool that failed. `bought`: whether the tool may buy, so that the text says what was billed."""
    document: dict[str, Any] = problem.document(request_id=request_id, bought=bought)
    rules = [f"{each['pointer'].removeprefix('#/')}: {each['detail']}" for each in document.get("errors", ())]
    reason = "; ".join(rules) or problem.detail
    said = [sentences("" if reason.startswith(problem.title) else problem.title, reason)]
    cost = cost_of(problem)
    if bought and cost is not None:
        said.append(COSTS[cost])
    if "generation" in document:
        said.append(f"get_generation {document['generation']} returns its state.")
    if problem.retry_after is not None:
        said.append(f"Try again after {problem.retry_after} seconds.")
    return CallToolResult(
        content=[TextContent(text=" ".join(said))],
        is_error=True,
        _meta={PROBLEM: document},
    )


def cost_of(problem: PixyProxyException) -> Cost | None:
    """What the call cost; None if that is not known here: the text then says nothing of money."""
    if isinstance(problem, OutcomeUnknownError):
        return "unknown"
    return "none" if isinstance(problem, MISTAKES) else problem.cost


def sentences(*texts: object) -> str:
    """The texts, each ended by a full stop."""
    found = [str(text) for text in texts if text]
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in found)
