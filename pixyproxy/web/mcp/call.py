"""One call of a tool: who calls, and what a tool may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp.server.session import ServerSession
from pydantic import ValidationError
from starlette.requests import Request

from pixyproxy.core.exceptions import InvalidRequestError
from pixyproxy.core.keys import Caller
from pixyproxy.core.model import Model
from pixyproxy.service.previews import Previews
from pixyproxy.web.dependencies import Services
from pixyproxy.web.problems import MAX_ERRORS, RULES

M = TypeVar("M", bound=Model)
MAX_POINTER = 100


@dataclass(frozen=True)
class Call:
    """A call. `protocol_version`: the revision of MCP that its client speaks; `session` takes the progress."""

    services: Services
    previews: Previews
    caller: Caller
    request: Request
    base_url: str
    protocol_version: str
    session: ServerSession


def parse_arguments(kind: type[M], arguments: Mapping[str, Any]) -> M:
    """The arguments of a call; `InvalidRequestError` names each that breaks a rule."""
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise InvalidRequestError([broken_argument(each) for each in problems[:MAX_ERRORS]]) from None


def broken_argument(error: Any) -> dict[str, str]:
    """What is wrong with which argument. An unknown one is named too: a model corrects what it can see."""
    path = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in error["loc"])
    detail = UNKNOWN if error["type"] == "extra_forbidden" else RULES.get(error["type"]) or str(error["msg"])
    return {"detail": detail.removeprefix("Value error, "), "pointer": f"#/{path}"[:MAX_POINTER]}


UNKNOWN = "is not an argument of this tool; its input schema lists the arguments"
