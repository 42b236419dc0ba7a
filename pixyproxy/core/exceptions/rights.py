"""What a key may not do, and keys that do not exist."""

from pixyproxy.core.exceptions.request import NotFoundError
from pixyproxy.core.exceptions.root import PixyProxyException


class NotAllowedError(PixyProxyException):
    """The key is valid, but lacks the scope that this request needs; `scope` names it."""

    status = 403
    name = "not-allowed"
    title = "The API key may not do this"
    cost = "none"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This needs the scope '{scope}', which the API key does not have. GET /key/self lists those that it has.",
            extra={"scope": scope},
        )


class KeyNotFoundError(NotFoundError):
    """No API key has this name."""

    name = "key-not-found"
    title = "There is no such API key"

    default_detail = "No API key has this name. GET /key lists them."
