"""HTTP errors below /mcp, as JSON-RPC errors. The error of a tool is a result of the tool instead."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pixyproxy.core.exceptions import MalformedRequestError, PixyProxyException
from pixyproxy.web.log.request_log import record_of

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603


def render_rpc_error(problem: PixyProxyException, request: Request) -> Response:
    """The answer: the status and headers of the problem, and its document as the error's `data`."""
    document = problem.document(request_id=record_of(request.scope).request_id, bought=False)
    error = {"code": code_of(problem), "message": f"{problem.title}: {problem.detail}", "data": document}
    return JSONResponse(
        {"jsonrpc": "2.0", "id": None, "error": error},
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def code_of(problem: PixyProxyException) -> int:
    """The code of JSON-RPC 2.0, section 5.1."""
    if isinstance(problem, MalformedRequestError):
        return PARSE_ERROR
    return INVALID_REQUEST if problem.status < 500 else INTERNAL_ERROR
