"""Fills in what a request leaves open."""

from dataclasses import dataclass

from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.keys import Caller
from pixyproxy.service.models import ModelCatalogue, safety_identifier_of


@dataclass(frozen=True)
class Defaults:
    """The settings for requests that leave values open. `quality` None: none is sent to the upstream."""

    models: ModelCatalogue
    quality: str | None
    identify_callers: bool

    def fill_in(self, request: GenerationRequest, *, caller: Caller) -> GenerationRequest:
        """The request with model, quality and safety identifier; `ModelNotFoundError` for a model not offered."""
        filled: dict[str, str | None] = {
            "model": self.models.resolve(request.model),
            "quality": request.quality or self.quality,
        }
        if self.identify_callers and request.safety_identifier is None and request.user is None:
            filled["safety_identifier"] = safety_identifier_of(caller)
        return request.model_copy(update=filled)
