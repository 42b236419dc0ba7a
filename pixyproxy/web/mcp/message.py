"""The JSON-RPC message in a body, checked before the SDK parses it: our refusals quote no input."""

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from pixyproxy.core.exceptions import MalformedRequestError

ONE_MESSAGE = "The body must be one JSON-RPC 2.0 request or notification."


@dataclass(frozen=True)
class Message:
    """A request or a notification. `tool`: which tool it calls, if it calls one."""

    method: str
    tool: str | None


def message_of(body: bytes) -> Message:
    """The message; `MalformedRequestError` for anything else. Batches are refused: no current revision has them."""
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise MalformedRequestError("The body cannot be read as JSON.") from None
    if not is_message(document):
        raise MalformedRequestError(ONE_MESSAGE)
    method, params = document["method"], document.get("params") or {}
    name = params.get("name") if method == "tools/call" else None
    return Message(method, tool=name if isinstance(name, str) else None)


def is_message(document: Any) -> bool:
    """Whether the JSON is a request or a notification (JSON-RPC 2.0, section 4)."""
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        return False
    numbered = document.get("id", 0)  # a notification has none; null is not allowed
    return (
        isinstance(document.get("method"), str)
        and isinstance(numbered, int | str)
        and not isinstance(numbered, bool)
        and isinstance(document.get("params", {}), dict)
    )
