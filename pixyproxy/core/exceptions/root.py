"""The root of all exceptions, and its RFC 9457 document."""

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Literal, Self

Cost = Literal["none", "billed", "unknown"]
"""What a failed generation cost: nothing for certain, a picture's price, or unknown."""
RETRY_AFTER = 5
"""Seconds after which a part that was unavailable may be tried again, unless it names a time."""
TYPE_PREFIX = "urn:pixyproxy:problem:"


class PixyProxyException(Exception):  # noqa: N818 -- the root has the product's name
    """The root: `detail` is sent to the client, `extra` are further members of the problem."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    cost: Cost | None = None
    """What a generation cost that ended with this exception. The class has the default; an instance may override it."""
    replayed = False
    """Whether this is the recorded end of an earlier request with the same Idempotency-Key."""

    default_detail: ClassVar[str] = ""
    default_retry_after: ClassVar[int | None] = None

    def __init__(
        self, detail: str = "", *, retry_after: int | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        self.detail = detail or self.default_detail
        super().__init__(self.detail)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        self.extra = dict(extra or {})

    def copy(self) -> Self:
        """A copy of the error for another request, which may add members."""
        other = copy(self)
        other.extra = dict(self.extra)
        other.__cause__ = self.__cause__
        return other

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the answer must carry besides its body."""
        replayed = {"Idempotent-Replayed": "true"} if self.replayed else {}
        return replayed if self.retry_after is None else {"Retry-After": str(self.retry_after), **replayed}

    @property
    def type(self) -> str:
        """The problem's `type` (RFC 9457, section 3.1.1), the same in every deployment."""
        return TYPE_PREFIX + self.name

    def document(self, *, request_id: str | None = None, bought: bool = True) -> dict[str, Any]:
        """The RFC 9457 problem: of one request, or, without its id, as it is recorded.

        `bought`: whether it answers a request for a picture; the document then says what that cost.
        """
        occurrence = {"instance": f"urn:pixyproxy:request:{request_id}", "request_id": request_id} if request_id else {}
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **({"cost": self.cost} if self.cost is not None and bought else {}),
            **occurrence,
            **self.extra,
        }
