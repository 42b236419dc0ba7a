"""The models that callers may name, and other names for them."""

import hashlib
from collections.abc import Mapping, Sequence

from pixyproxy.core.exceptions import ModelNotFoundError
from pixyproxy.core.keys import Caller


class ModelCatalogue:
    """`default` is the model of requests that name none.

    `others` are offered too; `aliases` maps each alias to its model. `closed`: our own dialect refuses other models.
    OpenAI's dialect always does: its clients can list the models.
    """

    def __init__(
        self,
        default: str,
        *,
        others: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        closed: bool = False,
    ) -> None:
        self.default = default
        self.names = tuple(dict.fromkeys((default, *others)))
        self.aliases = dict(aliases or {})
        self._closed = closed

    def resolve(self, model: str | None) -> str:
        """The model that draws; `ModelNotFoundError` if the catalogue is closed and does not have it.

        A model that is offered only by an alias is accepted: a record names it, and what is recorded can be repeated.
        """
        if self._closed and model not in self.aliases.values():
            self.require(model)
        return self.default if model is None else self.aliases.get(model, model)

    def require(self, model: str | None) -> None:
        """Raise `ModelNotFoundError` unless the model is listed, or an alias, or none is named."""
        if model is not None and model not in self.names and model not in self.aliases:
            raise ModelNotFoundError(model)


def safety_identifier_of(caller: Caller) -> str:
    """A stable identifier of a caller for the upstream, without its name."""
    return hashlib.sha256(f"pixyproxy-key-{caller.api_key_id}".encode()).hexdigest()
