"""Every exception that PixyProxy raises, and what HTTP says of each.

PixyProxyException
 ├─ InvalidRequestError                422  the request's body or parameters break a rule
 ├─ MalformedRequestError              400  the request cannot be read as HTTP or as JSON
 ├─ InvalidIdempotencyKeyError         400  the Idempotency-Key is empty, too long, or no printable ASCII
 ├─ RequestTimeoutError                408  the body did not arrive in time
 ├─ UnsupportedMediaTypeError          415  the body is not JSON
 ├─ PreconditionFailedError            412  If-Match or If-Unmodified-Since does not hold
 ├─ PayloadTooLargeError               413  the body is over the limit
 ├─ RangeNotSatisfiableError           416  the picture has none of the bytes that Range asks for
 ├─ HeaderTooLargeError                431  the request's head is over the limit
 ├─ AuthenticationError                401  no API key, or not a valid one
 ├─ NotFoundError                      404  nothing is at this URL
 │   ├─ ImageNotFoundError             404  no image has this guid
 │   └─ GenerationNotFoundError        404  no generation has this guid
 ├─ ImageDeletedError                  410  the image that this Idempotency-Key bought was deleted
 ├─ MethodNotAllowedError              405  the URL exists, the method does not
 ├─ ConflictError                      409  the change collides with what is recorded
 ├─ GenerationRunningError             409  a generation with this Idempotency-Key is running
 ├─ OutcomeUnknownError                409  what this Idempotency-Key asked for may have been drawn and billed
 ├─ IdempotencyKeyReusedError          422  this Idempotency-Key came with another request before
 ├─ UnavailableError                   503  a part does not answer; nothing was spent; try again
 │   ├─ DatabaseUnavailableError
 │   ├─ StorageUnavailableError
 │   ├─ UpstreamUnavailableError            the upstream cannot be reached, or asked us to wait
 │   ├─ TooManyGenerationsError             this process runs as many generations as it may
 │   ├─ ShuttingDownError                   this process ends
 │   └─ NotReadyError                       /readyz: names the parts that do not answer
 ├─ UpstreamRefusedError               422  the upstream refused this prompt or these parameters
 ├─ UpstreamError                      502  the upstream failed
 │   ├─ UpstreamCredentialsError            our key for the upstream is wrong or may not do this
 │   ├─ UpstreamAddressError                OPENAI_BASE_URL leads to no Images API
 │   ├─ UpstreamAnswerError                 the upstream answered with something that is no picture
 │   └─ UpstreamUnknownOutcomeError         the answer was lost: it may have drawn and billed
 ├─ UpstreamDeadlineError              504  no answer within the deadline: it may have drawn and billed
 ├─ GenerationInterruptedError         502  its process died, and no picture was found
 ├─ ImageContentLostError              502  the row exists, its bytes do not
 ├─ ConfigurationError                 (start) a setting is wrong or missing
 ├─ ObjectNotFoundError                (storage) no object has this key; the service decides what it means
 └─ InternalError                      500  a fault of ours
     ├─ DatabaseError                       the database refused a statement
     └─ StorageError                        the storage refused a request

Each class carries the HTTP status, the problem's name (the last part of its RFC 9457 `type`) and its title, and
where it can end a generation, what that cost.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

Cost = Literal["none", "billed", "unknown"]
"""What a failed generation cost: provably nothing, a picture's price, or nobody can say."""
RETRY_AFTER = 5
"""Seconds after which a part that was away may be tried again, where it says nothing of its own."""
TYPE_PREFIX = "urn:pixyproxy:problem:"


class PixyProxyException(Exception):  # noqa: N818 -- the root has the product's name
    """The root: `detail` is said to the client, `extra` are further members of the problem."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    cost: ClassVar[Cost | None] = None
    replayed = False
    """Whether this is the recorded end of an earlier request with the same Idempotency-Key."""

    def __init__(self, detail: str, *, retry_after: int | None = None, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = dict(extra or {})

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

        `bought`: whether it answers a request for a picture, which wants to know what it has cost.
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


def recorded(document: Mapping[str, Any], *, replayed: bool = False) -> PixyProxyException:
    """The exception that left this document: what `generations.error` holds, raised again."""
    name = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    kind = next((kind for kind in _descendants(PixyProxyException) if kind.name == name), UpstreamError)
    error = kind.__new__(kind)
    known = {"type", "title", "status", "detail", "cost"}
    extra = {member: value for member, value in document.items() if member not in known}
    retry_after = RETRY_AFTER if issubclass(kind, UnavailableError) else None
    PixyProxyException.__init__(error, str(document.get("detail", "")), retry_after=retry_after, extra=extra)
    error.replayed = replayed
    return error


def _descendants(kind: type[PixyProxyException]) -> list[type[PixyProxyException]]:
    return [each for child in kind.__subclasses__() for each in (child, *_descendants(child))]


class InvalidRequestError(PixyProxyException):
    """The request's body or parameters break a rule; `errors` holds a {detail, pointer} for each."""

    status = 422
    name = "invalid-request"
    title = "The request breaks a rule"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(
            "The request was understood, but it breaks a rule; 'errors' names each.", extra={"errors": errors}
        )


class MalformedRequestError(PixyProxyException):
    """The request cannot be read as HTTP or as JSON."""

    status = 400
    name = "malformed-request"
    title = "The request cannot be read"


class InvalidIdempotencyKeyError(PixyProxyException):
    """The Idempotency-Key cannot be used as one."""

    status = 400
    name = "invalid-idempotency-key"
    title = "The Idempotency-Key cannot be used"

    def __init__(self) -> None:
        super().__init__(
            "Send one Idempotency-Key of 1 to 255 printable ASCII characters, quoted or bare; a UUID is good."
        )


class RequestTimeoutError(PixyProxyException):
    """The body did not arrive in time."""

    status = 408
    name = "request-timeout"
    title = "The request took too long to arrive"


class UnsupportedMediaTypeError(PixyProxyException):
    """The body is not declared to be JSON."""

    status = 415
    name = "unsupported-media-type"
    title = "The body must be JSON"


class PayloadTooLargeError(PixyProxyException):
    """The body is over the limit."""

    status = 413
    name = "payload-too-large"
    title = "The body is too large"


class PreconditionFailedError(PixyProxyException):
    """What is at the URL is not what the request's condition speaks of (RFC 9110, section 13.1)."""

    status = 412
    name = "precondition-failed"
    title = "The precondition does not hold"

    def __init__(self) -> None:
        super().__init__("If-Match or If-Unmodified-Since asks for something else than what is at this URL.")


class RangeNotSatisfiableError(PixyProxyException):
    """The range lies behind the picture's end; the headers say its size (RFC 9110, section 15.5.17)."""

    status = 416
    name = "range-not-satisfiable"
    title = "The range cannot be served"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The picture has {size_bytes} bytes, and none of them in this range.")
        self._size_bytes = size_bytes

    @property
    def headers(self) -> dict[str, str]:
        """The size of the whole, so that the client can ask for what there is."""
        return {**super().headers, "Content-Range": f"bytes */{self._size_bytes}"}


class HeaderTooLargeError(PixyProxyException):
    """The request's head is over the limit."""

    status = 431
    name = "header-too-large"
    title = "The request's head is too large"


class AuthenticationError(PixyProxyException):
    """No API key came, or one that is not valid; the cause is never told apart."""

    status = 401
    name = "unauthorized"
    title = "A valid API key is needed"

    def __init__(self) -> None:
        super().__init__("Send one header 'Authorization: Bearer <key>' with a valid PixyProxy API key.")

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 11.6.1: a 401 names the scheme that would be accepted."""
        return {"WWW-Authenticate": "Bearer"}


class NotFoundError(PixyProxyException):
    """Nothing is at this URL."""

    status = 404
    name = "not-found"
    title = "Nothing is here"


class ImageNotFoundError(NotFoundError):
    """No image has this guid."""

    name = "image-not-found"
    title = "There is no such image"

    def __init__(self) -> None:
        super().__init__(
            "No image has this guid. It may have been deleted, or the URL was copied incompletely: "
            "a guid is a UUID of 36 characters."
        )


class GenerationNotFoundError(NotFoundError):
    """No generation has this guid."""

    name = "generation-not-found"
    title = "There is no such generation"

    def __init__(self) -> None:
        super().__init__("No generation has this guid: a guid is a UUID of 36 characters.")


class ImageDeletedError(PixyProxyException):
    """The image that an earlier request with this Idempotency-Key bought was deleted since."""

    status = 410
    name = "image-deleted"
    title = "The image of this Idempotency-Key was deleted"


class MethodNotAllowedError(PixyProxyException):
    """The URL exists, but not for this method."""

    status = 405
    name = "method-not-allowed"
    title = "This method is not allowed here"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This URL answers {', '.join(allowed)}.")
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 15.5.6: a 405 lists the methods that are allowed."""
        return {"Allow": ", ".join(self.allowed)}


class ConflictError(PixyProxyException):
    """The change collides with what is recorded: a name or a key that exists, a state that has moved on."""

    status = 409
    name = "conflict"
    title = "The change collides with what is recorded"


class GenerationRunningError(PixyProxyException):
    """A generation with this Idempotency-Key is running; `generation` is its guid."""

    status = 409
    name = "generation-running"
    title = "A generation with this Idempotency-Key is running"


class OutcomeUnknownError(PixyProxyException):
    """The upstream may have drawn and billed what this Idempotency-Key asked for: it is not bought again."""

    status = 409
    name = "outcome-unknown"
    title = "It may have been drawn and billed"


class IdempotencyKeyReusedError(PixyProxyException):
    """This Idempotency-Key came with another request before."""

    status = 422
    name = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another body before: take a new key for a new request.")


class UnavailableError(PixyProxyException):
    """A part does not answer. As an answer to POST /image: nothing was spent, and trying again later is right."""

    status = 503
    name = "unavailable"
    title = "A part of the service does not answer"
    cost = "none"

    def __init__(self, detail: str, *, retry_after: int = RETRY_AFTER) -> None:
        super().__init__(detail, retry_after=retry_after)


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer, is shutting down, is read-only, or is too busy."""

    name = "database-unavailable"
    title = "The database does not answer"


class StorageUnavailableError(UnavailableError):
    """The storage does not answer or refuses us."""

    name = "storage-unavailable"
    title = "The storage does not answer"


class UpstreamUnavailableError(UnavailableError):
    """The upstream cannot be reached, or asked us to wait: nothing was drawn or billed."""

    name = "upstream-unavailable"
    title = "The upstream takes no request now"


class TooManyGenerationsError(UnavailableError):
    """This process already runs as many generations as it may."""

    name = "too-many-generations"
    title = "Too many generations are running"


class ShuttingDownError(UnavailableError):
    """This process finishes what is running and begins nothing."""

    name = "shutting-down"
    title = "This process is shutting down"

    def __init__(self) -> None:
        super().__init__("This process is shutting down; another one, or the next, takes the request.")


class NotReadyError(UnavailableError):
    """The answer of /readyz: these parts do not answer."""

    name = "not-ready"
    title = "The service cannot work now"

    def __init__(self, parts: list[str]) -> None:
        super().__init__(f"These do not answer: {', '.join(parts)}.")
        self.extra["failed"] = parts


class UpstreamRefusedError(PixyProxyException):
    """The upstream refused this prompt (moderation) or these parameters, and said why."""

    status = 422
    name = "upstream-refused"
    title = "The upstream refused the request"
    cost = "none"


class UpstreamError(PixyProxyException):
    """The upstream failed."""

    status = 502
    name = "upstream-failed"
    title = "The upstream failed"
    cost: ClassVar[Cost | None] = "unknown"


class UpstreamCredentialsError(UpstreamError):
    """Our key for the upstream is wrong, or may not do this."""

    name = "upstream-credentials"
    title = "PixyProxy's own upstream key was refused"
    cost = "none"


class UpstreamAddressError(UpstreamError):
    """OPENAI_BASE_URL leads to no Images API."""

    name = "upstream-address"
    title = "PixyProxy's upstream address is wrong"
    cost = "none"


class UpstreamAnswerError(UpstreamError):
    """The upstream answered with success, but not with a picture that we keep."""

    name = "upstream-answer"
    title = "The upstream's answer holds no picture"
    cost = "billed"


class UpstreamUnknownOutcomeError(UpstreamError):
    """The request was sent and its answer lost: the upstream may have drawn and billed."""

    name = "upstream-unknown-outcome"
    title = "The upstream's answer was lost"


class UpstreamDeadlineError(PixyProxyException):
    """The upstream did not answer within the deadline: it may have drawn and billed."""

    status = 504
    name = "upstream-deadline"
    title = "The upstream did not answer in time"
    cost = "unknown"


class GenerationInterruptedError(PixyProxyException):
    """The process that ran the generation died, and no picture of it was found."""

    status = 502
    name = "generation-interrupted"
    title = "The generation was interrupted"
    cost = "unknown"

    def __init__(self) -> None:
        super().__init__(
            "The process that ran this generation ended before its picture was stored. "
            "The upstream may have drawn and billed."
        )


class ImageContentLostError(PixyProxyException):
    """The image is recorded, but its bytes are not in the storage."""

    status = 502
    name = "image-content-lost"
    title = "The image's bytes are not in the storage"


class ConfigurationError(PixyProxyException):
    """A setting is wrong or missing; `detail` names it. It stops the start and is never an HTTP answer."""

    name = "configuration"
    title = "The configuration is wrong"


class ObjectNotFoundError(PixyProxyException):
    """The storage holds no object under this key. The service decides what that means."""


class InternalError(PixyProxyException):
    """A fault of ours; the log holds what happened, under the request-id."""

    cost = "unknown"

    def __init__(self, detail: str = "Something went wrong on our side.") -> None:
        super().__init__(detail)


class DatabaseError(InternalError):
    """The database refused a statement: a fault in our SQL, our schema or our rights."""


class StorageError(InternalError):
    """The storage refused a request in a way that waiting does not mend."""
