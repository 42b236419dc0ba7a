"""The parameters of the OpenAI Images API for what was asked (API reference, «Create image»)."""

from typing import Any

from pixyproxy.core.generations import GenerationRequest


def parameters_of(request: GenerationRequest) -> dict[str, Any]:
    """The parameters by name. What the caller left open is not sent: None would be sent as JSON null."""
    known = request.model_dump(exclude_none=True, exclude={"inputs"})
    return {**known, "n": request.n or 1}
